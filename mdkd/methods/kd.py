"""Knowledge distillation (KD): Hinton, Vinyals and Dean, 2015, taken over without any change."""

# Shape key: B images, C labels.
import torch.nn.functional as F
from torch import Tensor

from mdkd.methods.base import method
from mdkd.methods.common import widen
from mdkd.outputs import Output


@method("kd")
def kd(
    student: Output, teacher: Output, target_BC: Tensor, *, weight: float, temperature: float
) -> dict[str, Tensor]:
    """T^2 KL(softmax(z_T / T) || softmax(z_S / T)), averaged over images.

    The softmax is over the labels, as if an image had exactly one. The probabilities of labels then
    compete, also if all of them are present. The factor T^2 keeps the size of the gradient when T
    is changed.
    """
    if not weight:
        return {}
    student_BC = (widen(student.logits_BC) / temperature).log_softmax(1)
    teacher_BC = (widen(teacher.logits_BC.detach()) / temperature).log_softmax(1)
    divergence = F.kl_div(student_BC, teacher_BC, reduction="batchmean", log_target=True)
    return {"kd": weight * temperature**2 * divergence}
