"""MDKD by its name in a configuration of torchdistill, on random data.

Needs `pip install torchdistill`.

python examples/torchdistill_registry.py
"""

import torch
import yaml
from torch import nn
from torch.utils.data import RandomSampler, TensorDataset
from torchdistill.core.distillation import DistillationBox
from torchdistill.losses.registry import register_low_level_loss

from mdkd.nn import MDKDLoss

LABELS = 8
register_low_level_loss(MDKDLoss)  # from now on, configurations may say `key: MDKDLoss`

CONFIG = """
num_epochs: 2
train_data_loader:
  dataset_id: train
  sampler: {}
  kwargs: {batch_size: 32}
teacher: {forward_proc: forward_batch_only, requires_grad: false}
student: {forward_proc: forward_batch_only}
optimizer: {key: Adam, kwargs: {lr: 0.001}}
criterion:
  key: WeightedSumLoss
  kwargs:
    sub_terms:
      bce:
        criterion: {key: BCEWithLogitsLoss, kwargs: {reduction: mean}}
        criterion_wrapper:
          key: SimpleLossWrapper
          kwargs:
            input: {is_from_teacher: false, module_path: ., io: output}
            target: {uses_label: true}
        weight: 8   # the number of labels: a sum over labels, the scale of MDKD's weights
      mdkd:
        criterion: {key: MDKDLoss, kwargs: {mld: 10}}
        criterion_wrapper:
          key: SimpleLossWrapper
          kwargs:
            input: {is_from_teacher: false, module_path: ., io: output}
            target: {is_from_teacher: true, module_path: ., io: output}
        weight: 1
"""


def network(width):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(3 * 8 * 8, width), nn.ReLU(), nn.Linear(width, LABELS)
    )


def configuration():
    config = yaml.safe_load(CONFIG)
    config["train_data_loader"]["sampler"]["class_or_func"] = RandomSampler
    return config


def main():
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(128, 3, 8, 8), torch.randint(2, (128, LABELS)).float())
    box = DistillationBox(
        network(256),
        network(8),
        {"train": data},
        configuration(),
        torch.device("cpu"),
        None,
        False,
        1,
    )
    for epoch in range(box.num_epochs):
        box.pre_epoch_process(epoch=epoch)
        for images, targets, supp in box.train_data_loader:
            loss = box.forward_process(images, targets, supp)
            box.post_forward_process(loss)
        box.post_epoch_process()
        print(f"epoch {epoch}: loss {loss.item():.2f}")


if __name__ == "__main__":
    main()
