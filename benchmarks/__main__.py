"""Measure everything: `python -m benchmarks [--rounds N] [--check | --keep] [WORD]`.

It prints a table and writes `results/benchmarks.json` and `.md`. With a WORD, only rows whose name
contains it are measured, and the others stay in these files. Some rows are measured only with a
WORD: those of large networks, and those of torchdistill (`benchmarks/against_torchdistill.py`).
With --check, ratios that are more than 10 % below those in `benchmarks/ratios.json` are printed.
With --keep, that file is written again.
"""

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import against_torchdistill, endtoend, growth, harness, steps
from mdkd import records

RATIOS = Path(__file__).with_name("ratios.json")
RESULTS = Path("results/benchmarks.json")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("word", nargs="?", default="", help="measure only rows that contain it")
    parser.add_argument("--rounds", type=_rounds, default=7, help="at least 2")
    parser.add_argument("--check", action="store_true", help="compare with the committed ratios")
    parser.add_argument("--keep", action="store_true", help="write the committed ratios")
    args = parser.parse_args(arguments)
    rows = itertools.chain(
        growth.rows(),
        steps.rows(),
        steps.stored_rows(),
        endtoend.rows(),
        against_torchdistill.rows(),
    )
    chosen = (row for row in rows if args.word in row.name and (args.word or not row.apart))
    results = harness.measure(chosen, args.rounds)
    facts = harness.facts()
    print(harness.markdown(results, facts))
    write(results, facts, only_some=bool(args.word))
    if args.check:
        committed = json.loads(RATIOS.read_text(encoding="utf-8"))
        committed = {name: ratio for name, ratio in committed.items() if args.word in name}
        lines = harness.worse(results, committed)
        print("\n".join(["", *(lines or ["no ratio is more than 10 % below the committed one"])]))
    if args.keep:
        ratios = {r["name"]: round(r["ratio"], 2) for r in results if not r["apart"]}
        kept = json.loads(RATIOS.read_text(encoding="utf-8")) if args.word else {}
        records.write_json(RATIOS, kept | ratios)


def write(results: list[dict[str, Any]], facts: dict[str, Any], only_some: bool) -> None:
    """Write `RESULTS`. If only some rows were measured, the others stay as they are there."""
    before = records.read_json(RESULTS) if only_some and RESULTS.exists() else None
    if before and before["facts"] != facts:
        print(f"{RESULTS} is left as it is: it was measured with {before['facts']}")
        return
    rows = {row["name"]: row for row in [*(before["results"] if before else []), *results]}
    records.write_json(RESULTS, {"facts": facts, "results": list(rows.values())})
    text = harness.markdown(rows.values(), facts)
    RESULTS.with_suffix(".md").write_text(text + "\n", encoding="utf-8")


def _rounds(text: str) -> int:
    """A number of rounds for argparse: quartiles need two."""
    if (rounds := int(text)) < 2:
        raise argparse.ArgumentTypeError(f"{text}: at least 2 are needed for quartiles")
    return rounds


if __name__ == "__main__":
    main()
