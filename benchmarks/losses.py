"""Time of the losses, forward and backward, on one thread: `python -m benchmarks.losses`.

Every round runs every variant once, so that a busy machine slows all alike.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from benchmarks.harness import medians
from mdkd import methodfiles, methods
from mdkd.dependencies import multi_order_losses
from mdkd.outputs import Output, Spec


def six_terms(num_labels: int, orders: tuple[int, ...], num_images: int = 32) -> Callable[[], None]:
    logits_BC = torch.randn(num_images, num_labels, requires_grad=True)
    teacher_BC = torch.rand(num_images, num_labels)

    def run() -> None:
        logits_BC.grad = None
        student_BC = logits_BC.sigmoid()
        batch, instance = multi_order_losses(student_BC, teacher_BC, orders, orders)
        (batch.sum() + instance.sum()).backward()

    return run


def step(loss: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> Callable[[], None]:
    def run() -> None:
        x.grad = None
        loss(x).backward()

    return run


def loop_ps(student_BC: torch.Tensor, teacher_BC: torch.Tensor, target_BC: torch.Tensor):
    """Image by image and label by label, as public code has it."""
    total = student_BC.sum() * 0
    for z_s, z_t, y in zip(student_BC, teacher_BC, target_BC, strict=True):
        negative = y < 0.5
        for positive in (y > 0.5).nonzero()[:, 0]:
            p = torch.cat((z_t[positive : positive + 1], z_t[negative])).log_softmax(0)
            q = torch.cat((z_s[positive : positive + 1], z_s[negative])).log_softmax(0)
            total = total + (p.exp() * (p - q)).sum()
    return total / len(student_BC)


def loop_led(student_BCE: torch.Tensor, teacher_BCE: torch.Tensor, target_BC: torch.Tensor):
    """Group by group, with one distance matrix each."""

    def distances(x_NE):
        squared = x_NE.square().sum(1)
        squared = squared[:, None] + squared[None, :] - 2 * x_NE @ x_NE.T
        d = squared.clamp_min(1e-12).sqrt() * (1 - torch.eye(len(x_NE)))
        return d / d[d > 0].mean()

    def group(student_NE, teacher_NE):
        if len(student_NE) < 2:
            return 0.0
        gap = F.smooth_l1_loss(distances(student_NE), distances(teacher_NE), reduction="sum")
        return gap / len(student_NE)

    chosen_BC = target_BC > 0.5
    total = student_BCE.sum() * 0
    for c in range(target_BC.shape[1]):
        total = total + 100 * group(
            student_BCE[chosen_BC[:, c], c], teacher_BCE[chosen_BC[:, c], c]
        )
    for i in range(len(target_BC)):
        total = total + 1000 * group(student_BCE[i, chosen_BC[i]], teacher_BCE[i, chosen_BC[i]])
    return total / len(target_BC)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    defaults = methodfiles.read_all()

    print("Dependency losses, both levels, forward and backward, 32 images")
    small = medians(
        {
            "C=80, orders 2-4": six_terms(80, (2, 3, 4)),
            "C=80, orders 2-6": six_terms(80, (2, 3, 4, 5, 6)),
            "C=80, order 6": six_terms(80, (6,)),
            "C=80, order 4": six_terms(80, (4,)),
        },
        rounds=1000,
    )
    large = {f"C={c}, orders 2-4": six_terms(c, (2, 3, 4)) for c in (9_600, 100_000)}
    for name, seconds in (small | medians(large, rounds=20)).items():
        print(f"  {name:24} {1e3 * seconds:9.3f} ms")

    width = 768
    spec = Spec(80, 1, (), (), width)
    for num_images in (32, 64):
        target_BC = (torch.rand(num_images, 80) < 2.9 / 80).float()  # as many as COCO has
        logits = torch.randn(2, num_images, 80)
        embeddings = torch.randn(2, num_images, 80, width)
        z, e = logits[0].clone().requires_grad_(), embeddings[0].clone().requires_grad_()
        teacher_output = Output(logits[1], logits[1], (), embeddings[1])
        ps = methods.build("ps", spec, spec, defaults["ps"].settings)
        l2d = methods.build("l2d", spec, spec, {**defaults["l2d"].settings, "mld": 0})

        def flat_ps(x, ps=ps, teacher=teacher_output, target_BC=target_BC):
            return ps(Output(x, x, (), None), teacher, target_BC)["ps"]

        def flat_led(x, l2d=l2d, teacher=teacher_output, target_BC=target_BC):
            return sum(l2d(Output(x, x, (), x), teacher, target_BC).values())

        def slow_ps(x, teacher=logits[1], target_BC=target_BC):
            return loop_ps(x, teacher, target_BC)

        def slow_led(x, teacher=embeddings[1], target_BC=target_BC):
            return loop_led(x, teacher, target_BC)

        print(
            f"{num_images} images, 80 labels, {int(target_BC.sum())} of them present, width {width}"
        )
        for name, fast, slow, x in (("PS", flat_ps, slow_ps, z), ("LED", flat_led, slow_led, e)):
            torch.testing.assert_close(fast(x), slow(x), rtol=1e-4, atol=1e-6)
            times = medians({"fast": step(fast, x), "slow": step(slow, x)}, rounds=20)
            print(
                f"  {name:4} {1e3 * times['fast']:9.3f} ms, loop {1e3 * times['slow']:9.3f} ms, "
                f"{times['slow'] / times['fast']:6.1f} times as fast"
            )


if __name__ == "__main__":
    main()
