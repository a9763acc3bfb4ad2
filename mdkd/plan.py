"""Expand the specification into unique runs and the cells of every artefact.

The workflow asks for runs, tables ask for cells. A cell names its runs, so runs are shared between
all artefacts that need them.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mdkd import keys, records, runfiles
from mdkd.config import Dataset, Method, Run, folder, named, number, parse
from mdkd.errors import UserError, nearest
from mdkd.kinds import KINDS
from mdkd.layout import Layout
from mdkd.published import PUBLISHED
from mdkd.runpath import DEFAULT, SUPERVISED_METHOD, RunPath, changes_of, slug
from mdkd.spec import Entry, Experiment, JobLimits, Pair, Specification

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
    panel: str | None = None  # in a sensitivity study: the setting that is varied ...
    x: float | None = None  # ... and its value


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
    metrics: list[str]
    rows: list[Row]
    notes: list[str]
    targets: list[str] = field(default_factory=list)  # groups that it belongs to
    options: dict[str, Any] = field(default_factory=dict)  # of its kind, see kinds.py

    @property
    def runs(self) -> list[str]:
        """Paths of all runs, each once, in the order of the table."""
        return list(dict.fromkeys(r for row in self.rows for cell in row.cells for r in cell.runs))

    @property
    def group(self) -> str:
        """The heading under which reports show the artefact."""
        groups = [target for target in self.targets if target != DOCUMENT]
        return (groups or ["further results" if self.targets else self.kind])[0].capitalize()

    @property
    def reported(self) -> bool:
        """Whether there are published numbers to compare with."""
        return any(cell.reported for row in self.rows for cell in row.cells)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The expanded specification: plain data, which the jobs of a workflow read from a file."""

    protocol: str = named()
    device: Literal["auto", "cpu", "cuda"]
    datasets: dict[str, Dataset]
    roots: dict[str, str]  # where each data set's files lie; changes no number
    runs: dict[str, Run]  # by path; teachers before their students
    artefacts: dict[str, Artefact]
    selected: list[str]  # the artefacts that are made if no target is named
    weights_folder: str = folder("weights")  # where ImageNet weights lie; changes no number
    store: str = folder("store")  # where trainings lie; changes no number
    checkpoint_minutes: float = number(0, 10**6, default=10.0)  # changes no number
    trainings_per_gpu: int = number(1, 64, default=1)  # changes no number
    stored_logits: Literal["auto", "never"] = "auto"  # changes no number
    container: str | None = None  # changes no number
    job_limits: JobLimits = field(default_factory=JobLimits)  # change no number
    asked: list[str] | None = None  # artefacts that this call makes; None: the selected ones

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, file: Path) -> "Plan":
        """The inverse of `to_json`, from a file.

        Raises:
            UserError: the file is not a plan, or its parts contradict each other.
        """
        fix = "name a plan that `snakemake` wrote, or run it again"
        plan = parse(cls, records.read_json(file, fix, fix), str(file))
        runfiles.check_plan(plan.runs, plan.datasets, str(file))
        used = {run for artefact in plan.artefacts.values() for run in artefact.runs}
        for what, names, known in (
            ("selected", [*plan.selected, *(plan.asked or [])], plan.artefacts),
            ("artefacts", sorted(used), plan.runs),
            ("roots", plan.datasets, plan.roots),
        ):
            for name in names:
                if name not in known:
                    raise UserError(f"{file}: {what}: '{name}' is not in the plan; {fix}")
        for name, artefact in plan.artefacts.items():
            if artefact.kind not in KINDS:
                hint = nearest(artefact.kind, KINDS)
                raise UserError(f"{file}: artefacts: {name}: kind: '{artefact.kind}'; {hint}")
            where = f"{file}: artefacts: {name}: options"
            parse(KINDS[artefact.kind].options, artefact.options, where)
        return plan

    def digest(self) -> str:
        """A name for the content of the plan."""
        return records.digest(replace(self, asked=None).to_json())[:12]

    def layout(self) -> Layout:
        """The folders of the plan."""
        return Layout(self.protocol, store_folder=self.store)

    def only(self, names: list[str]) -> "Plan":
        """The plan of some artefacts, with their runs, teachers and data sets."""
        artefacts = {name: self.artefacts[name] for name in names}
        paths = {path for artefact in artefacts.values() for path in artefact.runs}
        paths |= {teacher for path in paths if (teacher := self.runs[path].teacher)}
        runs = {path: run for path, run in self.runs.items() if path in paths}
        used = {run.dataset.name for run in runs.values()}
        datasets = {name: dataset for name, dataset in self.datasets.items() if name in used}
        return replace(self, artefacts=artefacts, runs=runs, datasets=datasets)

    def asked_by(self, targets: Iterable[str]) -> list[str]:
        """The artefacts that these targets make. A target that is a file counts for none."""
        known = self.targets() | {"all": self.selected}
        names = [name for target in targets or ["all"] for name in known.get(target, [])]
        return list(dict.fromkeys(names))

    def targets(self) -> dict[str, list[str]]:
        """Artefacts by target: each group, and each artefact unless a group has its name."""
        groups: dict[str, list[str]] = {}
        for name, artefact in self.artefacts.items():
            for target in artefact.targets:
                groups.setdefault(target, []).append(name)
        return {name: [name] for name in self.artefacts} | groups


def make_plan(spec: Specification) -> Plan:
    """All artefacts, and all runs that any of them needs, each once."""
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
        store=spec.user.store,
        checkpoint_minutes=spec.user.checkpoint_minutes,
        trainings_per_gpu=spec.user.trainings_per_gpu,
        stored_logits=spec.user.stored_logits,
        container=spec.user.container,
        job_limits=spec.user.job_limits,
    )


def resolve_dataset(spec: Specification, name: str) -> Dataset:
    """A data set by name, as trainings see it."""
    spec.lookup("datasets", name)
    return spec.resolved[name]


def resolve_root(spec: Specification, name: str) -> Path:
    """The folder that holds a data set's files."""
    return Path(spec.user.data_root) / spec.lookup("datasets", name).root


def resolve_run(spec: Specification, path: str) -> Run:
    """The run with this path (`mdkd.runpath`), whether any artefact needs it or not."""
    identity = RunPath.parse(path)
    teacher = teacher_key = None
    if identity.teacher is not None:
        spec.lookup("archs", identity.teacher, path)
        teacher = str(RunPath(identity.dataset, identity.teacher, spec.protocol.teacher_seed))
        teacher_key = keys.key(resolve_run(spec, teacher))
    settings = settings_of_variant(spec, identity.method, identity.variant, path)
    return Run(
        path=path,
        protocol=spec.user.protocol,
        dataset=resolve_dataset(spec, identity.dataset),
        arch=identity.arch,
        net=spec.lookup("archs", identity.arch, path).net,
        stem=spec.protocol.stem,
        weights=_weights(spec, identity.arch),
        head=spec.protocol.head,
        recipe=spec.protocol.recipe,
        method=Method(
            name=identity.method,
            revision=spec.methods[identity.method].revision,
            settings=settings,
        ),
        teacher=teacher,
        seed=identity.seed,
        teacher_key=teacher_key,
    )


def settings_of_variant(
    spec: Specification, method: str, variant: str, where: str
) -> dict[str, Any]:
    """All settings of a method in a variant (`mdkd.runpath.slug`)."""
    file = spec.lookup("methods", method, where)
    try:
        changes = changes_of(variant, file.settings)
    except ValueError:
        raise UserError(f"{where}: '{variant}': a number of {method} is not readable") from None
    changes = file.checked(changes, f"{where}: {method}")
    if slug(changes, file.settings) != variant:
        known = ", ".join(file.settings) or "none"
        raise UserError(f"{where}: '{variant}' is no variant of {method}; its settings: {known}")
    return file.settings | changes


def _artefact(spec: Specification, name: str, experiment: Experiment) -> Artefact:
    """The teacher's row, then one per method or point; one column per pair that is trained here."""
    where = f"{spec.folder}/experiments/{name}.yaml: methods"
    columns: dict[Pair, list[Pair]] = {}  # pairs that are trained, and those they stand for
    for pair in experiment.pairs:
        here = stand_in(spec, pair)
        if here.teacher != here.student:
            columns.setdefault(here, []).append(pair)
    if not columns:
        raise UserError(f"{where}: stand_ins of the protocol leave no pair of two networks")
    stood_in = any(pair not in originals for pair, originals in columns.items())
    published = spec.published[name]

    def reported(pair: Pair, row: str | int) -> dict[str, float]:
        return _reported(published, pair, row) if pair in columns[pair] else {}

    seed = spec.protocol.teacher_seed
    teachers = [
        Cell(
            runs=[str(RunPath(pair.dataset, pair.teacher, seed))],
            reported=reported(pair, "Teacher"),
        )
        for pair in columns
    ]
    rows = [Row(label="Teacher", role="teacher", cells=teachers)]
    for entry, panel, x in [*((e, None, None) for e in experiment.methods), *_points(spec, name)]:
        method = spec.methods[entry.method]
        variant = slug(entry.set, method.settings)
        label = method.label if variant == DEFAULT else f"{method.label} ({variant})"
        label = entry.label or label
        if label in [row.label for row in rows]:
            raise UserError(f"{where}: '{entry.method}' makes row '{label}' twice; remove one")
        cells = [
            _cell(spec, pair, entry.method, variant, reported(pair, entry.reported or label))
            for pair in columns
        ]
        is_student = entry.method == SUPERVISED_METHOD
        role: Literal["student", "method"] = "student" if is_student else "method"
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
            *([] if stood_in else _unidentified_note(published, experiment.methods)),
            *_scratch_note(spec, columns),
            *_stand_in_note(spec, columns),
        ],
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


def _points(spec: Specification, name: str) -> list[tuple[Entry, str, float]]:
    """The rows that the options of an experiment add, with the changed setting and its value."""
    experiment = spec.experiments[name]
    rows = []
    for method, key, x in KINDS[experiment.kind].options(**experiment.options).further_rows():
        where = f"{spec.folder}/experiments/{name}.yaml: options"
        base = experiment.base.get(method, {})
        changes = spec.lookup("methods", method, where).checked(
            base | {key: x}, f"{where}: {method}"
        )
        rows.append((Entry(method=method, set=changes, label=f"{key} = {x:g}"), key, float(x)))
    return rows


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
    spec: Specification, pair: Pair, method: str, variant: str, reported: dict[str, float]
) -> Cell:
    embeds_labels = spec.protocol.head.embeds_labels()
    if reason := spec.methods[method].unavailable(embeds_labels):
        return Cell(runs=[], unavailable=reason, reported=reported)
    teacher = None if method == SUPERVISED_METHOD else pair.teacher
    runs = [
        str(RunPath(pair.dataset, pair.student, seed, teacher, method, variant))
        for seed in spec.seeds
    ]
    return Cell(runs=runs, reported=reported)


def _weights(spec: Specification, arch: str) -> str | None:
    """Initial weights of a backbone. No CIFAR-style network has public ImageNet weights."""
    imagenet = spec.protocol.weights == "imagenet"
    return None if imagenet and spec.archs[arch].net.startswith("cifar:") else spec.protocol.weights


def _scratch_note(spec: Specification, pairs: Iterable[Pair]) -> list[str]:
    """The networks of a table that lack the initial weights that the protocol asks for."""
    archs = dict.fromkeys(a for pair in pairs for a in (pair.teacher, pair.student))
    names = [spec.archs[a].label for a in archs if _weights(spec, a) != spec.protocol.weights]
    return [f"Trained from scratch: {', '.join(names)}."] if names else []


def _stand_in_note(spec: Specification, columns: dict[Pair, list[Pair]]) -> list[str]:
    """The data sets and networks that this protocol trains in place of those of the experiment."""
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
