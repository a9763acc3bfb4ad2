"""Distillation methods: one file each, found by name (see `base.method` for how to write one)."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from mdkd import methodfiles, registry
from mdkd.errors import UserError, nearest
from mdkd.methods.base import FunctionLoss, MethodInfo, declared
from mdkd.outputs import Spec

__all__ = ["MethodInfo", "build", "get", "names", "settings_of"]


def names() -> list[str]:
    """All methods, sorted."""
    return registry.names(__name__)


def get(name: str) -> MethodInfo:
    """The method in `mdkd/methods/<name>.py`."""
    module = registry.load(__name__, name)
    if name not in declared:
        raise UserError(f"{module.__file__}: declares no method {name!r} (use @method({name!r}))")
    return MethodInfo(name, tuple(methodfiles.read(name).needs), *declared[name])


def settings_of(info: MethodInfo) -> tuple[str, ...]:
    """The names of a method's settings, in the order of its signature."""
    parameters = inspect.signature(info.factory).parameters.values()
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def build(
    name: str, student_spec: Spec, teacher_spec: Spec, settings: Mapping[str, Any]
) -> nn.Module:
    """A loss that is called as `loss(student, teacher, target_BC)`; see `base.method`.

    Its attributes say whether it has a supervised loss of its own (`own_supervised`) and whether it
    gets the labels in the host's memory (`labels_on_host`).

    Raises:
        UserError: the settings are not those of the method, or the networks lack what it needs.
    """
    info, file = get(name), methodfiles.read(name)
    embeds_labels = None not in (student_spec.embedding_dim, teacher_spec.embedding_dim)
    if reason := file.unavailable(embeds_labels):
        raise UserError(f"method {name}: {reason}")
    known = settings_of(info)
    for key in settings:
        if key not in known:
            raise UserError(f"method {name}: unknown setting {key!r}; {nearest(key, known)}")
    for key in known:
        if key not in settings:
            raise UserError(f"method {name}: setting {key!r} is missing")
    loss: nn.Module
    if info.has_parameters:
        loss = info.factory(student_spec, teacher_spec, **settings)
    else:
        loss = FunctionLoss(info.factory, dict(settings))
    loss.own_supervised = file.supervised == "own"  # type: ignore[assignment]
    loss.labels_on_host = info.labels_on_host  # type: ignore[assignment]
    return loss
