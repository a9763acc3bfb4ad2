"""Small networks to test with."""

import torch

from mdkd.config import Head
from mdkd.models import build_network

LABELS = 5

GAP = Head(kind="gap")


def decoder(**changes):
    small = {"width": 16, "queries": None, "heads": 4, "feedforward": 24, "dropout": 0.1}
    return Head(kind="mldecoder", **small | changes)


def build(net, image_size=64, stem="small", head=GAP, num_labels=LABELS, weights=None, seed=0):
    torch.manual_seed(seed)
    return build_network(
        net, num_labels=num_labels, image_size=image_size, stem=stem, head=head, weights=weights
    )
