"""Read and check the specification in ``config/``: every mistake is found here, before any job.

Errors are one line that names the file, the key and the nearest valid name. Imports no torch.
"""

import csv
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mdkd import registry
from mdkd.config import Head, Recipe, parse, read_yaml
from mdkd.errors import UserError, nearest
from mdkd.kinds import KINDS

NAME = r"[a-z0-9]+(?:_[a-z0-9]+)*"  # data sets, architectures, methods, experiments
CACHE_SETTINGS = ("val", "damaged")  # of a data set, whatever its source
METRICS = ("mAP", "OF1", "CF1", "OF1_k", "CF1_k", "OF1_top3", "CF1_top3")
RULES = {  # of the workflow: no experiment or target may be called so
    *("all", "attend", "collect", "distill", "document", "figure", "label_statistics", "partial"),
    *("prepare_dataset", "table", "train_supervised"),
}
PUBLISHED = {"mAP": "mAP", "OF1": "OF1_k", "CF1": "CF1_k"}  # the paper's columns, and our names


@dataclass(frozen=True, kw_only=True)
class UserConfig:
    """``config.yaml``: what a user edits."""

    protocol: str
    experiments: list[str] | None = None  # None: those the protocol names
    seeds: list[int] | None = None  # None: those the protocol names
    device: Literal["auto", "cpu", "cuda"] = "auto"
    data_root: str = "data"  # relative roots of data sets lie below it
    weights_folder: str = "weights"  # files of ImageNet weights, used before any download


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """``protocols/*.yaml``: how everything is trained, and how much of it."""

    experiments: list[str]
    seeds: list[int]
    image_size: int
    stem: Literal["cifar", "small", "imagenet"]  # of the CIFAR-style networks
    head: Head
    recipe: Recipe
    weights: str | None = None
    teacher_seed: int = 0
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)  # changed source options, val
    methods: dict[str, dict[str, Any]] = field(default_factory=dict)  # changed method settings
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)  # changed keys of experiments
    stand_ins: dict[str, str] = field(
        default_factory=dict
    )  # data sets and nets, in place of others


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Who teaches whom on which data: a column of a comparison."""

    dataset: str
    teacher: str
    student: str

    def names(self) -> tuple[str, str, str]:
        return self.dataset, self.teacher, self.student


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row that is asked for: a method, the settings that differ, and what to call it."""

    method: str
    set: dict[str, Any] = field(default_factory=dict)
    label: str | None = None
    reported: int | None = None  # its row in a published table whose rows are numbered


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """``experiments/*.yaml``: one artefact of the benchmark."""

    kind: str
    title: str
    pairs: list[Pair] = field(default_factory=list)
    pairs_of: list[str] = field(default_factory=list)  # experiments whose pairs are taken over
    methods: list[Any]  # a name, {name: {setting: value}}, or the keys of an Entry
    base: dict[str, dict[str, Any]] = field(default_factory=dict)  # settings of all rows, by method
    metrics: list[str] = field(default_factory=lambda: ["mAP"])
    targets: list[str] = field(default_factory=list)  # of the workflow, that make it
    reported: str | None = None  # a file in reported/, printed beside our numbers
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)  # data sets of its own
    notes: list[str] = field(default_factory=list)  # printed under the table
    paper_notes: list[str] = field(default_factory=list)  # only where no pair has a stand-in
    options: dict[str, Any] = field(default_factory=dict)  # of its kind, see kinds.py


@dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """One line of ``datasets.yaml``."""

    label: str
    source: str
    root: str = "."  # absolute, or below data_root
    options: dict[str, Any] = field(default_factory=dict)
    val: float = 0.0  # fraction of the training images set aside for tuning, by their names
    damaged: Literal["error", "drop"] = "error"  # images that cannot be decoded


@dataclass(frozen=True, kw_only=True)
class ArchEntry:
    """One line of ``architectures.yaml``."""

    label: str
    net: str


@dataclass(frozen=True, kw_only=True)
class MethodEntry:
    """One line of ``methods.yaml``."""

    label: str
    revision: int
    needs: list[Literal["logits", "pooled", "maps", "embeddings"]]
    settings: dict[str, Any]  # numbers, or text out of `choices`
    choices: dict[str, list[str]] = field(default_factory=dict)


class Specification:
    """The checked content of a configuration folder under one protocol.

    Args:
        folder: the configuration folder.
        overrides: keys of ``config.yaml`` given elsewhere, on the command line say.
    """

    def __init__(self, folder: Path, overrides: dict[str, Any] | None = None):
        self.folder = folder
        self.user = self._user(overrides or {})
        self.methods: dict[str, MethodEntry] = self._entries("methods", MethodEntry)
        self._check_methods()
        self.archs: dict[str, ArchEntry] = self._entries("architectures", ArchEntry)
        self.datasets: dict[str, DatasetEntry] = self._entries("datasets", DatasetEntry)
        self.protocol = self._protocol()
        self.seeds = self.protocol.seeds if self.user.seeds is None else self.user.seeds
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            from_protocol = self.user.seeds is None
            where = self._file(f"protocols/{self.user.protocol}" if from_protocol else "config")
            raise UserError(f"{where}: seeds: give distinct integers >= 0, found {self.seeds}")
        self.selected = self.user.experiments or self.protocol.experiments
        self.experiments: dict[str, Experiment] = {}
        there = (file.stem for file in (folder / "experiments").glob("*.yaml"))
        for name in (*self.selected, *sorted(there)):
            self._add_experiment(name)

    def lookup(self, table: str, name: str, where: str | None = None) -> Any:
        """The entry ``name`` of ``methods``, ``archs`` or ``datasets``."""
        entries = getattr(self, table)
        if name not in entries:
            kind = {"methods": "method", "archs": "architecture", "datasets": "data set"}[table]
            hint = nearest(name, entries)
            raise UserError(f"{where or self.folder}: unknown {kind} '{name}'; {hint}")
        return entries[name]

    def settings(self, method: str, where: str | None = None) -> dict[str, Any]:
        """A method's settings under this protocol."""
        entry = self.lookup("methods", method, where)
        return entry.settings | self.protocol.methods.get(method, {})

    def changed_settings(self, method: str, changes: Any, where: str) -> dict[str, Any]:
        """Checked changes to a method's settings, each in the type of the default.

        Numbers must survive being written with six digits, for they become part of a path.
        """
        entry = self.lookup("methods", method, where)
        defaults = entry.settings
        if not isinstance(changes, dict):
            raise UserError(f"{where}: {method}: expected settings, found {changes!r}")
        checked = {}
        for key, value in changes.items():
            place = f"{where}: {method}"
            if key not in defaults:
                raise UserError(f"{place}: unknown setting '{key}'; {nearest(key, defaults)}")
            kind = type(defaults[key])
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (isinstance(value, str) if kind is str else number):
                raise UserError(f"{place}: {key}: expected {kind.__name__}, found {value!r}")
            if kind is str and value not in (choices := entry.choices[key]):
                raise UserError(f"{place}: {key}: unknown {value!r}; {nearest(value, choices)}")
            if number and (kind(value) != value or float(format(value, "g")) != value):
                raise UserError(f"{place}: {key}: {value!r} is not a {kind.__name__} of six digits")
            checked[key] = kind(value)
        return checked

    def source_options(self, dataset: str) -> dict[str, Any]:
        """All options of a data set's source under this protocol, defaults filled in."""
        entry = self.lookup("datasets", dataset)
        where = f"{self._file('datasets')}: {dataset}"
        try:
            source = registry.load("mdkd.data.sources", entry.source)
        except UserError as error:
            raise UserError(f"{where}: source: {error}") from None
        own = asdict(parse(source.Options, entry.options, f"{where}: options"))
        given = self.protocol.datasets.get(dataset, {})
        changes = {key: value for key, value in given.items() if key not in CACHE_SETTINGS}
        where = f"{self._file(f'protocols/{self.user.protocol}')}: datasets: {dataset}"
        return asdict(parse(source.Options, own | changes, where))

    def cache_settings(self, dataset: str) -> dict[str, Any]:
        """A data set's ``val`` and ``damaged`` under this protocol."""
        entry = asdict(self.lookup("datasets", dataset))
        given = self.protocol.datasets.get(dataset, {})
        changes = {key: value for key, value in given.items() if key in CACHE_SETTINGS}
        protocol = f"{self._file(f'protocols/{self.user.protocol}')}: datasets"
        for file, content in ((self._file("datasets"), entry), (protocol, entry | changes)):
            checked = parse(DatasetEntry, content, f"{file}: {dataset}")
            if not 0 <= checked.val <= 0.5:
                raise UserError(f"{file}: {dataset}: val: {checked.val:g} is not in 0 .. 0.5")
        return {key: getattr(checked, key) for key in CACHE_SETTINGS}

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.yaml"

    def _user(self, overrides: dict[str, Any]) -> UserConfig:
        file = self._file("config")
        content = read_yaml(file)
        if isinstance(content, dict):
            content = content | overrides
            for key in ("experiments", "seeds"):  # one bare value is a list of one
                if isinstance(content.get(key), str | int):
                    content[key] = [content[key]]
            if isinstance(content.get("seeds"), list):  # snakemake --config reads items as text
                content["seeds"] = [int(s) if str(s).isdigit() else s for s in content["seeds"]]
        return parse(UserConfig, content, str(file))

    def _entries(self, name: str, cls: type) -> dict[str, Any]:
        file = self._file(name)
        content = read_yaml(file)
        if not isinstance(content, dict):
            raise UserError(f"{file}: expected one entry per name")
        return {key: self._entry(cls, key, entry, str(file)) for key, entry in content.items()}

    def _entry(self, cls: type, name: Any, entry: Any, where: str) -> Any:
        if not re.fullmatch(NAME, str(name)):
            raise UserError(f"{where}: '{name}': names are lower-case words joined by '_'")
        return parse(cls, entry, f"{where}: {name}")

    def _check_methods(self) -> None:
        """Default settings are numbers, or text with its choices."""
        for name, entry in self.methods.items():
            where = f"{self._file('methods')}: {name}: settings"
            for key, value in entry.settings.items():
                if isinstance(value, str):
                    choices = entry.choices.get(key, [])
                    if value not in choices:
                        hint = nearest(value, choices) if choices else "a number is expected"
                        raise UserError(f"{where}: {key}: unknown {value!r}; {hint}")
                elif isinstance(value, bool) or not isinstance(value, int | float):
                    raise UserError(f"{where}: {key}: expected a number, found {value!r}")

    def _protocol(self) -> Protocol:
        file = self._file(f"protocols/{self.user.protocol}")
        protocol = parse(Protocol, read_yaml(file), str(file))
        recipe = protocol.recipe
        for key, value, low, high in (
            ("image_size", protocol.image_size, 16, 4096),
            ("teacher_seed", protocol.teacher_seed, 0, 2**31),
            ("recipe: epochs", recipe.epochs, 1, 10**6),
            ("recipe: batch_size", recipe.batch_size, 2, 10**6),
            ("recipe: lr", recipe.lr, 1e-12, 1e3),
            ("recipe: weight_decay", recipe.weight_decay, 0, 1e3),
            ("recipe: cutout", recipe.cutout, 0, 0.99),
        ):
            if not low <= value <= high:
                raise UserError(f"{file}: {key}: {value} is not in {low:g} .. {high:g}")
        if protocol.head.kind == "mldecoder" and protocol.head.width % protocol.head.heads:
            heads = protocol.head.heads
            raise UserError(f"{file}: head: width: {protocol.head.width} is no multiple of {heads}")
        for name in protocol.datasets:
            self.lookup("datasets", name, f"{file}: datasets")
        for name, changes in protocol.methods.items():
            self.changed_settings(name, changes, f"{file}: methods")
        for names in protocol.stand_ins.items():
            table = "datasets" if names[0] in self.datasets else "archs"
            for name in names:
                self.lookup(table, name, f"{file}: stand_ins")
        for name in protocol.changes:
            if not self._file(f"experiments/{name}").exists():
                there = [path.stem for path in (self.folder / "experiments").glob("*.yaml")]
                raise UserError(f"{file}: changes: no experiment '{name}'; {nearest(name, there)}")
        return protocol

    def _add_experiment(self, name: str) -> None:
        if name in self.experiments:
            return
        file = self._file(f"experiments/{name}")
        content = read_yaml(file)
        changes = self.protocol.changes.get(name, {})
        if isinstance(content, dict) and changes:
            changed = content.get("options", {}) | changes.get("options", {})
            content = content | changes | {"options": changed}
        experiment = parse(Experiment, content, str(file))
        if experiment.kind not in KINDS:
            hint = nearest(experiment.kind, KINDS)
            raise UserError(f"{file}: kind: unknown kind '{experiment.kind}'; {hint}")
        options = parse(KINDS[experiment.kind].options, experiment.options, f"{file}: options")
        for key, value in asdict(options).items():
            least = 0 if key == "skip" else 1
            if isinstance(value, int) and value < least:
                raise UserError(f"{file}: options: {key}: {value} is below {least}")
        for metric in experiment.metrics:
            if metric not in METRICS:
                hint = nearest(metric, METRICS)
                raise UserError(f"{file}: metrics: unknown metric '{metric}'; {hint}")
        for key in (name, *experiment.targets):
            if key in RULES or not re.fullmatch(NAME, key):
                raise UserError(f"{file}: '{key}' cannot be the name of a target; choose another")
        for key in experiment.base:
            self.lookup("methods", key, f"{file}: base")
        for key, entry in experiment.datasets.items():
            if key in self.datasets:
                raise UserError(f"{file}: datasets: '{key}' is defined elsewhere too; rename it")
            self.datasets[key] = self._entry(DatasetEntry, key, entry, f"{file}: datasets")
        self._check_pairs(experiment.pairs, file)
        pairs = list(experiment.pairs)
        for other in experiment.pairs_of:
            self._add_experiment(other)
            pairs += [pair for pair in self.experiments[other].pairs if pair not in pairs]
        if not (pairs and experiment.methods and experiment.metrics):
            raise UserError(f"{file}: pairs, methods and metrics must name at least one each")
        self.experiments[name] = replace(experiment, pairs=pairs)

    def _check_pairs(self, pairs: list[Pair], file: Path) -> None:
        for i, pair in enumerate(pairs):
            where = f"{file}: pairs[{i}]"
            self.lookup("datasets", pair.dataset, where)
            self.lookup("archs", pair.teacher, where)
            self.lookup("archs", pair.student, where)
            if pair in pairs[:i]:
                raise UserError(f"{where}: stands twice; remove one")
            if pair.teacher == pair.student:
                raise UserError(f"{where}: teacher and student are both '{pair.teacher}'")

    def stand_in(self, pair: Pair) -> Pair:
        """The pair that this protocol trains where one on another data set is named."""
        others = self.protocol.stand_ins
        if pair.dataset not in others:
            return pair
        return Pair(
            dataset=others[pair.dataset],
            teacher=others.get(pair.teacher, pair.teacher),
            student=others.get(pair.student, pair.student),
        )

    def reported(self, experiment: Experiment) -> list[dict[str, str]]:
        """The rows of the published table that an experiment names."""
        if experiment.reported is None:
            return []
        file = self.folder / "reported" / f"{experiment.reported}.csv"
        if not file.exists():
            there = [path.stem for path in file.parent.glob("*.csv")]
            raise UserError(f"{file}: no such file; {nearest(experiment.reported, there)}")
        with file.open(encoding="utf-8", newline="") as lines:
            return list(csv.DictReader(lines))
