"""What users write in the files of ``config/``, as dataclasses; `mdkd.spec` puts them together."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from mdkd.config import (
    DISTINCT,
    FOLDERS,
    LARGEST_SEED,
    NAMES,
    NET,
    SEEDS,
    SOME,
    Head,
    Recipe,
    Split,
    Stem,
    folder,
    location,
    named,
    number,
    parse,
    printed,
)
from mdkd.yamlfiles import read_yaml

# Keys of a recipe that change what a teacher sees, how long, or what is stored of its logits.
VIEWS = ("epochs", "batch_size", "flip", "cutout", "normalisation", "teacher_logits")


@dataclass(frozen=True, kw_only=True)
class JobLimits:
    """What one job may ask for, where the partition of a cluster sets limits. None: no limit."""

    minutes: int | None = number(2, 10**6, default=None)  # a longer training goes on in a new job
    cores: int | None = number(1, 10**4, default=None)
    memory_gb: float | None = number(1, 10**5, default=None)


@dataclass(frozen=True, kw_only=True)
class UserConfig:
    """``config.yaml``: what a user edits."""

    protocol: str = named()
    experiments: list[str] | None = field(default=None, metadata=DISTINCT)  # None: the protocol's
    seeds: list[int] | None = field(default=None, metadata=SEEDS)  # None: those of the protocol
    device: Literal["auto", "cpu", "cuda"] = "auto"
    data_root: str = folder("data")  # relative roots of data sets are below it
    weights_folder: str = folder("weights")  # files of ImageNet weights, used before any download
    store: str = folder("store")  # the folder of all trainings; several projects may share it
    plugins: list[str] = field(default_factory=list, metadata=FOLDERS)  # see mdkd.plugins
    checkpoint_minutes: float = number(0, 10**6, default=10.0)  # between two checkpoints, at most
    trainings_per_gpu: int = number(1, 64, default=1)  # that share one GPU
    compile: Literal["default", "reduce-overhead"] | None = None  # a mode of torch.compile
    deterministic: bool = False  # the same bits in every repetition on the same GPU
    stored_logits: Literal["auto", "never"] = "auto"  # whether a teacher's logits are stored
    # Pooled vectors are stored too if they take at most this many GB for a teacher and a seed;
    # 0: never.
    stored_pooled_gb: float = number(0, 10**6, default=5.0)
    tuned: str | None = location(None)  # a protocol or a file; None: the protocol's (mdkd/tuned.py)
    job_limits: JobLimits = field(default_factory=JobLimits)
    container: str | None = None  # the image for `snakemake --sdm apptainer`: a file or an address


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """``protocols/*.yaml``: how everything is trained, and how much of it."""

    experiments: list[str] = field(metadata=DISTINCT)
    seeds: list[int] = field(metadata=SEEDS)
    image_size: int = number(16, 4096)
    stem: Stem
    head: Head
    recipe: Recipe
    # Changed keys of the recipe for one network, by its name; not those in `VIEWS`.
    recipes: dict[str, dict[str, Any]] = field(default_factory=dict)
    weights: str | None = location(None)  # "imagenet", or a file
    note: str | None = printed(None)  # under every table
    teacher_seed: int = number(0, LARGEST_SEED, default=0)
    tuned: str | None = location(None)  # whose tuned weights are used: a protocol, or a file
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)  # changed options, val
    methods: dict[str, dict[str, Any]] = field(default_factory=dict)  # changed settings
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)  # changed keys of experiments
    # Data sets and networks of this protocol, by the name of the one that each replaces.
    stand_ins: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A teacher, a student and a data set: a column of a comparison."""

    dataset: str
    teacher: str
    student: str

    def names(self) -> tuple[str, str, str]:
        return self.dataset, self.teacher, self.student


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row of an experiment: a method, what is changed for it, and its label."""

    method: str
    set: dict[str, Any] = field(default_factory=dict)  # changed settings of the method
    recipe: dict[str, Any] = field(default_factory=dict)  # changed keys of the protocol's recipe
    teacher_seed: int | None = number(0, LARGEST_SEED, default=None)  # None: the protocol's
    label: str | None = printed(None)
    reported: int | None = None  # its row in a published table whose rows are numbered


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """``experiments/*.yaml``: one artefact of the benchmark."""

    kind: str = named()
    title: str = printed()
    pairs: list[Pair] = field(default_factory=list)
    # Experiments whose pairs are added.
    pairs_of: list[str] = field(default_factory=list, metadata=DISTINCT)
    methods: list[Any] = field(default_factory=list)  # a name, {name: {setting: value}}, or Entry
    # Experiments whose rows come first.
    methods_of: list[str] = field(default_factory=list, metadata=DISTINCT)
    # Of all rows; None: those of the protocol. Those in config.yaml replace both.
    seeds: list[int] | None = field(default=None, metadata=SEEDS | {"some": True})
    base: dict[str, dict[str, Any]] = field(default_factory=dict)  # settings of all rows, by method
    metrics: list[str] = field(default_factory=lambda: ["mAP"], metadata=DISTINCT)
    split: Split = "test"  # the images that the metrics are of
    weights: Literal["published", "tuned"] = "published"  # of the loss terms, see mdkd/tuned.py
    # The rows that a row is tested against, by its label; an empty mapping: no tests. None: each
    # method is tested against the student and MLD.
    against: dict[str, list[str]] | None = field(default=None, metadata=SOME)
    # Groups that the artefact belongs to.
    targets: list[str] = field(default_factory=list, metadata=NAMES)
    reported: str | None = named(None)  # a file in reported/, printed beside our numbers
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)  # further data sets
    notes: list[str] = field(default_factory=list)  # printed under the table
    paper_notes: list[str] = field(default_factory=list)  # only if no pair has a stand-in
    options: dict[str, Any] = field(default_factory=dict)  # of its kind, see kinds.py


@dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """One line of ``datasets.yaml``."""

    label: str = printed()
    source: str = named()
    root: str = folder(".")  # absolute, or below data_root
    options: dict[str, Any] = field(default_factory=dict)
    # The fraction of the training images to set aside for tuning, by their names.
    val: float = number(0, 0.5, default=0.0)
    damaged: Literal["error", "drop"] = "error"  # what to do with images that cannot be decoded


@dataclass(frozen=True, kw_only=True)
class ArchEntry:
    """One line of ``architectures.yaml``."""

    label: str = printed()
    net: str = named(pattern=NET)
    # Initial weights: "protocol" for those of the protocol, "imagenet", a file, or null.
    weights: str | None = location("protocol")
    # A teacher that was trained elsewhere (mdkd.checkpoints): it is scored and not trained.
    checkpoint: str | None = location(None)


def read_user(file: Path, overrides: dict[str, Any], given: str = "--set") -> UserConfig:
    """The checked content of ``config.yaml``; ``overrides`` are keys that are given elsewhere.

    Args:
        given: where they are given, for messages.
    """
    user_of({"protocol": "any"}, overrides, given)  # so a mistake in the call is said to be there
    return user_of(read_yaml(file), overrides, str(file))


def user_of(content: Any, overrides: dict[str, Any], where: str) -> UserConfig:
    """The settings of a user. An override that is None stands for the default of its key."""
    if isinstance(content, dict):
        content = content | overrides
        for setting in fields(UserConfig):
            if overrides.get(setting.name, ...) is None:
                del content[setting.name]
        for key in ("experiments", "seeds", "plugins"):  # one bare value is a list of one
            if isinstance(content.get(key), str | int):
                content[key] = [content[key]]
        if isinstance(content.get("seeds"), list):  # snakemake --config reads items as text
            content["seeds"] = [
                int(s) if isinstance(s, str) and s.isdecimal() and len(s) < 20 else s
                for s in content["seeds"]
            ]
    return parse(UserConfig, content, where)
