"""Tuned weights of loss terms: the points that are tried, and the file of the chosen ones.

``config/tuned/<protocol>.yaml`` is written by `mdkd tune` and is then a part of the configuration.
Experiments with ``weights: tuned`` take their settings from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mdkd import kinds
from mdkd.config import SEEDS, named, number, parse
from mdkd.errors import UserError, nearest
from mdkd.methodfiles import MethodFile
from mdkd.runpath import DEFAULT, SUPERVISED_METHOD, slug
from mdkd.spec import Specification
from mdkd.specfiles import Entry, Experiment, Pair
from mdkd.yamlfiles import read_yaml

SUFFIXES = (".yaml", ".yml")
LEAST_POINTS = 2  # with fewer there is nothing to choose


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen for a method. The mAPs are means over pairs and seeds, fractions."""

    settings: dict[str, Any]  # those of the chosen point
    val_mAP: float = number(0, 1)
    published_val_mAP: float | None = number(0, 1, default=None)  # with the default settings
    failed: int = number(0, default=0)  # points that could not be trained


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The content of a file in ``tuned/``."""

    protocol: str = named()
    experiment: str = named()
    pairs: list[Pair]  # whose validation images decided
    seeds: list[int] = field(metadata=SEEDS)
    points: int = number(LEAST_POINTS)  # of every method
    methods: dict[str, Choice]


def file_of(spec: Specification) -> Path:
    """The file that ``tuned`` of config.yaml or of the protocol names, or that of the protocol."""
    name = spec.user.tuned or spec.protocol.tuned or spec.user.protocol
    return Path(name) if name.endswith(SUFFIXES) else own_file(spec.folder, name)


def own_file(config: Path, protocol: str) -> Path:
    """The file that `mdkd tune` writes for a protocol."""
    return config / "tuned" / f"{protocol}.yaml"


def read(file: Path, methods: Mapping[str, MethodFile]) -> Tuned:
    """The checked content of a tuned file.

    Raises:
        UserError: it is wrong, or names a method or a setting that does not exist.
    """
    tuned = parse(Tuned, read_yaml(file), str(file))
    again = "correct it, or delete the file and run `mdkd tune` again"
    for name, choice in tuned.methods.items():
        where = f"{file}: methods: {name}"
        if name not in methods:
            raise UserError(f"{where}: no such method; {nearest(name, methods)}, or {again}")
        try:
            methods[name].checked(choice.settings, f"{where}: settings")
        except UserError as error:
            raise UserError(f"{error}; {again}") from None
    return tuned


def tuned_of(spec: Specification, experiment: Experiment) -> Tuned | None:
    """The weights that an experiment is to use; None: the published ones, or not tuned yet."""
    file = file_of(spec)
    if experiment.weights == "published" or not file.exists():
        return None
    return read(file, spec.methods)


def lacking(spec: Specification, name: str, experiment: Experiment) -> str | None:
    """Why an experiment has no weights yet, and what to run; None if it has."""
    file = file_of(spec)
    if experiment.weights == "published" or file.exists():
        return None
    own = file == own_file(spec.folder, file.stem)
    protocol = file.stem if own else spec.user.protocol
    studies = (n for n, e in spec.experiments.items() if kinds.get(e.kind).tunes)
    return (
        f"experiment {name}: weights: no file {file} yet; run `snakemake --cores all "
        f"{next(studies, 'tuning')} --config protocol={protocol}`, then `mdkd tune --protocol "
        f"{protocol}`"
    )


def applied(tuned: Tuned | None, entry: Entry, method: MethodFile) -> Entry:
    """A row with the tuned settings of its method, except where the row has its own."""
    choice = tuned.methods.get(entry.method) if tuned else None
    chosen = method.checked(choice.settings, entry.method) if choice else {}
    return replace(entry, set=chosen | entry.set)


def changed(settings: Mapping[str, Any], method: MethodFile) -> dict[str, Any]:
    """The settings that differ from the defaults."""
    return {key: value for key, value in settings.items() if value != method.settings[key]}


def in_words(settings: Mapping[str, Any]) -> str:
    """Settings as they are printed, equal values together.

    >>> in_words({"a": 10.0, "b": 10.0, "c": 0.5})
    'a = b = 10, c = 0.5'
    """
    keys: dict[str, list[str]] = {}
    for key, value in settings.items():
        keys.setdefault(value if isinstance(value, str) else f"{value:g}", []).append(key)
    return ", ".join(" = ".join([*names, value]) for value, names in keys.items())


def points(spec: Specification, name: str) -> list[tuple[Entry, str, str | None, float | None]]:
    """The rows of a tuning experiment: every point of its methods, with label, panel and number.

    The point with the default settings has no panel and the label of the method. If there is none,
    a row of the defaults comes first. It has no number and cannot be chosen. A method without any
    points is left out; a note of the table says so (`mdkd.weightnotes`).

    Raises:
        UserError: no method has points, or one has another number of them than the others.
    """
    where = f"{spec.folder}/experiments/{name}.yaml: methods"
    rows: list[tuple[Entry, str, str | None, float | None]] = []
    counts: dict[str, int] = {}
    for entry in spec.experiments[name].methods:
        method = spec.methods[entry.method]
        if entry.method != SUPERVISED_METHOD and not method.tuning:
            continue
        if entry.set or entry.method in counts:
            what = f"'{entry.method}': each method is tuned once, from its defaults"
            raise UserError(f"{where}: {what}; write its name alone, and only once")
        label, found = entry.label or method.label, []
        for x, point in enumerate(method.tuning, 1):
            is_default = slug(point, method.settings) == DEFAULT
            text = label if is_default else f"{label}: {in_words(changed(point, method))}"
            panel = None if is_default else label
            found.append((Entry(method=entry.method, set=point), text, panel, float(x)))
        if all(panel for _, _, panel, _ in found):
            rows.append((Entry(method=entry.method), label, None, None))
        rows += found
        if entry.method != SUPERVISED_METHOD:
            counts[entry.method] = len(found)
    least = min(counts.values(), default=0)
    if least < LEAST_POINTS or least != max(counts.values()):
        numbers = ", ".join(f"{method} {count}" for method, count in counts.items())
        what = f"all methods need the same number of points, at least {LEAST_POINTS}"
        raise UserError(
            f"{where}: {what}; found {numbers or 'no method'}; change `tuning` in "
            "mdkd/methods/<name>.yaml, or leave a method out"
        )
    return rows
