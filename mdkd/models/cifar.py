"""CIFAR-style residual networks that work at any image size.

`resnet{6n+2}[x{k}]` follows He et al., "Deep Residual Learning", CVPR 2016, section 4.2.
`wrn{6n+4}_{k}` follows Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016.

There are three stages of n blocks each. The second and the third stage halve the resolution. A
block that changes the shape has a 1x1 convolution as shortcut. The last map is averaged over all
its pixels, so its size does not matter.

The widths are those of the CIFAR-100 distillation literature; k is 1 if it is not given:

    resnet  stem max(16, 8k), stages 16k 32k 64k   (so x4 has stem 32 and stages 64 128 256)
    wrn     stem 16,          stages 16k 32k 64k

With a fractional k, each width is rounded to a whole number of channels.

Shape key: B images, 3 colours, D channels, H x W pixels.
"""

import re

from torch import Tensor, nn
from torch.nn import functional as F

from mdkd.errors import UserError

STEM_STRIDES = {"cifar": 1, "small": 2, "imagenet": 4}
STAGE_STRIDES = (1, 2, 2)
EXAMPLES = "resnet8, resnet20, resnet56, resnet32x4, resnet20x1.5, wrn40_2"


def cifar_net(name: str, stem: str) -> "CifarNet":
    """Build the network called `name`. `stem` is a key of `STEM_STRIDES`.

    >>> sum(p.numel() for p in cifar_net("resnet20", "cifar").parameters())
    271824
    """
    block: type[nn.Module]
    if match := re.fullmatch(r"resnet(\d+)(?:x(\d+(?:\.\d+)?))?", name):
        depth, factor = int(match[1]), float(match[2] or 1)
        block, stem_width, extra_layers = BasicBlock, max(16, round(8 * factor)), 2
    elif match := re.fullmatch(r"wrn(\d+)_(\d+)", name):
        depth, factor = int(match[1]), float(match[2])
        block, stem_width, extra_layers = PreActivationBlock, 16, 4
    else:
        raise UserError(f"net 'cifar:{name}': unknown network; examples: {EXAMPLES}")
    blocks, rest = divmod(depth - extra_layers, 6)
    if blocks < 1 or rest:
        raise UserError(f"net 'cifar:{name}': the depth must be 6n + {extra_layers}, n >= 1")
    widths = [round(factor * width) for width in (16, 32, 64)]
    if not all(widths):
        raise UserError(
            f"net 'cifar:{name}': a stage would be without channels; raise the width factor"
        )
    return CifarNet(block, blocks, stem_width, widths, stem)


class CifarNet(nn.Module):
    """Stem, three stages and global average pooling. The maps are the outputs of the stages."""

    def __init__(
        self, block: type[nn.Module], blocks: int, stem_width: int, widths: list[int], stem: str
    ) -> None:
        super().__init__()
        self.stem = _stem(stem, stem_width, activate=block is BasicBlock)
        self.stages = nn.ModuleList()
        width_before = stem_width
        for width, stride in zip(widths, STAGE_STRIDES, strict=True):
            rest = [block(width, width) for _ in range(blocks - 1)]
            self.stages.append(nn.Sequential(block(width_before, width, stride), *rest))
            width_before = width
        # A pre-activation block ends with a sum, so the last map still needs norm and activation.
        self.final = nn.Identity() if block is BasicBlock else _norm_relu(width_before)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image_B3HW: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Pooled vector [B, D] and the maps of the three stages, shallow to deep."""
        x_BDHW = self.stem(image_B3HW)
        maps = []
        for stage in self.stages:
            x_BDHW = stage(x_BDHW)
            maps.append(x_BDHW)
        maps[-1] = self.final(x_BDHW)
        return maps[-1].mean(dim=(2, 3)), tuple(maps)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, each followed by batch norm; the activation comes after the sum."""

    def __init__(self, channels_in: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = _conv3x3(channels_in, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x_BDHW: Tensor) -> Tensor:
        y_BDHW = F.relu(self.bn1(self.conv1(x_BDHW)), inplace=True)
        y_BDHW = self.bn2(self.conv2(y_BDHW)) + self.shortcut(x_BDHW)
        return F.relu(y_BDHW, inplace=True)


class PreActivationBlock(nn.Module):
    """Two 3x3 convolutions, each after batch norm and activation; no activation after the sum."""

    def __init__(self, channels_in: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv1 = _conv3x3(channels_in, channels, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = _conv3x3(channels, channels)
        self.shortcut = None
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)

    def forward(self, x_BDHW: Tensor) -> Tensor:
        active_BDHW = F.relu(self.bn1(x_BDHW), inplace=True)
        y_BDHW = F.relu(self.bn2(self.conv1(active_BDHW)), inplace=True)
        # If the shape changes, the shortcut reads the activated input; otherwise it is the input.
        carried_BDHW = x_BDHW if self.shortcut is None else self.shortcut(active_BDHW)
        return self.conv2(y_BDHW) + carried_BDHW


def _stem(kind: str, width: int, activate: bool) -> nn.Module:
    """The first layers, with stride 1, 2 or 4. `activate` is false before pre-activation blocks."""
    if kind == "imagenet":
        conv = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        return nn.Sequential(conv, _norm_relu(width), nn.MaxPool2d(3, stride=2, padding=1))
    conv = _conv3x3(3, width, STEM_STRIDES[kind])
    return nn.Sequential(conv, _norm_relu(width)) if activate else conv


def _conv3x3(channels_in: int, channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)


def _norm_relu(channels: int) -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
