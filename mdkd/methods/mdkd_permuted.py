"""Control: MDKD with wrong label pairs. Any gain is not due to knowledge of label dependencies."""

# Shape key: B images, C labels.
import torch
from torch import Tensor

from mdkd.methods.base import method
from mdkd.methods.common import to_device
from mdkd.methods.mdkd import equal_weights, mdkd
from mdkd.outputs import Output


@method("mdkd_permuted")
def mdkd_permuted(
    student: Output, teacher: Output, target_BC: Tensor, *, mld: float, dependencies: float
) -> dict[str, Tensor]:
    """MDKD that compares the student's pair (k, l) with the teacher's pair (pi(k), pi(l)).

    A new permutation pi of the labels is drawn for every batch. L_MLD, with weight `mld`, is
    computed without the permutation. `dependencies` is the weight of each of MDKD's other six
    terms.
    """
    num_labels, device = teacher.logits_BC.shape[1], teacher.logits_BC.device
    # Drawn on the host: the same for all devices.
    permutation_C = to_device(torch.randperm(num_labels), device)
    elsewhere = teacher._replace(logits_BC=teacher.logits_BC[:, permutation_C])
    own = mdkd(student, teacher, target_BC, **equal_weights(mld, 0.0))
    return own | mdkd(student, elsewhere, target_BC, **equal_weights(0.0, dependencies))
