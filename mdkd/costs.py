"""What a plan costs: runs, sharing, hours and disk of every artefact, as far as it is not yet made.

The time of a training is images / speed, and the inverse speed of a distillation that of its
student's training plus that of its teacher's inference. A speed is, in this order:

1. the median of the finished runs of the same networks and method,
2. the median of the finished runs of the same networks, whatever the method,
3. put together from those of both networks, each the median of its finished supervised runs, or
   what stands in ``rates.yaml``.

Decoding, drawing, validation and the pass over the test images are left out. Imports no torch.
"""

import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

from mdkd import records
from mdkd.config import Dataset, Head, Run, parse, read_yaml
from mdkd.errors import UserError, nearest
from mdkd.plan import Artefact, Plan
from mdkd.results import Results

RATES = Path("config/rates.yaml")
FOR_GPUS = 128  # px; with `device: auto` and no run yet, larger images are meant for GPUs
LABELS = 20  # of a data set whose cache and options do not tell: as many as VOC and the scenes have
TIMES = {"s": 1 / 3600, "min": 1 / 60, "h": 1}  # in hours
SIZES = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}  # in bytes

Origin = Literal["measured", "tabulated", "guessed"]
ORIGINS: tuple[Origin, ...] = ("measured", "tabulated", "guessed")  # each worse than the last


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """Speeds of networks on one kind of device; see ``rates.yaml``."""

    device: str
    image_size: int  # pixels on a side
    stem: str  # of the CIFAR-style networks
    efficiency: float  # in (0, 1]
    inference: float  # over training
    training: dict[str, float]  # images/s, by net
    guessed: list[str] = field(default_factory=list)  # nets
    methods: dict[str, float] = field(default_factory=dict)  # time of a step; 1 if not named


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a backbone leaves on the disk."""

    parameters: int
    channels: int  # of its last map, which the head reads


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The content of ``rates.yaml``."""

    gpu: Speeds
    cpu: Speeds
    sizes: dict[str, Size]  # by net


class Pace(NamedTuple):
    """Seconds that one training image takes, and how one knows."""

    seconds: float
    origin: Origin


class Cost(NamedTuple):
    """One artefact's share of a plan. None: it cannot be told."""

    name: str
    kind: str
    cells: int
    runs: list[str]
    own: list[str]  # runs that no artefact before it needs
    hours: float | None  # of the own runs that are not done
    disk: float | None  # bytes of all own runs, and of caches that no artefact before it needs


class Estimator:
    """Hours and bytes of single runs, from what stands in the results and in ``rates.yaml``."""

    def __init__(self, plan: Plan, results: Results, rates: Rates):
        self.plan, self.rates = plan, rates
        self.states = {path: results.state(path) for path in plan.runs}
        self.done = {p: results.record(p) for p, state in self.states.items() if state == "done"}
        self.metas = {name: _meta(d, results) for name, d in plan.datasets.items()}
        self.on_gpu = _on_gpu(plan, [r["environment"]["device"] for r in self.done.values()])
        self.speeds = rates.gpu if self.on_gpu else rates.cpu
        self.measured: dict[tuple, list[float]] = defaultdict(list)  # seconds per image
        self.parameters: dict[str, int] = {}  # of backbone and head, by net
        self.processors: set[str] = set()  # of the measured runs
        for path, record in self.done.items():
            run, environment = plan.runs[path], record["environment"]
            sizes = record["parameters"]
            self.parameters[run.net] = sizes["backbone"] + sizes["head"]
            if (environment["device"] != "cpu") == self.on_gpu:
                seconds, nets = 1 / record["images_per_s"], self.nets(run)
                self.measured[*nets, run.method.name].append(seconds)
                self.measured[nets].append(seconds / self._factor(run))
                self.processors.add(environment["device" if self.on_gpu else "cpu"])

    def hours_left(self, run: Run) -> float | None:
        """Duration of the training, 0 if it is done; GPU-hours, or core-hours on the CPU."""
        if run.path in self.done:
            return 0.0
        images, pace = self.images(run.dataset), self.pace(run)
        if images is None or pace is None:
            return None
        steps = images["train"] // run.recipe.batch_size * run.recipe.epochs
        return steps * run.recipe.batch_size * pace.seconds / 3600

    def pace(self, run: Run) -> Pace | None:
        """How long a training image of a run takes."""
        nets = self.nets(run)
        if times := self.measured.get((*nets, run.method.name)):
            return Pace(median(times), "measured")
        if times := self.measured.get(nets):
            return Pace(self._factor(run) * median(times), "measured")
        student = self.supervised(run.net, run)
        if student is None or nets[1] is None:
            return student
        teacher = self.supervised(nets[1], run)
        if teacher is None:
            return None
        seconds = student.seconds + teacher.seconds / self.speeds.inference
        origin = max(student.origin, teacher.origin, key=ORIGINS.index)
        return Pace(self._factor(run) * seconds, origin)

    def supervised(self, net: str, run: Run) -> Pace | None:
        """How long an image takes where one of the nets of ``run`` is trained without a teacher."""
        if times := self.measured.get((net, None)):
            return Pace(median(times), "measured")
        speeds = self.speeds
        other_stem = net.startswith("cifar:") and run.stem != speeds.stem
        if net not in speeds.training or other_stem:
            return None
        pixels = (run.dataset.image_size / speeds.image_size) ** 2
        seconds = pixels / (speeds.efficiency * speeds.training[net])
        return Pace(seconds, "guessed" if net in speeds.guessed else "tabulated")

    def nets(self, run: Run) -> tuple[str, str | None]:
        """The student and the teacher."""
        return run.net, self.plan.runs[run.teacher].net if run.teacher else None

    def _factor(self, run: Run) -> float:
        return self.speeds.methods.get(run.method.name, 1.0)

    def disk(self, run: Run) -> float | None:
        """Bytes of a run's weights and predictions, both float32; all else is small."""
        images, labels = self.images(run.dataset), self._labels(run.dataset)
        parameters = self.parameters.get(run.net)
        if parameters is None and run.net in self.rates.sizes:
            size = self.rates.sizes[run.net]
            parameters = size.parameters + head_parameters(run.head, size.channels, labels)
        if images is None or parameters is None:
            return None
        return 4 * (parameters + images["test"] * labels)

    def cache(self, dataset: Dataset) -> float | None:
        """Bytes of a data set's pixels."""
        images = self.images(dataset)
        return sum(images.values()) * 3 * dataset.image_size**2 if images else None

    def images(self, dataset: Dataset) -> dict[str, int] | None:
        """Images of every split: those in the cache, or those that the options announce."""
        if meta := self.metas[dataset.name]:
            return {name: split["images"] for name, split in meta["splits"].items()}
        options = dataset.options
        train, test = (
            options.get(f"{split}_images", options.get(split)) for split in ("train", "test")
        )
        if not isinstance(train, int) or not isinstance(test, int):
            return None
        val = round(train * dataset.val)
        return {"train": train - val, "val": val, "test": test}

    def _labels(self, dataset: Dataset) -> int:
        if meta := self.metas[dataset.name]:
            return len(meta["classes"])
        return dataset.options.get("labels") or LABELS


def _meta(dataset: Dataset, results: Results) -> dict[str, Any] | None:
    """The record of a data set's cache, unless it was made under other settings or not at all."""
    file = results.cache(dataset.name) / "meta.json"
    if not file.exists():
        return None
    meta = records.read_json(file)
    planned = records.canonical(asdict(dataset))
    return meta if records.canonical(meta.get("dataset")) == planned else None


def _on_gpu(plan: Plan, used: list[str]) -> bool:
    """Whether hours are those of GPUs; ``used`` are the devices of the finished runs.

    What ``auto`` will find is not looked up: a plan is often made on a machine that trains nothing.
    """
    if plan.device != "auto":
        return plan.device == "cuda"
    if used:
        return 2 * used.count("cpu") < len(used)
    return max((d.image_size for d in plan.datasets.values()), default=0) >= FOR_GPUS


def head_parameters(head: Head, channels: int, labels: int) -> int:
    """Parameters of a head on a map of ``channels`` (`mdkd.models.heads`).

    >>> head_parameters(Head(kind="gap"), 512, 20)
    10260
    """
    if head.kind == "gap":
        return (channels + 1) * labels
    width, hidden = head.width, head.feedforward
    project, attention = (channels + 1) * width, 4 * (width + 1) * width
    feedforward = 2 * width * hidden + width + hidden
    norms, classifiers = 3 * 2 * width, (width + 1) * labels
    return project + attention + feedforward + norms + classifiers


def needed(artefact: Artefact, plan: Plan) -> list[str]:
    """Paths of an artefact's runs and of their teachers, each once."""
    paths = artefact.runs
    teachers = [t for path in paths if (t := plan.runs[path].teacher)]
    return list(dict.fromkeys([*teachers, *paths]))


def costs(estimator: Estimator) -> list[Cost]:
    """One entry per artefact, in the plan's order: own runs, hours and bytes add up to the plan."""
    plan = estimator.plan
    seen: set[str] = set()  # paths of runs
    cached: set[str] = set()  # names of data sets
    lines = []
    for name, artefact in plan.artefacts.items():
        paths = needed(artefact, plan)
        own = [path for path in paths if path not in seen]
        datasets = {plan.runs[path].dataset.name for path in own} - cached
        hours = _sum(estimator.hours_left(plan.runs[path]) for path in own)
        disk = [estimator.disk(plan.runs[path]) for path in own]
        disk += [estimator.cache(plan.datasets[dataset]) for dataset in datasets]
        lines.append(Cost(name, artefact.kind, _cells(artefact), paths, own, hours, _sum(disk)))
        seen.update(own)
        cached |= datasets
    return lines


def _cells(artefact: Artefact) -> int:
    return sum(len(row.cells) for row in artefact.rows)


def _sum(values: Iterable[float | None]) -> float | None:
    values = list(values)
    return None if None in values else sum(value for value in values if value is not None)


def overview(plan: Plan, results: Results, rates: Path = RATES) -> str:
    """Text for a terminal: a line per artefact, totals, what would run now, and how one knows."""
    estimator = Estimator(plan, results, parse(Rates, read_yaml(rates), str(rates)))
    lines = costs(estimator)
    time = "GPU time" if estimator.on_gpu else "core time"
    table = [
        ["", "kind", "cells", "runs", "own", "done", "failed", "to do", time, "disk"],
        *(_texts(line, estimator) for line in [*lines, _total(lines)]),
    ]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    formats = [f"{{:{'<' if i < 2 else '>'}{width}}}" for i, width in enumerate(widths)]
    text = ["  ".join(formats).format(*row) for row in table]
    notes = [
        f"own: runs that no line above needs; {time} of those to train, disk of all with caches.",
        _now(lines, estimator),
        *_assumptions(estimator, rates),
        *_unknown(estimator, rates),
    ]
    heading = f"Protocol {plan.protocol}: {len(plan.runs)} runs for {len(lines)} artefacts."
    wrapped = (textwrap.fill(note, 100, subsequent_indent="  ") for note in notes)
    return "\n".join([heading, "", *text, "", *wrapped])


def _texts(line: Cost, estimator: Estimator) -> list[str]:
    states = Counter(estimator.states[path] for path in line.runs)
    counts = [line.cells, len(line.runs), len(line.own), states["done"], states["failed"]]
    left = states["to do"] + states["other settings"]
    name = f"* {line.name}" if line.name in estimator.plan.selected else f"  {line.name}"
    amounts = [amount(line.hours, TIMES), amount(line.disk, SIZES)]
    return [name, line.kind, *map(str, [*counts, left]), *amounts]


def _total(lines: list[Cost]) -> Cost:
    own = [path for line in lines for path in line.own]
    cells = sum(line.cells for line in lines)
    hours, disk = sum(line.hours or 0 for line in lines), sum(line.disk or 0 for line in lines)
    return Cost("total", "", cells, own, own, hours, disk)


def _now(lines: list[Cost], estimator: Estimator) -> str:
    """What the workflow would do if nothing was asked for by name."""
    plan, states = estimator.plan, estimator.states
    paths = {path for line in lines if line.name in plan.selected for path in line.runs}
    left = [path for path in paths if states[path] != "done"]
    if not left:
        return f"* selected: all of {len(paths)} runs are done."
    why = Counter(states[path] for path in left if states[path] != "to do")
    reasons = ", ".join(f"{why[reason]} {reason}" for reason in sorted(why))
    time = amount(_sum(estimator.hours_left(plan.runs[path]) for path in left), TIMES)
    which = f"{len(left)} of {len(paths)} runs{f' ({reasons})' if reasons else ''}"
    return f"* selected: {which} are left and would be made now, {time}."


def _assumptions(estimator: Estimator, rates: Path) -> list[str]:
    """Where the speeds come from, by their share of the time."""
    speeds, runs = estimator.speeds, estimator.plan.runs.values()
    hours: dict[Origin, float] = dict.fromkeys(ORIGINS, 0.0)
    guessed: set[str | None] = set()
    for run in runs:
        if (pace := estimator.pace(run)) and (left := estimator.hours_left(run)):
            hours[pace.origin] += left
            guessed |= set(estimator.nets(run)) if pace.origin == "guessed" else set()
    scaled = {run.dataset.image_size for run in runs} - {speeds.image_size}
    table = f"in {rates} for {speeds.device} at {speeds.image_size} px"
    table += f", scaled to {max(scaled)} px by pixels" if scaled else ""
    texts = {
        "measured": f"measured here on {', '.join(sorted(estimator.processors))}",
        "tabulated": f"tabulated {table}",
        "guessed": f"partly guessed {table}: {', '.join(sorted({*speeds.guessed} & guessed))}",
    }
    return [
        f"Speeds behind {100 * part / sum(hours.values()):.0f} % of the time: {texts[origin]}."
        for origin, part in sorted(hours.items(), key=lambda item: -item[1])
        if part
    ]


def _unknown(estimator: Estimator, rates: Path) -> list[str]:
    """Why hours or bytes are n/a, and what helps."""
    plan, notes = estimator.plan, []
    slow = {
        f"{net} (stem {run.stem})" if net.startswith("cifar:") else net
        for run in plan.runs.values()
        if estimator.pace(run) is None and run.path not in estimator.done
        for net in estimator.nets(run)
        if net and estimator.supervised(net, run) is None
    }
    if slow:
        names = ", ".join(sorted(slow))
        notes.append(f"n/a: no speed of {names} on {estimator.speeds.device}: extend {rates}.")
    known = estimator.parameters.keys() | estimator.rates.sizes.keys()
    if nets := {run.net for run in plan.runs.values()} - known:
        notes.append(f"n/a: no size of {', '.join(sorted(nets))}: extend {rates}.")
    for name, dataset in plan.datasets.items():
        if estimator.images(dataset) is None:
            notes.append(f"n/a: {name} says how many images it has once `mdkd cache {name}` ran.")
    return [*notes, "The totals are without n/a."] if notes else []


def amount(value: float | None, units: dict[str, float]) -> str:
    """A quantity in the largest of ``units`` that it fills, or in the first; None is n/a.

    >>> [amount(value, {"m": 1, "km": 1000}) for value in (None, 0, 0.14, 52, 1234, 2e6)]
    ['n/a', '0', '0.1 m', '52 m', '1.2 km', '2,000 km']
    """
    if not value:
        return "n/a" if value is None else "0"
    unit = [name for name, size in units.items() if value >= size or name == next(iter(units))][-1]
    number = value / units[unit]
    return f"{number:.1f} {unit}" if number < 9.95 else f"{number:,.0f} {unit}"


def listing(plan: Plan, results: Results, name: str | None = None) -> str:
    """Every run of an artefact, or of all, with its state, its length and what shares it."""
    if name is not None and name not in plan.artefacts:
        raise UserError(f"{name}: not in the plan; {nearest(name, plan.artefacts)}")
    users: dict[str, list[str]] = {path: [] for path in plan.runs}
    for key, artefact in plan.artefacts.items():
        for path in needed(artefact, plan):
            users[path].append(key)
    lines = []
    for path, run in plan.runs.items():
        if name is None or name in users[path]:
            length = f"{run.recipe.epochs} epochs of {run.dataset.name}"
            lines.append(f"{results.state(path):14} {path}  ({length}; {', '.join(users[path])})")
    shown = plan.artefacts.values() if name is None else [plan.artefacts[name]]
    what = f"protocol {plan.protocol}" if name is None else name
    return "\n".join([*lines, f"{what}: {len(lines)} runs for {sum(map(_cells, shown))} cells"])
