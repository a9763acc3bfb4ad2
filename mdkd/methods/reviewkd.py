"""Knowledge review (ReviewKD): Chen et al., CVPR 2021."""

# Shape key: B images, M mid channels, S / T student / teacher channels, H x W map size.
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdkd.methods.base import method
from mdkd.methods.common import shared_levels, widen
from mdkd.outputs import Output, Spec


@method("reviewkd")
class ReviewKD(nn.Module):
    """Fuses the student's maps from deep to shallow and compares them with the teacher's maps.

    There is one level for each map size that both networks have. If a network has several maps of
    this size, the deepest one is used. The pooled vectors are one more level, as maps of size 1.
    All sizes come from the networks' specs. A training computes the fusion blocks and the
    comparisons in float32, also on a GPU.
    """

    def __init__(
        self, student_spec: Spec, teacher_spec: Spec, *, weight: float, mid_channels: int
    ) -> None:
        super().__init__()
        self.weight = weight
        levels = shared_levels(student_spec.map_sizes, teacher_spec.map_sizes)
        self.student_maps = [index for index, _ in levels]
        self.teacher_maps = [index for _, index in levels]
        student_channels = [student_spec.map_channels[i] for i in self.student_maps]
        teacher_channels = [teacher_spec.map_channels[i] for i in self.teacher_maps]
        self.blocks = nn.ModuleList(
            Fusion(student, teacher, mid_channels, fuse=depth > 0)
            for depth, (student, teacher) in enumerate(
                zip(
                    [student_spec.pooled_dim, *student_channels],
                    [teacher_spec.pooled_dim, *teacher_channels],
                    strict=True,
                )
            )
        )

    def forward(self, student: Output, teacher: Output, target_BC: Tensor) -> dict[str, Tensor]:
        """The sum over levels of the hierarchical context loss."""
        if not self.weight:
            return {}
        students = [
            student.pooled_BD[..., None, None],
            *(student.maps[i] for i in self.student_maps),
        ]
        teachers = [
            teacher.pooled_BD[..., None, None],
            *(teacher.maps[i] for i in self.teacher_maps),
        ]
        losses, deeper_BMHW = [], None
        for block, x_BSHW, teacher_BTHW in zip(self.blocks, students, teachers, strict=True):
            output_BTHW, deeper_BMHW = block(widen(x_BSHW), deeper_BMHW)
            losses.append(hierarchical_context(widen(output_BTHW), widen(teacher_BTHW.detach())))
        return {"reviewkd": self.weight * torch.stack(losses).sum()}


class Fusion(nn.Module):
    """Attention-based fusion (ABF) of a student map with the fused map of the next deeper level."""

    def __init__(self, in_channels: int, out_channels: int, mid_channels: int, *, fuse: bool):
        super().__init__()
        self.reduce = nn.Conv2d(in_channels, mid_channels, 1, bias=False)
        self.reduce_norm = BatchNorm(mid_channels)
        self.attention = nn.Conv2d(2 * mid_channels, 2, 1) if fuse else None
        self.expand = nn.Conv2d(mid_channels, out_channels, 3, padding=1, bias=False)
        self.expand_norm = BatchNorm(out_channels)
        nn.init.kaiming_uniform_(self.reduce.weight, a=1)
        nn.init.kaiming_uniform_(self.expand.weight, a=1)

    def forward(self, x_BSHW: Tensor, deeper_BMHW: Tensor | None) -> tuple[Tensor, Tensor]:
        """The map to compare, [B, T, H, W], and the fused map for the next, shallower level."""
        fused_BMHW = self.reduce_norm(self.reduce(x_BSHW))
        if self.attention is not None and deeper_BMHW is not None:
            deeper_BMHW = F.interpolate(deeper_BMHW, size=fused_BMHW.shape[-2:], mode="nearest")
            both = torch.cat((fused_BMHW, deeper_BMHW), 1)
            here_B1HW, there_B1HW = self.attention(both).sigmoid().split(1, dim=1)
            fused_BMHW = here_B1HW * fused_BMHW + there_B1HW * deeper_BMHW
        return self.expand_norm(self.expand(fused_BMHW)), fused_BMHW


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that also works for a single image of size 1 x 1, which has no variance.

    In that case, it uses the running statistics.
    """

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if self.training and x_BCHW.numel() == x_BCHW.shape[1]:
            return F.batch_norm(
                x_BCHW, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(x_BCHW)


def hierarchical_context(student_BTHW: Tensor, teacher_BTHW: Tensor) -> Tensor:
    """Hierarchical context loss (HCL): mean squared error at several map sizes.

    The sizes are the full size and, after average pooling, 4, 2 and 1, with weights 1, 1/2, 1/4
    and 1/8. Pooling to a size that is not smaller than the map is skipped. The sum of the weights
    in use is scaled to 1.
    """
    loss, weight, total = F.mse_loss(student_BTHW, teacher_BTHW), 1.0, 1.0
    for size in (4, 2, 1):
        if size < student_BTHW.shape[-1]:
            weight /= 2
            total += weight
            loss = loss + weight * F.mse_loss(
                F.adaptive_avg_pool2d(student_BTHW, size), F.adaptive_avg_pool2d(teacher_BTHW, size)
            )
    return loss / total
