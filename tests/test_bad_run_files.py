"""Bad run files: `mdkd train FILE` is one line with file and key, and writes nothing elsewhere."""

import copy
import json
import random
from dataclasses import asdict

import pytest
import yaml
from conftest import edit_yaml

from mdkd import registry, runfiles
from mdkd.cli import main
from mdkd.errors import UserError
from mdkd.layout import Layout
from mdkd.plan import Plan, make_plan
from mdkd.resolve import resolve_run
from mdkd.spec import Specification
from mdkd.training import loop

GONE = object()  # in place of a value: the key is deleted
PATH = "distill/scenes/resnet20--resnet8/mdkd/bd3-0.5/seed0"
TEACHER = "supervised/scenes/resnet20/seed0"

# name: (keys and the new value, what the message says)
BROKEN = {
    # paths that leave their folder
    "arch above": (("arch", "../../x"), "arch: '../../x': names are"),
    "protocol above": (("protocol", "../../x"), "protocol: '../../x': names are"),
    "absolute protocol": (("protocol", "/tmp/x"), "protocol: '/tmp/x': names are"),
    "empty protocol": (("protocol", ""), "protocol: ''"),
    "data set above": (("dataset", "name", "../x"), "dataset: name: '../x': names are"),
    "method above": (("method", "name", "../x"), "method: name: '../x': names are"),
    "source above": (("dataset", "source", "../x"), "dataset: source: '../x'"),
    "net above": (("net", "../../x"), "net: '../../x'"),
    "path above": (("path", "../../x"), "path: ../../x: not a run path; write"),
    "variant above": (("path", PATH.replace("bd3-0.5", "..")), "not a run path"),
    "key above": (("teacher_key", "../../../x"), "teacher_key: '../../../x'"),
    "teacher above": (("teacher", "../x"), "teacher: ../x: not a run path"),
    "line end": (("arch", "resnet8\n"), "arch: 'resnet8\\n': names are"),
    "long": (("arch", "x" * 300), "has more than 100 characters"),
    # parts that contradict each other
    "other arch": (("arch", "resnet20"), "path", "contradicts the other keys; write distill/"),
    "other seed": (("seed", 1), "path", "contradicts the other keys", "seed1"),
    "other data": (("dataset", "name", "photos"), "teacher", "cannot teach this run"),
    "other method": (("method", "name", "mld"), "contradicts the other keys"),
    "other teacher": (("teacher", TEACHER.replace("20", "14")), "contradicts", "resnet14--resnet8"),
    "student as teacher": (("teacher", PATH), "cannot teach this run; write supervised/"),
    "no teacher": (("teacher", None), "contradicts the other keys; write supervised/"),
    "no teacher's key": (("teacher_key", None), "teacher_key: give it with teacher"),
    "other variant": (("path", PATH.replace("0.5", "0.7")), "'bd3-0.7' contradicts", "bd3-0.5"),
    "no such variant": (("path", PATH.replace("bd3-0.5", "x")), "'x' contradicts", "may name mld"),
    "other epochs": (
        *(("path", PATH.replace("bd3-0.5", "bd3-0.5_epochs-9")), "'bd3-0.5_epochs-9' contradicts"),
        "write bd3-0.5_epochs-2",
    ),
    "other seed of the teacher": (
        *(("path", PATH.replace("bd3-0.5", "bd3-0.5_teacher_seed-1")), "contradicts"),
        "write bd3-0.5_teacher_seed-0",
    ),
    "teacher of other length": (
        *(("teacher", TEACHER.replace("/seed", "/epochs-9/seed")), "cannot teach this run"),
        f"write {TEACHER}",
    ),
    "no number": (("path", PATH.replace("0.5", "high")), "'bd3-high' contradicts"),
    "other value": (("method", "settings", "bd3", 0.7), "'bd3-0.5' contradicts", "write bd3-0.7"),
    "old revision": (("method", "revision", 7), "revision: 7, but the code has revision 1"),
    # values
    "no epoch": (("recipe", "epochs", 0), "recipe: epochs: 0 is not in 1 .."),
    "negative rate": (("recipe", "lr", -1), "recipe: lr: -1.0 is not in"),
    "rate as text": (("recipe", "lr", "1e-05"), "recipe: lr: expected a number, found '1e-05'"),
    "seed as text": (("seed", "0"), "seed: expected an integer, found '0'"),
    "seed as a truth": (("seed", False), "seed: expected an integer, found False"),
    "negative seed": (("seed", -1), "seed: -1 is not in 0 .. 2147483647"),
    "width": (("head", "width", 33), "head: width: 33 is no multiple of 2"),
    "dropout": (("head", "dropout", 2), "head: dropout: 2.0 is not in 0 .. 0.99"),
    "stem": (("stem", "big"), "stem: 'big' is not valid"),
    "image size": (("dataset", "image_size", 0), "dataset: image_size: 0 is not in 1 .. 4096"),
    "validation": (("dataset", "val", 2), "dataset: val: 2.0 is not in 0 .. 0.5"),
    "option": (("dataset", "options", {"trian": 1}), "dataset: options: unknown key 'trian'"),
    "negative weight": (("method", "settings", "bd4", -1), "settings: bd4: -1 is not in 0 .."),
    "lacking setting": (("method", "settings", "bd4", GONE), "settings: setting 'bd4' is missing"),
    "unknown setting": (("method", "settings", "bd9", 1), "settings: unknown setting 'bd9'"),
    "setting's choice": (("method", "settings", "norm", "papr"), "norm: unknown 'papr'"),
    "no such method": (
        *(("method", "name", "mdkt"), ("path", PATH.replace("mdkd", "mdkt"))),
        "there is no 'mdkt'",
    ),
    "lacking key": (("recipe", GONE), "key 'recipe' is missing"),
    "unknown key": (("colour", 1), "unknown key 'colour'"),
    "list": (("recipe", [1]), "recipe: expected keys and values, found [1]"),
}
BYTES = {  # the whole file
    "no JSON": (b"{", "not valid JSON", "correct the file"),
    "empty": (b"", "not valid JSON"),
    "list": (b"[]", "expected keys and values"),
    "number": (b"7", "expected keys and values"),
    "nothing": (b"null", "expected keys and values"),
    "record without a run": (b'{"run": []}', "unknown key 'run'"),
    "empty record": (b'{"run": {}}', "run: key 'path' is missing"),
    "latin-1": ('{"path": "größe"}'.encode("latin-1"), "not UTF-8 text", "correct the file"),
    "UTF-16": ('{"path": "x"}'.encode("utf-16"), "not UTF-8 text"),
    "NaN": (b'{"seed": NaN}', "not valid JSON (NaN is no number)"),
    "infinity": (b'{"seed": -Infinity}', "not valid JSON (-Infinity is no number)"),
    "key twice": (b'{"seed": 1, "seed": 2}', "not valid JSON (key 'seed' appears twice)"),
    "long integer": (b'{"seed": ' + b"9" * 5000 + b"}", "not valid JSON", "4300"),
    "deep": (b"[" * 100_000, "not valid JSON (nested too deep)"),
    "web page": (b"<html>", "not valid JSON"),
}


@pytest.fixture
def run(config):
    return json.loads(json.dumps(asdict(resolve_run(Specification(config), PATH))))


@pytest.fixture
def train(config, tmp_path, monkeypatch, capsys):
    """`mdkd train` of a file in an empty folder; nothing is trained."""
    monkeypatch.chdir(tmp_path)
    trained = []
    monkeypatch.setattr(loop, "train", lambda *arguments: trained.append(arguments))

    def call(name, *options):
        status = main(["train", name, "--device", "cpu", *options])
        return status, capsys.readouterr().err, trained

    return call


def spoil(run, changes):
    """Copy a run with other values at the places that these changes name."""
    spoilt = copy.deepcopy(run)
    for *keys, value in changes:
        place = spoilt
        for key in keys[:-1]:
            place = place[key]
        if value is GONE:
            del place[keys[-1]]
        else:
            place[keys[-1]] = value
    return spoilt


@pytest.mark.parametrize("name", BROKEN)
def test_each_kind_is_one_line_with_file_and_key(run, train, tmp_path, name):
    changes = [part for part in BROKEN[name] if isinstance(part, tuple)]
    (tmp_path / "bad.json").write_text(json.dumps(spoil(run, changes)))
    status, printed, trained = train("bad.json")
    assert (status, trained, printed.count("\n")) == (2, [], 1)
    assert "error: bad.json: " in printed or "'mdkt'" in printed
    fragments = [part for part in BROKEN[name] if isinstance(part, str)]
    assert [part for part in fragments if part not in printed] == [], printed
    assert {file.name for file in tmp_path.iterdir()} == {"bad.json", "config"}


@pytest.mark.parametrize("name", BYTES)
def test_a_damaged_file_is_one_line(train, tmp_path, name):
    content, *fragments = BYTES[name]
    (tmp_path / "bad.json").write_bytes(content)
    status, printed, trained = train("bad.json")
    assert (status, trained, printed.count("\n")) == (2, [], 1)
    assert "error: bad.json: " in printed
    assert [part for part in fragments if part not in printed] == [], printed


@pytest.mark.parametrize("name", ["gone.json", "gone.yaml", "gone.yml", "folder.json"])
def test_a_file_that_is_not_there(train, tmp_path, name):
    (tmp_path / "folder.json").mkdir()
    status, printed, _ = train(name)
    assert status == 2
    what = "is a folder, a file is expected" if name == "folder.json" else "no such file"
    assert f"error: {name}: {what}; give the path of a run, or of a file" in printed


def test_a_valid_file_is_trained_where_the_configuration_says(run, train, tmp_path):
    (tmp_path / "good.json").write_text(json.dumps({"run": run, "cache": "x"}))
    edit_yaml(
        tmp_path / "config/config.yaml",
        lambda c: c.update(store="elsewhere", weights_folder="w", checkpoint_minutes=3),
    )
    status, _, [(found, layout, _, folder, minutes, *_)] = train("good.json")
    assert status == 0
    assert (layout, str(folder), minutes) == (Layout("smoke", store_folder="elsewhere"), "w", 3)
    assert json.loads(json.dumps(asdict(found))) == run


def test_a_file_needs_no_configuration(run, train, tmp_path):
    (tmp_path / "config").rename(tmp_path / "aside")
    (tmp_path / "good.yaml").write_text(yaml.safe_dump(run))
    status, _, [(_, layout, *_)] = train("good.yaml", "--set", "store=mine")
    assert (status, layout.store_folder) == (0, "mine")
    status, printed, _ = train("good.yaml", "--config", "nowhere")
    assert status == 2
    assert "nowhere/config.yaml: no such file" in printed
    status, printed, _ = train("good.yaml", "--protocol", "paper")
    assert status == 2
    assert "--protocol: good.yaml names its protocol; leave it out" in printed


def test_every_number_of_a_record_is_read_back(run, tmp_path):
    """Python writes 1e-05 without a dot, which is text in YAML and a number in JSON."""
    rng = random.Random(0)
    numbers = [10.0 ** rng.uniform(-12, 3) for _ in range(300)]
    numbers += [10.0**k for k in range(-12, 4)] + [1e-5, 0.1 + 0.2, 5e-324, 2.0**-40]
    for value in numbers:
        run["recipe"]["lr"] = max(value, 1e-12)
        run["recipe"]["weight_decay"] = value
        (tmp_path / "run.json").write_text(json.dumps(run))
        found = runfiles.read(tmp_path / "run.json").recipe
        assert (found.lr, found.weight_decay) == (max(value, 1e-12), value)


def test_whole_numbers_get_the_type_of_a_plan(run, tmp_path):
    """So a run that a user wrote has the key of the planned run."""
    run["method"]["settings"]["mld"] = 10
    run["dataset"]["options"] = {"train": 48, "test": 32}
    (tmp_path / "run.json").write_text(json.dumps(run))
    found = runfiles.read(tmp_path / "run.json")
    assert type(found.method.settings["mld"]) is float
    assert len(found.dataset.options) > 2


DATA = [(source, {}) for source in registry.names("mdkd.data.sources")]
DATA += [("voc", {"classes": ["a", "b"]}), ("coco", {"unannotated": "keep"})]


@pytest.mark.parametrize(("source", "options"), DATA)
def test_a_run_file_has_the_data_set_of_the_plan(config, tmp_path, source, options):
    """A cache is opened only with the very options that the plan wrote into it."""
    entry = {"source": source, "root": "r", "label": "Other", "options": options}
    edit_yaml(config / "datasets.yaml", lambda d: d.update(other=entry))
    planned = resolve_run(Specification(config), "supervised/other/resnet8/seed0")
    (tmp_path / "run.json").write_text(json.dumps(asdict(planned)))
    assert runfiles.read(tmp_path / "run.json") == planned


PLANS = {
    "list": (lambda plan: [], "expected keys and values"),
    "no runs": (lambda plan: plan | {"runs": {}}, "artefacts: '", "is not in the plan"),
    "no data": (lambda plan: plan | {"datasets": {}}, "dataset: not that of the plan"),
    "no roots": (lambda plan: plan | {"roots": {}}, "roots: 'scenes' is not in the plan"),
    "selected": (lambda plan: plan | {"selected": ["x"]}, "selected: 'x' is not in the plan"),
    "asked": (lambda plan: plan | {"asked": ["x"]}, "selected: 'x' is not in the plan"),
    "protocol": (lambda plan: plan | {"protocol": "../x"}, "protocol: '../x': names are"),
    "device": (lambda plan: plan | {"device": "gpu"}, "device: 'gpu' is not valid"),
    "store": (lambda plan: plan | {"store": ""}, "store: expected the path of a folder"),
    "a run's seed": (lambda plan: edited(plan, "seed", 9), "contradicts the other keys"),
    "a run's path": (lambda plan: edited(plan, "path", TEACHER), "contradicts|is another one"),
    "a run's rate": (lambda plan: edited(plan, "net", "a/b"), "net: 'a/b'"),
}


def edited(plan, key, value):
    path = next(path for path, run in plan["runs"].items() if run["teacher"])
    plan["runs"][path][key] = value
    return plan


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_file_is_checked(config, tmp_path, name):
    change, *fragments = PLANS[name]
    plan = json.loads(json.dumps(make_plan(Specification(config)).to_json()))
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(plan))
    assert Plan.read(file).runs.keys() == plan["runs"].keys()
    file.write_text(json.dumps(change(plan)))
    with pytest.raises(UserError, match=r"plan\.json: ") as caught:
        Plan.read(file)
    for part in fragments:
        assert any(option in str(caught.value) for option in part.split("|")), caught.value


def test_what_is_no_plan_is_not_to_be_deleted(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["plan", "--plan", str(tmp_path / "notes.txt")]) == 2
    printed = capsys.readouterr().err
    assert "notes.txt: not valid JSON" in printed
    assert printed.endswith("name a plan that `snakemake` wrote, or run it again\n")
