"""The artefacts of the specification: tables and figures with the runs of their cells.

A cell names its runs, so runs are shared between all artefacts that need them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from mdkd import kinds, splits, tuned, weightnotes
from mdkd.config import Split, named
from mdkd.errors import UserError, nearest, show
from mdkd.published import PUBLISHED
from mdkd.resolve import checkpoint_of, teacher_seed, variant_of, weights_of
from mdkd.runpath import DEFAULT, SUPERVISED_METHOD, RunPath
from mdkd.spec import Specification
from mdkd.specfiles import Entry, Experiment, Pair

NOT_TUNED = "its weights have not been tuned yet"
# Why a method that needs embeddings of labels cannot learn from a teacher trained elsewhere.
NO_CLASSIFIER_EMBEDS = "the teacher has a linear classifier and no embedding per label"
NO_QUERY_PER_LABEL = "the teacher's head has queries for groups of labels, not for each label"
NOT_COMPARABLE = "Not comparable with published numbers."
DOCUMENT = "paper"  # the target whose artefacts are collected in one document


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One place of a table: the runs that it averages, or the reason why there can be none."""

    runs: list[str]
    unavailable: str | None = None
    reported: dict[str, float] = field(default_factory=dict)  # published, by metric; fractions


@dataclass(frozen=True, kw_only=True)
class Row:
    label: str
    role: Literal["teacher", "student", "method"]
    cells: list[Cell]  # one per column
    panel: str | None = None  # of a point: the panel or the curve that it belongs to ...
    x: float | None = None  # ... and the value that is varied, or its number
    tried: dict[str, Any] | None = None  # in a tuning study: the settings that can be chosen


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """Everything that a table or figure needs besides the records of its runs."""

    name: str = named()
    kind: str
    title: str
    protocol: str = named()
    seeds: list[int]
    pairs: list[Pair]
    columns: list[str]  # their names
    labels: dict[str, str] = field(default_factory=dict)  # of data sets and networks, by name
    metrics: list[str]
    rows: list[Row]
    notes: list[str]
    against: dict[str, list[str]] | None = None  # rows that a row is tested against, by label
    split: Split = "test"  # the images that the metrics are of
    unavailable: str | None = None  # why it cannot be made yet, and what to run
    targets: list[str] = field(default_factory=list)  # groups that it belongs to
    options: dict[str, Any] = field(default_factory=dict)  # of its kind, see kinds.py

    @property
    def runs(self) -> list[str]:
        """Paths of all runs, each once, in the order of the table."""
        return list(dict.fromkeys(r for row in self.rows for cell in row.cells for r in cell.runs))

    @property
    def named_seeds(self) -> str:
        """The seeds as they are printed: ``seed 0``, ``seeds 0, 1``."""
        plural = "s" if len(self.seeds) > 1 else ""
        return f"seed{plural} {', '.join(map(str, self.seeds))}"

    @property
    def group(self) -> str:
        """The heading under which reports show the artefact."""
        return (self.target or ("further results" if self.targets else self.kind)).capitalize()

    @property
    def target(self) -> str | None:
        """The first group that it belongs to, apart from the group of everything."""
        return next((target for target in self.targets if target != DOCUMENT), None)

    @property
    def reported(self) -> bool:
        """Whether there are published numbers to compare with."""
        return any(cell.reported for row in self.rows for cell in row.cells)


class Line(NamedTuple):
    """A row before its cells are made, with the fields of `Row`."""

    entry: Entry
    label: str
    panel: str | None = None
    x: float | None = None


def make_artefact(spec: Specification, name: str, experiment: Experiment) -> Artefact:
    """The teacher's row, then one per method or point; one column per pair that is trained here."""
    where = f"{spec.folder}/experiments/{name}.yaml: methods"
    columns: dict[Pair, list[Pair]] = {}  # pairs that are trained, and those they stand for
    for pair in experiment.pairs:
        here = stand_in(spec, pair)
        if here.teacher != here.student:
            columns.setdefault(here, []).append(pair)
    if not columns:
        raise UserError(f"{where}: stand_ins of the protocol leave no pair of two networks")
    seeds = spec.seeds_of(experiment)
    labels = _labels(spec)
    stood_in = any(pair not in originals for pair, originals in columns.items())
    published = spec.published[name]
    split = splits.checked(spec, name, experiment, columns)

    def reported(pair: Pair, row: str | int) -> dict[str, float]:
        return _reported(published, pair, row) if pair in columns[pair] else {}

    lines = _lines(spec, name)
    rows = [
        Row(
            label=label,
            role="teacher",
            cells=[
                Cell(
                    runs=[str(RunPath(pair.dataset, pair.teacher, seed))],
                    reported=reported(pair, label),
                )
                for pair in columns
            ],
        )
        for label, seed in _teachers(spec, lines).items()
    ]
    weights, lacking = tuned.tuned_of(spec, experiment), tuned.lacking(spec, name, experiment)
    made: list[weightnotes.Made] = []
    for entry, label, panel, x in lines:
        if label in [row.label for row in rows]:
            raise UserError(f"{where}: '{entry.method}' makes row '{label}' twice; remove one")
        is_student = entry.method == SUPERVISED_METHOD
        row = tuned.applied(weights, entry, spec.methods[entry.method])
        made.append(weightnotes.Made(label, entry, row))
        published_here = [reported(pair, entry.reported or label) for pair in columns]
        reason = None if is_student or not lacking else NOT_TUNED
        cells = [
            _cell(spec, pair, row, seeds, known, reason)
            for pair, known in zip(columns, published_here, strict=True)
        ]
        role: Literal["student", "method"] = "student" if is_student else "method"
        tried = entry.set if kinds.get(experiment.kind).tunes and x is not None else None
        rows.append(Row(label=label, role=role, cells=cells, panel=panel, x=x, tried=tried))
    _check_against(f"{spec.folder}/experiments/{name}.yaml", experiment, rows)
    return Artefact(
        name=name,
        kind=experiment.kind,
        title=experiment.title,
        protocol=spec.user.protocol,
        seeds=seeds,
        pairs=list(columns),
        columns=[_column(spec, pair) for pair in columns],
        labels={name: labels[name] for pair in columns for name in pair.names()},
        metrics=experiment.metrics,
        rows=rows,
        notes=[
            *experiment.notes,
            *([] if stood_in else experiment.paper_notes),
            *([] if stood_in else _unidentified_note(published, experiment.methods)),
            *_weights_note(spec, columns),
            *_recipe_note(spec, columns),
            *_checkpoint_note(spec, columns),
            *_stand_in_note(spec, columns),
            *splits.notes(spec, split, columns),
            *weightnotes.notes(spec, experiment, weights, made),
            *([spec.protocol.note] if spec.protocol.note else []),
        ],
        against=experiment.against,
        split=split,
        unavailable=lacking,
        targets=experiment.targets,
        options=experiment.options,
    )


def stand_in(spec: Specification, pair: Pair) -> Pair:
    """The pair that this protocol trains in place of another one, or the pair itself."""
    others = spec.protocol.stand_ins
    if pair.dataset not in others:
        return pair
    return Pair(
        dataset=others[pair.dataset],
        teacher=others.get(pair.teacher, pair.teacher),
        student=others.get(pair.student, pair.student),
    )


def _check_against(file: str, experiment: Experiment, rows: list[Row]) -> None:
    """Raise a UserError if ``against`` names rows that are not there, or cannot be shown."""
    against, kind = experiment.against, kinds.get(experiment.kind)
    if against and not kind.tests:
        known = ", ".join(name for name in kinds.names() if kinds.get(name).tests)
        what = f"kind '{experiment.kind}' shows no tests; kinds that do: {known}; remove the key"
        raise UserError(f"{file}: against: {what}")
    if against and experiment.options.get("marks"):
        what = "option marks has signs for the student and MLD alone; remove one of the two keys"
        raise UserError(f"{file}: against: {what}")
    labels = [row.label for row in rows if row.role != "teacher"]
    for label, others in (against or {}).items():
        for other in (label, *others):
            if other not in labels:
                what = f"no row is called {show(other)}; {nearest(other, labels)}"
                hint = "a protocol that changes `methods` must change `against` too"
                raise UserError(f"{file}: against: {label}: {what}; {hint}")
        if label in others:
            raise UserError(f"{file}: against: {label}: remove the row itself from its list")


def _teachers(spec: Specification, lines: list[Line]) -> dict[str, int]:
    """The seeds of the teachers that rows have, by the label of the teacher's own row."""
    taught = [line.entry for line in lines if line.entry.method != SUPERVISED_METHOD]
    seeds = list(dict.fromkeys(teacher_seed(spec, entry) for entry in taught))
    if seeds in ([], [spec.protocol.teacher_seed]):
        return {"Teacher": spec.protocol.teacher_seed}
    return {f"Teacher, seed {seed}": seed for seed in seeds}


def _lines(spec: Specification, name: str) -> list[Line]:
    """The rows of an experiment, and those that its options make of them or add to them."""
    experiment = spec.experiments[name]
    if kinds.get(experiment.kind).tunes:
        return [Line(*point) for point in tuned.points(spec, name)]
    where = f"{spec.folder}/experiments/{name}.yaml: options"
    options = kinds.get(experiment.kind).options(**experiment.options)
    lines = [Line(entry, _label(spec, entry)) for entry in experiment.methods]
    if points := options.points_of_recipe():
        lines = [_point(spec, line, key, x, where) for line in lines for key, x in points]
    for method, key, x in options.further_rows():
        changes = experiment.base.get(method, {}) | {key: x}
        entry = spec.checked(Entry(method=method, set=changes), where)
        lines.append(Line(entry, f"{key} = {x:g}", key, float(x)))
    return lines


def _point(spec: Specification, line: Line, key: str, x: float, where: str) -> Line:
    """A row with another value of a key of the recipe; it is a point of the row's curve."""
    changed = {key: int(x) if x.is_integer() else x}
    entry = replace(line.entry, recipe=line.entry.recipe | changed)
    return Line(spec.checked(entry, where), f"{line.label}, {key} = {x:g}", line.label, x)


def _label(spec: Specification, entry: Entry) -> str:
    """The label of a row; if it has none of its own, it names the method and what is changed."""
    label, variant = spec.methods[entry.method].label, variant_of(spec, entry)
    return entry.label or (label if variant == DEFAULT else f"{label} ({variant})")


def _reported(published: list[dict[str, str]], pair: Pair, row: str | int) -> dict[str, float]:
    """The published numbers of a cell, as fractions under our metrics' names."""
    for line in published:
        if isinstance(row, int):
            found = line.get("row") == str(row)
        else:
            names = tuple(line.get(key) for key in ("dataset", "teacher", "student", "method"))
            found = names == (*pair.names(), row)
        if found:
            values = ((PUBLISHED[key], line[key]) for key in PUBLISHED if line.get(key))
            return {metric: round(float(value) / 100, 6) for metric, value in values}
    return {}


def _unidentified_note(published: list[dict[str, str]], entries: list[Entry]) -> list[str]:
    """Numbered rows of a published table whose settings are not known."""
    known = {str(entry.reported) for entry in entries}
    rows = [line for line in published if "row" in line and line["row"] not in known]
    texts = (f"row {line['row']}: {' / '.join(line[key] for key in PUBLISHED)}" for line in rows)
    return [f"Published rows with unknown settings: {'; '.join(texts)}."] if rows else []


def _cell(
    spec: Specification,
    pair: Pair,
    row: Entry,
    seeds: list[int],
    reported: dict[str, float],
    reason: str | None,
) -> Cell:
    method, variant = row.method, variant_of(spec, row, pair.student)
    file, head, found = spec.methods[method], spec.protocol.head, checkpoint_of(spec, pair.teacher)
    lacking = file.unavailable(head.embeds_labels())
    if not lacking and found and file.unavailable(found.head.embeds_labels()):
        lacking = NO_CLASSIFIER_EMBEDS if found.head.kind == "gap" else NO_QUERY_PER_LABEL
    if reason := lacking or reason:
        return Cell(runs=[], unavailable=reason, reported=reported)
    teacher = None if method == SUPERVISED_METHOD else pair.teacher
    runs = [
        str(RunPath(pair.dataset, pair.student, seed, teacher, method, variant)) for seed in seeds
    ]
    return Cell(runs=runs, reported=reported)


def _weights_note(spec: Specification, pairs: Iterable[Pair]) -> list[str]:
    """The networks of a table that have other initial weights than the protocol asks for."""
    archs = dict.fromkeys(a for pair in pairs for a in (pair.teacher, pair.student))
    archs = {a: None for a in archs if spec.archs[a].checkpoint is None}
    others = {a: weights_of(spec, a) for a in archs if weights_of(spec, a) != spec.protocol.weights}
    scratch = [spec.archs[a].label for a, weights in others.items() if weights is None]
    notes = [f"Trained from scratch: {', '.join(scratch)}."] if scratch else []
    own = [f"{spec.archs[a].label}: {weights}" for a, weights in others.items() if weights]
    return [*notes, *([f"Initial weights of {'; of '.join(own)}."] if own else [])]


def _recipe_note(spec: Specification, pairs: Iterable[Pair]) -> list[str]:
    """The networks of a table whose recipe is not that of the protocol, and what it changes."""
    archs = dict.fromkeys(a for pair in pairs for a in (pair.teacher, pair.student))
    texts = [
        f"{spec.archs[arch].label}: "
        + ", ".join(f"{key} = {getattr(spec.recipes[arch], key)}" for key in changes)
        for arch, changes in spec.protocol.recipes.items()
        if arch in archs and changes
    ]
    return [f"Changed recipe of {'; of '.join(texts)}."] if texts else []


def _checkpoint_note(spec: Specification, pairs: Iterable[Pair]) -> list[str]:
    """Where the teachers come from that are not trained here."""
    texts = [
        f"{spec.archs[name].label}: {found.checkpoint.file} "
        f"(SHA-256 {found.checkpoint.sha256[:16]})"
        for name in dict.fromkeys(pair.teacher for pair in pairs)
        if (found := checkpoint_of(spec, name))
    ]
    return [f"Teachers that were trained elsewhere: {'; '.join(texts)}."] if texts else []


def _stand_in_note(spec: Specification, columns: dict[Pair, list[Pair]]) -> list[str]:
    """The data sets and networks that this protocol trains in place of those of the experiment."""
    labels = _labels(spec)
    others = dict.fromkeys(
        labels[here]
        for pair, originals in columns.items()
        for original in originals
        for here, name in zip(pair.names(), original.names(), strict=True)
        if here != name
    )
    if not others:
        return []
    text = f"Stand-ins of protocol {spec.user.protocol}: {', '.join(others)}."
    return [f"{text} {NOT_COMPARABLE}"]


def _labels(spec: Specification) -> dict[str, str]:
    """The labels of data sets and networks, by name."""
    return {name: entry.label for name, entry in (spec.datasets | spec.archs).items()}


def _column(spec: Specification, pair: Pair) -> str:
    teacher, student = spec.archs[pair.teacher].label, spec.archs[pair.student].label
    return f"{spec.datasets[pair.dataset].label}: {teacher} → {student}"
