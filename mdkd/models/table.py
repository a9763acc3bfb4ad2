"""Print the table of all configured backbones: `python -m mdkd.models.table`.

Its output is docs/architectures.md. All values are measured on the networks themselves. They are
built on torch's meta device, which stores no numbers, so this needs little memory.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import timm
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from mdkd.models.adapters import TORCHVISION_TAG
from mdkd.models.build import Network, build_network

CONFIG = Path(__file__).parents[2] / "config" / "architectures.yaml"
IMAGE_SIZE = 224
STEM = "imagenet"
HEADING = f"""# Architectures

The backbones of `config/architectures.yaml` at {IMAGE_SIZE} px, without a head. CIFAR-style
networks have the stem `{STEM}`.

- **Net** is how the backbone is built: a name of timm, a name of torchvision (`tv:`), or a
  CIFAR-style network of this project (`cifar:`).
- **Parameters** are those in training (for RepVGG with all branches).
- **MACs** are the multiplications of convolutions, linear layers and attention in one forward pass
  of one image.
- **Activations** are what one image leaves in memory for the backward pass, in float32.
- **Levels** are the feature maps that methods can read, written as stride: channels.
- **Pooled** is the length of the pooled vector.
- **ImageNet weights** is the tag of the [initial weights](weights.md). *Scratch* means: no public
  ones exist, so the network starts from random weights.

`python -m mdkd.models.table` writes this page, and a test checks that it is up to date.

| Name | Net | Parameters | MACs | Activations | Levels | Pooled | ImageNet weights |
|---|---|--:|--:|--:|---|--:|---|
"""


def markdown(config: Path = CONFIG) -> str:
    """The page as Markdown, with one row for each entry of architectures.yaml."""
    archs = yaml.safe_load(config.read_text(encoding="utf-8"))
    rows = [_row(entry["label"], entry["net"]) for entry in archs.values()]
    return HEADING + "\n".join(rows) + "\n"


def _row(label: str, net: str) -> str:
    head = SimpleNamespace(kind="gap")
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network = build_network(
            net, num_labels=1, image_size=IMAGE_SIZE, stem=STEM, head=head
        ).eval()
        before = counter.get_total_flops()  # building a network runs one forward pass
        network.backbone(torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE))
    macs = (counter.get_total_flops() - before) / 2
    parameters = sum(p.numel() for p in network.backbone.parameters())
    spec = network.spec
    levels = ", ".join(
        f"{IMAGE_SIZE // size}: {channels}"
        for size, channels in zip(spec.map_sizes, spec.map_channels, strict=True)
    )
    cells = [label, f"`{net}`", f"{parameters / 1e6:.2f} M", f"{macs / 1e9:.2f} G"]
    cells.append(f"{_activations(network) / 1e6:.1f} MB")
    return f"| {' | '.join([*cells, levels, str(spec.pooled_dim), _weights(net)])} |"


def _activations(network: Network) -> float:
    """Bytes that autograd keeps of each of two images, parameters not counted."""
    parameters = {id(parameter) for parameter in network.parameters()}
    kept: dict[int, torch.Tensor] = {}  # by storage: views share theirs

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in parameters:
            kept.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with torch.device("meta"), hooks:
        network.train().backbone(torch.zeros(2, 3, IMAGE_SIZE, IMAGE_SIZE))
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / 2


def _weights(net: str) -> str:
    if net.startswith(("cifar:", "module:")):
        return "scratch"
    if net.startswith("tv:"):
        return TORCHVISION_TAG
    settings: Any = timm.models.get_pretrained_cfg(net)
    return settings.tag


if __name__ == "__main__":
    print(markdown(), end="")
