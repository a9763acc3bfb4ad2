"""From a source of images and labels, through one cache, to the batches of a training."""
