"""The notes under a table about the settings of its rows: which ones no label tells, and why."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from mdkd import kinds, methodfiles, registry
from mdkd.runpath import SUPERVISED_METHOD
from mdkd.spec import Specification
from mdkd.specfiles import Entry, Experiment, Pair
from mdkd.tuned import Tuned, changed, file_of, in_words


class Made(NamedTuple):
    """A row as its runs are made."""

    label: str
    entry: Entry  # as the experiment has it
    applied: Entry  # with tuned weights


def notes(
    spec: Specification, experiment: Experiment, tuned: Tuned | None, rows: Sequence[Made]
) -> list[str]:
    """Where the settings of a table come from: changed ones, tuned ones and published ones."""
    if kinds.get(experiment.kind).tunes:
        return [*_untold(spec, rows), *_without_points(spec, experiment)]
    rows = [row for row in rows if row.entry.method != SUPERVISED_METHOD]
    weights = (
        _published(spec, rows) if experiment.weights == "published" else _tuned(spec, tuned, rows)
    )
    return [*_untold(spec, rows), *weights]


def _untold(spec: Specification, rows: Sequence[Made]) -> list[str]:
    """The changed settings that no label tells, one sentence for each place that changes some."""
    places: dict[str, dict[tuple[str, str], list[str]]] = {}  # labels by place, method and change
    for row in rows:
        name, found = row.entry.method, dict[str, dict[str, Any]]()
        for key, value in _changes(spec, row).items():
            if not _tells(row.label, key, value):
                text = f"{_text(value)} (default {_text(spec.method_files[name].settings[key])})"
                found.setdefault(_place(spec, name, key, value), {})[key] = text
        for place, texts in found.items():
            labels = places.setdefault(place, {}).setdefault((name, in_words(texts)), [])
            labels.append(row.label)
    counts = Counter(row.entry.method for row in rows)
    lines = []
    for place, changes in places.items():
        parts = []
        for (name, text), labels in changes.items():
            every = len(labels) == counts[name] > 1
            who = f"all rows of {spec.methods[name].label}" if every else ", ".join(labels)
            parts.append(f"{who}: {text}")
        lines.append(f"{'; '.join(parts)}{'; all' if len(parts) > 1 else ','} set {place}.")
    return lines


def _changes(spec: Specification, row: Made) -> dict[str, Any]:
    """The settings of a row that differ from the file of its method.

    Tuned weights are left out, because a note of their own names them.
    """
    name, own = row.entry.method, row.entry.set
    settings = spec.methods[name].settings | row.applied.set
    found = changed(settings, spec.method_files[name])
    return {key: v for key, v in found.items() if key in own or key not in row.applied.set}


def _place(spec: Specification, method: str, key: str, value: Any) -> str:
    """Where the value of a setting was changed."""
    if value != spec.methods[method].settings[key]:
        return "by the experiment"
    if key in spec.protocol.methods.get(method, {}):
        return f"by the protocol {spec.user.protocol}"
    return f"in {spec.folder.as_posix()}/methods.yaml"


def _tells(label: str, key: str, value: Any) -> bool:
    """Whether a label names a setting with its value, in one of the ways in which labels are made.

    >>> [_tells(label, "bd2", 3.0) for label in ("MDKD (bd2-3_bd4-0)", "bd2 = bd3 = 3", "bd2 = 30")]
    [True, True, False]
    """
    number = re.escape(_text(value)).replace(r"e\+", r"e\+?")
    return bool(re.search(rf"(?<![a-z0-9]){key}( = \w+)*( = |-){number}(?![a-z0-9.])", label))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _without_points(spec: Specification, experiment: Experiment) -> list[str]:
    """The methods that a tuning study leaves out."""
    names = dict.fromkeys(entry.method for entry in experiment.methods)
    methods = [spec.methods[name] for name in names if name != SUPERVISED_METHOD]
    labels = "; ".join(method.label for method in methods if not method.tuning)
    return [f"Not tuned, because `tuning` in its file is empty: {labels}."] if labels else []


def _published(spec: Specification, rows: Sequence[Made]) -> list[str]:
    """Whether all weights are those of the files of the methods."""
    if not rows:
        return []
    source, unless = _source(row.entry.method for row in rows), _unless(spec, rows)
    if not unless:
        return [f"{source} weights, not tuned."]
    return [f"Weights are the {source.lower()} ones{unless}. They are not tuned."]


def _tuned(spec: Specification, tuned: Tuned | None, rows: Sequence[Made]) -> list[str]:
    """The tuned weights, how they were chosen, and which methods have none."""
    if tuned is None:
        return ["The weights have not been tuned yet."]
    texts, untuned = [], []
    for name in dict.fromkeys(row.entry.method for row in rows):
        method, choice = spec.methods[name], tuned.methods.get(name)
        if choice is None:
            untuned.append(name)
            continue
        chosen = changed(method.checked(choice.settings, name), spec.method_files[name])
        texts.append(f"{method.label} {in_words(chosen) or 'as published'}")
    pairs = "; ".join(_pair(spec, pair) for pair in tuned.pairs)
    seeds = ", ".join(map(str, tuned.seeds))
    seeds = f"seeds {seeds}" if len(tuned.seeds) > 1 else f"seed {seeds} alone"
    lines = [
        f"Weights: of {tuned.points} settings of each method, the one with the best mAP on "
        f"validation images ({file_of(spec).as_posix()}): "
        f"{'; '.join(texts) or 'none of these methods'}. They were tried on {pairs}, with {seeds}, "
        "and are used for all pairs of networks. The test images had no part in the choice."
    ]
    if untuned:
        unless = _unless(spec, [row for row in rows if row.entry.method in untuned])
        labels = ", ".join(spec.methods[name].label for name in untuned)
        lines.append(f"{_source(untuned)} weights{unless}, not tuned: {labels}.")
    return lines


def _unless(spec: Specification, rows: Sequence[Made]) -> str:
    """Where rows say that they have other settings than their methods; empty if none has."""
    if _untold(spec, rows):
        return " unless a row or another note says otherwise"
    return " unless a row says otherwise" if any(_changes(spec, row) for row in rows) else ""


def _pair(spec: Specification, pair: Pair) -> str:
    """A pair of networks as tables name it; a name that has no entry here stays as it is."""
    known = spec.datasets | spec.archs
    dataset, teacher, student = (
        known[name].label if name in known else name for name in pair.names()
    )
    return f"{dataset}: {teacher} → {student}"


def _source(names: Iterable[str]) -> str:
    """Where the default settings of methods come from; a plug-in's need not be published."""
    own = any(registry.plugin(methodfiles.PACKAGE, name) for name in names)
    return "Default" if own else "Published"
