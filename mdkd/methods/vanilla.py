"""No distillation: the student learns from the labels alone."""

from torch import Tensor

from mdkd.methods.base import method
from mdkd.outputs import Output


@method("vanilla", needs=())
def vanilla(student: Output, teacher: Output | None, target_BC: Tensor) -> dict[str, Tensor]:
    """No terms: the supervised loss belongs to the training loop."""
    return {}
