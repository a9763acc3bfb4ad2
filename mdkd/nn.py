"""MDKD's loss as a PyTorch module, for training loops of one's own."""

# Shape key: B images, C labels.
import torch
from torch import Tensor, nn

from mdkd import methodfiles
from mdkd.errors import UserError
from mdkd.methods.mdkd import mdkd
from mdkd.outputs import Output


class MDKDLoss(nn.Module):
    """mld L_MLD + sum_n (bd_n L_BDn + id_n L_IDn): Eq. 15 of the paper without the supervised loss.

    These are the numbers of the method `mdkd` of the benchmark, and its default settings. They suit
    a supervised loss that is summed over labels and averaged over images. Add it yourself.

    Args:
        mld: the weight of the logits of single labels (Eq. 2).
        bd2: the weight of dependencies of order 2 at batch level; bd3 to bd6: of orders 3 to 6.
            They depend on the batch size. An order needs as many labels.
        id2: the same at instance level.
        norm: "paper" (a mean over label sequences) or "sum".

    Raises:
        UserError: a weight is negative or all are 0, or the norm is unknown. It is a ValueError.

    >>> loss = MDKDLoss(bd4=0, id4=0)  # the highest order is 3
    >>> student = torch.tensor([[0.0, 1.0, 2.0]])
    >>> teacher = torch.tensor([[0.0, -1.0, 2.0]])
    >>> round(loss(student, teacher).item(), 3)
    4.683
    """

    def __init__(
        self,
        *,
        mld: float = 10.0,
        bd2: float = 1.0,
        bd3: float = 1.0,
        bd4: float = 1.0,
        bd5: float = 0.0,
        bd6: float = 0.0,
        id2: float = 1.0,
        id3: float = 1.0,
        id4: float = 1.0,
        id5: float = 0.0,
        id6: float = 0.0,
        norm: str = "paper",
    ) -> None:
        super().__init__()
        batch = {"bd2": bd2, "bd3": bd3, "bd4": bd4, "bd5": bd5, "bd6": bd6}
        instance = {"id2": id2, "id3": id3, "id4": id4, "id5": id5, "id6": id6}
        weights = {"mld": mld} | batch | instance
        if not any(weights.values()):
            raise UserError("MDKDLoss: all weights are 0; give one of them a value")
        checked = methodfiles.read("mdkd").complete(weights | {"norm": norm}, "MDKDLoss")
        self.settings = checked

    def forward(self, student_logits_BC: Tensor, teacher_logits_BC: Tensor) -> Tensor:
        """The loss of a batch, a scalar.

        Args:
            student_logits_BC: before the sigmoid, [B, C], of any floating type; computed in float32
                or, for float64, in float64.
            teacher_logits_BC: the same for the teacher. It is a constant: gradients flow only to
                the student.

        Raises:
            ValueError: shapes differ, or there are fewer labels than an order needs.
        """
        terms = self.terms(student_logits_BC, teacher_logits_BC)
        return torch.stack(list(terms.values())).sum()

    def terms(self, student_logits_BC: Tensor, teacher_logits_BC: Tensor) -> dict[str, Tensor]:
        """The weighted terms that `forward` adds up, by the names of their weights; for logs."""
        student, teacher = Output.of_logits(student_logits_BC), Output.of_logits(teacher_logits_BC)
        unused_BC = teacher_logits_BC  # the true labels, which MDKD does not read
        return mdkd(student, teacher, unused_BC, **self.settings)

    def extra_repr(self) -> str:
        return ", ".join(f"{key}={value}" for key, value in self.settings.items() if value)
