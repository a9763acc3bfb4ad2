"""Networks: any backbone (timm, torchvision, CIFAR-style) and a multi-label head."""

from mdkd.models.build import Network, build_network

__all__ = ["Network", "build_network"]
