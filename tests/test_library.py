"""The package without the repository: what is in the wheel, and what it needs.

`python tests/test_library.py` prints the table of methods in docs/library.md.
"""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the call as a script
from conftest import ROOT
from packaging.requirements import Requirement
from test_imports import IMPORTS

from mdkd import extras, faults, methodfiles

PAGE = ROOT / "docs" / "library.md"
HEADINGS = ("Method", "Label", "Needs", "Default settings", "Source")
MODULES = {"torch": "torch", "numpy": "numpy", "pyyaml": "yaml"}  # of a light installation
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def method_rows():
    """The line of the page about each method, by name, from its two files."""
    found = {}
    for file in sorted((ROOT / "mdkd" / "methods").glob("*.yaml")):
        method = methodfiles.read(file.stem)
        settings = ", ".join(
            f"`{key}: {value if isinstance(value, str) else f'{value:g}'}`"
            for key, value in method.settings.items()
        )
        needs = ", ".join(method.needs) or "nothing"
        source = file.with_suffix(".py").read_text(encoding="utf-8").split('"""')[1].split("\n")[0]
        cells = (f"`{file.stem}`", method.label, needs, settings or "none", source)
        found[file.stem] = f"| {' | '.join(cells)} |"
    return found


def test_the_page_describes_the_methods_as_their_files_do():
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = lines.index(f"| {' | '.join(HEADINGS)} |")
    rows = {line.split("`")[1]: line for line in lines[start + 2 :] if line.startswith("|")}
    right = method_rows()
    hint = "`python tests/test_library.py` prints the right table"
    assert [row for name, row in rows.items() if row != right.get(name)] == [], hint
    published = json.loads((ROOT / "docs" / "conformance" / "losses.json").read_text())["methods"]
    assert published.keys() <= rows.keys(), hint


def test_the_examples_of_the_page_run(capsys):
    blocks = PAGE.read_text(encoding="utf-8").split("```python\n")[1:]
    assert len(blocks) == 5
    for block in blocks:
        exec(block.split("```")[0], {})
    assert capsys.readouterr().out.startswith("mAP ")


def test_every_foreign_module_belongs_to_an_installation():
    """A module that only an extra brings has its line in `EXTRAS`, so its lack is explained."""
    used = {name.split(".")[0] for imports in IMPORTS.values() for name in imports} - {"mdkd"}
    explained = {module for modules in extras.EXTRAS.values() for module in modules}
    assert used - set(MODULES.values()) == explained


def test_the_extras_are_those_of_the_project():
    assert extras.EXTRAS.keys() <= PROJECT["optional-dependencies"].keys()
    names = {Requirement(text).name for text in PROJECT["dependencies"]}
    assert names == MODULES.keys()


def test_a_module_that_belongs_to_nothing_is_a_fault_of_the_program(caplog):
    assert faults.report(ModuleNotFoundError("No module named 'x'", name="x")) == 1
    assert faults.report(ModuleNotFoundError(name="timm.models")) == 2
    assert "timm is not installed" in caplog.text


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    """The Python of an environment with the wheel, torch, numpy, PyYAML and what these need."""
    base = tmp_path_factory.mktemp("light")
    source = base / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "mdkd", source / "mdkd", ignore=shutil.ignore_patterns("__pycache__"))
    build = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([sys.executable, "-m", *build, "-w", str(base), str(source)], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(base / "venv")], check=True)
    (site,) = (base / "venv").glob("lib/python*/site-packages")
    (wheel,) = base.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    (metadata,) = site.glob("*.dist-info/METADATA")
    needed = importlib.metadata.PathDistribution(metadata.parent).requires or []
    for distribution in closure(needed):
        for name in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            if not (site / name).exists():
                (site / name).symlink_to(Path(str(distribution.locate_file(name))))
    return base / "venv" / "bin" / "python"


def closure(requirements):
    """The installed distributions that these requirements bring, without extras."""
    found, todo = {}, list(requirements)
    while todo:
        requirement = Requirement(todo.pop())
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        if requirement.name not in found:
            distribution = importlib.metadata.distribution(requirement.name)
            found[requirement.name] = distribution
            todo += distribution.requires or []
    return list(found.values())


PROBE = """
import contextlib, importlib.util, io, json, runpy, sys
from pathlib import Path
import mdkd
from mdkd import cli, extras, faults, methods, metrics, dependencies, nn
from mdkd.outputs import Spec

root, here = Path(sys.argv[1]), Path(mdkd.__file__).parent
spec = Spec(7, 6, (4, 5), (8, 4), 5)
for name in methods.names():
    methods.build(name, spec, spec, methods.get(name).defaults())
said = io.StringIO()
with contextlib.redirect_stdout(said):
    runpy.run_path(str(root / "examples" / "plain_loop.py"), run_name="__main__")
verbs = []
for verb in (["cache", "scenes", "--protocol", "smoke"], ["compare", "--protocol", "paper"]):
    with contextlib.redirect_stderr(io.StringIO()) as complaint:
        status = cli.main([*verb, "--config", str(root / "config")])
    verbs.append((status, complaint.getvalue()))
print(json.dumps({
    "extras": [m for group in extras.EXTRAS.values() for m in group if importlib.util.find_spec(m)],
    "methods": methods.names(),
    "place": str(here),
    "typed": (here / "py.typed").is_file(),
    "example": said.getvalue(),
    "verbs": verbs,
}))
"""


def test_the_wheel_works_with_torch_numpy_and_yaml_alone(light, tmp_path):
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [light, "-c", PROBE, ROOT],
        cwd=tmp_path,
        env=clean | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["extras"] == []
    assert found["place"].startswith(str(light.parents[1]))
    files = (ROOT / "mdkd" / "methods").glob("*.yaml")
    assert found["methods"] == sorted(file.stem for file in files)
    assert found["typed"]
    assert found["example"].startswith("loss ")
    for (status, complaint), module in zip(found["verbs"], ("PIL", "scipy"), strict=True):
        assert status == 2
        (line,) = complaint.splitlines()
        assert f"{module} is not installed, which this needs; run `pip install 'mdkd[" in line


if __name__ == "__main__":
    print(f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}")
    print(*method_rows().values(), sep="\n")
