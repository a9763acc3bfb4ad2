"""A finished run of an own network whose code has changed since its training."""

import sys

import pytest
import torch

from mdkd import records, store
from mdkd.cli import main
from mdkd.config import Run, parse
from mdkd.data.build import build
from mdkd.layout import Layout
from mdkd.training.loop import train

CODE = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=4, padding=1)

    def forward(self, image):
        x = self.stem(image)
        return x.mean(dim=(2, 3)), (x,)


def net(image_size):
    return Net()
"""


@pytest.fixture
def own(used, pictures, tmp_path, monkeypatch):
    """The file with the network, and the record of its finished run."""
    folder = tmp_path / "own_code"
    folder.mkdir()
    file = folder / "networks.py"
    file.write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    raw = used.record()["run"] | {"net": "module:own_code.networks:net"}
    run, layout = parse(Run, raw, "run"), Layout("smoke", tmp_path)
    build(run.dataset, pictures, layout.cache("own"))
    train(run, layout, "cpu")
    yield file, store.entry(run, layout).folder / store.RECORD
    forget()


def forget():
    """As in a new process."""
    for name in ("own_code.networks", "own_code"):
        sys.modules.pop(name, None)


def predicted(record, pictures, capsys):
    forget()
    status = main(["predict", str(record), str(pictures / "1.png"), "--device", "cpu"])
    return status, capsys.readouterr().err


def test_changed_code_is_named_and_no_training_is_to_be_deleted(own, pictures, capsys):
    file, record = own
    assert predicted(record, pictures, capsys) == (0, "")
    file.write_text(CODE.replace("8, 3, stride", "12, 3, stride"))
    status, error = predicted(record, pictures, capsys)
    assert status == 2 and error.count("\n") == 1
    assert "the code of own_code.networks has changed since this training" in error
    assert "restore it, or give the network another name in architectures.yaml" in error
    assert "delete" not in error
    file.write_text(CODE)
    assert predicted(record, pictures, capsys) == (0, "")


def test_weights_that_do_not_fit_unchanged_code_are_another_matter(own, pictures, capsys):
    _, record = own
    weights = record.with_name(store.WEIGHTS)
    state = torch.load(weights, weights_only=True)
    torch.save({f"{name}_of_a_network_with_long_names": t for name, t in state.items()}, weights)
    digest = {"weights_sha256": records.sha256(weights)}
    records.write_json(record, records.read_json(record) | digest)
    status, error = predicted(record, pictures, capsys)
    assert status == 2 and error.count("\n") == 1
    assert "has changed" not in error
    assert " ...); delete " in error  # a long reason ends visibly
