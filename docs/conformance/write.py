"""Write `losses.json`, from the methods of this package: `python docs/conformance/write.py`.

Do this if a method was added, or if its numbers changed on purpose.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mdkd import methodfiles, methods
from mdkd.outputs import Output, Spec

FILE = Path(__file__).with_name("losses.json")
IMAGES, LABELS, SEED = 5, 7, 5
STUDENT = Spec(LABELS, 6, (4, 5, 6), (8, 4, 2), 5)
TEACHER = Spec(LABELS, 9, (3, 5, 7, 8), (4, 4, 2, 1), 6)
SMALL = {"mid_channels": 4}  # in every method that has such a setting
DECIMALS = 2  # of the inputs, which keeps the file short


def content() -> dict[str, Any]:
    """What the file holds; README.md beside it explains the keys."""
    student, teacher, targets_BC = _output(STUDENT, seed=1), _output(TEACHER, seed=2), _targets()
    files = methodfiles.read_all()
    return {
        "seed": SEED,
        "targets": targets_BC.tolist(),
        "student": _listed(student),
        "teacher": _listed(teacher),
        "methods": {
            name: _entry(name, file.settings, student, teacher, targets_BC)
            for name, file in files.items()
            if file.needs
        },
    }


def text(content: dict[str, Any]) -> str:
    """JSON with a line for each input and each method, so that a change shows which one."""

    def lines(part: dict[str, Any]) -> str:
        values = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in part.items())
        return "{\n" + ",\n".join(values) + "\n}"

    inputs = {key: value for key, value in content.items() if key != "methods"}
    return lines(inputs)[:-2] + ',\n"methods": ' + lines(content["methods"]) + "\n}\n"


def built(name: str, settings: dict[str, Any]) -> torch.nn.Module:
    """A method in float64; its trained parts have random values."""
    torch.manual_seed(SEED)
    loss = methods.build(name, STUDENT, TEACHER, settings).double()
    for parameter in loss.parameters():
        parameter.data = _rounded(parameter.data + 0.1 * torch.randn_like(parameter))
    return loss


def terms_of(
    loss: torch.nn.Module, student: Output, teacher: Output, targets_BC: Tensor
) -> dict[str, Tensor]:
    """The terms as the training loop adds them up by default: all are scalars."""
    terms = loss(student, teacher, targets_BC)
    if loss.own_supervised:
        terms |= {"supervised": terms["supervised"].sum(1).mean()}
    return terms


def _entry(
    name: str, settings: dict[str, Any], student: Output, teacher: Output, targets_BC: Tensor
) -> dict[str, Any]:
    settings = settings | {key: value for key, value in SMALL.items() if key in settings}
    loss = built(name, settings)
    leaves = {key: x.clone().requires_grad_() for key, x in _named(student).items()}
    maps = tuple(leaves[f"maps[{i}]"] for i in range(len(student.maps)))
    trained = Output(leaves["logits"], leaves["pooled"], maps, leaves["embeddings"])
    torch.manual_seed(SEED)  # for methods that draw numbers
    terms = terms_of(loss, trained, teacher, targets_BC)
    gradients = torch.autograd.grad(
        torch.stack(list(terms.values())).sum(), list(leaves.values()), allow_unused=True
    )
    return {
        "settings": settings,
        "parameters": {key: p.tolist() for key, p in loss.named_parameters()},
        "terms": {key: term.item() for key, term in terms.items()},
        "gradients": {
            key: gradient.tolist()
            for key, gradient in zip(leaves, gradients, strict=True)
            if gradient is not None
        },
    }


def _output(spec: Spec, seed: int) -> Output:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return _rounded(torch.randn(IMAGES, *shape, generator=generator, dtype=torch.float64))

    assert spec.embedding_dim is not None
    maps = zip(spec.map_channels, spec.map_sizes, strict=True)
    return Output(
        2 * normal(LABELS),
        normal(spec.pooled_dim).abs(),
        tuple(normal(channels, size, size) for channels, size in maps),
        normal(LABELS, spec.embedding_dim),
    )


def _targets() -> Tensor:
    """0, 1, 3, 4 and all labels are present in the images."""
    numbers = torch.tensor([0, 1, 3, 4, LABELS])
    return (torch.arange(LABELS) < numbers[:, None]).double()


def _rounded(x: Tensor) -> Tensor:
    return x.double().round(decimals=DECIMALS)


def _named(output: Output) -> dict[str, Tensor]:
    assert output.embeddings_BCE is not None
    maps = {f"maps[{i}]": x for i, x in enumerate(output.maps)}
    return {
        "logits": output.logits_BC,
        "pooled": output.pooled_BD,
        "embeddings": output.embeddings_BCE,
    } | maps


def _listed(output: Output) -> dict[str, Any]:
    named = {key: x.tolist() for key, x in _named(output).items() if not key.startswith("maps")}
    return named | {"maps": [x.tolist() for x in output.maps]}


if __name__ == "__main__":
    FILE.write_text(text(content()))
    print(f"{FILE}: {FILE.stat().st_size} bytes")
