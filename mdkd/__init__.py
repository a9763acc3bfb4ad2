"""A benchmark of knowledge-distillation methods for multi-label images."""

__version__ = "0.1.0"
