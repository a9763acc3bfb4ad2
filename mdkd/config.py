"""Typed, frozen settings, and `parse`, which fills them from the content of a YAML or JSON file.

Everything that changes a number is a field of a dataclass here. `parse` refuses unknown keys,
wrong types and missing values with one line that names the file, the key and the nearest valid key.
"""

import dataclasses
import functools
import math
import os
import re
import types
import typing
import unicodedata
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeVar

from mdkd.errors import UserError, nearest, show
from mdkd.plainvalues import INTEGERS, clean, is_finite, is_number, plain
from mdkd.runpath import NAME, RunPath

T = TypeVar("T")

LARGEST_SEED = 2**31 - 1
BELOW_1 = 0.9999999  # the largest share of an old value that may be kept at each step
LONGEST_NAME = 100  # characters: names of files and folders contain up to two names
OWN_NET = r"module:(?P<module>[A-Za-z_][\w.]*):[A-Za-z_]\w*"  # a function of the user's
# The name of a network for the model builder.
NET = rf"(?!module:)(?:[a-z]+:)?[A-Za-z0-9_][A-Za-z0-9_.-]*|{OWN_NET}"
RULES = {  # what the patterns stand for, in messages
    NAME: "lower-case words joined by '_'",
    NET: "of the form NAME (timm), tv:NAME, cifar:NAME or module:PACKAGE.MODULE:FUNCTION",
}
MISSING = dataclasses.MISSING


def number(low: float, high: float = math.inf, **default: Any) -> Any:
    """A field of a dataclass whose value must be in ``low .. high``; `parse` checks it.

    If the value is a list or has keys, all that it holds must be.
    """
    return field(**default, metadata={"range": (low, high)})


def named(default: Any = MISSING, pattern: str = NAME) -> Any:
    """A field whose value is a name that can be a part of a path; `parse` checks it."""
    return field(default=default, metadata={"pattern": pattern})


def folder(default: str) -> Any:
    """A field whose value is the path of a folder; `parse` checks it. It may begin with ``~``."""
    return field(default=default, metadata={"folder": True, "path": True})


# Rules for lists without repetitions, as the metadata of their fields.
DISTINCT = {"distinct": True}
SOME = {"distinct": True, "some": True}  # at least one
NAMES = {"pattern": NAME, "distinct": True}
FOLDERS = {"folder": True, "distinct": True, "path": True}
SHARES = {"range": (0, BELOW_1)}
SEEDS = {"range": (0, LARGEST_SEED), "distinct": True}

Split = Literal["test", "val"]  # images that are not trained on
Stem = Literal["cifar", "small", "imagenet"]  # of the CIFAR-style networks


def location(default: Any = dataclasses.MISSING) -> Any:
    """A field for the path of a file or folder. `parse` puts the user's home in place of ``~``."""
    return field(default=default, metadata={"path": True})


def printed(default: Any = dataclasses.MISSING) -> Any:
    """A field for text that is printed: `parse` puts it on one line, without control characters."""
    return field(default=default, metadata={"printed": True})


@dataclass(frozen=True, kw_only=True)
class Head:
    """What turns the backbone's features into one logit per label."""

    kind: Literal["gap", "mldecoder"]
    # The width of the label embeddings; this and all further fields are for mldecoder.
    width: int = number(1, 65536, default=768)
    queries: int | None = number(1, 65536, default=None)  # None: one per label
    heads: int = number(1, 65536, default=8)  # the width is a multiple of it
    feedforward: int = number(1, 2**20, default=2048)
    dropout: float = number(0, 0.99, default=0.1)

    def check(self) -> None:
        """Called by `parse`: raise a UserError if fields do not fit together."""
        if self.kind == "mldecoder" and self.width % self.heads:
            raise UserError(f"width: {self.width} is no multiple of {self.heads}, its heads")

    def embeds_labels(self, num_labels: int | None = None) -> bool:
        """Whether the head makes one embedding per label; None: their number is not known yet."""
        return self.kind == "mldecoder" and self.queries in (None, num_labels)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained; the same for teachers, students and every method."""

    epochs: int = number(1, 10**6)
    batch_size: int = number(2, 10**6)
    lr: float = number(1e-12, 1e3)  # the highest learning rate of the schedule
    weight_decay: float = number(0, 1e3)  # of matrices and filters only (optimizer.py)
    flip: bool  # mirror horizontally with probability 1/2
    cutout: float = number(0, 0.99)  # side of the masked square over the image's side; 0: none
    schedule: Literal["cosine", "onecycle"] = "cosine"  # cosine to 0, or up and down (schedule.py)
    normalisation: Literal["imagenet", "none"] = "imagenet"
    bce_reduction: Literal["sum_mean", "sum_sum", "mean_mean"] = "sum_mean"  # labels, then images
    teacher_logits: Literal["float32", "float16"] = "float32"  # float16: rounded, half the disk
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999], metadata=SHARES)  # of adam(w)
    momentum: float = number(0, BELOW_1, default=0.0)  # of sgd
    nesterov: bool = False  # of sgd: Nesterov's momentum
    warmup_epochs: float = number(0, 10**6, default=0.0)  # a linear rise before the cosine
    accumulate: int = number(1, 10**6, default=1)  # batches whose gradients make one update
    ema: float = number(0, BELOW_1, default=0.0)  # decay of the mean of the weights; 0: no mean

    def check(self) -> None:
        """Called by `parse`: raise a UserError if fields do not fit together."""
        if len(self.betas) != 2:
            raise UserError(f"betas: expected two numbers, found {self.betas}")
        given = {"momentum": self.momentum, "nesterov": self.nesterov}
        if self.optimizer == "sgd":
            given = {"betas": self.betas != [0.9, 0.999]}
        if wrong := [key for key, is_given in given.items() if is_given]:
            what = f"optimizer '{self.optimizer}' has no such setting"
            raise UserError(f"{wrong[0]}: {what}; remove it, or write another optimizer")
        if self.schedule == "onecycle":
            moved = {"momentum": self.momentum, "betas": self.betas[0] != 0.9}
            if wrong := [key for key, is_given in moved.items() if is_given]:
                what = "schedule 'onecycle' changes it at every step (from 0.95 to 0.85 and back)"
                raise UserError(f"{wrong[0]}: {what}; remove it, or write schedule: cosine")
            if self.warmup_epochs:
                what = "schedule 'onecycle' begins with a rise of its own"
                raise UserError(f"warmup_epochs: {what}; remove it, or write schedule: cosine")
        elif self.nesterov and not self.momentum:
            raise UserError("nesterov: needs momentum; add it, such as momentum: 0.9")
        if self.warmup_epochs >= self.epochs:
            what = f"{self.warmup_epochs:g} is not below epochs, which is {self.epochs}"
            raise UserError(f"warmup_epochs: {what}; lower it")


# What a row of an experiment may change besides the settings of its method. No setting has such a
# name, so the variant of a run's path can name all of them.
ROW_KEYS = (*(f.name for f in dataclasses.fields(Recipe)), "teacher_seed")


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One data set: a source module, its options, and the pixels of the cache made from it."""

    name: str = named()
    source: str = named()
    image_size: int = number(1, 4096)
    options: dict[str, Any] = field(default_factory=dict)
    val: float = number(0, 0.5, default=0.0)  # fraction of the training images to set aside
    damaged: Literal["error", "drop"] = "error"  # what to do with images that cannot be decoded


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method with all its settings."""

    name: str = named()
    revision: int = number(1)
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights of a network that was trained elsewhere. It is scored, and not trained."""

    file: str = location()  # changes no number
    sha256: str = named(pattern="[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training with everything that its numbers depend on. It is written into its record."""

    path: str  # its identity, see mdkd.runpath
    protocol: str = named()
    dataset: Dataset
    arch: str = named()
    net: str = named(pattern=NET)  # the name of `arch` for the model builder
    stem: Stem
    weights: str | None  # initial weights of the backbone: "imagenet", or a file
    head: Head
    recipe: Recipe
    method: Method
    teacher: str | None  # path of the teacher's run, None for supervised runs
    seed: int = number(0, LARGEST_SEED)
    teacher_key: str | None = named(None, "[0-9a-f]{16}")  # key of the teacher's run (mdkd.keys)
    checkpoint: Checkpoint | None = None  # takes the place of the training
    weights_sha256: str | None = named(None, "[0-9a-f]{64}")  # of the file with initial weights

    def check(self) -> None:
        """Called by `parse`."""
        if self.weights_sha256 is not None and self.weights_file is None:
            raise UserError("weights_sha256: weights name no file; remove it")

    @property
    def weights_file(self) -> str | None:
        """The file with the initial weights, if they are those of a file that the user named."""
        return None if self.weights == "imagenet" else self.weights

    @property
    def nameable(self) -> dict[str, Any]:
        """Everything that the variant of the run's path may name, with its values."""
        values = self.method.settings | asdict(self.recipe)
        if self.teacher is None:
            return values
        return values | {"teacher_seed": RunPath.parse(self.teacher).seed}


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def parse_known(cls: type[T], value: Any, where: str) -> T:
    """Like `parse` for a record, which may hold further keys: other versions may write them."""
    if not isinstance(value, dict):
        return parse(cls, value, where)
    known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return parse(cls, {key: item for key, item in value.items() if key in known}, where)


def parse(cls: type[T], value: Any, where: str) -> T:
    """Build the dataclass ``cls`` from a mapping; ``where`` names the file and key in errors."""
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected keys and values, found {show(value)}")
    hints = _hints(typing.cast(Any, cls))
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in value:
        if key not in fields:
            raise UserError(f"{where}: unknown key {show(key)}; {nearest(key, fields)}")
    for name, f in fields.items():
        required = f.default is MISSING and f.default_factory is MISSING
        if required and name not in value:
            raise UserError(f"{where}: key '{name}' is missing; add it ({_name(hints[name])})")
    converted = {}
    for name, content in value.items():
        place = f"{where}: {name}"
        converted[name] = _rewritten(_convert(hints[name], content, place), fields[name], place)
        _check(converted[name], fields[name].metadata, place)
    found = cls(**converted)
    if hasattr(found, "check"):
        try:
            found.check()
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
    return found


def _rewritten(value: Any, f: dataclasses.Field, where: str) -> Any:
    """A path with the user's home in place of ``~``, a label on one line, or the value as it is."""
    if isinstance(value, str) and "path" in f.metadata:
        return expanded(value, where)
    if isinstance(value, list) and "path" in f.metadata:
        return [expanded(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, str) and "printed" in f.metadata:
        return one_line(value, where)
    return value


def _check(value: Any, rules: typing.Mapping[str, Any], where: str) -> None:
    """Check a value, and all that it holds, against the rules in the metadata of its field."""
    if isinstance(value, list | tuple):
        if rules.get("some") and not value:
            raise UserError(f"{where}: is empty; name at least one")
        seen: set[str] = set()
        for i, item in enumerate(value):
            if rules.get("distinct") and repr(item) in seen:
                raise UserError(f"{where}: {show(item)} appears twice; remove one of them")
            seen.add(repr(item))
            _check(item, rules, f"{where}[{i}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check(item, rules, f"{where}: {key}")
    elif isinstance(value, int | float) and "range" in rules:
        low, high = rules["range"]
        if not low <= value <= high:
            wrong = f"is not in {low} .. {high}" if high < math.inf else f"is below {low}"
            raise UserError(f"{where}: {value} {wrong}")
    elif isinstance(value, str) and "pattern" in rules:
        check_name(value, where, rules["pattern"])
    elif isinstance(value, str) and "folder" in rules and (not value.strip() or "\n" in value):
        raise UserError(f"{where}: expected the path of a folder, found {show(value)}")


def check_name(text: str, where: str, pattern: str = NAME) -> None:
    """Raise a UserError unless the text is a name that can be a part of a path."""
    if len(text) > LONGEST_NAME:
        raise UserError(f"{where}: {show(text)} has more than {LONGEST_NAME} characters")
    if not re.fullmatch(pattern, text):
        raise UserError(f"{where}: {show(text)}: names are {RULES.get(pattern, pattern)}")


def expanded(text: str, where: str) -> str:
    """A path as a user writes it, with the user's home in place of ``~`` at its head."""
    found = os.path.expanduser(text)
    if found.startswith("~"):
        raise UserError(f"{where}: '{text}': no such user; for a folder of this name write ./~")
    try:
        os.fsencode(found)
    except UnicodeEncodeError as error:  # pathlib would say that there is no such file
        reason = f"cannot be the name of a file in the encoding {error.encoding}"
        raise UserError(f"{where}: {text!a} {reason}; set LC_ALL=C.UTF-8") from None
    if "\0" in found:
        raise UserError(f"{where}: {text!r}: a path cannot contain the character 0; remove it")
    return found


def one_line(text: str, where: str) -> str:
    """A label with single blanks in place of line breaks and tabs.

    Raises:
        UserError: it has a character that cannot be printed.
    """
    found = " ".join(text.split())
    if wrong := [c for c in found if unicodedata.category(c) in ("Cc", "Cs", "Cn")]:
        raise UserError(f"{where}: {found!a}: the character {wrong[0]!a} cannot be printed")
    return found


def _convert(hint: Any, value: Any, where: str) -> Any:
    """``value`` as the type ``hint``, or an error that names the place and the expected type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return plain(value, where)
    if dataclasses.is_dataclass(hint):
        return parse(typing.cast(type, hint), value, where)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _convert(next(a for a in args if a is not type(None)), value, where)
    if origin is Literal:
        if isinstance(value, str) and value in args:
            return value
        raise UserError(f"{where}: {show(value)} is not valid; {nearest(value, args)}")
    if origin in (tuple, list) and isinstance(value, list):
        items = [_convert(args[0], v, f"{where}[{i}]") for i, v in enumerate(value)]
        return tuple(items) if origin is tuple else items
    if origin is dict and isinstance(value, dict):
        texts = [clean(k if isinstance(k, str) else show(k), where) for k in value]
        if len(set(texts)) < len(texts):
            raise UserError(f"{where}: two keys are the same text; rename one of them")
        found = dict(zip(texts, value.values(), strict=True))
        return {k: _convert(args[1], v, f"{where}: {k}") for k, v in found.items()}
    if hint is float and type(value) in (int, float) and is_finite(value):
        return float(value)
    if hint is int and type(value) is int and abs(value) < INTEGERS:
        return value
    if hint is str and isinstance(value, str):
        return clean(value, where)
    if hint is bool and isinstance(value, bool):
        return value
    hint_text = f"expected {_name(hint)}, found {show(value)}"
    if hint is float and isinstance(value, str) and is_number(value):
        hint_text += f"; to YAML that is text, write {float(value):.1e}"
    if hint is float and isinstance(value, float):
        hint_text += "; it must be finite"
    raise UserError(f"{where}: {hint_text}")


def _name(hint: Any) -> str:
    names = {int: "an integer", float: "a number", str: "text", bool: "true or false"}
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _name(next(a for a in args if a is not type(None)))
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}"
    if origin in (tuple, list):
        return "a list"
    if origin is dict or dataclasses.is_dataclass(hint):
        return "keys and values"
    return names.get(hint, str(hint))
