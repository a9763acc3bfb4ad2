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
    """All methods, sorted.

    >>> {"dist", "mdkd", "reviewkd"} <= set(names())
    True
    """
    return registry.names(__name__)


def get(name: str) -> MethodInfo:
    """The method in `mdkd/methods/<name>.py`.

    Raises:
        UserError: there is none of this name.

    >>> get("rkd").needs
    ('logits', 'pooled')
    """
    module = registry.load(__name__, name)
    if name not in declared:
        raise UserError(f"{module.__file__}: declares no method {name!r} (use @method({name!r}))")
    return MethodInfo(name, tuple(methodfiles.read(name).needs), *declared[name])


def settings_of(info: MethodInfo) -> tuple[str, ...]:
    """The names of a method's settings, in the order of its signature.

    >>> settings_of(get("dist"))
    ('inter', 'intra')
    """
    parameters = inspect.signature(info.factory).parameters.values()
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def build(
    name: str, student_spec: Spec, teacher_spec: Spec, settings: Mapping[str, Any]
) -> nn.Module:
    """A loss that is called as `loss(student, teacher, target_BC)`; see `base.method`.

    Its attributes say whether it has a supervised loss of its own (`own_supervised`) and whether it
    gets the labels in the host's memory (`labels_on_host`).

    Args:
        settings: all settings of the method; `get(name).defaults()` has the default values.

    Raises:
        UserError: the settings are not those of the method, or the networks lack what it needs.

    >>> import torch
    >>> from mdkd.outputs import Output
    >>> student = Output.of_logits(torch.tensor([[0.0, 0.0]]))
    >>> teacher = Output.of_logits(torch.tensor([[1.0, 2.0]]))
    >>> specs = Spec.of(student), Spec.of(teacher)
    >>> loss = build("mse", *specs, get("mse").defaults() | {"weight": 0.5})
    >>> loss(student, teacher, torch.zeros(1, 2))  # 0.5 (1^2 + 2^2)
    {'mse': tensor(2.5000)}
    """
    info, file = get(name), methodfiles.read(name)
    embeds_labels = None not in (student_spec.embedding_dim, teacher_spec.embedding_dim)
    if reason := file.unavailable(embeds_labels):
        raise UserError(f"method {name}: {reason}")
    for who, spec in (("student", student_spec), ("teacher", teacher_spec)):
        for part, size in (("pooled", spec.pooled_dim), ("maps", len(spec.map_sizes))):
            if part in info.needs and not size:
                hint = "put them into its Output (mdkd.outputs)"
                raise UserError(f"method {name}: needs {part} of the {who}, which has none; {hint}")
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
