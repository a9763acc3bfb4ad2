"""An experiment that is wrong stops nobody who does not ask for it."""

import pytest
import yaml
from conftest import copy_config, edit_yaml

from mdkd import cli
from mdkd.errors import UserError
from mdkd.plan import make_plan
from mdkd.spec import Specification

PAIR = {"dataset": "scenes", "teacher": "resnet8x2", "student": "resnet8"}
GOOD = {"kind": "comparison", "title": "T", "pairs": [PAIR], "methods": ["vanilla", "mld"]}
WRONG = {
    "not yaml": ": [",
    "key": GOOD | {"colour": 1},
    "method": GOOD | {"methods": ["mdl"]},
    "rows": GOOD | {"methods": ["mld", {"mld": {}}]},  # found when the table is planned
}


@pytest.fixture
def config(tmp_path):
    return copy_config(tmp_path / "config")


def write(config, name, content):
    text = content if isinstance(content, str) else yaml.safe_dump(content)
    (config / "experiments" / f"{name}.yaml").write_text(text)


@pytest.mark.parametrize("wrong", WRONG)
def test_it_is_left_out_and_named(config, wrong):
    whole = make_plan(Specification(config)).to_json()
    write(config, "mine", WRONG[wrong])
    plan = make_plan(Specification(config))
    (line,) = plan.left_out()
    assert line.startswith(f"{config}/experiments/mine.yaml: ")
    assert plan.broken.keys() == {"mine"}
    assert plan.to_json() | {"broken": {}} == whole


@pytest.mark.parametrize("wrong", WRONG)
def test_it_is_an_error_if_it_is_asked_for(config, wrong, capsys):
    write(config, "mine", WRONG[wrong])
    with pytest.raises(UserError, match=r"mine\.yaml: "):
        make_plan(Specification(config, {"experiments": ["mine"]}))
    assert cli.main(["plan", "mine", "--config", str(config)]) == 2
    assert "mine.yaml: " in capsys.readouterr().err
    assert cli.main(["plan", "comparison", "--config", str(config)]) == 0
    assert f"left out: {config}/experiments/mine.yaml: " in capsys.readouterr().err


def test_one_mistake_of_several_experiments_is_one_line(config):
    for name, method in {"a": "mdl", "b": "mdl", "c": "zebra"}.items():
        write(config, name, GOOD | {"methods": [method]})
    first, second = sorted(make_plan(Specification(config)).left_out())
    experiments = f"{config}/experiments"
    mistake = f"{experiments}/a.yaml, {experiments}/b.yaml: methods: unknown method 'mdl'; "
    assert first.startswith(mistake)
    assert second.startswith(f"{experiments}/c.yaml: methods: unknown method 'zebra'; valid: ")
    for line in (first, second):
        assert line.endswith(
            "; if it is a plug-in of yours, name its folder in `plugins` of config.yaml"
        )


def test_those_that_build_on_it_are_left_out_too_and_a_group_that_has_it_is_refused(config):
    write(config, "mine", GOOD | {"methods": ["mdl"], "targets": ["ours"]})
    write(config, "more", GOOD | {"methods_of": ["mine"]})
    write(config, "other", GOOD | {"targets": ["ours"]})
    plan = make_plan(Specification(config))
    assert "other" in plan.artefacts and plan.broken.keys() == {"mine", "ours", "more"}
    with pytest.raises(UserError, match=r"mine\.yaml: methods: unknown method 'mdl'"):
        plan.refuse_broken(["ours"])
    plan.refuse_broken(["other", None])


def test_its_data_sets_are_left_out_and_those_of_others_stay(config):
    entry = {"label": "S", "source": "scenes"}
    write(config, "a", GOOD | {"datasets": {"first": entry}, "methods": ["mdl"]})
    pair = PAIR | {"dataset": "second"}
    write(config, "b", GOOD | {"datasets": {"second": entry}, "pairs": [pair]})
    spec = Specification(config)
    assert "first" not in spec.datasets and "first" not in spec.resolved
    assert spec.resolved["second"].source == "scenes"


def test_two_experiments_may_share_a_data_set(config):
    entry = {"label": "S", "source": "scenes", "options": {"train": 40}}
    pair = PAIR | {"dataset": "ours"}
    for name in ("a", "b"):
        write(config, name, GOOD | {"datasets": {"ours": entry}, "pairs": [pair]})
    plan = make_plan(Specification(config))
    assert plan.artefacts["a"].runs == plan.artefacts["b"].runs and not plan.broken
    other = entry | {"options": {"train": 41}}
    write(config, "b", GOOD | {"datasets": {"ours": other}, "pairs": [pair]})
    message = r"b\.yaml: datasets: 'ours' is defined elsewhere too, with other keys; rename it, or"
    with pytest.raises(UserError, match=message):
        make_plan(Specification(config, {"experiments": ["a", "b"]}))


def test_what_the_store_may_lose_is_not_decided_without_it(config, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(config, "mine", WRONG["method"])
    for file in (config / "protocols").glob("*.yaml"):
        if file.stem != "smoke":  # the others name experiments that this folder lacks
            file.unlink()
    for verb in ("list", "prune"):
        assert cli.main(["store", verb]) == 2
        assert "mine.yaml: methods: unknown method 'mdl'" in capsys.readouterr().err
    edit_yaml(config / "experiments" / "mine.yaml", lambda e: e.update(methods=["mld"]))
    assert cli.main(["store", "list"]) == 0
