"""Networks: a backbone (timm, torchvision or CIFAR-style) with a multi-label head."""

from mdkd.models.build import Network, build_network

__all__ = ["Network", "build_network"]
