"""The network builds through mdkd, which checks its outputs."""

import torch

from mdkd.config import Head
from mdkd.models import build_network


def test_its_sizes_are_measured():
    network = build_network(
        "module:mdkd_example.networks:plain",
        num_labels=4,
        image_size=48,
        stem="small",
        head=Head(kind="gap"),
    )
    assert network.spec.map_channels == (16, 32, 64) and network.spec.map_sizes == (24, 12, 6)
    assert network(torch.zeros(2, 3, 48, 48)).logits_BC.shape == (2, 4)
