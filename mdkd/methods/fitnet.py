"""Hints (FitNet): Romero et al., ICLR 2015, on the last map."""

# Shape key: B images, S / T student / teacher channels, H x W map size.
import torch.nn.functional as F
from torch import Tensor, nn

from mdkd.methods.base import method
from mdkd.methods.common import widen
from mdkd.outputs import Output, Spec


@method("fitnet")
class FitNet(nn.Module):
    """Squared error between the teacher's last map and the student's, after a 1x1 connector.

    The connector is trained with the student, from the first step on; the paper trains it in a
    stage of its own. If the two maps differ in size, the larger one is average-pooled to the size
    of the smaller one. A training computes the connector and the comparison in float32, also on a
    GPU.
    """

    def __init__(self, student_spec: Spec, teacher_spec: Spec, *, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.size = min(student_spec.map_sizes[-1], teacher_spec.map_sizes[-1])
        channels = student_spec.map_channels[-1], teacher_spec.map_channels[-1]
        self.connector = nn.Conv2d(*channels, kernel_size=1)

    def forward(self, student: Output, teacher: Output, target_BC: Tensor) -> dict[str, Tensor]:
        """The mean over images, channels and places."""
        if not self.weight:
            return {}
        student_BSHW = _pooled(widen(student.maps[-1]), self.size)
        teacher_BTHW = _pooled(widen(teacher.maps[-1].detach()), self.size)
        hint = F.mse_loss(widen(self.connector(student_BSHW)), teacher_BTHW)
        return {"fitnet": self.weight * hint}


def _pooled(x_BCHW: Tensor, size: int) -> Tensor:
    return x_BCHW if x_BCHW.shape[-1] == size else F.adaptive_avg_pool2d(x_BCHW, size)
