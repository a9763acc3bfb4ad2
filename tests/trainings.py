"""Short trainings and what they leave behind: what the tests of trainings share."""

import json

import pytest
import torch

STUDENT = "supervised/scenes/resnet8/seed0"

MLD = "distill/scenes/resnet20--resnet8/mld/default/seed0"

MDKD = "distill/scenes/resnet20--resnet8/mdkd/default/seed0"  # the most terms
REVIEW = "distill/scenes/resnet20--resnet8/reviewkd/mid_channels-8/seed0"

STEPS = 3  # an epoch: 48 images in batches of 16

LAST_STEP = 2 * STEPS


def weights(folder):
    return torch.load(folder / "model.pt", weights_only=True)


def read(folder, name):
    return (folder / name).read_bytes()


def history(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def losses(folder):
    return [(epoch["losses"], epoch["gradient_ratios"]) for epoch in history(folder)]


@pytest.fixture(scope="session")
def finished(taught, tmp_path_factory):
    """Uninterrupted trainings to compare with; never train in them."""
    bench = taught.copy(tmp_path_factory.mktemp("finished") / "bench")
    for path in (STUDENT, MLD, MDKD, REVIEW):
        bench.train(path)
    return bench


def tamper(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
