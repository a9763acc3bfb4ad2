"""The files beside the code of methods: what is wrong with one is a line that says so."""

import pytest
from conftest import edit_yaml, python
from method_cases import FILES, NAMES

from mdkd import methodfiles
from mdkd.errors import UserError
from mdkd.methodfiles import MethodFile

VALID = """
label: Mine
revision: 1
needs: [logits]
settings: {weight: 1.0, width: 8, kind: soft}
choices: {kind: [soft, hard]}
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The file of a method `mine` in another package."""
    package = tmp_path / "methods_of_a_user"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "mine.py").write_text("raise RuntimeError('imported for nothing')")
    (package / "mine.yaml").write_text(VALID)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(methodfiles, "PACKAGE", package.name)
    return package / "mine.yaml"


def test_a_file_is_read_without_the_code_beside_it(file):
    expected = MethodFile(
        label="Mine",
        revision=1,
        needs=["logits"],
        settings={"weight": 1.0, "width": 8, "kind": "soft"},
        choices={"kind": ["soft", "hard"]},
    )
    assert methodfiles.read("mine") == expected
    assert methodfiles.read_all() == {"mine": expected}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("label"), "key 'label' is missing"),
        (lambda m: m.update(revision=0), "revision: 0 is below 1"),
        (lambda m: m.update(needs=["logit"]), "'logit' is not valid; did you mean 'logits'"),
        (lambda m: m.update(colour="red"), "unknown key 'colour'"),
        (lambda m: m["settings"].update(kind="sof"), "kind: unknown 'sof'; did you mean 'soft'"),
        (
            lambda m: m["settings"].update(epochs=3),
            "settings: epochs: rows of experiments have a key",
        ),
        (lambda m: m["settings"].update(teacher_seed=3), "teacher_seed: .*; choose another name"),
        (lambda m: m["settings"].update(weight="1"), "weight: unknown '1'; a number is expected"),
        (lambda m: m["settings"].update(weight=True), "weight: expected a number, found True"),
        (lambda m: m["settings"].update(weight=[1]), r"weight: expected a number, found \[1\]"),
        (lambda m: m.update(tuning=[{}, {"weigth": 1}]), "tuning: point 2: unknown .* 'weight'"),
        (lambda m: m.update(tuning=[{"kind": "sof"}]), "tuning: point 1: kind: unknown 'sof'"),
        (lambda m: m.update(tuning=[{"weight": 0.1234567}]), "weight: 0.1234567 is not a float"),
        (lambda m: m.update(tuning=[{"weight": 1}, {"weight": 1.0}]), "point 2 appears twice"),
    ],
)
def test_mistakes_name_the_file_and_the_key(file, change, message):
    edit_yaml(file, change)
    with pytest.raises(UserError, match=rf"mine\.yaml: .*{message}") as caught:
        methodfiles.read("mine")
    assert "\n" not in str(caught.value)


def test_a_method_without_a_file_and_an_unknown_one_are_named(file):
    with pytest.raises(UserError, match="there is no 'mien'; did you mean 'mine'"):
        methodfiles.read("mien")
    file.unlink()
    with pytest.raises(UserError, match=r"mine\.yaml: no such file; mine\.py needs it"):
        methodfiles.read("mine")


@pytest.mark.parametrize(
    ("changes", "checked"),
    [
        ({}, {}),
        ({"weight": 2}, {"weight": 2.0}),
        ({"width": 4.0}, {"width": 4}),
        ({"weight": 0.123456, "kind": "hard"}, {"weight": 0.123456, "kind": "hard"}),
    ],
)
def test_changes_get_the_type_of_the_default(file, changes, checked):
    found = methodfiles.read("mine").checked(changes, "here")
    assert found == checked
    defaults = methodfiles.read("mine").settings
    assert {key: type(value) for key, value in found.items()} == {
        key: type(defaults[key]) for key in changes
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([1], r"expected settings, found \[1\]"),
        ({"wieght": 1}, "unknown setting 'wieght'; did you mean 'weight'"),
        ({"weight": "much"}, "weight: expected float, found 'much'"),
        ({"weight": True}, "weight: expected float, found True"),
        ({"kind": 1}, "kind: expected str, found 1"),
        ({"kind": "hrd"}, "kind: unknown 'hrd'; did you mean 'hard'"),
        ({"width": 4.5}, "width: expected int, found 4.5"),
        ({"weight": 0.1234567}, "weight: 0.1234567 is not a float of six digits"),
    ],
)
def test_changes_that_do_not_fit_are_refused(file, changes, message):
    with pytest.raises(UserError, match=f"^here: {message}"):
        methodfiles.read("mine").checked(changes, "here")


@pytest.mark.parametrize("name", NAMES)
def test_only_methods_that_need_embeddings_can_be_unavailable(name):
    assert FILES[name].unavailable(embeds_labels=True) is None
    reason = FILES[name].unavailable(embeds_labels=False)
    assert (reason is not None) == ("embeddings" in FILES[name].needs)


def test_tuning_points_get_the_type_of_the_default(file):
    edit_yaml(file, lambda m: m.update(tuning=[{"weight": 2}, {"width": 4.0, "kind": "hard"}]))
    points = methodfiles.read("mine").tuning
    assert points == [{"weight": 2.0}, {"width": 4, "kind": "hard"}]
    assert [type(point.get("weight", 0.0)) for point in points] == [float, float]


# The controls stand beside MDKD at given weights, and have none of their own to choose.
# ASL is a loss for the labels. MLD beside it has the weight that it has alone.
NOT_TUNED = {"mld_matched", "mdkd_permuted", "asl"}
TUNED = [name for name in NAMES if FILES[name].settings and name not in NOT_TUNED]


def test_all_methods_have_the_same_number_of_tuning_points():
    assert set(NAMES) >= NOT_TUNED
    assert [name for name in NAMES if FILES[name].tuning and name not in TUNED] == []
    counts = {name: len(FILES[name].tuning) for name in TUNED}
    assert min(counts.values()) >= 5
    assert len(set(counts.values())) == 1, f"another number of points is another budget: {counts}"


@pytest.mark.parametrize("name", TUNED)
def test_tuning_points_span_two_decades_around_the_default(name):
    points, settings = FILES[name].tuning, FILES[name].settings
    weights = {key for point in points for key in point}
    assert all(point.keys() == weights for point in points), "name every weight in every point"
    for key in weights:
        values = [point[key] for point in points]
        assert min(values) > 0
        assert max(values) >= 100 * min(values), key
        assert min(values) <= settings[key] <= max(values), key


def test_reading_them_needs_no_torch():
    code = "import sys; from mdkd import methodfiles; methodfiles.read_all(); "
    result = python("-c", code + "print('torch' in sys.modules)")
    assert result.stdout == "False\n", result.stderr
