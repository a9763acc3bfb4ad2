"""The notes on settings: no table says of a changed setting that it is the published one."""

import pytest
import yaml
from conftest import edit_yaml
from tuning_case import PAIR, experiment

from mdkd.plan import make_plan
from mdkd.spec import Specification

UNLESS_ROW = "Weights are the published ones unless a row says otherwise. They are not tuned."
UNLESS = UNLESS_ROW.replace("a row", "a row or another note")


def notes(config, *methods, **keys):
    """The notes on settings under a table of the student and these rows."""
    keys = {"kind": "comparison", "methods": ["vanilla", *methods]} | keys
    experiment(config, "study", **keys)
    plan = make_plan(Specification(config))
    plan.refuse_broken(["study"])
    words = ("default", "eights", "Not tuned")
    return [note for note in plan.artefacts["study"].notes if any(word in note for word in words)]


def set_methods(config, **settings):
    (config / "methods.yaml").write_text(yaml.safe_dump(settings))


def of_protocol(config, **settings):
    edit_yaml(config / "protocols" / "smoke.yaml", lambda p: p.update(methods=settings))


def tune(config, **methods):
    """A file of tuned weights."""
    (config / "tuned").mkdir(exist_ok=True)
    content = {"protocol": "smoke", "experiment": "study", "pairs": [PAIR], "seeds": [0]}
    content |= {"points": 5}
    content |= {"methods": {m: {"settings": s, "val_mAP": 0.5} for m, s in methods.items()}}
    (config / "tuned" / "smoke.yaml").write_text(yaml.safe_dump(content))


@pytest.fixture
def config(config):
    """The smoke protocol changes no method."""
    of_protocol(config)
    return config


def test_without_changes_all_weights_are_the_published_ones(config):
    assert notes(config, "mld", "mdkd") == ["Published weights, not tuned."]
    set_methods(config, mld={"mld": 10})  # its default
    assert notes(config, "mld", "mdkd") == ["Published weights, not tuned."]
    set_methods(config, mse={"weight": 5})  # of no row
    assert notes(config, "mld", "mdkd") == ["Published weights, not tuned."]


def test_a_change_for_all_protocols_is_named(config):
    set_methods(config, mld={"mld": 30}, mdkd={"bd2": 0.5, "bd3": 0.5, "norm": "sum"})
    place = f"{config.as_posix()}/methods.yaml"
    assert notes(config, "mld") == [f"MLD: mld = 30 (default 10), set in {place}.", UNLESS]
    mdkd = "MDKD: bd2 = bd3 = 0.5 (default 1), norm = sum (default paper)"
    both = f"MLD: mld = 30 (default 10); {mdkd}; all set in {place}."
    assert notes(config, "mld", "mdkd", "pkt") == [both, UNLESS]


def test_a_change_by_the_protocol_is_named_and_goes_first(config):
    set_methods(config, mld={"mld": 30}, mdkd={"mld": 20})
    of_protocol(config, mld={"mld": 40}, mdkd={"bd2": 2})
    assert notes(config, "mld", "mdkd") == [
        "MLD: mld = 40 (default 10); MDKD: bd2 = 2 (default 1); all set by the protocol smoke.",
        f"MDKD: mld = 20 (default 10), set in {config.as_posix()}/methods.yaml.",
        UNLESS,
    ]
    of_protocol(config, mld={"mld": 10})  # back to the default
    assert notes(config, "mld") == ["Published weights, not tuned."]


def test_a_change_that_the_label_tells_needs_no_note(config):
    rows = [{"mld": {"mld": 1e6}}, {"mdkd": {"bd3": 0, "norm": "sum"}}]
    assert notes(config, "mld", *rows) == [UNLESS_ROW]
    own = {"method": "mld", "label": "MLD, mld = 30", "set": {"mld": 30}}
    assert notes(config, "mld", own) == [UNLESS_ROW]
    own["label"] = "MLD, mld = 300"
    change = "MLD, mld = 300: mld = 30 (default 10), set by the experiment."
    assert notes(config, own) == [change, UNLESS]


def test_the_points_of_a_curve_tell_their_own_setting_alone(config):
    options = {"method": "mdkd", "settings": ["bd2", "bd3"], "points": [0, 4]}
    keys = {"kind": "sensitivity", "options": options}
    assert notes(config, "mdkd", **keys) == [UNLESS_ROW]
    found = notes(config, **keys, base={"mdkd": {"bd2": 4, "id2": 7}})
    of_bd2 = "bd2 = 0, bd2 = 4: id2 = 7 (default 1)"
    of_bd3 = "bd3 = 0, bd3 = 4: bd2 = 4 (default 1), id2 = 7 (default 1)"
    assert found == [f"{of_bd2}; {of_bd3}; all set by the experiment.", UNLESS]


def test_a_label_of_its_own_may_hide_changes(config):
    set_methods(config, mld={"mld": 30})
    rows = [
        {"method": "mdkd", "label": "x 10", "set": {"bd2": 10}},
        {"method": "mld", "label": "Mine"},
        {"method": "mld", "label": "As published", "set": {"mld": 10}},
    ]
    place = f"{config.as_posix()}/methods.yaml"
    own = "x 10: bd2 = 10 (default 1), set by the experiment."
    hidden = f"MLD, Mine: mld = 30 (default 10), set in {place}."
    assert notes(config, "mld", *rows) == [hidden, own, UNLESS]
    every = f"all rows of MLD: mld = 30 (default 10), set in {place}."
    assert notes(config, "mld", *rows[:2]) == [every, own, UNLESS]


def test_a_row_with_its_own_label_and_the_name_of_its_method_hides_a_change(config):
    row = {"method": "mld", "label": "MLD", "set": {"mld": 30}}
    assert notes(config, row) == ["MLD: mld = 30 (default 10), set by the experiment.", UNLESS]


def test_the_base_of_an_experiment_is_named(config):
    rows = [{"method": "mdkd", "label": "BD 2", "set": {"bd2": 1}}, {"mdkd": {"bd3": 5}}]
    assert notes(config, *rows, base={"mdkd": {"bd2": 0, "bd3": 0}}) == [
        "BD 2: bd3 = 0 (default 1), set by the experiment.",  # the other label has bd2-0_bd3-5
        UNLESS,
    ]


def test_tuned_weights_are_those_of_the_note_and_other_changes_have_another(config):
    tune(config, mld={"mld": 30}, mdkd={"bd2": 1, "bd3": 5})
    set_methods(config, mld={"mld": 30}, mdkd={"bd2": 3, "norm": "sum"}, pkt={"weight": 2})
    pair = PAIR | {"dataset": "scenes"}
    changes, tuned, untuned = notes(
        config, "mld", "mdkd", "pkt", "sp", weights="tuned", pairs=[pair]
    )
    default = "MDKD: norm = sum (default paper); PKT: weight = 2 (default 30000); all set in "
    assert changes == f"{default}{config.as_posix()}/methods.yaml."
    # 30 is no default, though it is that of methods.yaml; bd2 is as published again
    assert "smoke.yaml): MLD mld = 30; MDKD bd3 = 5. They" in tuned
    other = "unless a row or another note says otherwise, not tuned: PKT, SP."
    assert untuned == f"Published weights {other}"


def test_a_tuning_study_names_changed_defaults(config):
    set_methods(config, mld={"mld": 1})
    found = notes(config, "mld", "mld_matched", kind="tuning")
    assert found == [
        f"MLD: mld = 1 (default 10), set in {config.as_posix()}/methods.yaml.",
        "Not tuned, because `tuning` in its file is empty: MLD, as strong as MDKD.",
    ]
