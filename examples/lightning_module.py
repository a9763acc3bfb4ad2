"""MDKD in a LightningModule, on random data. Needs `pip install lightning`.

python examples/lightning_module.py
"""

import lightning
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, TensorDataset

from mdkd.nn import MDKDLoss

LABELS = 8


def network(width):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(3 * 8 * 8, width), nn.ReLU(), nn.Linear(width, LABELS)
    )


class Distillation(lightning.LightningModule):
    """Trains a student with the labels and with the logits of a trained teacher."""

    def __init__(self, student, teacher):
        super().__init__()
        self.student, self.teacher = student, teacher.requires_grad_(False)
        self.distillation = MDKDLoss()

    def training_step(self, batch, _):
        image, target = batch
        self.teacher.eval()  # the trainer may have put all parts into training mode
        logits, teacher_logits = self.student(image), self.teacher(image)
        # Summed over labels, averaged over images: MDKD's weights are meant for this scale.
        bce = binary_cross_entropy_with_logits(logits, target, reduction="none").sum(1).mean()
        terms = self.distillation.terms(logits, teacher_logits)
        self.log_dict({"bce": bce, **terms})
        return bce + sum(terms.values())

    def configure_optimizers(self):
        return torch.optim.Adam(self.student.parameters(), lr=1e-3)


def main():
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(128, 3, 8, 8), torch.randint(2, (128, LABELS)).float())
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        log_every_n_steps=1,
    )
    trainer.fit(Distillation(network(8), network(256)), DataLoader(data, batch_size=32))
    print({name: round(value.item(), 3) for name, value in trainer.logged_metrics.items()})


if __name__ == "__main__":
    main()
