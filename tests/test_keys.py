"""Keys of runs: what changes them, what does not, and that nobody changes them by accident."""

import dataclasses
from dataclasses import replace

import pytest
from hash_orders import printed_by_both

from mdkd import keys, registry
from mdkd.config import Checkpoint, Dataset, Head, Method, Recipe, Run

# Everybody's finished runs are found under their keys. A change of a value below therefore trains
# every run of every user again. If that is meant, raise NUMERICS in mdkd/keys.py and write the new
# values here. A new field with a default must not change any of them.
RECIPE = Recipe(epochs=2, batch_size=16, lr=0.002, weight_decay=0.0001, flip=True, cutout=0.5)
SUPERVISED = Run(
    path="supervised/scenes/resnet8/seed0",
    protocol="smoke",
    dataset=Dataset(name="scenes", source="scenes", image_size=32, options={"train": 48}),
    arch="resnet8",
    net="cifar:resnet8",
    stem="cifar",
    weights=None,
    head=Head(kind="mldecoder", width=32, heads=2, feedforward=64),
    recipe=RECIPE,
    method=Method(name="vanilla", revision=1),
    teacher=None,
    seed=0,
)
DISTILLED = replace(
    SUPERVISED,
    path="distill/scenes/resnet20--resnet8/mld/default/seed0",
    method=Method(name="mld", revision=1, settings={"mld": 10.0}),
    teacher="supervised/scenes/resnet20/seed0",
    teacher_key="0123456789abcdef",
)
PRETRAINED = replace(
    SUPERVISED,
    path="supervised/voc/resnet34/seed3",
    dataset=Dataset(name="voc", source="voc", image_size=224, options={"difficult": "ignore"}),
    arch="resnet34",
    net="resnet34.tv_in1k",
    weights="imagenet",
    head=Head(kind="gap"),
    seed=3,
)
FROZEN = {
    "supervised": (SUPERVISED, "2ec232e15f61fdb4"),
    "distilled": (DISTILLED, "c1b6ccc163dfc011"),
    "pretrained": (PRETRAINED, "ac05cc51bfc80fcb"),
}

# A default is not part of a key. Whoever changes one of these changes numbers under the same keys:
# raise NUMERICS in mdkd/keys.py, then write the new default here. A new field, or a new source, is
# only added.
DEFAULTS = {
    "Head": {"width": 768, "queries": None, "heads": 8, "feedforward": 2048, "dropout": 0.1},
    "Recipe": {
        "schedule": "cosine",
        "normalisation": "imagenet",
        "bce_reduction": "sum_mean",
        "teacher_logits": "float32",
        "optimizer": "adam",
        "betas": [0.9, 0.999],
        "momentum": 0.0,
        "nesterov": False,
        "warmup_epochs": 0.0,
        "accumulate": 1,
        "ema": 0.0,
    },
    "Dataset": {"options": {}, "val": 0.0, "damaged": "error"},
    "coco.Options": {
        "annotations": "annotations/instances_{split}.json",
        "images": "{split}",
        "train": "train2014",
        "test": "val2014",
        "unannotated": "drop",
        "train_images": None,
        "test_images": None,
        "labels": None,
    },
    "folder.Options": {
        "csv": "labels.csv",
        "train": "train",
        "test": "test",
        "classes": None,
        "train_images": None,
        "test_images": None,
    },
    "imagefolder.Options": {
        "train": "train",
        "test": "test",
        "column": "labels",
        "classes": None,
        "train_images": None,
        "test_images": None,
    },
    "nuswide.Options": {
        "images": "Flickr",
        "missing": "error",
        "train_images": None,
        "test_images": None,
        "labels": None,
    },
    "scenes.Options": {
        "train": 2000,
        "test": 1000,
        "seed": 0,
        "difficulty": 1.0,
        "labels": None,
        "graph": None,
    },
    "voc.Options": {
        "train": "trainval",
        "test": "test",
        "difficult": "positive",
        "train_images": None,
        "test_images": None,
        "classes": None,
    },
}

OTHER_VALUES = {  # where a value of the field's own type is not enough
    "checkpoint": Checkpoint(file="w.pth", sha256=64 * "0"),
    "weights": "imagenet",
    "options": {"train": 49},
    "settings": {"mld": 9.0},
    "stem": "small",
    "net": "cifar:resnet14",
    "betas": [0.9, 0.99],
}
# Names and places, and what stands for something else: the key of the teacher for its path.
NOT_IN_KEYS = {Run: {"path", "protocol", "teacher"}, Dataset: {"name"}}


def defaults(cls):
    """Name and default of every field that has one."""
    return {
        f.name: f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
        for f in dataclasses.fields(cls)
        if (f.default, f.default_factory) != (dataclasses.MISSING,) * 2
    }


def classes_with_defaults():
    package = "mdkd.data.sources"
    options = {f"{n}.Options": registry.load(package, n).Options for n in registry.names(package)}
    return {"Head": Head, "Recipe": Recipe, "Dataset": Dataset} | options


def other(name, value):
    """Another value for a field."""
    if name in OTHER_VALUES:
        return OTHER_VALUES[name]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value * 2 + 1
    return "other" if value is None or isinstance(value, str) else value


def changes(run):
    """One changed run per field of the run and of its parts, by the field."""
    for field in dataclasses.fields(Run):
        value = getattr(run, field.name)
        if dataclasses.is_dataclass(value):
            for part in dataclasses.fields(value):
                changed = other(part.name, getattr(value, part.name))
                whole = replace(run, **{field.name: replace(value, **{part.name: changed})})
                yield type(value), part.name, whole
        else:
            yield Run, field.name, replace(run, **{field.name: other(field.name, value)})


@pytest.mark.parametrize(("run", "frozen"), FROZEN.values(), ids=FROZEN)
def test_a_key_never_changes_by_accident(run, frozen):
    assert keys.key(run) == frozen


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_default_never_changes_by_accident(name):
    assert defaults(classes_with_defaults()[name]) == DEFAULTS[name]


CHANGES = {f"{cls.__name__}.{name}": (cls, name, run) for cls, name, run in changes(DISTILLED)}


@pytest.mark.parametrize(("cls", "name", "changed"), CHANGES.values(), ids=CHANGES)
def test_every_field_changes_the_key_unless_it_is_a_name_or_a_place(cls, name, changed):
    assert changed != DISTILLED
    if name == "source":  # the options are those of the source
        changed = replace(DISTILLED, dataset=replace(DISTILLED.dataset, source="folder"))
    is_equal = keys.key(changed) == keys.key(DISTILLED)
    assert is_equal == (name in NOT_IN_KEYS.get(cls, set()))


def test_the_stem_belongs_to_the_key_of_networks_that_have_a_choice():
    assert keys.key(replace(PRETRAINED, stem="small")) == keys.key(PRETRAINED)
    assert keys.key(replace(SUPERVISED, stem="small")) != keys.key(SUPERVISED)


@pytest.mark.parametrize("source", registry.names("mdkd.data.sources"))
def test_an_option_that_is_written_with_its_default_changes_no_key(source):
    options = defaults(registry.load("mdkd.data.sources", source).Options)
    short = Dataset(name="any", source=source, image_size=32)
    runs = [replace(SUPERVISED, dataset=d) for d in (short, replace(short, options=options))]
    assert keys.key(runs[0]) == keys.key(runs[1])


def test_fields_with_their_default_are_left_out():
    """So a new field with a default changes no key."""
    planned = keys.planned(DISTILLED)
    assert planned["head"] == {"kind": "mldecoder", "width": 32, "heads": 2, "feedforward": 64}
    assert not planned["recipe"].keys() & defaults(Recipe).keys()
    assert planned["dataset"].keys() == {"source", "image_size", "options"}


def test_of_a_method_only_name_revision_and_settings_are_in_a_key():
    """What else its file declares may be added without a new key: what it needs, tuning points."""
    assert keys.planned(DISTILLED)["method"] == {
        "name": "mld",
        "revision": 1,
        "settings": {"mld": 10.0},
    }


def test_the_settings_of_the_teacher_change_the_key_of_its_student(bench):
    path = "distill/scenes/resnet20--resnet8/mld/default/seed0"
    student, teacher = bench.resolve(path), bench.resolve("supervised/scenes/resnet20/seed0")
    assert student.teacher_key == keys.key(teacher)
    longer = replace(teacher, recipe=replace(teacher.recipe, epochs=teacher.recipe.epochs + 1))
    other_student = replace(student, teacher_key=keys.key(longer))
    assert keys.key(other_student) != keys.key(student)


def test_keys_are_equal_in_every_process():
    """Whatever the order in which Python hashes texts, and of the options as they are written."""
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from test_keys import FROZEN\n"
        "from mdkd import keys\n"
        "print([keys.key(run) for run, _ in FROZEN.values()])"
    )
    first, second = printed_by_both(code)
    assert first == second == f"{[frozen for _, frozen in FROZEN.values()]}\n"


def test_the_order_of_options_does_not_change_a_key():
    options = {"train": 48, "test": 32, "seed": 1}
    turned = dict(reversed(options.items()))
    found = {
        keys.key(replace(SUPERVISED, dataset=replace(SUPERVISED.dataset, options=o)))
        for o in (options, turned)
    }
    assert len(found) == 1


def test_a_higher_number_of_numerics_changes_every_key(monkeypatch):
    before = [keys.key(run) for run, _ in FROZEN.values()]
    monkeypatch.setattr(keys, "NUMERICS", keys.NUMERICS + 1)
    assert not set(before) & {keys.key(run) for run, _ in FROZEN.values()}
