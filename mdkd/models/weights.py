"""Initial weights of a backbone, from a weight file (`mdkd.weightfiles`)."""

import hashlib
from pathlib import Path

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
