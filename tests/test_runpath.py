"""The path of a run and its fields."""

import pytest

from mdkd.errors import UserError
from mdkd.runpath import RunPath, changes_of, slug

PATHS = {
    "supervised/scenes/resnet8/seed3": RunPath("scenes", "resnet8", 3),
    "supervised/scenes/resnet8/epochs-40/seed0": RunPath(
        "scenes", "resnet8", 0, variant="epochs-40"
    ),
    "distill/voc2007/wrn40_2--vgg13/mdkd/bd3-0.5_norm-sum/seed0": RunPath(
        "voc2007", "vgg13", 0, "wrn40_2", "mdkd", "bd3-0.5_norm-sum"
    ),
}
DEFAULTS = {"bd3": 1.0, "mid_channels": 256, "mid": 2.0, "norm": "paper", "flip": True}


@pytest.mark.parametrize("text", PATHS)
def test_text_and_fields(text):
    assert RunPath.parse(text) == PATHS[text]
    assert str(PATHS[text]) == text
    assert PATHS[text].kind == text.partition("/")[0]


@pytest.mark.parametrize(
    "text",
    [
        "supervised/scenes/resnet8/seed03",
        "supervised/scenes/resnet8/seed-1",
        "supervised/Scenes/resnet8/seed0",
        "supervised/scenes/resnet8/seed0/",
        "supervised/scenes/resnet8/default/seed0",  # the path of this run has no such folder
        "supervised/scenes/resnet8//seed0",
        "supervised/scenes/resnet8/../seed0",
        "distill/scenes/resnet20-resnet8/mld/default/seed0",
        "distill/scenes/resnet20--resnet8/mld/a b/seed0",
        "distill/scenes/../resnet20--resnet8/mld/default/seed0",
        "",
    ],
)
def test_all_other_texts_are_refused(text):
    forms = r"supervised/DATASET/ARCH\[/VARIANT\]/seedN or distill/DATASET/"
    with pytest.raises(UserError, match=f"not a run path; write {forms}"):
        RunPath.parse(text)


@pytest.mark.parametrize(
    ("changes", "variant"),
    [
        ({}, "default"),
        ({"bd3": 1.0}, "default"),
        ({"mid": 0.5, "mid_channels": 8}, "mid-0.5_mid_channels-8"),  # one name begins another
        ({"norm": "sum", "bd3": 1e-7}, "bd3-1e-07_norm-sum"),
        ({"bd3": 3e7}, "bd3-3e07"),
        ({"mid_channels": 1000000, "flip": False}, "flip-false_mid_channels-1e06"),
        ({"flip": True}, "default"),
    ],
)
def test_variants_name_what_differs_from_the_defaults(changes, variant):
    assert slug(changes, DEFAULTS) == variant
    found = changes_of(variant, DEFAULTS) if variant != "default" else {}
    assert DEFAULTS | found == DEFAULTS | changes
    assert {key: type(value) for key, value in found.items()} == {
        key: type(DEFAULTS[key]) for key in found
    }
