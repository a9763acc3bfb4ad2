"""A small network. An entry of architectures.yaml names it as net: module:<this module>:plain."""

from torch import Tensor, nn


class Plain(nn.Module):
    """Three stages of one convolution each; every stage halves the resolution."""

    def __init__(self, widths: tuple[int, ...]):
        super().__init__()
        sizes = zip((3, *widths), widths, strict=False)
        self.stages = nn.ModuleList(_stage(*size) for size in sizes)

    def forward(self, image_B3HW: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The pooled vector [B, D], and the maps [B, D, H, W] from shallow to deep."""
        x, maps = image_B3HW, []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return x.mean(dim=(2, 3)), tuple(maps)


def _stage(before: int, after: int) -> nn.Module:
    convolution = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())


def plain(image_size: int) -> nn.Module:
    """The network for square images of this side in pixels; this one works at any size."""
    return Plain((16, 32, 64))
