"""The strict loader: every mistake is one line that names the file, the key and the fix."""

import pytest
import yaml
from conftest import ROOT, edit_text, edit_yaml, python

from mdkd.cli import main
from mdkd.config import Head, Recipe, parse
from mdkd.errors import UserError, nearest
from mdkd.plan import make_plan
from mdkd.spec import Specification
from mdkd.yamlfiles import read_yaml

SMOKE, COMPARISON = "protocols/smoke.yaml", "experiments/comparison.yaml"
METHODS = "methods.yaml"


def put(*keys):
    """A change of a YAML file: the last of ``keys`` is the value of the place before it."""

    def change(content):
        for key in keys[:-2]:
            content = content[key]
        content[keys[-2]] = keys[-1]

    return change


def drop(*keys):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


def text(old, new):
    return lambda file: edit_text(file, old, new)


PAIR = {"dataset": "scenes", "teacher": "resnet20", "student": "resnet8"}

# name: (file, what is spoilt, what the message says besides the file)
BROKEN = {
    "unknown key": ("config.yaml", put("protocl", "smoke"), "'protocl'", "'protocol'?"),
    "unknown nested key": (SMOKE, put("recipe", "epoch", 3), "recipe", "'epoch'", "'epochs'?"),
    "wrong type": (SMOKE, put("recipe", "epochs", "two"), "recipe: epochs", "an integer", "'two'"),
    "number as bool": (SMOKE, put("recipe", "batch_size", True), "batch_size", "found True"),
    "float as integer": (SMOKE, put("image_size", 32.5), "image_size", "an integer", "32.5"),
    "text as list": (SMOKE, put("seeds", "zero"), "seeds", "a list", "'zero'"),
    "list item": (SMOKE, put("seeds", [0, "one"]), "seeds[1]", "an integer", "'one'"),
    "missing key": (SMOKE, drop("recipe", "lr"), "recipe", "'lr' is missing", "a number"),
    "missing value": (SMOKE, put("recipe", "lr", None), "recipe: lr", "found null"),
    "key twice": (SMOKE, text("  epochs: 2\n", "  epochs: 2\n  epochs: 3\n"), "'epochs'", "twice"),
    "exponent": (SMOKE, text("lr: 0.002", "lr: 2e-3"), "recipe: lr", "'2e-3'", "write 2.0e-03"),
    "not YAML": (SMOKE, text("recipe:", "recipe: ["), "not valid YAML", "line"),
    "no mapping": (SMOKE, lambda file: file.write_text("- 1\n"), "expected keys and values"),
    "no choice": (SMOKE, put("head", "kind", "mldecode"), "head: kind", "'mldecoder'?"),
    "no device": ("config.yaml", put("device", "gpu"), "device", "'gpu'", "cpu"),
    "no stem": (SMOKE, put("stem", "smal"), "stem", "'smal'", "'small'?"),
    "user's type": (METHODS, text("mdkd: {}", "mdkd: {bd3: one}"), "mdkd: bd3", "'one'", "float"),
    "user's choice": (
        METHODS,
        text("mdkd: {}", "mdkd: {norm: papr}"),
        "norm",
        "'papr'",
        "'paper'?",
    ),
    "user's method": (METHODS, text("mdkd: {}", "mkdk: {}"), "unknown method 'mkdk'", "'mdkd'?"),
    "user's list": (METHODS, text("mdkd: {}", "- mdkd"), "expected settings by method"),
    "setting's choice": (COMPARISON, put("methods", [{"rkd": {"input": "poled"}}]), "'pooled'?"),
    "attention heads": (SMOKE, put("head", "heads", 3), "head: width", "32 is no multiple of 3"),
    "no epoch": (SMOKE, put("recipe", "epochs", 0), "recipe: epochs", "0 is not in 1 .."),
    "cutout": (SMOKE, put("recipe", "cutout", 1.5), "recipe: cutout", "1.5 is not in 0 .. 0.99"),
    "seeds twice": (SMOKE, put("seeds", [0, 1, 0]), "seeds", "0 appears twice"),
    "user's seeds twice": ("config.yaml", put("seeds", [3, 3]), "seeds", "3 appears twice"),
    "negative seed": (SMOKE, put("seeds", [-1]), "seeds[0]", "-1 is not in 0 .. 2147483647"),
    "no seed": ("config.yaml", put("seeds", []), "seeds", "[]"),
    "unknown protocol": ("config.yaml", put("protocol", "smok"), "smok.yaml", "'smoke'?"),
    "unknown experiment": (SMOKE, put("experiments", ["comparisn"]), "comparisn", "'comparison'?"),
    "unknown method": (COMPARISON, put("methods", ["mkd"]), "methods", "'mkd'", "'mdkd'?"),
    "unknown setting": (
        COMPARISON,
        put("methods", [{"mdkd": {"bd": 1}}]),
        "mdkd",
        "'bd'",
        "'bd6'?",
    ),
    "setting's type": (COMPARISON, put("methods", [{"mld": {"mld": "a"}}]), "mld: mld", "'a'"),
    "too many digits": (COMPARISON, put("methods", [{"mld": {"mld": 0.12345678}}]), "six digits"),
    "setting's name": (SMOKE, put("methods", {"mld": {"mdl": 1}}), "mld", "'mdl'", "'mld'?"),
    "method twice": (COMPARISON, put("methods", ["mld", "mld"]), "methods", "mld", "twice"),
    "column twice": (COMPARISON, put("pairs", [PAIR, PAIR]), "pairs[1]", "twice"),
    "two methods": (COMPARISON, put("methods", [{"mld": {}, "ps": {}}]), "methods", "one name"),
    "unknown arch": (COMPARISON, put("pairs", 0, "teacher", "resnet2O"), "pairs[0]", "'resnet20'?"),
    "unknown data": (COMPARISON, put("pairs", 0, "dataset", "scene"), "pairs[0]", "'scenes'?"),
    "unknown metric": (COMPARISON, put("metrics", ["map"]), "metrics", "'map'", "mAP"),
    "own teacher": (COMPARISON, put("pairs", 0, "student", "resnet8x2"), "pairs[0]", "both"),
    "no pairs": (COMPARISON, put("pairs", []), "pairs", "at least one"),
    "redefined data": (
        *(COMPARISON, put("datasets", {"scenes": {"label": "S", "source": "scenes"}})),
        *("'scenes'", "rename"),
    ),
    "source option": (
        *(SMOKE, put("datasets", {"scenes": {"trian": 9}})),
        *("scenes", "'trian'", "'train'?"),
    ),
    "protocol's data": (SMOKE, put("datasets", {"scene": {}}), "datasets", "'scenes'?"),
    "name of an entry": ("architectures.yaml", put("my-net", {}), "'my-net'", "lower-case"),
    "entry's label": ("architectures.yaml", drop("resnet8", "label"), "resnet8", "is missing"),
    "entry's net": ("architectures.yaml", put("resnet8", "nett", "x"), "resnet8", "'net'?"),
    "unknown source": ("datasets.yaml", put("scenes", "source", "scen"), "scenes", "'scenes'?"),
}
NOT_IN_THE_FILE = {"unknown protocol", "unknown experiment"}  # they name the missing file


def spoil(folder, name):
    file, change, *fragments = BROKEN[name]
    try:
        edit_yaml(folder / file, change)
    except (TypeError, AttributeError):  # a change of the text, not of the content
        change(folder / file)
    return [*fragments] if name in NOT_IN_THE_FILE else [str(folder / file), *fragments]


@pytest.mark.parametrize("name", BROKEN)
def test_a_mistake_is_one_line_that_names_file_key_and_fix(config, name):
    fragments = spoil(config, name)
    with pytest.raises(UserError) as caught:
        make_plan(Specification(config))
    message = str(caught.value)
    assert "\n" not in message
    assert [part for part in fragments if part not in message] == []


def test_the_configuration_of_these_tests_is_valid(config):
    plan = make_plan(Specification(config))
    assert plan.protocol == "smoke"
    assert plan.datasets["scenes"].options["train"] == 48


@pytest.mark.parametrize("name", ["unknown setting", "key twice"])
def test_the_command_line_prints_one_line_and_exits_with_2(config, name):
    fragments = spoil(config, name)
    result = python("-m", "mdkd", "plan", "--config", str(config))
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    assert [part for part in fragments if part not in result.stderr] == []


def test_the_command_line_checks_names_of_runs(config, capsys):
    path = "supervised/scenes/resnet9/seed0"
    assert main(["train", path, "--config", str(config)]) == 2
    assert path in (err := capsys.readouterr().err)
    assert "'resnet" in err
    assert main(["train", "supervised/scenes", "--config", str(config)]) == 2
    assert "write supervised/DATASET/ARCH[/VARIANT]/seedN" in capsys.readouterr().err


def test_every_protocol_and_experiment_of_the_project_is_valid():
    for protocol in sorted((ROOT / "config" / "protocols").glob("*.yaml")):
        plan = make_plan(Specification(ROOT / "config", {"protocol": protocol.stem}))
        experiments = (ROOT / "config" / "experiments").glob("*.yaml")
        assert sorted(plan.artefacts) == sorted(file.stem for file in experiments)
        assert set(plan.selected) <= plan.artefacts.keys()
        assert plan.protocol == protocol.stem


def test_given_keys_win_over_the_file(config):
    spec = Specification(config, {"protocol": "quick", "seeds": 5})
    assert (spec.user.protocol, spec.seeds) == ("quick", [5])
    assert Specification(config, {"seeds": ["0", "12"]}).seeds == [0, 12]  # as snakemake reads them
    with pytest.raises(UserError, match="did you mean 'seeds'"):
        Specification(config, {"seed": 5})


def test_a_mistake_is_said_to_be_where_it_is(config, capsys):
    """In the file, also if the call has other settings; in --protocol; in the name of a run."""
    given = ["--config", str(config)]
    run = "supervised/scene/resnet8/seed0"
    for words, message in (
        (["plan", "--set", "seeds=0", "--protocol", "../x"], "error: --protocol: '../x': names"),
        (["cache", "scene"], "error: scene: unknown data set 'scene'; did you mean 'scenes'?"),
        (["train", run, "--set", "seeds=0"], f"error: {run}: unknown data set 'scene'; did you"),
    ):
        assert main([*words, *given]) == 2
        assert message in capsys.readouterr().err
    edit_yaml(config / "config.yaml", put("seeds", "abc"))
    assert main(["plan", *given, "--set", "device=cpu"]) == 2
    assert f"error: {config / 'config.yaml'}: seeds[0]: " in capsys.readouterr().err


def test_optional_values_default_and_integers_become_numbers():
    recipe = parse(
        Recipe,
        {"epochs": 1, "batch_size": 2, "lr": 1, "weight_decay": 0, "flip": True, "cutout": 0},
        "here",
    )
    assert type(recipe.lr) is float
    assert recipe.normalisation == "imagenet"
    assert recipe.bce_reduction == "sum_mean"
    assert parse(Head, {"kind": "gap", "queries": None}, "here").queries is None


def test_nearest_lists_all_names_if_none_is_near():
    assert nearest("zebra", ["b", "a"]) == "valid: a, b"
    assert nearest("resnet2", ["resnet20", "wrn"]) == "did you mean 'resnet20'?"


def test_yaml_is_read_as_yaml(tmp_path):
    file = tmp_path / "file.yaml"
    content = {"a": [1, 2.5, "x"], "b": {"c": None, "d": True}}
    file.write_text(yaml.safe_dump(content))
    assert read_yaml(file) == content
