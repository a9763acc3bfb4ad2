"""Write a finished network in a form that other programs read: `mdkd export`.

    model.json      labels, preprocessing, threshold, where the network comes from
    README.md       the model card (`mdkd.training.card`)
    backbone.pt     weights that timm or torchvision load into a network without classifier, and
    head.pt         those of the head; or both as .safetensors
    network.py      a module for these weights that needs no part of mdkd
    model.onnx      in place of the three files before: the whole network, for any number of images

The outputs are compared with those of the network before the folder appears.

Shape key: B images, 3 colours, S pixels on a side, C labels.
"""

import importlib.util
import io
import logging
import runpy
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mdkd import records
from mdkd.config import Run, parse
from mdkd.data.images import RESIZE
from mdkd.data.loader import normalisation_of
from mdkd.errors import UserError
from mdkd.metrics import THRESHOLD
from mdkd.models.build import Network
from mdkd.store import Entry
from mdkd.training import card, standalone
from mdkd.training.networks import trained_network

NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "safetensors": ("safetensors",)}
BATCHES = (1, 7)  # numbers of images with which an exported network is compared
# Largest difference of logits, relative to the largest logit. Other programs sum in another order.
TOLERANCE = 1e-4

log = logging.getLogger(__name__)


def export(entry: Entry, to: str, folder: Path | None = None) -> str:
    """Write the network of a finished run into a new folder.

    Args:
        to: ``state-dict``, ``safetensors`` or ``onnx``.
        folder: None stands for ``exported/RUN/FORMAT``.

    Returns what is printed: the folder and its files.

    Raises:
        UserError: the run has no weights, the folder is not new, a package is missing, or the
            network cannot be exported.
    """
    run = parse(Run, entry.record()["run"], f"{entry.folder}: run")
    folder = folder or Path("exported") / run.path / to
    _expect_new(folder)
    _expect_packages(to)
    torch.set_num_threads(1)
    network = trained_network(entry, torch.device("cpu"))
    network.to(memory_format=torch.contiguous_format)
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)  # of an export that was killed
    part.mkdir(parents=True)
    try:
        facts = _facts(run, entry)
        backbone = None if to == "onnx" else _backbone(network, run)
        facts["largest_difference"] = _write(part, network, run, facts, to, backbone)
        records.write_json(part / "model.json", facts)
        _write_bytes(part / "README.md", card.text(entry, facts, to, backbone).encode())
        part.replace(folder)  # also takes the place of an empty folder
    finally:
        shutil.rmtree(part, ignore_errors=True)
    names = ", ".join(sorted(file.name for file in folder.iterdir()))
    return f"exported {run.path} to {folder}: {names}"


def _expect_new(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: exists; delete it, or name a new folder with --output")


def _expect_packages(to: str) -> None:
    missing = [name for name in NEEDS.get(to, ()) if importlib.util.find_spec(name) is None]
    if missing:
        fix = f"run `pip install {' '.join(missing)}`, or install mdkd with its extra `export`"
        raise UserError(f"--to {to}: needs {', '.join(missing)}; {fix}")


def _backbone(network: Network, run: Run) -> standalone.Backbone:
    return standalone.backbone_of(network, run.net, run.stem, run.dataset.image_size)


def _facts(run: Run, entry: Entry) -> dict[str, Any]:
    """The content of ``model.json``: all that a program needs besides the weights."""
    record = entry.record()
    mean, std = normalisation_of(run.recipe)
    return {
        "run": run.path,
        "net": run.net,
        "weights_sha256": record["weights_sha256"],
        "labels": record["classes"],
        "threshold": THRESHOLD,
        "image_size": run.dataset.image_size,
        "resize": RESIZE,
        "mean": list(mean),  # of pixels divided by 255
        "std": list(std),
    }


def _write(
    folder: Path,
    network: Network,
    run: Run,
    facts: dict[str, Any],
    to: str,
    backbone: standalone.Backbone | None,
) -> float:
    """Write the weights and what reads them. Returns the largest difference of outputs."""
    if backbone is None:
        _write_onnx(folder / "model.onnx", network, run.dataset.image_size)
        return _compare(network, _onnx(folder / "model.onnx"), run)
    parts = {"backbone": getattr(network.backbone, "model", network.backbone), "head": network.head}
    for name, part in parts.items():
        state = {key: value.contiguous() for key, value in part.state_dict().items()}
        if to == "safetensors":
            from safetensors.torch import save

            _write_bytes(folder / f"{name}.safetensors", save(state))
        else:
            buffer = io.BytesIO()
            torch.save(state, buffer)
            _write_bytes(folder / f"{name}.pt", buffer.getvalue())
    text = standalone.source(network, backbone, run.path, to)
    _write_bytes(folder / "network.py", text.encode())
    records.write_json(folder / "model.json", facts)  # the module reads it
    try:
        module = runpy.run_path(str(folder / "network.py"))
        return _compare(network, module["load"](), run)
    except (RuntimeError, TypeError, AttributeError) as error:  # of a network of an unusual form
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"net {run.net!r}: not as a plain module ({reason}); use --to onnx"
        ) from None


class _Logits(nn.Module):
    """A network with one output, the logits."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image).logits_BC


def _write_onnx(file: Path, network: Network, size: int) -> None:
    logging.getLogger("onnxscript").setLevel(logging.ERROR)  # warns of what it does not optimise
    example = torch.zeros(2, 3, size, size)  # of one image, the number would become a constant
    try:
        program = torch.onnx.export(
            _Logits(network).eval(),
            (example,),
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
            dynamo=True,
            verbose=False,
        )
    except Exception as error:  # the exporter raises many types
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the network cannot be exported to ONNX: {reason}") from error
    assert program is not None
    _write_bytes(file, program.model_proto.SerializeToString())


def _onnx(file: Path) -> Any:
    """A function from images to logits, computed by onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"image": images.numpy()})[0])


@torch.no_grad()
def _compare(network: Network, other: Any, run: Run) -> float:
    """The largest difference of logits; a UserError if it is not small."""
    drawn, size, largest = torch.Generator().manual_seed(0), run.dataset.image_size, 0.0
    for batch in BATCHES:
        images_B3SS = torch.randn(batch, 3, size, size, generator=drawn)
        logits_BC, found_BC = network(images_B3SS).logits_BC, other(images_B3SS)
        largest = max(largest, (logits_BC - found_BC).abs().max().item())
        if not largest <= TOLERANCE * max(1.0, logits_BC.abs().max().item()):
            what = f"its logits differ by {largest:.2g} from those of the exported network"
            raise UserError(f"net {run.net!r}: {what}; it was not exported")
    log.info("largest difference of logits with %s images: %.2g", BATCHES, largest)
    return largest


def _write_bytes(path: Path, content: bytes) -> None:
    with records.atomic(path) as file:
        file.write(content)
