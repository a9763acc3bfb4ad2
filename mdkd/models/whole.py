"""Load a whole network, head included, from a file of this project or of another program."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mdkd.errors import UserError
from mdkd.models.build import Network
from mdkd.models.heads import GapHead
from mdkd.models.weights import load, misfit

WRAPPED = ("state_dict", "model_state_dict", "model")  # keys under which programs save a state dict
PREFIXES = ("module.", "_orig_mod.", "model.")  # that wrappers of a network add to all names


def load_whole(network: Network, path: Path) -> None:
    """Load all weights of a network: those of its backbone and of its head.

    The file is a state dict of a `Network`, or one of the backbone with a linear classifier under
    any name, such as ``fc.weight`` and ``fc.bias``. The classifier becomes the network's head.

    Raises:
        UserError: the file does not fit. One line that names the file and what is wrong.
    """
    state = _state(path)
    own = network.state_dict()
    if not any(name.startswith("head.") and name in own for name in state):
        state = _from_backbone(network, state, path)
    unknown = [name for name in state if name not in own]
    if problem := misfit(own, state, unknown):
        raise UserError(f"checkpoint {str(path)!r} {problem}")
    network.load_state_dict(state, strict=False)  # only counters of batches may be missing


def _state(path: Path) -> dict[str, Tensor]:
    """The state dict in a file, without what other programs wrap around it."""
    content: Any = load(path)
    for key in WRAPPED:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        what = f"checkpoint {str(path)!r}: a state dict of tensors is expected"
        raise UserError(f"{what}; save `model.state_dict()` alone")
    for prefix in PREFIXES:
        if content and all(str(name).startswith(prefix) for name in content):
            content = {str(name).removeprefix(prefix): value for name, value in content.items()}
    return content


def _from_backbone(network: Network, state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The state of a network from that of its backbone with a classifier."""
    where = f"checkpoint {str(path)!r}"
    backbone = network.backbone
    inner = getattr(backbone, "model", None)  # the adapters of timm and torchvision hold a model
    model, prefix = (inner, "backbone.model.") if inner is not None else (backbone, "backbone.")
    assert isinstance(model, nn.Module) and isinstance(network.head, GapHead)
    extra = sorted(state.keys() - model.state_dict().keys())
    name = extra[-1].rpartition(".")[0] if extra else ""
    if not extra or {*extra, f"{name}.bias"} != {f"{name}.weight", f"{name}.bias"}:
        names = ", ".join(extra[:3]) + (", ..." if len(extra) > 3 else "")
        raise UserError(
            f"{where}: besides the backbone, one linear classifier is expected (a weight and a "
            f"bias), found {names or 'nothing'}; check `net`"
        )
    weight_CD, linear = state[f"{name}.weight"], network.head.linear
    if weight_CD.ndim != 2 or len(weight_CD) != linear.out_features:
        shape = list(weight_CD.shape)
        labels = f"but the data set has {linear.out_features} labels"
        raise UserError(f"{where}: the classifier '{name}' has weights {shape}, {labels}")
    bias_C = state.get(f"{name}.bias", torch.zeros(linear.out_features))
    renamed = {f"{prefix}{key}": value for key, value in state.items() if key not in extra}
    return renamed | {"head.linear.weight": weight_CD, "head.linear.bias": bias_C}
