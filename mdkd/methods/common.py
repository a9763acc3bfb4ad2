"""What several methods share. Shape key: B images, C labels."""

import torch
import torch.nn.functional as F
from torch import Tensor


def widen(x: Tensor) -> Tensor:
    """Losses are computed in float32 whatever the networks ran in; float64 stays (tests)."""
    return x if x.dtype == torch.float64 else x.float()


def no_autocast(x: Tensor) -> torch.autocast:
    """A context in which matrix products keep the type of their inputs."""
    return torch.autocast(x.device.type, enabled=False)


def binary_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) of Bernoulli variables, element by element, from logits.

    p_T log(p_T / p_S) + (1 - p_T) log((1 - p_T) / (1 - p_S)), in logits, because a probability
    that rounds to 1 would make it infinite. The gradient is p_S - p_T at any logit.
    """
    present = F.logsigmoid(teacher) - F.logsigmoid(student)
    absent = F.logsigmoid(-teacher) - F.logsigmoid(-student)
    return torch.sigmoid(teacher) * present + torch.sigmoid(-teacher) * absent


def mld_loss(student_BC: Tensor, teacher_BC: Tensor) -> Tensor:
    """L_MLD of Eq. 2 from logits: summed over labels, averaged over images."""
    return binary_kl(widen(student_BC), widen(teacher_BC.detach())).sum(1).mean()
