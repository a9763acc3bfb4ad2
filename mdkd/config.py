"""Typed, frozen settings and the one strict loader that fills them from YAML or JSON.

Everything that changes a number is a field of a dataclass here. The loader refuses unknown keys,
wrong types and missing values with one line that names the file, the key and the nearest valid key.
"""

import dataclasses
import math
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from mdkd.errors import UserError, nearest

T = TypeVar("T")


def number(low: float, high: float = math.inf, default: Any = dataclasses.MISSING) -> Any:
    """A field of a dataclass whose value must be in ``low .. high``; `parse` checks it."""
    return field(default=default, metadata={"range": (low, high)})


@dataclass(frozen=True, kw_only=True)
class Head:
    """What turns the backbone's features into one logit per label."""

    kind: Literal["gap", "mldecoder"]
    width: int = 768  # of the label embeddings; this and all further fields are for mldecoder
    queries: int | None = None  # None: one per label
    heads: int = 8
    feedforward: int = 2048
    dropout: float = 0.1

    def embeds_labels(self, num_labels: int | None = None) -> bool:
        """Whether the head makes one embedding per label; None: their number is not known yet."""
        return self.kind == "mldecoder" and self.queries in (None, num_labels)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained; the same for teachers, students and every method."""

    epochs: int = number(1, 10**6)
    batch_size: int = number(2, 10**6)
    lr: float = number(1e-12, 1e3)  # the highest learning rate of the schedule
    weight_decay: float = number(0, 1e3)  # L2 in Adam's gradient, on matrices and filters only
    flip: bool  # mirror horizontally with probability 1/2
    cutout: float = number(0, 0.99)  # side of the masked square over the image's side; 0: none
    schedule: Literal["cosine", "onecycle"] = "cosine"  # cosine to 0, or up and down (schedule.py)
    normalisation: Literal["imagenet", "none"] = "imagenet"
    bce_reduction: Literal["sum_mean", "sum_sum", "mean_mean"] = "sum_mean"  # labels, then images
    teacher_logits: Literal["float32", "float16"] = "float32"  # float16: rounded, half the disk


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One data set: a source module, its options, and the pixels of the cache made from it."""

    name: str
    source: str
    image_size: int
    options: dict[str, Any] = field(default_factory=dict)
    val: float = number(0, 0.5, default=0.0)  # fraction of the training images to set aside
    damaged: Literal["error", "drop"] = "error"  # what to do with images that cannot be decoded


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method with all its settings."""

    name: str
    revision: int
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training with everything that its numbers depend on. It is written into its record."""

    path: str  # its identity, see mdkd.runpath
    protocol: str
    dataset: Dataset
    arch: str
    net: str  # the name of `arch` for the model builder
    stem: str
    weights: str | None  # initial weights of the backbone
    head: Head
    recipe: Recipe
    method: Method
    teacher: str | None  # path of the teacher's run, None for supervised runs
    seed: int
    teacher_key: str | None = None  # key of the teacher's run (mdkd.keys)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML in which a key that appears twice is an error, not a silent override."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                line = node.start_mark.line + 1
                raise UserError(f"key '{key}' appears twice in the mapping at line {line}")
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """The content of a YAML (or JSON) file, with the file's name in every error."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        there = [p.stem for p in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        raise UserError(f"{path}: no such file; {nearest(path.stem, there)}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def parse(cls: type[T], value: Any, where: str) -> T:
    """Build the dataclass ``cls`` from a mapping; ``where`` names the file and key in errors."""
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected keys and values, found {_show(value)}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in value:
        if key not in fields:
            raise UserError(f"{where}: unknown key '{key}'; {nearest(key, fields)}")
    for name, f in fields.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and name not in value:
            raise UserError(f"{where}: key '{name}' is missing; add it ({_name(hints[name])})")
    converted = {k: _convert(hints[k], v, f"{where}: {k}") for k, v in value.items()}
    for name, content in converted.items():
        low, high = fields[name].metadata.get("range", (-math.inf, math.inf))
        if isinstance(content, int | float) and not low <= content <= high:
            wrong = f"is not in {low:g} .. {high:g}" if high < math.inf else f"is below {low:g}"
            raise UserError(f"{where}: {name}: {content} {wrong}")
    return cls(**converted)


def _convert(hint: Any, value: Any, where: str) -> Any:
    """``value`` as the type ``hint``, or an error that names the place and the expected type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return parse(typing.cast(type, hint), value, where)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _convert(next(a for a in args if a is not type(None)), value, where)
    if origin is Literal:
        if value in args:
            return value
        raise UserError(f"{where}: {_show(value)} is not valid; {nearest(value, map(str, args))}")
    if origin in (tuple, list) and isinstance(value, list):
        items = [_convert(args[0], v, f"{where}[{i}]") for i, v in enumerate(value)]
        return tuple(items) if origin is tuple else items
    if origin is dict and isinstance(value, dict):
        return {str(k): _convert(args[1], v, f"{where}: {k}") for k, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and type(value) is hint:
        return value
    hint_text = f"expected {_name(hint)}, found {_show(value)}"
    if hint is float and isinstance(value, str) and _is_number(value):
        hint_text += f"; to YAML that is text, write {float(value):.1e}"
    raise UserError(f"{where}: {hint_text}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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


def _show(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
