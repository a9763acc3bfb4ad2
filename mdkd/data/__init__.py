"""Data: sources of images and labels, their caches, and the batches for training."""
