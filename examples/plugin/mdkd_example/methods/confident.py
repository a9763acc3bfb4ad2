"""The student follows the teacher most on labels of which the teacher is sure."""

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from mdkd.methods.base import method
from mdkd.outputs import Output


@method("confident")
def confident(
    student: Output, teacher: Output, target_BC: Tensor, *, weight: float, power: float
) -> dict[str, Tensor]:
    """Binary divergence between teacher and student, times ``|2p - 1| ** power``.

    p is the teacher's probability of the label. The mean is over labels and images.
    """
    teacher_BC = teacher.logits_BC.detach().float().sigmoid()
    sure_BC = (2 * teacher_BC - 1).abs() ** power
    cross_BC = binary_cross_entropy_with_logits(
        student.logits_BC.float(), teacher_BC, reduction="none"
    )
    entropy_BC = -teacher_BC.xlogy(teacher_BC) - (1 - teacher_BC).xlogy(1 - teacher_BC)
    return {"confident": weight * (sure_BC * (cross_BC - entropy_BC)).mean()}
