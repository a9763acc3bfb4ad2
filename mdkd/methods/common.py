"""Functions that several methods use. Shape key: B images, C labels."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def widen(x: Tensor) -> Tensor:
    """Convert to float32, so that losses do not use the networks' lower precision.

    float64, which the tests use, stays float64.
    """
    return x if x.dtype == torch.float64 else x.float()


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on a device. The host does not wait for the copy.

    An accelerator can copy by itself from pinned memory only.
    """
    return x if device.type == "cpu" else x.pin_memory().to(device, non_blocking=True)


def no_autocast(x: Tensor) -> torch.autocast:
    """A context in which autocast is off, so matrix products keep the type of their inputs."""
    return torch.autocast(x.device.type, enabled=False)


def binary_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) of Bernoulli variables, element by element, from logits.

    The formula is p_T log(p_T / p_S) + (1 - p_T) log((1 - p_T) / (1 - p_S)). It is computed from
    logits, because it would be infinite for a probability that is rounded to 1. The gradient with
    respect to the student's logit is p_S - p_T.
    """
    present = F.logsigmoid(teacher) - F.logsigmoid(student)
    absent = F.logsigmoid(-teacher) - F.logsigmoid(-student)
    return torch.sigmoid(teacher) * present + torch.sigmoid(-teacher) * absent


def mld_loss(student_BC: Tensor, teacher_BC: Tensor) -> Tensor:
    """L_MLD of Eq. 2 from logits: summed over labels, averaged over images."""
    return binary_kl(widen(student_BC), widen(teacher_BC.detach())).sum(1).mean()


def shared_levels(
    student_sizes: Sequence[int], teacher_sizes: Sequence[int]
) -> list[tuple[int, int]]:
    """The indices of a student's and a teacher's map of the same size, deep to shallow.

    If a network has several maps of a size, its deepest one is used. Maps of size 1 are left out.

    >>> shared_levels([16, 8, 4], [8, 8, 4, 2])
    [(2, 2), (1, 1)]
    """
    # In each dict, a deeper map replaces a shallower one of the same size.
    students = {size: index for index, size in enumerate(student_sizes)}
    teachers = {size: index for index, size in enumerate(teacher_sizes)}
    shared = sorted(students.keys() & teachers.keys() - {1})
    return [(students[size], teachers[size]) for size in shared]
