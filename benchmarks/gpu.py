"""Measure a GPU: `python -m benchmarks.gpu --out FILE [--parts NAMES] [--tiny] [--device cpu]`.

It needs no data set and no download: images and weights are random. It writes FILE (JSON) and a
Markdown file beside it. Every part takes some minutes on a GPU. --parts chooses some, such as
`--parts methods,loop`; what FILE holds of the others is kept if it was measured on the same device
with the same versions. With --tiny, everything is so small that a CPU needs seconds: this tests
the script and measures nothing.

A row that fails says so in its column `error`; the others are measured all the same. The rates at
the end have the form of `gpu:` in `config/rates.yaml`, as far as their parts were measured.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_case import TINY, Case, Sizes
from benchmarks.gpu_parts import NETWORKS, PARTS, Row
from mdkd import records
from mdkd.training.execution import DEFAULT, prepare
from mdkd.training.provenance import environment


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--parts", default=",".join(PARTS), help="default: %(default)s")
    parser.add_argument("--tiny", action="store_true", help="test the script")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    args = parser.parse_args(arguments)
    names, device = args.parts.split(","), torch.device(args.device)
    if unknown := set(names) - PARTS.keys():
        parser.error(f"--parts: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    prepare(DEFAULT, args.out.with_name("compiled"))
    sizes = TINY if args.tiny else Sizes()
    facts = environment(device) | {"cuda": torch.version.cuda, "pixels": sizes.pixels}
    parts = earlier(args.out, facts)
    for name in names:
        parts[name] = []
        for found in PARTS[name](Case(sizes, device)):
            print(f"{name}: {line(found)}", file=sys.stderr, flush=True)
            parts[name].append(found)
        results = {"facts": facts, "parts": parts, "rates": rates(parts, facts, sizes)}
        records.write_json(args.out, results)  # after each part: a later one may be stopped
        args.out.with_suffix(".md").write_text(markdown(results), encoding="utf-8")


def earlier(file: Path, facts: dict[str, Any]) -> dict[str, list[Row]]:
    """The parts that were measured before under the same facts."""
    content = records.read_json(file) if file.exists() else {}
    return content["parts"] if content.get("facts") == facts else {}


def rates(parts: dict[str, list[Row]], facts: dict[str, Any], sizes: Sizes) -> dict[str, Any]:
    """What `gpu:` of `config/rates.yaml` holds, from the parts that were measured.

    Speeds are those of the larger batches. `efficiency` is what the loop keeps of them with the
    batches of the benchmark, for the student of the pair.
    """
    small, large = sizes.batches
    found: dict[str, Any] = {
        "device": facts["device"],
        "image_size": sizes.pixels,
        "stem": sizes.stem,
    }
    nets = {r["name"]: r for r in parts.get("backbones", []) if "error" not in r}
    if nets:
        found["training"] = {name: round(r[f"training_{large}"]) for name, r in nets.items()}
        ratios = [r[f"inference_{large}"] / r[f"training_{large}"] for r in nets.values()]
        found["inference"] = round(statistics.median(ratios), 2)
    loop = {r["name"]: r for r in parts.get("loop", [])}
    used = loop.get(f"vanilla, no teacher, {small} images a batch, resident", {})
    if "images_per_s" in used and sizes.student in nets:
        speed = nets[sizes.student][f"training_{large}"]
        found["efficiency"] = round(used["images_per_s"] / speed, 3)
    if steps := [r for r in parts.get("methods", []) if "over_networks" in r]:
        found["methods"] = {
            r["name"]: round(r["over_networks"], 3) for r in steps if r["name"] != NETWORKS
        }
    return found


def markdown(results: dict[str, Any]) -> str:
    """One table for each part, then the rates, and what they were measured on."""
    lines = ["# Measured on one device", ""]
    lines += [f"- {name}: {value}" for name, value in results["facts"].items()]
    for name, rows in results["parts"].items():
        columns = list(dict.fromkeys(key for found in rows for key in found))
        lines += ["", f"## {name}", "", f"| {' | '.join(columns)} |"]
        lines += [f"|{'---|' * len(columns)}"]
        lines += [f"| {' | '.join(text(found.get(key)) for key in columns)} |" for found in rows]
    rates_text = "\n".join(f"{key}: {value}" for key, value in results["rates"].items())
    return "\n".join([*lines, "", "## rates", "", "```yaml", rates_text, "```", ""])


def line(found: Row) -> str:
    return ", ".join(text(v) if k == "name" else f"{k} {text(v)}" for k, v in found.items())


def text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    return "" if value is None else str(value).replace("|", "/")


if __name__ == "__main__":
    main()
