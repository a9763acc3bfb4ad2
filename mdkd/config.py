"""Typed, frozen settings and the one strict loader that fills them from YAML or JSON.

Everything that changes a number is a field of a dataclass here. The loader refuses unknown keys,
wrong types and missing values with one line that names the file, the key and the nearest valid key.
"""

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from mdkd.errors import UserError, nearest

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Head:
    """What turns the backbone's features into one logit per label."""

    kind: Literal["gap", "mldecoder"]
    width: int = 768  # of the label embeddings; the remaining fields belong to mldecoder too
    queries: int | None = None  # None: one per label
    heads: int = 8
    feedforward: int = 2048
    dropout: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained; the same for teachers, students and every method."""

    epochs: int
    batch_size: int
    lr: float  # the highest of the schedule
    weight_decay: float  # L2 in Adam's gradient, on matrices and filters only
    flip: bool  # horizontal, with probability 1/2
    cutout: float  # side of the masked square as a fraction of the image's; 0 switches it off
    schedule: Literal["cosine", "onecycle"] = "cosine"  # cosine to 0, or up and down (schedule.py)
    normalisation: Literal["imagenet", "none"] = "imagenet"
    bce_reduction: Literal["sum_mean", "sum_sum", "mean_mean"] = "sum_mean"  # labels, then images


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One data set: a source module, its options, and the pixels of the cache made from it."""

    name: str
    source: str
    image_size: int
    options: dict[str, Any] = field(default_factory=dict)
    val: float = 0.0  # fraction of the training images that become a third split
    damaged: Literal["error", "drop"] = "error"  # images that cannot be decoded


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method with all its settings resolved."""

    name: str
    revision: int
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training, resolved: all that its numbers depend on. Written into its record."""

    path: str  # identity: supervised/{dataset}/{arch}/seed{n} or distill/{dataset}/...
    protocol: str
    dataset: Dataset
    arch: str
    net: str  # what the model builder gets for `arch`
    stem: str
    weights: str | None  # initial weights of the backbone
    head: Head
    recipe: Recipe
    method: Method
    teacher: str | None  # path of the teacher's run, None for supervised runs
    seed: int


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML without silent overrides: a key that stands twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                line = node.start_mark.line + 1
                raise UserError(f"key '{key}' stands twice in the mapping at line {line}")
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
    return cls(**{k: _convert(hints[k], v, f"{where}: {k}") for k, v in value.items()})


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
