"""A backbone of the user: ``net: module:package.module:function``.

The function is called as ``function(image_size)`` with the side of the images in pixels. It returns
an ``nn.Module`` whose forward pass takes images ``[B, 3, H, W]`` and returns two things:

- the pooled vector ``[B, D]``, from which the head `gap` computes the logits;
- a tuple of maps ``[B, D, H, W]``, from shallow to deep, at least one. The head `mldecoder` and
  Grad-CAM read the last one. Feature methods may read all of them.

The sizes are measured, so they are written nowhere. Random weights must be drawn from torch's
global generator: then they follow from the seed of the run.

Shape key: B images, D channels, H x W pixels.
"""

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from mdkd.errors import UserError

PREFIX = "module:"


def own_backbone(net: str, image_size: int) -> nn.Module:
    """The backbone that ``net`` names, checked with a pass of two images.

    Raises:
        UserError: there is no such function, its code fails, or it does not return what it must.
    """
    module_name, _, function_name = net.removeprefix(PREFIX).partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # of somebody else's code
        reason = f"module '{module_name}' cannot be imported ({_short(error)})"
        hint = "install its package, or name its folder in `plugins` of config.yaml"
        raise UserError(f"net {net!r}: {reason}; {hint}") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise UserError(f"net {net!r}: {module.__file__} has no function '{function_name}'; add it")
    try:
        backbone = function(image_size)
    except UserError:
        raise
    except Exception as error:
        what = f"{function_name}({image_size}) failed ({_short(error)})"
        raise UserError(f"net {net!r}: {what}; it gets the side of the images in pixels") from error
    if not isinstance(backbone, nn.Module):
        found = type(backbone).__name__
        raise UserError(f"net {net!r}: {function_name} returned a {found}; return an nn.Module")
    if problem := _problem(backbone, image_size):
        raise UserError(f"net {net!r}: {problem}; see docs/bring-your-own.md")
    return backbone


@torch.no_grad()
def _problem(backbone: nn.Module, image_size: int) -> str | None:
    """What is wrong with the outputs for two images, or None."""
    if not any(p.requires_grad for p in backbone.parameters()):
        return "it has no parameter to train"
    images = 2
    backbone.eval()
    try:
        outputs = backbone(torch.zeros(images, 3, image_size, image_size))
    except Exception as error:
        return f"its forward pass fails at {image_size} px ({_short(error)})"
    finally:
        backbone.train()
    if not isinstance(outputs, tuple) or len(outputs) != 2:
        return f"its forward pass returned {_kind(outputs)}; expected (pooled, maps)"
    pooled_BD, maps = outputs
    if not _is_float(pooled_BD, 2):
        return f"pooled is {_kind(pooled_BD)}; expected floats [B, D]"
    if not isinstance(maps, tuple) or not maps:
        return f"maps is {_kind(maps)}; expected a tuple of at least one tensor"
    for i, x_BDHW in enumerate(maps):
        if not _is_float(x_BDHW, 4):
            return f"maps[{i}] is {_kind(x_BDHW)}; expected floats [B, D, H, W]"
        if x_BDHW.shape[2] != x_BDHW.shape[3]:
            return f"maps[{i}] has {_kind(x_BDHW)}; of a square image it must be square"
        if i and x_BDHW.shape[3] > maps[i - 1].shape[3]:
            return f"maps[{i}] is larger than maps[{i - 1}]; return maps from shallow to deep"
    for name, x in [("pooled", pooled_BD), *((f"maps[{i}]", x) for i, x in enumerate(maps))]:
        if x.shape[0] != images or 0 in x.shape:
            return f"{name} is {_kind(x)} for {images} images"
    return None


def _is_float(value: Any, dimensions: int) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim == dimensions


def _kind(value: Any) -> str:
    """What a value is, for messages."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    size = f" of {len(value)}" if isinstance(value, tuple | list) else ""
    return f"a {type(value).__name__}{size}"


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
