"""No distillation: the student learns only from the labels."""

from torch import Tensor

from mdkd.methods.base import method
from mdkd.outputs import Output


@method("vanilla")
def vanilla(student: Output, teacher: Output | None, target_BC: Tensor) -> dict[str, Tensor]:
    """No terms. The training loop adds the supervised loss."""
    return {}
