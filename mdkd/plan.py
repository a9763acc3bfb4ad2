"""Expand the specification into unique runs and the cells of every artefact.

Rules ask for runs, tables ask for cells; a cell names its runs, so everything that can be shared
is shared. Imports no torch: the workflow expands the plan at every start.
"""

import functools
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mdkd.config import Dataset, Method, Run, parse
from mdkd.errors import UserError
from mdkd.kinds import KINDS, Sensitivity
from mdkd.spec import NAME, PUBLISHED, Entry, Experiment, Pair, Specification

VARIANT = r"[A-Za-z0-9._-]+"
SEED = r"0|[1-9]\d*"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One place of a table: the runs it averages, or the reason why there can be none."""

    runs: list[str]
    unavailable: str | None = None
    reported: dict[str, float] = field(default_factory=dict)  # published, by metric; fractions


@dataclass(frozen=True, kw_only=True)
class Row:
    label: str
    role: Literal["teacher", "student", "method"]
    cells: list[Cell]  # one per column
    panel: str | None = None  # of a sensitivity study: the setting that is varied ...
    x: float | None = None  # ... and its value


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """All that a table or figure needs to know besides the records of its runs."""

    name: str
    kind: str
    title: str
    protocol: str
    seeds: list[int]
    pairs: list[Pair]
    columns: list[str]  # their names
    metrics: list[str]
    rows: list[Row]
    notes: list[str]
    targets: list[str] = field(default_factory=list)  # of the workflow, that make it
    options: dict[str, Any] = field(default_factory=dict)  # of its kind, see kinds.py

    @property
    def runs(self) -> list[str]:
        """Paths of all runs, each once, in the order of the table."""
        return list(dict.fromkeys(r for row in self.rows for cell in row.cells for r in cell.runs))

    @property
    def reported(self) -> bool:
        """Whether there are published numbers to compare with."""
        return any(cell.reported for row in self.rows for cell in row.cells)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The expanded specification: plain data, which the jobs of a workflow read from a file."""

    protocol: str
    device: str
    datasets: dict[str, Dataset]
    roots: dict[str, str]  # where each data set's files lie; changes no number
    runs: dict[str, Run]  # by path; teachers before their students
    artefacts: dict[str, Artefact]
    selected: list[str]  # the artefacts that are made if nothing is asked for by name
    weights_folder: str = "weights"  # where files of ImageNet weights lie; changes no number

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def only(self, names: list[str]) -> "Plan":
        """The plan of some artefacts, with their runs, teachers and data sets."""
        artefacts = {name: self.artefacts[name] for name in names}
        paths = {path for artefact in artefacts.values() for path in artefact.runs}
        paths |= {teacher for path in paths if (teacher := self.runs[path].teacher)}
        runs = {path: run for path, run in self.runs.items() if path in paths}
        used = {run.dataset.name for run in runs.values()}
        datasets = {name: dataset for name, dataset in self.datasets.items() if name in used}
        return replace(self, artefacts=artefacts, runs=runs, datasets=datasets)

    def targets(self) -> dict[str, list[str]]:
        """What can be asked for: groups of artefacts, and each one whose name is not a group's."""
        groups: dict[str, list[str]] = {}
        for name, artefact in self.artefacts.items():
            for target in artefact.targets:
                groups.setdefault(target, []).append(name)
        return {name: [name] for name in self.artefacts} | groups


def make_plan(spec: Specification) -> Plan:
    """Every artefact there is and every run that one of them needs, each once."""
    artefacts = {name: _artefact(spec, name, e) for name, e in spec.experiments.items()}
    runs: dict[str, Run] = {}
    for artefact in artefacts.values():
        for path in artefact.runs:
            if path in runs:
                continue
            run = resolve_run(spec, path)
            if run.teacher is not None and run.teacher not in runs:
                runs[run.teacher] = resolve_run(spec, run.teacher)
            runs[path] = run
    datasets = {run.dataset.name: run.dataset for run in runs.values()}
    return Plan(
        protocol=spec.user.protocol,
        device=spec.user.device,
        datasets=datasets,
        roots={name: str(resolve_root(spec, name)) for name in datasets},
        runs=runs,
        artefacts=artefacts,
        selected=spec.selected,
        weights_folder=spec.user.weights_folder,
    )


@functools.cache
def resolve_dataset(spec: Specification, name: str) -> Dataset:
    """A data set by name, with the protocol's changes to its options, all defaults filled in."""
    return Dataset(
        name=name,
        source=spec.lookup("datasets", name).source,
        image_size=spec.protocol.image_size,
        options=spec.source_options(name),
        **spec.cache_settings(name),
    )


def resolve_root(spec: Specification, name: str) -> Path:
    """The folder below which a data set's files lie."""
    return Path(spec.user.data_root) / spec.lookup("datasets", name).root


def resolve_run(spec: Specification, path: str) -> Run:
    """The run of an identity, whether any artefact asks for it or not.

    ``supervised/{dataset}/{arch}/seed{n}`` or
    ``distill/{dataset}/{teacher}--{student}/{method}/{variant}/seed{n}``.
    """
    supervised = re.fullmatch(rf"supervised/({NAME})/({NAME})/seed({SEED})", path)
    distilled = re.fullmatch(
        rf"distill/({NAME})/({NAME})--({NAME})/({NAME})/({VARIANT})/seed({SEED})", path
    )
    teacher, method, variant = None, "vanilla", "default"
    if supervised:
        dataset, arch, seed = supervised.groups()
    elif distilled:
        dataset, teacher_arch, arch, method, variant, seed = distilled.groups()
        spec.lookup("archs", teacher_arch, path)
        teacher = f"supervised/{dataset}/{teacher_arch}/seed{spec.protocol.teacher_seed}"
    else:
        raise UserError(
            f"{path}: not a run path; write supervised/DATASET/ARCH/seedN "
            "or distill/DATASET/TEACHER--STUDENT/METHOD/VARIANT/seedN"
        )
    settings = settings_of_variant(spec, method, variant, path)
    return Run(
        path=path,
        protocol=spec.user.protocol,
        dataset=resolve_dataset(spec, dataset),
        arch=arch,
        net=spec.lookup("archs", arch, path).net,
        stem=spec.protocol.stem,
        weights=_weights(spec, arch),
        head=spec.protocol.head,
        recipe=spec.protocol.recipe,
        method=Method(name=method, revision=spec.methods[method].revision, settings=settings),
        teacher=teacher,
        seed=int(seed),
    )


def check_identity(run: Run, where: str) -> None:
    """Hold a run that a user wrote to its path, the folder that its results go to."""
    if run.teacher is None:
        path = f"supervised/{run.dataset.name}/{run.arch}/seed{run.seed}"
        right = run.path == path
    else:
        path = f"distill/{run.dataset.name}/TEACHER--{run.arch}/{run.method.name}/VARIANT"
        pattern = path.replace("TEACHER", NAME).replace("VARIANT", VARIANT)
        path += f"/seed{run.seed}"
        right = re.fullmatch(f"{pattern}/seed{run.seed}", run.path) is not None
    if not right:
        raise UserError(f"{where}: path: '{run.path}' contradicts the other keys; write {path}")


def variant_of(spec: Specification, method: str, changes: dict[str, Any]) -> str:
    """The slug of what differs from the defaults, such as ``bd3-0.5_bd4-0``, or ``default``."""
    defaults = spec.settings(method)
    parts = []
    for key in sorted(changes):
        value = changes[key]
        if value != defaults[key]:
            text = value if isinstance(value, str) else format(value, "g").replace("e+", "e")
            parts.append(f"{key}-{text}")
    return "_".join(parts) or "default"


def settings_of_variant(
    spec: Specification, method: str, variant: str, where: str
) -> dict[str, Any]:
    """The inverse of `variant_of`: all settings of a method under a slug."""
    settings = spec.settings(method, where)
    if variant == "default":
        return settings
    keys = "|".join(sorted(map(re.escape, settings), key=len, reverse=True)) or "(?!)"
    changes: dict[str, Any] = {}
    for key, text in re.findall(rf"(?:^|_)({keys})-(.+?)(?=_(?:{keys})-|$)", variant):
        try:
            changes[key] = text if isinstance(settings[key], str) else float(text)
        except ValueError:
            raise UserError(f"{where}: '{text}' is no number for {method}'s {key}") from None
    changes = spec.changed_settings(method, changes, where)
    if variant_of(spec, method, changes) != variant:
        known = ", ".join(settings) or "none"
        raise UserError(f"{where}: '{variant}' is no variant of {method}; its settings: {known}")
    return settings | changes


def _artefact(spec: Specification, name: str, experiment: Experiment) -> Artefact:
    """Rows Teacher, then one per method or point; one column per pair that is trained here."""
    where = f"{spec.folder}/experiments/{name}.yaml: methods"
    columns: dict[Pair, list[Pair]] = {}  # pairs trained here, and those they stand for
    for pair in experiment.pairs:
        here = spec.stand_in(pair)
        if here.teacher != here.student:
            columns.setdefault(here, []).append(pair)
    if not columns:
        raise UserError(f"{where}: stand_ins of the protocol leave no pair of two networks")
    stood_in = any(pair not in originals for pair, originals in columns.items())
    published = spec.reported(experiment)
    entries = [_entry(entry, where) for entry in experiment.methods]
    teacher = [
        Cell(
            runs=[f"supervised/{pair.dataset}/{pair.teacher}/seed{spec.protocol.teacher_seed}"],
            reported=_reported(published, pair, "Teacher") if pair in columns[pair] else {},
        )
        for pair in columns
    ]
    rows = [Row(label="Teacher", role="teacher", cells=teacher)]
    for entry, panel, x in [*((e, None, None) for e in entries), *_points(experiment)]:
        method = spec.lookup("methods", entry.method, where)
        changes = experiment.base.get(entry.method, {}) | entry.set
        changes = spec.changed_settings(entry.method, changes, where)
        variant = variant_of(spec, entry.method, changes)
        label = method.label if variant == "default" else f"{method.label} ({variant})"
        label = entry.label or label
        if label in [row.label for row in rows]:
            raise UserError(f"{where}: '{entry.method}' makes row '{label}' twice; remove one")
        cells = [
            _cell(
                spec,
                pair,
                entry.method,
                variant,
                _reported(published, pair, entry.reported or label) if pair in originals else {},
            )
            for pair, originals in columns.items()
        ]
        role: Literal["student", "method"] = "student" if entry.method == "vanilla" else "method"
        rows.append(Row(label=label, role=role, cells=cells, panel=panel, x=x))
    return Artefact(
        name=name,
        kind=experiment.kind,
        title=experiment.title,
        protocol=spec.user.protocol,
        seeds=spec.seeds,
        pairs=list(columns),
        columns=[_column(spec, pair) for pair in columns],
        metrics=experiment.metrics,
        rows=rows,
        notes=[
            *experiment.notes,
            *([] if stood_in else experiment.paper_notes),
            *([] if stood_in else _unidentified_note(published, entries)),
            *_scratch_note(spec, columns),
            *_stand_in_note(spec, columns),
        ],
        targets=experiment.targets,
        options=asdict(KINDS[experiment.kind].options(**experiment.options)),
    )


def _points(experiment: Experiment) -> list[tuple[Entry, str, float]]:
    """The rows of a sensitivity study: one setting at a time takes each of its values."""
    if experiment.kind != "sensitivity":
        return []
    options = Sensitivity(**experiment.options)
    return [
        (
            Entry(method=options.method, set={key: x}, label=f"{key} = {x:g}"),
            key,
            float(x),
        )
        for key in options.settings
        for x in options.points
    ]


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
    """Published rows that are numbered and of which nobody can tell what they show."""
    known = {str(entry.reported) for entry in entries}
    rows = [line for line in published if "row" in line and line["row"] not in known]
    texts = (f"row {line['row']}: {' / '.join(line[key] for key in PUBLISHED)}" for line in rows)
    return [f"Published, but of settings unknown: {'; '.join(texts)}."] if rows else []


def _cell(
    spec: Specification, pair: Pair, method: str, variant: str, reported: dict[str, float]
) -> Cell:
    if reason := _unavailable(spec, method):
        return Cell(runs=[], unavailable=reason, reported=reported)
    if method == "vanilla":
        stem = f"supervised/{pair.dataset}/{pair.student}"
    else:
        stem = f"distill/{pair.dataset}/{pair.teacher}--{pair.student}/{method}/{variant}"
    return Cell(runs=[f"{stem}/seed{seed}" for seed in spec.seeds], reported=reported)


def _unavailable(spec: Specification, method: str) -> str | None:
    """Why a method cannot run under this protocol's head, or None."""
    head = spec.protocol.head
    label_wise = head.kind == "mldecoder" and head.queries is None
    if "embeddings" in spec.methods[method].needs and not label_wise:
        return "needs one embedding per label (head mldecoder, queries null)"
    return None


def _weights(spec: Specification, arch: str) -> str | None:
    """Initial weights of a backbone: no CIFAR-style network has public ImageNet weights."""
    imagenet = spec.protocol.weights == "imagenet"
    return None if imagenet and spec.archs[arch].net.startswith("cifar:") else spec.protocol.weights


def _scratch_note(spec: Specification, pairs: Iterable[Pair]) -> list[str]:
    """Which networks of a table lack the initial weights that the protocol asks for."""
    archs = dict.fromkeys(a for pair in pairs for a in (pair.teacher, pair.student))
    names = [spec.archs[a].label for a in archs if _weights(spec, a) != spec.protocol.weights]
    return [f"Trained from scratch: {', '.join(names)}."] if names else []


def _stand_in_note(spec: Specification, columns: dict[Pair, list[Pair]]) -> list[str]:
    """What this protocol trains in place of what the experiment names."""
    labels = {key: entry.label for key, entry in (spec.datasets | spec.archs).items()}
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
    return [f"{text} Not comparable with published numbers."]


def _column(spec: Specification, pair: Pair) -> str:
    teacher, student = spec.archs[pair.teacher].label, spec.archs[pair.student].label
    return f"{spec.datasets[pair.dataset].label}: {teacher} → {student}"


def _entry(entry: Any, where: str) -> Entry:
    """A row in any of the three ways in which an experiment may write it."""
    if isinstance(entry, str):
        return Entry(method=entry)
    if isinstance(entry, dict) and "method" in entry:
        return parse(Entry, entry, where)
    if isinstance(entry, dict) and len(entry) == 1:
        ((method, changes),) = entry.items()
        return parse(Entry, {"method": method, "set": changes}, where)
    raise UserError(f"{where}: {entry!r}: write a name, one name with its settings, or method:")
