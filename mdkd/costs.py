"""What a plan costs: hours, disk and memory of every run, and how artefacts share runs.

The time of a training is its images over its speed. The time of a distilled image is the time of
its student's training plus the time of its teacher's inference. A speed is, in this order:

1. the median of the finished runs of the same networks and method,
2. the median of the finished runs of the same networks, with any method,
3. combined from the speeds of both networks. Each is the median of its finished supervised runs, or
   the value in ``rates.yaml``.

A run that reads stored outputs (`mdkd.logits`) does not take the time of its teacher. Storing them
takes that time once.

Decoding, drawing and the pass over the test images are not included. A measured speed is that of a
whole training: it includes validation, gradient probes and checkpoints. Other speeds do not.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any, Literal, NamedTuple

from mdkd import logits
from mdkd.artefacts import Artefact
from mdkd.config import Dataset, Head, Run
from mdkd.data.cache import read_meta
from mdkd.layout import Layout
from mdkd.plan import Plan
from mdkd.rates import Rates, Size, Speeds
from mdkd.results import Results

FOR_GPUS = 128  # px; with `device: auto` and no run yet, larger images are meant for GPUs
LABELS = 20  # of a data set whose cache and options do not say it: as many as VOC and scenes have
SIZE_OF_ACTIVATIONS = 224  # px, of the images that `Size.activations` is about
LARGER_MAPS = {"imagenet": 1, "small": 4, "cifar": 16}  # pixels of maps behind a stem, relative

# Memory of a job on the host, in bytes. Measured without a GPU: 0.8 GB for the smallest training,
# 7.0 GB for ResNet-101 at 224 px in batches of 32, 3.7 GB for ResNet-101 -> ResNet-34.
PROCESS = 1.2e9  # Python, torch and timm
PROCESS_WITH_GPU = 6e9  # and the libraries of CUDA, and batches in pinned memory
TRAINED, FROZEN = 16, 4  # bytes per parameter: weights, gradients and Adam's moments; weights alone
FORWARD_PART = 0.3  # of a network's activations that its forward pass alone holds at a time
MARGIN = 1.25  # on all of it
SLOWEST = 3.0  # hours asked for, over estimated hours
LEAST_MINUTES, UNKNOWN_MINUTES = 30, 1440
DECODED_PER_S = 100  # images, on one core: a third of what one core of an AMD EPYC decodes

Origin = Literal["measured", "tabulated", "guessed"]
ORIGINS: tuple[Origin, ...] = ("measured", "tabulated", "guessed")  # each worse than the last


class Pace(NamedTuple):
    """Seconds that one training image takes, and where the number comes from."""

    seconds: float
    origin: Origin


class Cost(NamedTuple):
    """One artefact's share of a plan. None: not known."""

    name: str
    kind: str
    cells: int
    runs: list[str]
    own: list[str]  # runs that no earlier artefact needs
    hours: float | None  # of the own runs that are not done, and of the outputs stored for them
    disk: float | None  # bytes of all own runs, and of stores and caches that none before needs


class Estimator:
    """Hours, disk and memory of a run, from ``rates.yaml`` and, after `learn`, from records."""

    def __init__(self, plan: Plan, rates: Rates, layout: Layout):
        self.plan, self.rates, self.layout = plan, rates, layout
        self.metas = {name: read_meta(d, layout) for name, d in plan.datasets.items()}
        self.on_gpu = _on_gpu(plan, [])
        self.states: dict[str, str] = dict.fromkeys(plan.runs, "to do")
        self.done: dict[str, dict[str, Any]] = {}  # the records of finished runs
        self.measured: dict[tuple, list[float]] = defaultdict(list)  # seconds per image
        self.parameters: dict[str, int] = {}  # of backbone and head, by net
        self.processors: set[str] = set()  # of the measured runs
        self.storing: dict[str, list[float]] = defaultdict(list)  # seconds per image, by teacher
        self.stores = self.worthwhile(set(plan.runs))  # runs that will read, by path

    @property
    def speeds(self) -> Speeds:
        return self.rates.gpu if self.on_gpu else self.rates.cpu

    def learn(self, results: Results, states: Mapping[str, str] | None = None) -> "Estimator":
        """Take states, speeds and sizes from the records of the plan's runs.

        Args:
            states: of all runs, if they are known already; only "done" matters.
        """
        if states is None:
            states = {path: results.state(path) for path in self.plan.runs}
        self.states = dict(states)
        self.done = {p: results.record(p) for p, state in self.states.items() if state == "done"}
        devices = [record["environment"]["device"] for record in self.done.values()]
        self.on_gpu = _on_gpu(self.plan, devices)
        for path, record in self.done.items():
            run, environment = self.plan.runs[path], record["environment"]
            if run.checkpoint:
                continue  # its speed is not that of a training
            sizes = record["parameters"]
            self.parameters[run.net] = sizes["backbone"] + sizes["head"]
            if (environment["device"] != "cpu") == self.on_gpu:
                seconds, nets = 1 / record["images_per_s"], self.nets(run)
                if speed := record.get("stored_logits_images_per_s"):
                    self.storing[str(nets[1])].append(1 / speed)
                    seconds += 1 / speed  # as if the teacher had been computed in the run
                self.measured[*nets, run.method.name].append(seconds)
                self.measured[nets].append(seconds / self._factor(run))
                self.processors.add(environment["device" if self.on_gpu else "cpu"])
        self.stores = self.worthwhile(self.plan.runs.keys() - self.done.keys())
        return self

    def worthwhile(self, left: set[str]) -> dict[str, list[str]]:
        """The stored outputs that pay for the runs ``left`` to train (`logits.worthwhile`)."""
        return logits.worthwhile(self.plan, left, self.layout, self._affordable)

    def _affordable(self, run: Run, kind: str) -> bool:
        """Whether the pooled vectors of a store, if it holds some, keep to `stored_pooled_gb`."""
        images, channels = self._images_of_training(run), self._channels(run, kind)
        if images is None or channels is None:
            return kind == "logits"
        return 4 * images * channels <= 1e9 * self.plan.stored_pooled_gb

    def hours_left(self, run: Run, live: bool = False) -> float | None:
        """Duration of the training, 0 if it is done; GPU-hours, or core-hours on the CPU.

        Args:
            live: assume that the teacher computes in the run.
        """
        if run.path in self.done or run.checkpoint:
            return 0.0
        images, pace = self._images_of_training(run), self.pace(run)
        if images is None or pace is None:
            return None
        seconds = pace.seconds
        if not live and any(run.path in readers for readers in self.stores.values()):
            seconds -= self._teacher_seconds(run) or 0.0
        return images * seconds / 3600

    def logits_hours(self, run: Run, kind: str = "logits") -> float | None:
        """Duration of storing what the run reads; 0 if it is there."""
        if logits.entry(run, self.layout, kind).record() is not None:
            return 0.0
        images, seconds = self._images_of_training(run), self._teacher_seconds(run)
        return None if images is None or seconds is None else images * seconds / 3600

    def logits_disk(self, run: Run, kind: str = "logits") -> float | None:
        """Bytes of the stored outputs that the run reads."""
        images, channels = self._images_of_training(run), self._channels(run, kind)
        if images is None or channels is None:
            return None
        bytes_each = 2 if run.recipe.teacher_logits == "float16" and not channels else 4
        return images * bytes_each * (self._labels(run.dataset) + channels)

    def _channels(self, run: Run, kind: str) -> int | None:
        """The channels of the pooled vectors in a store that the run reads."""
        if kind == "logits":
            return 0
        size = self.rates.sizes.get(str(self.nets(run)[1]))
        return size.channels if size else None

    def _images_of_training(self, run: Run) -> int | None:
        """The number of images that a network sees in the whole training."""
        images = self.images(run.dataset)
        if images is None:
            return None
        size = run.recipe.batch_size
        return images["train"] // size * size * run.recipe.epochs

    def _teacher_seconds(self, run: Run) -> float | None:
        """The time in which the teacher of a run computes the logits of an image."""
        teacher = str(self.nets(run)[1])
        if times := self.storing.get(teacher):
            return median(times)
        pace = self.supervised(teacher, run)
        return pace and pace.seconds / self.speeds.inference

    def pace(self, run: Run) -> Pace | None:
        """The time of a training image of a run."""
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
        """The time of an image if one of the nets of ``run`` is trained without a teacher."""
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
        """Bytes of a run's weights and predictions, both float32; its other files are small."""
        images, labels = self.images(run.dataset), self._labels(run.dataset)
        parameters = self.parameters.get(run.net)
        if parameters is None and run.net in self.rates.sizes:
            size = self.rates.sizes[run.net]
            parameters = size.parameters + head_parameters(run.head, size.channels, labels)
        if images is None or parameters is None:
            return None
        predicted = images["test"] + images.get("val", 0)
        return 4 * (parameters + predicted * labels)

    def memory(self, run: Run) -> int | None:
        """Bytes of main memory to ask for a training of the run, with a margin."""
        nets = [net for net in self.nets(run) if net]
        if not self.rates.sizes.keys() >= set(nets):
            return None
        if self.on_gpu:
            return round(MARGIN * PROCESS_WITH_GPU)
        needed = PROCESS
        trained = TRAINED + (4 if run.recipe.ema else 0)  # the mean of the weights, float32
        for net, bytes_each, part in zip(
            nets, (trained, FROZEN), (1.0, FORWARD_PART), strict=False
        ):
            size = self.rates.sizes[net]
            head = head_parameters(run.head, size.channels, self._labels(run.dataset))
            needed += bytes_each * (size.parameters + head) + part * _activations(net, size, run)
        return round(MARGIN * needed)

    def minutes(self, run: Run) -> int:
        """Minutes to ask for a training of the run."""
        return _minutes(self.hours_left(run, live=True))

    def logits_minutes(self, run: Run, kind: str) -> int:
        """Minutes to ask for a job that stores what the run reads."""
        return _minutes(self.logits_hours(run, kind))

    def cache_minutes(self, dataset: Dataset) -> int:
        """Minutes to ask for the job that makes the cache of a data set."""
        images = self.images(dataset)
        if images is None:
            return UNKNOWN_MINUTES
        return LEAST_MINUTES + round(SLOWEST * sum(images.values()) / DECODED_PER_S / 60)

    def cache(self, dataset: Dataset) -> float | None:
        """Bytes of a data set's pixels."""
        images = self.images(dataset)
        return sum(images.values()) * 3 * dataset.image_size**2 if images else None

    def images(self, dataset: Dataset) -> dict[str, int] | None:
        """The number of images in every split: from the cache, or else from the options."""
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


def _minutes(hours: float | None) -> int:
    """Minutes to ask for, with a margin."""
    return UNKNOWN_MINUTES if hours is None else LEAST_MINUTES + round(60 * SLOWEST * hours)


def _activations(net: str, size: Size, run: Run) -> float:
    """Bytes that a batch of the run leaves for the backward pass of a network."""
    images = run.recipe.batch_size * (run.dataset.image_size / SIZE_OF_ACTIVATIONS) ** 2
    larger = LARGER_MAPS[run.stem] if net.startswith("cifar:") else 1
    return 1e6 * images * larger * size.activations


def _on_gpu(plan: Plan, used: list[str]) -> bool:
    """Whether the trainings use GPUs; ``used`` are the devices of the finished runs.

    The devices of this machine do not count: a plan is often made on a machine that trains nothing.
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
    seen: set[str] = set()  # paths of runs, and of stored outputs
    cached: set[str] = set()  # names of data sets
    lines = []
    for name, artefact in plan.artefacts.items():
        paths = needed(artefact, plan)
        own = [path for path in paths if path not in seen]
        datasets = {plan.runs[path].dataset.name for path in own} - cached
        stores = stores_of(own, estimator)
        new = [store for name, store in stores.items() if name not in seen]
        hours = total(
            [estimator.hours_left(plan.runs[path]) for path in own]
            + [estimator.logits_hours(*store) for store in new]
        )
        disk = [estimator.disk(plan.runs[path]) for path in own]
        disk += [estimator.logits_disk(*store) for store in new]
        disk += [estimator.cache(plan.datasets[dataset]) for dataset in datasets]
        lines.append(Cost(name, artefact.kind, cells(artefact), paths, own, hours, total(disk)))
        seen.update(own, stores)
        cached |= datasets
    return lines


def stores_of(paths: Iterable[str], estimator: Estimator) -> dict[str, tuple[Run, str]]:
    """The stored outputs that some of these runs will read, by path: one of these runs, the kind.

    `Estimator.logits_hours` and `Estimator.logits_disk` take these two.
    """
    wanted = set(paths)
    return {
        name: (estimator.plan.runs[path], logits.kind_of(name))
        for name, readers in estimator.stores.items()
        for path in readers
        if path in wanted
    }


def cells(artefact: Artefact) -> int:
    """The number of cells in the table of an artefact."""
    return sum(len(row.cells) for row in artefact.rows)


def total(values: Iterable[float | None]) -> float | None:
    """The sum, or None if a value is not known."""
    values = list(values)
    return None if None in values else sum(value for value in values if value is not None)
