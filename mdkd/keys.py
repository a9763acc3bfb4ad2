"""The key of a run: one digest over everything that is planned and that its numbers depend on.

Two runs with the same key are the same training, in whatever protocol they are planned. Three
things are not part of a key: the name of a data set, the place of a file with initial weights, and
the device that `auto` finds. Facts that can only be measured (the cache's fingerprint, the digest
of the teacher's weights) are not part of it either: they are in the record and are checked beside
the key.

A field of `Head`, `Recipe` or of a source's options that has its default value is left out, so that
a new field with a default changes no key. Whoever changes such a default changes numbers, and must
raise `NUMERICS`.
"""

import dataclasses
from typing import Any

from mdkd import records, registry
from mdkd.config import Dataset, Run

# Raise this number when a change of the training loop, the optimizer, the augmentation or a network
# changes numbers: then all runs are trained again.
NUMERICS = 2
DIGITS = 16  # of a key
SCORED_WITH = ("batch_size", "normalisation")  # of the recipe: what predictions depend on


def key(run: Run) -> str:
    """The key of a run: 16 hexadecimal digits."""
    return records.digest(planned(run))[:DIGITS]


def planned(run: Run) -> dict[str, Any]:
    """Everything that a key covers, as JSON."""
    facts = {
        "numerics": NUMERICS,
        "dataset": _dataset(run.dataset),
        "arch": run.arch,  # its name seeds the initial weights
        "net": run.net,
        "stem": run.stem if run.net.startswith("cifar:") else None,
        "weights": run.weights_sha256 or run.weights,  # the content of a file, not its place
        "head": _changed(run.head),
        "recipe": _changed(run.recipe),
        "method": dataclasses.asdict(run.method),
        "teacher": run.teacher_key,
        "seed": run.seed,
    }
    if run.checkpoint is not None:  # nothing is trained
        scored = {k: v for k, v in _changed(run.recipe).items() if k in SCORED_WITH}
        facts |= {"checkpoint": run.checkpoint.sha256, "recipe": scored, "seed": None}
    return {name: fact for name, fact in facts.items() if fact is not None}


def differences(planned: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What differs between two `planned` facts, such as ``recipe.epochs: 20, found 40``.

    >>> differences({"seed": 0, "recipe": {"lr": 0.1}}, {"seed": 0, "recipe": {"lr": 0.2}})
    ['recipe.lr: 0.1, found 0.2']
    """
    texts = []
    for name in sorted(planned.keys() | found.keys()):
        ours, theirs = planned.get(name), found.get(name)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            texts += [f"{name}.{text}" for text in differences(ours, theirs)]
        elif ours != theirs:
            default = "the default"
            ours, theirs = (default if value is None else value for value in (ours, theirs))
            texts.append(f"{name}: {ours}, found {theirs}")
    return texts


def _dataset(dataset: Dataset) -> dict[str, Any]:
    options = registry.load("mdkd.data.sources", dataset.source).Options
    facts = _changed(dataset) | {"options": _without_defaults(options, dataset.options)}
    del facts["name"]
    return facts


def _changed(settings: Any) -> dict[str, Any]:
    """The fields of a dataclass that do not have their default value."""
    return _without_defaults(type(settings), dataclasses.asdict(settings))


def _without_defaults(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    defaults = {
        f.name: f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
        for f in dataclasses.fields(cls)
    }
    return {name: v for name, v in values.items() if name not in defaults or v != defaults[name]}
