"""Expand the specification into unique runs and the cells of every artefact.

The workflow asks for runs, tables ask for cells (`mdkd.artefacts`). This is the only place where
the two meet.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mdkd import kinds, records, registry, runfiles
from mdkd.artefacts import Artefact, make_artefact
from mdkd.config import FOLDERS, Dataset, Run, folder, named, number, parse
from mdkd.errors import UserError, find, nearest
from mdkd.layout import Layout
from mdkd.resolve import resolve_root, resolve_run
from mdkd.spec import Specification
from mdkd.specfiles import JobLimits

DEFAULT, ALL = "default", "all"  # targets: what is made if none is named, and everything


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
    # Folders with plug-ins (mdkd.plugins): no number depends on where the code lies.
    plugins: list[str] = field(default_factory=list, metadata=FOLDERS)
    checkpoint_minutes: float = number(0, 10**6, default=10.0)  # changes no number
    trainings_per_gpu: int = number(1, 64, default=1)  # changes no number
    compile: Literal["default", "reduce-overhead"] | None = None  # changes the last bits
    deterministic: bool = False  # changes the last bits
    stored_logits: Literal["auto", "never"] = "auto"  # changes no number
    stored_pooled_gb: float = number(0, 10**6, default=5.0)  # changes no number
    container: str | None = None  # changes no number
    job_limits: JobLimits = field(default_factory=JobLimits)  # change no number
    # What is wrong with experiments that were left out, one line each, by target.
    broken: dict[str, list[str]] = field(default_factory=dict)
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
        registry.use(plan.plugins)
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
            if artefact.kind not in kinds.names():
                hint = nearest(artefact.kind, kinds.names())
                raise UserError(f"{file}: artefacts: {name}: kind: '{artefact.kind}'; {hint}")
            where = f"{file}: artefacts: {name}: options"
            parse(kinds.get(artefact.kind).options, artefact.options, where)
        # The file has its keys in the order of the alphabet.
        teachers_first = sorted(plan.runs.items(), key=lambda item: item[1].teacher is not None)
        return replace(plan, runs=dict(teachers_first))

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

    def members(self, target: str) -> list[str]:
        """The artefacts of a target; also of ``default``, made if none is named, and of ``all``.

        Raises:
            UserError: there is no such target.
        """
        groups = {DEFAULT: self.selected, ALL: list(self.artefacts)}
        return find(groups | self.targets(), target)

    def asked_by(self, targets: Iterable[str]) -> list[str]:
        """The artefacts that these targets make. A target that is a file counts for none."""
        known = self.targets() | {"all": self.selected}
        names = [name for target in targets or ["all"] for name in known.get(target, [])]
        return list(dict.fromkeys(names))

    def refuse_broken(self, targets: Iterable[str | None]) -> None:
        """Raise a UserError if one of the targets is, or contains, an experiment left out."""
        for target in targets:
            if target in self.broken:
                raise UserError(*self.broken[target])

    def left_out(self) -> list[str]:
        """One line for each mistake because of which experiments are left out, with their files."""
        files: dict[str, list[str]] = {}
        for line in dict.fromkeys("; ".join(lines) for lines in self.broken.values()):
            file, _, mistake = line.partition(": ")
            files.setdefault(mistake, []).append(file)
        return [f"{', '.join(sorted(those))}: {mistake}" for mistake, those in files.items()]

    def targets(self) -> dict[str, list[str]]:
        """Artefacts by target: each group, and each artefact unless a group has its name."""
        groups: dict[str, list[str]] = {}
        for name, artefact in self.artefacts.items():
            for target in artefact.targets:
                groups.setdefault(target, []).append(name)
        return {name: [name] for name in self.artefacts} | groups


def make_plan(spec: Specification) -> Plan:
    """All artefacts, and all runs that any of them needs, each once."""
    artefacts: dict[str, Artefact] = {}
    runs: dict[str, Run] = {}
    broken = dict(spec.broken)
    for name, experiment in spec.experiments.items():
        try:
            artefact = make_artefact(spec, name, experiment)
            runs |= _runs(spec, artefact, runs)
        except UserError as error:
            if name in spec.selected:
                raise
            broken[name] = error
        else:
            artefacts[name] = artefact
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
        plugins=spec.user.plugins,
        checkpoint_minutes=spec.user.checkpoint_minutes,
        trainings_per_gpu=spec.user.trainings_per_gpu,
        compile=spec.user.compile,
        deterministic=spec.user.deterministic,
        stored_logits=spec.user.stored_logits,
        stored_pooled_gb=spec.user.stored_pooled_gb,
        container=spec.user.container,
        job_limits=spec.user.job_limits,
        broken={
            target: list(error.args)
            for name, error in reversed(broken.items())
            for target in reversed(spec.targets_of(name))
        },
    )


def _runs(spec: Specification, artefact: Artefact, known: dict[str, Run]) -> dict[str, Run]:
    """The runs of an artefact that are not known yet, each teacher before its students."""
    runs: dict[str, Run] = {}
    for path in artefact.runs:
        if path in known or path in runs:
            continue
        run = resolve_run(spec, path)
        if run.teacher is not None and run.teacher not in known and run.teacher not in runs:
            runs[run.teacher] = resolve_run(spec, run.teacher)
        runs[path] = run
    return runs
