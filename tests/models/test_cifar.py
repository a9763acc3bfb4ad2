"""CIFAR-style networks: parameters counted by hand, stems, imports."""

import subprocess
import sys
from pathlib import Path

import pytest
from network_cases import build

ROOT = Path(__file__).parents[2]


def conv(channels_in, channels, kernel=3):
    return channels_in * channels * kernel**2


def resnet_parameters(blocks, stem, widths):
    """Counted from the definition; batch norm has two numbers per channel. 100 labels."""
    total, before = conv(3, stem) + 2 * stem, stem
    for stage, width in enumerate(widths):
        total += conv(before, width) + (2 * blocks - 1) * conv(width, width)
        total += 2 * blocks * 2 * width
        if stage > 0 or before != width:
            total += conv(before, width, kernel=1) + 2 * width
        before = width
    return total + 100 * widths[-1] + 100


def wide_parameters(blocks, factor):
    total, before = conv(3, 16), 16
    for stage, width in enumerate([16 * factor, 32 * factor, 64 * factor]):
        total += conv(before, width) + (2 * blocks - 1) * conv(width, width)
        total += 2 * before + (2 * blocks - 1) * 2 * width
        if stage > 0 or before != width:
            total += conv(before, width, kernel=1)
        before = width
    return total + 2 * before + 100 * before + 100


@pytest.mark.parametrize(
    ("name", "millions", "counted"),
    [
        ("resnet20", 0.28, resnet_parameters(3, 16, [16, 32, 64])),
        ("resnet56", 0.86, resnet_parameters(9, 16, [16, 32, 64])),
        ("resnet8x4", 1.23, resnet_parameters(1, 32, [64, 128, 256])),
        ("resnet32x4", 7.43, resnet_parameters(5, 32, [64, 128, 256])),
        ("wrn40_1", 0.57, wide_parameters(6, 1)),
        ("wrn40_2", 2.26, wide_parameters(6, 2)),
        ("wrn16_2", 0.70, wide_parameters(2, 2)),
    ],
)
def test_parameter_counts_of_cifar_networks(name, millions, counted):
    network = build(f"cifar:{name}", 32, "cifar", num_labels=100)
    parameters = sum(p.numel() for p in network.parameters())
    assert parameters == counted
    assert round(parameters / 1e6, 2) == millions


@pytest.mark.parametrize("stem", ["cifar", "small", "imagenet"])
@pytest.mark.parametrize("name", ["cifar:resnet8", "cifar:wrn10_1"])
def test_stems_set_the_stride(name, stem):
    first = {"cifar": 64, "small": 32, "imagenet": 16}[stem]
    spec = build(name, 64, stem).spec
    assert spec.map_sizes == (first, first // 2, first // 4)


def test_cifar_networks_import_neither_timm_nor_torchvision():
    code = """
import sys
from mdkd.config import Head
from mdkd.models import build_network
head = Head(kind="gap")
build_network("cifar:resnet8", num_labels=3, image_size=32, stem="small", head=head)
assert not {"timm", "torchvision"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
