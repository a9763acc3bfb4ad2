"""Initial weights of a backbone: weight files and their checksums."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from mdkd.errors import UserError
from mdkd.records import sha256

CHECKSUMS = "SHA256SUMS"  # file in the format of the program sha256sum
SUFFIXES = (".safetensors", ".pth")
# Names of classifier parameters in a weight file. They are skipped; our heads replace them.
CLASSIFIERS = ("classifier.", "fc.", "head.", "linear.", "pre_logits.")


def local_name(net: str) -> str:
    """The name of a network's weight file, without suffix. Example: tv:resnet34 -> tv-resnet34."""
    return net.replace(":", "-")


def local_file(net: str, folder: Path) -> Path | None:
    """The file with the ImageNet weights of `net` in a folder, or None. Its checksum is checked."""
    for suffix in SUFFIXES:
        path = folder / f"{local_name(net)}{suffix}"
        if path.is_file():
            _check(path)
            return path
    return None


def _check(path: Path) -> None:
    sums = path.with_name(CHECKSUMS)
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else []
    pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
    expected = {pair[-1].removeprefix("*"): pair[0] for pair in pairs}
    if path.name not in expected:
        raise UserError(
            f"{sums}: no line for {path.name}; if you trust the file, add the output of "
            f"`sha256sum {path.name}`, run in its folder"
        )
    if sha256(path) != expected[path.name]:
        raise UserError(f"{path}: its checksum differs from {CHECKSUMS}; download the file again")


def digest(model: nn.Module) -> str:
    """SHA-256 of the names and values of all tensors.

    It does not depend on the file format, so a local file and a hub give the same value.
    """
    total = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        total.update(name.encode())
        total.update(value.contiguous().cpu().numpy().tobytes())
    return total.hexdigest()


def load_file(model: nn.Module, path: Path) -> None:
    """Load a state-dict file into `model`. The file's classifier is skipped.

    Values are converted to the type of the model, for example from float16 to float32.
    """
    if not path.is_file():
        raise UserError(f"weights {str(path)!r}: no such file; give an existing path or imagenet")
    state = read_state(path)
    own = model.state_dict()
    problems = {
        "lacks": [k for k in own if k not in state and not k.endswith("num_batches_tracked")],
        "has unknown": [k for k in state if k not in own and not k.startswith(CLASSIFIERS)],
        "has other sizes of": [k for k in own if k in state and own[k].shape != state[k].shape],
    }
    for problem, keys in problems.items():
        if keys:
            names = ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
            raise UserError(f"weights {str(path)!r} {problem} {len(keys)} tensors: {names}")
    model.load_state_dict(state, strict=False)  # also converts the values to the model's type


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a state-dict file to the CPU."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file as load_safetensors

            return load_safetensors(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each file format raises other exceptions
        raise UserError(
            f"weights {str(path)!r}: not a readable state dict; replace the file"
        ) from error
