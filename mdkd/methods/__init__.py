"""Distillation methods: one file each, found by name (see `base.method` for how to write one)."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from mdkd import registry
from mdkd.errors import UserError, nearest
from mdkd.methods.base import MethodInfo, declared
from mdkd.outputs import Spec

__all__ = ["MethodInfo", "build", "get", "names", "settings_of", "unavailable"]


def names() -> list[str]:
    """All methods there are, sorted."""
    return registry.names(__name__)


def get(name: str) -> MethodInfo:
    """The method in `mdkd/methods/<name>.py`."""
    module = registry.load(__name__, name)
    if name not in declared:
        raise UserError(f"{module.__file__}: declares no method {name!r} (use @method({name!r}))")
    return declared[name]


def settings_of(info: MethodInfo) -> tuple[str, ...]:
    """The names of a method's settings, in the order of its signature."""
    parameters = inspect.signature(info.factory).parameters.values()
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def unavailable(info: MethodInfo, student_spec: Spec, teacher_spec: Spec) -> str | None:
    """Why a method cannot work on a pair of networks, or None if it can."""
    if "embeddings" in info.needs and None in (
        student_spec.embedding_dim,
        teacher_spec.embedding_dim,
    ):
        return f"method {info.name} needs label embeddings; head gap makes none: use head mldecoder"
    return None


def build(
    name: str, student_spec: Spec, teacher_spec: Spec, settings: Mapping[str, Any]
) -> Callable[..., Any]:
    """A loss to be called as `loss(student, teacher, target_BC)`; see `base.method`."""
    info = get(name)
    reason = unavailable(info, student_spec, teacher_spec)
    if reason is not None:
        raise UserError(reason)
    known = settings_of(info)
    for key in settings:
        if key not in known:
            raise UserError(f"method {name}: unknown setting {key!r}; {nearest(key, known)}")
    for key in known:
        if key not in settings:
            raise UserError(f"method {name}: setting {key!r} is missing")
    if info.has_parameters:
        return info.factory(student_spec, teacher_spec, **settings)
    return functools.partial(info.factory, **settings)
