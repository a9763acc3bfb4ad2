"""The content of ``rates.yaml``: speeds and sizes of networks, from which `mdkd.costs` computes.

A speed is raised only by a recorded run on a device that has a name: a finished training, or
``benchmarks/gpu.py``, which prints numbers in the form of `Speeds`.
"""

from dataclasses import dataclass, field
from pathlib import Path

from mdkd.config import Stem, number, parse
from mdkd.yamlfiles import read_yaml


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """Speeds of networks on one kind of device; see ``rates.yaml``."""

    device: str  # on which the speeds were measured
    image_size: int = number(1, 4096)  # pixels on a side
    stem: Stem  # of the CIFAR-style networks
    efficiency: float = number(1e-3, 1)
    inference: float = number(1e-3, 1e6)  # over training
    training: dict[str, float] = field(metadata={"range": (1e-6, 1e9)})  # images/s, by net
    guessed: list[str] = field(default_factory=list)  # nets
    methods: dict[str, float] = field(  # time of a step; 1 if not named
        default_factory=dict, metadata={"range": (1e-3, 1e6)}
    )


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of a backbone, from ``docs/architectures.md``."""

    parameters: int = number(0)
    channels: int = number(1)  # of its last map, which the head reads
    # MB that an image of 224 px leaves for the backward pass, in float32
    activations: float = number(0)


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The content of ``rates.yaml``."""

    gpu: Speeds
    cpu: Speeds
    sizes: dict[str, Size]  # by net


def read_rates(file: Path) -> Rates:
    """The checked content of ``rates.yaml``."""
    return parse(Rates, read_yaml(file), str(file))
