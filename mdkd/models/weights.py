"""Initial weights of a backbone, from a weight file (`mdkd.weightfiles`)."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mdkd.errors import UserError

# Names of classifier parameters in a weight file. They are skipped; our heads replace them.
CLASSIFIERS = ("classifier.", "fc.", "head.", "linear.", "pre_logits.")


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
    unknown = [k for k in state if k not in own and not k.startswith(CLASSIFIERS)]
    if problem := misfit(own, state, unknown):
        raise UserError(f"weights {str(path)!r} {problem}")
    model.load_state_dict(state, strict=False)  # also converts the values to the model's type


def misfit(own: dict[str, Tensor], state: dict[str, Tensor], unknown: list[str]) -> str | None:
    """Why the tensors of a file do not fit those of a model, or None.

    Args:
        unknown: names in the file for which the model has no place.
    """
    both = [k for k in own if k in state]
    problems = {
        "lacks": [k for k in own if k not in state and not k.endswith("num_batches_tracked")],
        "has unknown": unknown,
        "has other sizes of": [k for k in both if own[k].shape != state[k].shape],
        "has other types of": [
            k for k in both if own[k].is_floating_point() != state[k].is_floating_point()
        ],
        "has values that are not finite in": [k for k in both if not state[k].isfinite().all()],
    }
    for problem, keys in problems.items():
        if keys:
            names = ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
            return f"{problem} {len(keys)} tensors: {names}"
    return None


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a state-dict file to the CPU.

    Raises:
        UserError: the file is not readable, or holds something else.
    """
    state = load(path)
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        what = f"a {type(state).__name__}"
        if isinstance(state, dict):
            keys = ", ".join(str(key)[:40] for key in list(state)[:3])
            what = f"keys such as {keys}"
        raise UserError(
            f"weights {str(path)!r}: a state dict of tensors is expected, found {what}; save the "
            "state dict alone"
        )
    return state


def load(path: Path) -> Any:
    """The content of a weight file, whatever its layout. No code in it is run.

    Raises:
        UserError: the file is not readable.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file as load_safetensors

            return load_safetensors(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each file format raises other exceptions
        what = f"not a readable state dict{_content(path)}; replace the file"
        raise UserError(f"weights {str(path)!r}: {what}") from error


def _content(path: Path) -> str:
    """What a file holds that is often saved in place of weights."""
    if not path.is_file():
        return " (it is a folder)"
    with path.open("rb") as file:
        head = file.read(200).lstrip().lower()
    if not head:
        return " (it is empty)"
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        return " (it is a web page, perhaps the message of a failed download)"
    if head.startswith(b"version https://git-lfs"):
        return " (it is a pointer of Git LFS: run `git lfs pull`)"
    return ""
