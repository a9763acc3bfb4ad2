"""Weight files and checkpoints with foreign content: one line with the file and the fix."""

import hashlib
import io
import pickle
from pathlib import Path

import pytest
import torch
from mutations import of_bytes

from mdkd.config import Head
from mdkd.errors import UserError
from mdkd.models import build_network
from mdkd.models.weights import load_file, read_state
from mdkd.training.checkpoint import Checkpoint


class Code:
    """A pickle of this runs code when it is read."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('code was run')",))


def network():
    torch.manual_seed(0)
    return build_network(
        "cifar:resnet8", num_labels=3, image_size=32, stem="small", head=Head(kind="gap")
    )


def state():
    return dict(network().backbone.state_dict())


def saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def changed(**tensors):
    return saved(state() | {name.replace("__", "."): value for name, value in tensors.items()})


def first(change):
    """Valid weights whose first tensor is changed."""
    name = next(iter(state()))
    return saved(state() | {name: change(state()[name])})


WEIGHTS = {
    "empty": (lambda: b"", "not a readable state dict (it is empty); replace the file"),
    "web page": (lambda: b"<!DOCTYPE html><p>404", "it is a web page"),
    "LFS pointer": (lambda: b"version https://git-lfs.github.com/spec/v1", "run `git lfs pull`"),
    "text": (lambda: b"weights", "not a readable state dict"),
    "truncated": (lambda: saved(state())[:5000], "not a readable state dict"),
    "pickle with code": (lambda: pickle.dumps(Code()), "not a readable state dict"),
    "saved code": (lambda: saved({"a": Code()}), "not a readable state dict"),
    "list": (lambda: saved([1]), "a state dict of tensors is expected, found a list"),
    "number": (lambda: saved(7), "found a int"),
    "one tensor": (lambda: saved(torch.zeros(3)), "found a Tensor"),
    "nothing": (lambda: saved({}), "lacks"),
    "nested": (
        lambda: saved({"state_dict": state(), "epoch": 7}),
        "keys such as state_dict, epoch",
    ),
    "values": (lambda: saved(dict.fromkeys(state(), 1.0)), "a state dict of tensors is expected"),
    "unknown tensor": (lambda: changed(other=torch.zeros(1)), "has unknown 1 tensors: other"),
    "other sizes": (lambda: first(lambda x: x[:1]), "has other sizes of 1 tensors"),
    "integers": (lambda: first(lambda x: x.to(torch.int64)), "has other types of 1 tensors"),
    "NaN": (lambda: first(lambda x: x * float("nan")), "has values that are not finite in 1"),
    "infinite": (lambda: first(lambda x: x / 0), "has values that are not finite in 1"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_foreign_weight_file_is_one_line(tmp_path, name):
    content, message = WEIGHTS[name]
    file = tmp_path / "weights.pth"
    file.write_bytes(content())
    with pytest.raises(UserError, match=r"^weights '.*weights\.pth'") as caught:
        load_file(network().backbone, file)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_in_place_of_weights(tmp_path):
    with pytest.raises(UserError, match="no such file; give an existing path"):
        load_file(network().backbone, tmp_path)
    with pytest.raises(UserError, match="it is a folder"):
        read_state(tmp_path)


def test_half_precision_and_a_classifier_are_accepted(tmp_path):
    file = tmp_path / "weights.pth"
    half = {k: v.half() if v.is_floating_point() else v for k, v in state().items()}
    file.write_bytes(saved(half | {"fc.weight": torch.zeros(9, 9)}))
    load_file(network().backbone, file)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_weights_are_refused_or_loaded(tmp_path, suffix):
    from safetensors.torch import save

    content = save(state()) if suffix == ".safetensors" else saved(state())
    file, backbone, refused = tmp_path / f"weights{suffix}", network().backbone, 0
    for seed in range(100):
        file.write_bytes(of_bytes(content, seed))
        try:
            load_file(backbone, file)
        except UserError:
            refused += 1
    assert refused > 30


def checkpoint(folder, content, digest=None):
    """A checkpoint file with this content behind its digest."""
    file = folder / "checkpoint.pt"
    file.write_bytes((digest or hashlib.sha256(content).digest()) + content)
    return Checkpoint(*location(folder), "f" * 64, 10)


def location(folder):
    return [folder / "checkpoint.pt"]


PARTS = {"student": {}, "optimizer": {}, "method": {}, "progress": {}, "fingerprint": "f" * 64}
CHECKPOINTS = {
    "no state": (lambda: b"", "not a checkpoint"),
    "text": (lambda: b"text", "not a checkpoint"),
    "pickle with code": (lambda: pickle.dumps(Code()), "not a checkpoint"),
    "saved code": (lambda: saved(PARTS | {"student": Code()}), "not a checkpoint"),
    "list": (lambda: saved([1]), "'student' is missing"),
    "nothing": (lambda: saved({}), "'student' is missing"),
    "student is a list": (lambda: saved(PARTS | {"student": []}), "'student' is missing or of"),
    "no progress": (lambda: saved(PARTS | {"progress": None}), "'progress' is missing"),
    "number": (lambda: saved(PARTS | {"fingerprint": 7}), "'fingerprint' is missing"),
    "above": (lambda: saved(PARTS | {"fingerprint": "../../x"}), "'fingerprint' is not a digest"),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_foreign_checkpoint_under_a_right_digest_is_one_line(tmp_path, name):
    content, message = CHECKPOINTS[name]
    with pytest.raises(
        UserError, match=r"checkpoint\.pt: not a checkpoint .*; delete it"
    ) as caught:
        checkpoint(tmp_path, content()).load()
    assert message in str(caught.value)
    assert [file.name for file in Path(tmp_path).iterdir()] == ["checkpoint.pt"]


def test_a_damaged_checkpoint_is_refused(tmp_path):
    content = saved(PARTS)
    assert checkpoint(tmp_path, content).load()["fingerprint"] == "f" * 64
    whole = (tmp_path / "checkpoint.pt").read_bytes()
    for seed in range(100):
        damaged = of_bytes(whole, seed)
        (tmp_path / "checkpoint.pt").write_bytes(damaged)
        if damaged != whole:
            with pytest.raises(UserError, match="damaged checkpoint; delete it and run again"):
                Checkpoint(*location(tmp_path), "f" * 64, 10).load()
