"""Compare another implementation of a loss with `losses.json`: values and gradients, in float64.

    python check.py METHOD MODULE:FUNCTION

This file and `losses.json` are enough; of other packages, only PyTorch is needed. The README beside
them says how the function is called. Exit status: 0 if all agrees, 1 if not, 2 if it cannot be run.
"""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

FILE = Path(__file__).with_name("losses.json")
TOLERANCE = 1e-9  # of the largest entry of each array
PARTS = ("logits", "pooled", "embeddings")


def inputs(case: dict[str, Any], trainable: bool) -> SimpleNamespace:
    """What the file holds of a network: tensors by name, and `maps`, a list of tensors."""

    def leaf(values: list[Any]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, requires_grad=trainable)

    parts = {name: leaf(case[name]) for name in PARTS}
    return SimpleNamespace(**parts, maps=[leaf(values) for values in case["maps"]])


def named(network: SimpleNamespace) -> dict[str, Tensor]:
    """All tensors of a network by name: those of `maps` are called maps[0], maps[1], ..."""
    maps = {f"maps[{i}]": x for i, x in enumerate(network.maps)}
    return {name: getattr(network, name) for name in PARTS} | maps


def computed(file: dict[str, Any], method: str, function: Callable) -> dict[str, Tensor]:
    """The terms, their sum, and the gradients of the sum that the function gives, by name."""
    entry, student = file["methods"][method], inputs(file["student"], trainable=True)
    parameters = {
        name: torch.tensor(values, dtype=torch.float64)
        for name, values in entry["parameters"].items()
    }
    torch.manual_seed(file["seed"])
    terms = function(
        student,
        inputs(file["teacher"], trainable=False),
        torch.tensor(file["targets"], dtype=torch.float64),
        settings=entry["settings"],
        parameters=parameters,
    )
    terms = terms if isinstance(terms, dict) else {"sum": terms}
    whole = torch.stack(list(terms.values())).sum()
    leaves = named(student)
    gradients = torch.autograd.grad(whole, list(leaves.values()), allow_unused=True)
    found = {name: term.detach() for name, term in (terms | {"sum": whole}).items()}
    for (name, x), gradient in zip(leaves.items(), gradients, strict=True):
        found[f"gradient of {name}"] = torch.zeros_like(x) if gradient is None else gradient
    return found


def expected(file: dict[str, Any], method: str) -> dict[str, Tensor]:
    """What the file holds of a method, by the names of `computed`. No gradient means zero."""
    entry, student = file["methods"][method], inputs(file["student"], trainable=False)
    values = entry["terms"] | {"sum": sum(entry["terms"].values())}
    found = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
    for name, x in named(student).items():
        gradient = entry["gradients"].get(name)
        found[f"gradient of {name}"] = (
            torch.zeros_like(x) if gradient is None else torch.tensor(gradient, dtype=x.dtype)
        )
    return found


def differences(file: dict[str, Any], method: str, function: Callable) -> list[str]:
    """One line for each term and gradient that disagrees with the file.

    A function may return one number: then only the sum of the terms is compared.
    """
    ours, theirs = expected(file, method), computed(file, method, function)
    terms = file["methods"][method]["terms"].keys()
    if not theirs.keys() & terms:  # one number
        ours = {name: value for name, value in ours.items() if name not in terms}
    lines = [f"{name}: is missing" for name in ours.keys() - theirs.keys()]
    lines += [f"{name}: there is no such term" for name in theirs.keys() - ours.keys()]
    for name in ours.keys() & theirs.keys():
        if ours[name].shape != theirs[name].shape:
            lines.append(f"{name}: has shape {list(theirs[name].shape)}")
            continue
        gap, size = (ours[name] - theirs[name]).abs().max(), ours[name].abs().max()
        if not gap <= TOLERANCE * size:  # true for NaN
            lines.append(f"{name}: differs by {float(gap):.3g}; the largest entry is {size:.3g}")
    return sorted(lines)


def main(arguments: list[str]) -> int:
    file = json.loads(FILE.read_text())
    parser = argparse.ArgumentParser(description="Compare a loss with losses.json.")
    parser.add_argument("method", choices=sorted(file["methods"]))
    parser.add_argument("function", metavar="MODULE:FUNCTION")
    chosen = parser.parse_args(arguments)
    module, _, name = chosen.function.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        parser.error(f"{chosen.function}: {error}; write MODULE:FUNCTION")
    lines = differences(file, chosen.method, function)
    print("\n".join(lines) if lines else f"{chosen.method}: terms and gradients agree")
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
