"""Bad input in the configuration folder: each kind is one line with file, key and fix."""

import shutil
from dataclasses import fields

import pytest
from conftest import edit_text, edit_yaml

from mdkd.cli import main
from mdkd.errors import UserError
from mdkd.plan import make_plan
from mdkd.rates import read_rates
from mdkd.spec import Specification
from mdkd.specfiles import UserConfig, read_user
from mdkd.yamlfiles import parse_settings, parse_yaml

INF, NAN = float("inf"), float("nan")
CONFIG, SMOKE, METHODS = "config.yaml", "protocols/smoke.yaml", "methods.yaml"
ARCHS, DATA = "architectures.yaml", "datasets.yaml"
MINE, OTHER = "experiments/mine.yaml", "experiments/other.yaml"
TABLE = "reported/table1.csv"
LONG = "x" * 101
BOMB = "\n".join(
    ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
)


def put(*keys):
    """A change of the content of a YAML file: the last of ``keys`` is the new value."""

    def change(file):
        def edit(content):
            for key in keys[:-2]:
                content = content[key]
            content[keys[-2]] = keys[-1]

        edit_yaml(file, edit)

    return change


def text(content):
    content = content if isinstance(content, bytes) else content.encode()
    return lambda file: file.write_bytes(content)


def swap(old, new):
    return lambda file: edit_text(file, old, new)


def folder(file):
    file.unlink()
    file.mkdir()


FILES = {  # what any file of settings may suffer: the change, and what the message says
    "latin-1": (text("protocol: größe".encode("latin-1")), "not UTF-8 text", "save it as UTF-8"),
    "UTF-16": (text("protocol: smoke".encode("utf-16")), "not UTF-8 text"),
    "folder": (folder, "is a folder, a file is expected"),
    "missing": (lambda file: file.unlink(), "no such file"),
    "empty": (text(""), "expected"),
    "list": (text("[1, 2]"), "expected"),
    "one text": (text("hello"), "expected"),
    "deep": (text("a: " + "[" * 5000), "nested deeper than 50 levels"),
    "bomb": (text(BOMB), "more than 1000000 values, aliases included"),
    "alias of itself": (text("a: &a [*a]"), "alias '*a' has no complete value before it"),
    "long integer": (text("a: " + "9" * 5000), "not valid YAML", "4300"),
    "impossible date": (text("a: 2001-99-99"), "not valid YAML", "month"),
    "tag of an object": (text("!!python/object:os.system {}"), "not valid YAML", "constructor"),
    "list as key": (text("? [a]\n: b"), "not valid YAML", "unhashable"),
    "control character": (text(b"a: \x00"), "not valid YAML"),
    "web page": (text("<!DOCTYPE html>\n<html>\n"), "expected"),
    "key twice": (text("a: 1\na: 2\n"), "key 'a' appears twice in the mapping at line 1"),
    "two documents": (text("a: 1\n---\na: 2\n"), "not valid YAML", "single document"),
}

# name: (file, change, what the message says besides the file)
BROKEN = {
    # numbers
    "infinite lr": (SMOKE, put("recipe", "lr", INF), "recipe: lr: expected a number", "finite"),
    "lr of NaN": (SMOKE, put("recipe", "lr", NAN), "recipe: lr", "finite"),
    "infinite decay": (SMOKE, put("recipe", "weight_decay", INF), "weight_decay", "finite"),
    "negative lr": (SMOKE, put("recipe", "lr", -0.1), "recipe: lr: -0.1 is not in 1e-12 .. 1000"),
    "huge lr": (SMOKE, put("recipe", "lr", 10**400), "recipe: lr", "expected a number"),
    "infinite epochs": (SMOKE, put("recipe", "epochs", INF), "recipe: epochs", "an integer"),
    "batch of one": (SMOKE, put("recipe", "batch_size", 1), "batch_size: 1 is not in 2 .."),
    "dropout of one": (SMOKE, put("head", "dropout", 1), "head: dropout: 1.0 is not in 0 .. 0.99"),
    "no attention head": (SMOKE, put("head", "heads", 0), "head: heads: 0 is not in 1 .."),
    "no width": (SMOKE, put("head", "width", 0), "head: width: 0 is not in 1 .."),
    "no query": (SMOKE, put("head", "queries", 0), "head: queries: 0 is not in 1 .."),
    "feedforward": (SMOKE, put("head", "feedforward", -1), "head: feedforward: -1"),
    "tiny images": (SMOKE, put("image_size", 8), "image_size: 8 is not in 16 .. 4096"),
    "huge seed": (SMOKE, put("seeds", [2**31]), "seeds[0]: 2147483648 is not in 0 .. 2147483647"),
    "teacher's seed": (SMOKE, put("teacher_seed", -1), "teacher_seed: -1"),
    "user's seed": (CONFIG, put("seeds", [2**70]), "seeds[0]: expected an integer"),
    "checkpoints": (CONFIG, put("checkpoint_minutes", NAN), "checkpoint_minutes", "finite"),
    "negative minutes": (CONFIG, put("checkpoint_minutes", -1), "checkpoint_minutes: -1"),
    "negative weight": (METHODS, put("mdkd", {"bd3": -1}), "mdkd: bd3: -1 is not in 0 .. 1e+09"),
    "weight of NaN": (METHODS, put("mdkd", {"bd3": NAN}), "mdkd: bd3: nan is not in 0 .."),
    "infinite weight": (
        MINE,
        put("methods", [{"mld": {"mld": INF}}]),
        "mld: mld: expected a finite",
    ),
    "no channels": (
        *(METHODS, put("reviewkd", {"mid_channels": 0})),
        "reviewkd: mid_channels: 0 is not in 1 .. 8192",
    ),
    "half a channel": (METHODS, put("reviewkd", {"mid_channels": 0.5}), "mid_channels"),
    "validation": (DATA, put("scenes", "val", 0.9), "scenes: val: 0.9 is not in 0 .. 0.5"),
    "validation of NaN": (SMOKE, put("datasets", {"scenes": {"val": NAN}}), "val", "NaN|nan"),
    "option of NaN": (SMOKE, put("datasets", {"scenes": {"train": NAN}}), "train"),
    # names and paths
    "protocol above": (CONFIG, put("protocol", "../smoke"), "protocol: '../smoke': names are"),
    "absolute protocol": (CONFIG, put("protocol", "/etc/smoke"), "protocol: '/etc/smoke'"),
    "empty protocol": (CONFIG, put("protocol", ""), "protocol: ''"),
    "dot": (CONFIG, put("protocol", "."), "protocol: '.'"),
    "hidden": (CONFIG, put("protocol", ".smoke"), "protocol: '.smoke'"),
    "line end": (CONFIG, put("protocol", "smoke\n"), "protocol: 'smoke\\n'"),
    "colon": (CONFIG, put("protocol", "c:smoke"), "protocol: 'c:smoke'"),
    "backslash": (CONFIG, put("protocol", "a\\b"), "protocol"),
    "long protocol": (CONFIG, put("protocol", LONG), "has more than 100 characters"),
    "experiment above": (CONFIG, put("experiments", ["../mine"]), "experiments: no experiment"),
    "no experiments": (CONFIG, put("experiments", []), "experiments: name at least one"),
    "experiment twice": (CONFIG, put("experiments", ["mine", "mine"]), "'mine' appears twice"),
    "extends above": (SMOKE, put("extends", "../../smoke"), "extends: '../../smoke'"),
    "extends a list": (SMOKE, put("extends", ["quick"]), "extends: \"['quick']\""),
    "extends itself": (SMOKE, put("extends", "smoke"), "'smoke' itself extends 'smoke'"),
    "name above": (DATA, put("../x", {"label": "X", "source": "scenes"}), "'../x': names are"),
    "name of dots": (ARCHS, put("..", {"label": "X", "net": "cifar:resnet8"}), "'..': names are"),
    "empty name": (ARCHS, put("", {"label": "X", "net": "cifar:resnet8"}), "'': names are"),
    "number as name": (ARCHS, put(7.5, {"label": "X", "net": "cifar:resnet8"}), "'7.5': names"),
    "long name": (ARCHS, put(LONG, {"label": "X", "net": "cifar:resnet8"}), "more than 100"),
    "name with a line end": (ARCHS, put("a\nb", {}), "'a\\nb': names are"),
    "net above": (ARCHS, put("resnet8", "net", "../../x"), "resnet8: net: '../../x'"),
    "net with blanks": (ARCHS, put("resnet8", "net", "cifar: resnet8"), "resnet8: net"),
    "source above": (DATA, put("scenes", "source", "../x"), "scenes: source: '../x'"),
    "root is empty": (DATA, put("scenes", "root", ""), "scenes: root: expected the path"),
    "store is empty": (CONFIG, put("store", ""), "store: expected the path of a folder, found ''"),
    "store is blank": (CONFIG, put("store", "  "), "store: expected the path of a folder"),
    "store of two lines": (CONFIG, put("store", "a\nb"), "store: expected the path of a folder"),
    "data_root is a list": (CONFIG, put("data_root", ["data"]), "data_root: expected text"),
    "control in a path": (CONFIG, put("data_root", "a\x07b"), "data_root", "remove '\\x07'"),
    "target above": (MINE, put("targets", ["../x"]), "targets[0]: '../x'"),
    "target twice": (MINE, put("targets", ["a", "a"]), "targets: 'a' appears twice"),
    "published above": (MINE, put("reported", "../table1"), "reported: '../table1'"),
    # experiments
    "pairs in a loop": (MINE, put("pairs_of", ["other"]), "refers to itself by"),
    "methods in a loop": (MINE, put("methods_of", ["other"]), "refers to itself by"),
    "pairs of itself": (
        MINE,
        put("pairs_of", ["mine"]),
        "pairs_of, methods_of: refers to itself by",
    ),
    "pairs of above": (MINE, put("pairs_of", ["../mine"]), "pairs_of: no experiment '../mine'"),
    "metric twice": (MINE, put("metrics", ["mAP", "OF1", "mAP"]), "metrics: 'mAP' appears twice"),
    "metric is a list": (MINE, put("metrics", [["mAP"]]), "metrics[0]: expected text"),
    "method is a number": (MINE, put("methods", [7]), "methods: 7: write a name"),
    "base is a list": (MINE, put("base", {"mdkd": [1]}), "base: mdkd: expected keys and values"),
    "set is a list": (MINE, put("methods", [{"method": "mld", "set": [1]}]), "methods: set:"),
    "key of no recipe": (
        *(MINE, put("methods", [{"method": "mld", "recipe": {"epoch": 3}}])),
        "methods: mld: recipe: unknown key 'epoch'; did you mean 'epochs'",
    ),
    "half an epoch": (
        *(MINE, put("methods", [{"method": "mld", "recipe": {"epochs": 2.5}}])),
        "methods: mld: recipe: epochs: expected an integer, found 2.5",
    ),
    "row's batch of one": (
        *(MINE, put("methods", [{"method": "mld", "recipe": {"batch_size": 1}}])),
        "methods: mld: recipe: batch_size: 1 is not in 2 ..",
    ),
    "row's long number": (
        *(MINE, put("methods", [{"method": "mld", "recipe": {"lr": 0.12345678}}])),
        "methods: mld: recipe: lr: 0.12345678 is not a number of six digits",
    ),
    "other pixels than the teacher's": (
        *(MINE, put("methods", [{"method": "mld", "recipe": {"normalisation": "none"}}])),
        "recipe: normalisation: a student and its teacher need the same",
    ),
    "recipe is a list": (MINE, put("methods", [{"method": "mld", "recipe": [1]}]), "recipe:"),
    "row's teacher": (
        *(MINE, put("methods", [{"method": "mld", "teacher_seed": -1}])),
        "teacher_seed: -1 is not in 0 .. 2147483647",
    ),
    "teacher of nobody": (
        *(MINE, put("methods", [{"method": "vanilla", "teacher_seed": 1}])),
        "methods: vanilla: teacher_seed: the method has no teacher; remove the key",
    ),
    "no seeds": (MINE, put("seeds", []), "seeds: is empty; name at least one"),
    "seed twice": (MINE, put("seeds", [1, 1]), "seeds: 1 appears twice"),
    "changed seeds": (SMOKE, put("changes", {"mine": {"seeds": [-1]}}), "mine: seeds[0]: -1"),
    "title is missing": (MINE, put("title", None), "title: expected text, found null"),
    "date as title": (MINE, swap("title: Mine", "title: 2024-01-01"), "title: expected text"),
    "options is a list": (MINE, put("options", []), "options: expected keys and values"),
    "deep options": (MINE, put("options", {"x": 1}), "options: unknown key 'x'"),
    "changes of options": (
        *(SMOKE, put("changes", {"mine": {"options": [1]}})),
        "changes: mine: options: expected keys and values",
    ),
    "changed kind": (
        SMOKE,
        put("changes", {"mine": {"metrics": [None]}}),
        "changes: mine: metrics",
    ),
    "changes a list": (SMOKE, put("changes", {"mine": [1]}), "changes: mine: expected keys"),
    "stand-in is a list": (SMOKE, put("stand_ins", {"scenes": ["x"]}), "stand_ins: scenes"),
    "data in place of a network": (SMOKE, put("stand_ins", {"resnet8": "scenes"}), "stand_ins"),
    "two equal keys": (SMOKE, put("stand_ins", {1: "scenes", "1": "scenes"}), "the same text"),
    "protocol's methods": (SMOKE, put("methods", {"mld": [1]}), "methods: mld: expected keys"),
    "methods is a text": (METHODS, text("mdkd"), "expected settings by method"),
    "method without code": (METHODS, put("mine", {}), "unknown method 'mine'"),
    "setting of no method": (METHODS, put("mdkd", {None: 1}), "unknown setting null"),
    "setting is a list": (METHODS, put("mdkd", {"bd3": [1]}), "mdkd: bd3: expected float"),
    # published numbers
    "no number": (TABLE, swap(",73.02,73.81,68.24", ",high,1,1"), "line 2: mAP", "'high'"),
    "number of NaN": (TABLE, swap(",73.02,73.81,68.24", ",nan,1,1"), "line 2: mAP", "0 .. 100"),
    "above 100": (TABLE, swap(",73.02,73.81,68.24", ",730.2,1,1"), "line 2: mAP", "'730.2'"),
    "a value too few": (
        TABLE,
        swap(",73.02,73.81,68.24", ",73.02"),
        "line 2: 5 values, expected 7",
    ),
    "unknown column": (TABLE, swap("mAP,OF1", "map,OF1"), "unknown column 'map'"),
    "no method column": (TABLE, swap("student,method", "student,name"), "no column 'method'"),
    "column twice": (TABLE, swap("OF1,CF1", "OF1,OF1"), "column 'OF1' appears twice"),
    "no name": (TABLE, swap("resnet34,Teacher", "resnet34,"), "line 2: method: expected a name"),
    "row twice": (TABLE, swap("resnet34,Student", "resnet34,Teacher"), "line 3", "appears twice"),
    "latin-1 numbers": (TABLE, text("dataset,größe\n".encode("latin-1")), "not UTF-8 text"),
    "no numbers": (TABLE, text(""), "no column 'dataset'"),
    "open quote": (TABLE, text('dataset,"teacher\n'), "not valid CSV"),
    "folder of numbers": (TABLE, folder, "is a folder"),
}


@pytest.fixture
def spoilt(config):
    """The small configuration with two more experiments; one has published numbers."""
    pair = "pairs: [{dataset: scenes, teacher: resnet20, student: resnet8}]\n"
    head = "kind: comparison\ntitle: Mine\nreported: table1\nmethods: [mld]\n"
    (config / MINE).write_text(head + pair)
    (config / OTHER).write_text(
        "kind: comparison\ntitle: Other\npairs_of: [mine]\nmethods_of: [mine]\n"
    )
    return config


def refused(folder, file, change, fragments):
    change(folder / file)
    with pytest.raises(UserError) as caught:
        plan = make_plan(Specification(folder))
        plan.refuse_broken(plan.broken)
        read_rates(folder / "rates.yaml")
    message = str(caught.value)
    assert "\n" not in message
    assert message.isprintable()
    found = [part for part in fragments if any(option in message for option in part.split("|"))]
    assert found == [*fragments], message
    return message


@pytest.mark.parametrize("name", BROKEN)
def test_each_kind_is_one_line_with_file_and_key(spoilt, name):
    file, change, *fragments = BROKEN[name]
    assert str(spoilt / file) in refused(spoilt, file, change, fragments) or "loop" in name


@pytest.mark.parametrize("file", [CONFIG, SMOKE, METHODS, ARCHS, DATA, MINE, "rates.yaml"])
@pytest.mark.parametrize("name", FILES)
def test_any_file_of_settings_may_be_damaged(spoilt, file, name):
    change, *fragments = FILES[name]
    if (file, name) == (METHODS, "empty"):  # all lines may be comments
        change(spoilt / file)
        make_plan(Specification(spoilt))
    elif (file, name) == (MINE, "missing"):
        refused(spoilt, file, change, [str(spoilt / OTHER), "pairs_of: no experiment 'mine'"])
    else:
        message = refused(spoilt, file, change, fragments)
        assert str(spoilt / file) in message


RATES = {
    "efficiency": (("cpu", "efficiency", 0), "cpu: efficiency: 0.0 is not in 0.001 .. 1"),
    "inference": (("gpu", "inference", -1), "gpu: inference: -1.0 is not in"),
    "speed of zero": (("gpu", "training", {"a": 0}), "gpu: training: a: 0.0 is not in"),
    "infinite speed": (("gpu", "training", {"a": INF}), "gpu: training: a: expected a number"),
    "stem": (("gpu", "stem", "big"), "gpu: stem: 'big' is not valid"),
    "factor": (("gpu", "methods", {"mdkd": NAN}), "gpu: methods: mdkd: expected a number"),
    "size": (
        ("sizes", {"a": {"parameters": -1, "channels": 1, "activations": 1}}),
        "a: parameters",
    ),
    "lacking": (("sizes", {"a": {"parameters": 1, "channels": 1}}), "'activations' is missing"),
}


@pytest.mark.parametrize("name", RATES)
def test_rates_have_ranges(config, name):
    keys, message = RATES[name]
    put(*keys)(config / "rates.yaml")
    with pytest.raises(UserError, match=r"rates\.yaml: ") as caught:
        read_rates(config / "rates.yaml")
    assert message in str(caught.value)


SET = {
    "no value": ("seeds=", "--set seeds=: expected KEY=VALUE; for the default, write KEY=null"),
    "no equals sign": ("seeds", "--set seeds: expected KEY=VALUE"),
    "no key": ("=3", "--set =3: expected KEY=VALUE"),
    "no YAML": ("seeds=[", "--set seeds=[: '[' is not valid YAML; quote it"),
    "unknown": ("sedes=1", "error: --set: unknown key 'sedes'; did you mean 'seeds'?"),
    "path": ("protocol=../x", "error: --set: protocol: '../x': names are"),
    "empty text": ("store=''", "error: --set: store: expected the path of a folder"),
    "infinite": ("checkpoint_minutes=.inf", "error: --set: checkpoint_minutes: expected a number"),
    "no number": ("seeds=abc", "error: --set: seeds[0]: expected an integer, found 'abc'"),
    "no seed": ("seeds=[]", "error: --set: seeds: give at least one integer"),
    "no experiment": ("experiments=[]", "error: --set: experiments: name at least one"),
    "no such one": ("experiments=x", "error: --set: experiments: no experiment 'x'"),
    "no protocol": ("protocol=null", "error: --set: key 'protocol' is missing"),
}


@pytest.mark.parametrize("name", SET)
def test_settings_of_the_command_line(config, capsys, name):
    item, message = SET[name]
    assert main(["plan", "--config", str(config), "--set", item]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


def test_a_setting_twice_on_the_command_line(config, capsys):
    given = ["--set", "seeds=1", "--set", "seeds=2"]
    assert main(["plan", "--config", str(config), *given]) == 2
    assert "'seeds' is given twice; leave one out" in capsys.readouterr().err


def test_null_on_the_command_line_stands_for_the_default(config):
    file = config / "config.yaml"
    put("device", "cuda")(file)
    settings = [f.name for f in fields(UserConfig) if f.name != "protocol"]
    user = read_user(file, parse_settings([f"{name}=null" for name in settings]))
    assert user == UserConfig(protocol="smoke")
    assert read_user(file, {}).device == "cuda"
    for key, message in (("protocol", "protocol"), ("sedes", "unknown key 'sedes'")):
        with pytest.raises(UserError, match=message):
            read_user(file, parse_settings([f"{key}=null"]))


@pytest.mark.parametrize("given", [["--set", "seeds=1"], ["--protocol", "smoke"]])
def test_a_plan_file_and_settings_do_not_go_together(config, tmp_path, capsys, given):
    file = str(tmp_path / "plan.json")
    assert main(["plan", "--plan", file, "--config", str(config), *given]) == 2
    what = f"{' '.join(given)}: the plan file {file} has its own settings"
    assert f"{what}; leave out --plan or {given[0]}\n" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["store", "prune"], ["store", "list"]])
@pytest.mark.parametrize("given", [["--set", "seeds=1"], ["--protocol", "smoke"]])
def test_what_is_used_cannot_be_narrowed(config, capsys, command, given):
    assert main([*command, "--config", str(config), *given]) == 2
    assert " ".join(given) in capsys.readouterr().err


def test_a_mapping_may_merge_others():
    """Its own keys replace theirs. Mappings that are merged twice, also in another order."""
    text = """
    c: {<<: &b {<<: &a {x: 1, y: 1}, x: 2}, z: 3}
    nested: {d: {<<: *b}, e: {<<: [*a, *b]}}
    """
    expected = {"c": {"x": 2, "y": 1, "z": 3}, "nested": {"d": {"x": 2, "y": 1}}}
    expected["nested"]["e"] = {"x": 1, "y": 1}
    assert parse_yaml(text) == expected
    late = "nested: {b: &b {<<: {x: 1}, x: 2}}\nc: {<<: *b}"
    assert parse_yaml(late) == {"nested": {"b": {"x": 2}}, "c": {"x": 2}}
    with pytest.raises(UserError, match="key 'x' appears twice in the mapping at line 1"):
        parse_yaml("c: {<<: {y: 1}, x: 1, x: 2}")
    with pytest.raises(UserError, match="key 'x' appears twice in the mapping at line 1"):
        parse_yaml("c: {<<: {x: 1, x: 2}}")


def test_a_mark_aliases_and_comments_are_accepted(spoilt):
    file = spoilt / CONFIG
    file.write_bytes(b"\xef\xbb\xbf# comment\n" + file.read_bytes())
    shutil.copy(spoilt / MINE, spoilt / "experiments/again.yaml")
    table = spoilt / TABLE
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    assert "again" in make_plan(Specification(spoilt)).artefacts
    assert parse_yaml("a: &x [1, 2]\nb: *x") == {"a": [1, 2], "b": [1, 2]}
