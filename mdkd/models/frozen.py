"""A network for inference in the form that is fastest on a GPU: few operations in bfloat16."""

import copy
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mdkd.models.build import Network, merged


def frozen(network: Network) -> Network:
    """A copy for inference alone that computes in bfloat16: folded (`folded`), channels last.

    It takes images in float32. Its outputs are bfloat16 and differ from those of the network by
    what bfloat16 rounds. Batch norms that could not be folded keep their numbers in float32.
    """
    network = folded(network).to(torch.bfloat16)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.float()
    network.register_forward_pre_hook(lambda module, images: (images[0].bfloat16(),))
    return network.to(memory_format=torch.channels_last)


def folded(network: Network) -> Network:
    """A copy for inference whose batch norms are folded into the convolutions before them.

    A norm is folded if it alone reads the output of the convolution, and if both are used only
    once. The outputs stay the same, up to rounding.
    """
    network = copy.deepcopy(merged(network)).requires_grad_(False)
    modules: dict[str, Any] = dict(network.named_modules())
    for conv_name, norm_name in _pairs(network):
        conv, norm = modules[conv_name], modules[norm_name]
        network.set_submodule(conv_name, fuse_conv_bn_eval(conv, norm))
        # timm's norms contain the activation that follows.
        rest = [norm.drop, norm.act] if hasattr(norm, "act") else []
        network.set_submodule(norm_name, nn.Sequential(*rest))
    return network


def _pairs(network: Network) -> list[tuple[str, str]]:
    """The names of convolutions and of the batch norms that alone read their outputs."""
    sketch = copy.deepcopy(network).to("meta")  # there, nothing is computed
    size = network.image_size
    black_B3SS = next(sketch.parameters()).new_zeros(1, 3, size, size)
    with torch.no_grad(), _Readers() as found:
        sketch(black_B3SS)
    names = Counter(id(m) for _, m in sketch.named_modules(remove_duplicate=False))
    once = [(name, m) for name, m in sketch.named_modules() if names[id(m)] == 1]
    # Only parameters of its own: a parametrised weight is another tensor in each use.
    convs = {
        id(weight): name
        for name, m in once
        if isinstance(m, nn.Conv2d)
        for key, weight in m.named_parameters(recurse=False)
        if key == "weight" and found.uses[id(weight)] == 1
    }
    norms = {
        id(m.running_mean): name
        for name, m in once
        if isinstance(m, nn.BatchNorm2d) and found.uses[id(m.running_mean)] == 1
    }
    pairs = []
    for weight_id, readers in found.readers:
        if len(readers) == 1 and weight_id in convs:
            pairs += [(convs[weight_id], norms[key]) for key in readers[0] if key in norms]
    return pairs


class _Readers(TorchDispatchMode):
    """For each convolution that is called: its weight, and what each reader of its output reads.

    Also how many operations read each tensor. Tensors are named by their identities.
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[tuple[int, list[set[int]]]] = []
        self.uses: Counter[int] = Counter()
        self.of_output: dict[int, list[set[int]]] = {}
        self.kept: list[Tensor] = []  # as long as a tensor lives, no other has its identity

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {id(x) for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        self.uses.update(given)
        for tensor in given & self.of_output.keys():
            self.of_output[tensor].append(given)
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            self.kept.append(result)
            self.of_output[id(result)] = []
            self.readers.append((id(args[1]), self.of_output[id(result)]))
        return result
