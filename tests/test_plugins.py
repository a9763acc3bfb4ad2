"""Plug-ins: found in installed packages and in folders, told apart, and named in errors."""

import os
import shutil
import subprocess
import sys
import textwrap

import pytest
from conftest import ROOT, copy_config, edit_yaml, environment

from mdkd import kinds, methodfiles, plugins, records, registry
from mdkd.config import parse
from mdkd.errors import UserError
from mdkd.plan import Plan, make_plan
from mdkd.resolve import resolve_run
from mdkd.spec import Specification

EXAMPLE = ROOT / "examples" / "plugin"
METHOD_YAML = "label: Mine\nrevision: 3\nneeds: [logits]\nsettings: {weight: 2.0}\n"
METHOD = "from mdkd.methods.base import method\n\n@method('{}')\ndef f(s, t, y, *, weight): ...\n"
SOURCE = """
    from dataclasses import dataclass

    @dataclass(frozen=True, kw_only=True)
    class Options:
        colour: str = "red"

    def load(options, root, image_size): ...
    """


@pytest.fixture(autouse=True)
def _no_plugins_afterwards():
    places = sys.path[:]
    yield
    sys.path[:] = places
    plugins.use([])


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(text))


def method(folder, name):
    write(folder / "methods" / f"{name}.yaml", METHOD_YAML)
    write(folder / "methods" / f"{name}.py", METHOD.format(name))


@pytest.fixture
def folder(tmp_path):
    """A folder with one plug-in of each sort. Its name is that of no other test's folder."""
    path = tmp_path / f"brought_{tmp_path.name}"
    method(path, "mine")
    write(path / "sources" / "paintings.py", SOURCE)
    write(path / "kinds" / "gain.py", "import pandas\n\ndef table(artefact, results): ...\n")
    write(path / "kinds" / "gain.yaml", "outputs: [table]\noptions: {orders: [2, 3], least: 1}\n")
    return path


def fake_package(place, name, entry_points, version="1.2"):
    """What pip leaves of an installed package."""
    write(place / f"{name}-{version}.dist-info" / "METADATA", f"Name: {name}\nVersion: {version}\n")
    write(place / f"{name}-{version}.dist-info" / "entry_points.txt", entry_points)


def test_a_folder_brings_methods_sources_and_kinds(folder):
    registry.use([str(folder)])
    assert methodfiles.read("mine").revision == 3 and "mine" in methodfiles.read_all()
    assert registry.load("mdkd.data.sources", "paintings").Options().colour == "red"
    kind = kinds.get("gain")
    assert kind.outputs == ("table",) and not kind.maps
    assert vars(parse(kind.options, {"least": 5}, "x")) == {"orders": [2, 3], "least": 5}
    with pytest.raises(UserError, match="x: least: expected an integer, found 'a'"):
        parse(kind.options, {"least": "a"}, "x")
    registry.use([])
    assert "mine" not in registry.names("mdkd.methods")


def test_an_installed_package_brings_them_by_entry_points(tmp_path, folder, monkeypatch):
    package = folder.name
    points = f"[mdkd.methods]\nmine = {package}.methods.mine\n[mdkd.sources]\nart = "
    fake_package(tmp_path, "brought", f"{points}{package}.sources.paintings\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert methodfiles.read("mine").label == "Mine"
    assert registry.load("mdkd.data.sources", "art").Options().colour == "red"
    found = registry.plugin("mdkd.methods", "mine")
    assert (found.package, found.version) == ("brought", "1.2")
    assert registry.plugin("mdkd.methods", "mdkd") is None


def test_a_name_that_is_taken_is_an_error_that_says_by_whom(tmp_path, folder, monkeypatch):
    method(folder, "mdkd")
    message = (
        rf"{folder}: mdkd.methods: 'mdkd': mdkd.methods has it already; .* '{folder.name}_mdkd'"
    )
    with pytest.raises(UserError, match=message):
        registry.use([str(folder)])
    (folder / "methods" / "mdkd.py").unlink()
    fake_package(tmp_path, "brought", f"[mdkd.methods]\nmine = {folder.name}.methods.mine\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    message = f"{folder}: mdkd.methods: 'mine': brought 1.2 has one of this name too; give it a"
    with pytest.raises(UserError, match=message):
        registry.use([str(folder)])


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ("mine = brought_nowhere.mine", "'brought_nowhere.mine' is no file with Python code"),
        ("mine = mdkd.methods", "'mdkd.methods' is no file with Python code"),
        ("My-Own = mdkd.methods.mse", "'My-Own': names are lower-case words joined by '_'"),
    ],
)
def test_a_broken_package_is_named(tmp_path, monkeypatch, point, message):
    fake_package(tmp_path, "brought", f"[mdkd.methods]\n{point}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match=rf"^brought 1\.2: .*{message}"):
        registry.use([])


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    for name, message in (
        ("gone", "no such folder; correct `plugins` in config.yaml"),
        ("my-own", "is no name of a Python package; rename it"),
        ("json", "Python imports .*json/__init__.py under the name 'json'; rename the folder"),
    ):
        if name != "gone":
            (tmp_path / name).mkdir()
        with pytest.raises(UserError, match=f"^plugins: {tmp_path / name}: .*{message}"):
            registry.use([str(tmp_path / name)])


def test_code_that_fails_is_one_line(folder):
    write(folder / "sources" / "broken.py", "import no_such_module_at_all\n")
    write(folder / "sources" / "empty.py", "Options = int\n")
    registry.use([str(folder)])
    with pytest.raises(
        UserError, match=r"broken\.py: cannot be imported \(ModuleNotFoundError: No"
    ):
        registry.load("mdkd.data.sources", "broken")
    with pytest.raises(UserError, match=r"empty\.py: defines no 'load'; add it"):
        registry.load("mdkd.data.sources", "empty")


def test_a_method_cannot_take_the_place_of_another_one(folder):
    write(folder / "methods" / "mine.py", METHOD.format("mse"))
    registry.use([str(folder)])
    with pytest.raises(
        UserError, match=r"mine: method 'mse' is that of mdkd\.methods\.mse; rename"
    ):
        from mdkd import methods

        methods.get("mse"), methods.get("mine")


def test_the_plan_carries_the_folders_and_the_key_the_revision(tmp_path, folder):
    config = copy_config(tmp_path / "config")
    edit_yaml(config / "config.yaml", lambda c: c.update(plugins=[str(folder)]))
    edit_yaml(config / "experiments" / "comparison.yaml", lambda e: e["methods"].append("mine"))
    spec = Specification(config)
    path = "distill/scenes/resnet8x2--resnet8/mine/default/seed0"
    assert resolve_run(spec, path).method.revision == 3
    file = tmp_path / "plan.json"
    records.write_json(file, make_plan(spec).to_json())
    registry.use([])
    assert Plan.read(file).runs[path].method.settings == {"weight": 2.0}
    assert registry.plugin("mdkd.methods", "mine").package == str(folder)


def test_planning_with_plugins_loads_neither_torch_nor_pandas(tmp_path, folder):
    config = copy_config(tmp_path / "config")

    def change(experiment):
        experiment["methods"].append("mine")
        experiment["kind"] = "gain"

    edit_yaml(config / "config.yaml", lambda c: c.update(plugins=[str(folder)]))
    edit_yaml(config / "experiments" / "comparison.yaml", change)
    code = (
        "import sys; from pathlib import Path; from mdkd.plan import make_plan; "
        f"from mdkd.spec import Specification; p = make_plan(Specification(Path({str(config)!r})));"
        "print('mine' in str(list(p.runs)), sorted({'torch', 'pandas'} & set(sys.modules)))"
    )
    assert run(tmp_path, "-c", code).stdout == "True []\n"


def run(cwd, *arguments, path=""):
    """Python in a process of its own, with a folder of installed packages."""
    places = os.pathsep.join(filter(None, [str(ROOT), str(path)]))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment() | {"PYTHONPATH": places},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder into which pip has installed the example, without network."""
    base = tmp_path_factory.mktemp("example")
    copy = shutil.copytree(EXAMPLE, base / "plugin")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    result = run(base, "-m", "pip", "install", *options, "--target", base / "site", copy)
    assert result.returncode == 0, result.stderr
    return base / "site"


def test_the_tests_of_the_example_pass_when_it_is_installed(installed, tmp_path):
    arguments = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path)
    result = run(tmp_path, *arguments, EXAMPLE / "tests", path=installed)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("by", ["package", "folder"])
def test_a_training_with_the_example_names_it_in_its_record(installed, tmp_path, by):
    config = copy_config(tmp_path / "config")
    folder = EXAMPLE / "mdkd_example"
    if by == "folder":
        edit_yaml(config / "config.yaml", lambda c: c.update(plugins=[str(folder)]))
    path = installed if by == "package" else ""
    net = "module:mdkd_example.networks:plain"
    entry = {"net": net, "label": "Plain"}
    edit_yaml(config / "architectures.yaml", lambda a: a.update(plain=entry))
    for arguments in (
        ("cache", "scenes"),
        ("train", "supervised/scenes/resnet8x2/seed0"),
        ("train", "distill/scenes/resnet8x2--plain/confident/power-2/seed0"),
    ):
        result = run(tmp_path, "-m", "mdkd", *arguments, path=path)
        assert result.returncode == 0, result.stderr
    (file,) = tmp_path.glob("store/distill/scenes/*/confident/power-2/seed0/*/run.json")
    found = records.read_json(file)["plugins"]
    assert found == {
        "method": {
            "name": "confident",
            "package": "mdkd-example" if by == "package" else str(folder),
            "version": "0.1.0" if by == "package" else None,
            "sha256": records.sha256(folder / "methods" / "confident.py"),
        },
        "net": {
            "name": net,
            "package": "mdkd-example" if by == "package" else str(folder),
            "version": "0.1.0" if by == "package" else None,
            "sha256": records.sha256(folder / "networks.py"),
        },
    }
