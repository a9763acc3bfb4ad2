"""MDKD in a training loop of one's own, on random data.

python examples/plain_loop.py
"""

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from mdkd.metrics import evaluate, probabilities
from mdkd.nn import MDKDLoss

IMAGES, LABELS, BATCH = 256, 8, 32


def network(width):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(3 * 8 * 8, width), nn.ReLU(), nn.Linear(width, LABELS)
    )


def fit(student, images, targets, teacher=None, epochs=20):
    """Train with the labels and, if there is a teacher, with its logits. Returns every loss."""
    distillation, losses = MDKDLoss(), []
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-2)
    for _ in range(epochs):
        for image, target in zip(images.split(BATCH), targets.split(BATCH), strict=True):
            logits = student(image)
            # Summed over labels, averaged over images: MDKD's weights are meant for this scale.
            loss = binary_cross_entropy_with_logits(logits, target, reduction="none").sum(1).mean()
            if teacher is not None:
                with torch.no_grad():
                    teacher_logits = teacher(image)
                loss = loss + distillation(logits, teacher_logits)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


def main():
    torch.manual_seed(0)
    images = torch.randn(IMAGES, 3, 8, 8)
    targets = (network(16)(images) > 0).float()  # labels that depend on the images
    teacher, student = network(256), network(8)
    fit(teacher, images, targets)
    teacher.eval()
    losses = fit(student, images, targets, teacher)
    with torch.no_grad():
        scores = evaluate(probabilities(student(images).numpy()), targets.numpy())
    print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}, mAP {100 * scores['mAP']:.1f} %")


if __name__ == "__main__":
    main()
