"""Choose the weights of every method from the records of a tuning experiment.

Validation images alone decide: the mAP after the last epoch, averaged over pairs and seeds.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from mdkd import records
from mdkd.artefacts import Artefact, Row
from mdkd.errors import UserError
from mdkd.results import Results
from mdkd.runpath import DEFAULT, RunPath
from mdkd.tuned import Choice, Tuned, in_words

DIGITS = 6  # of a mAP in the file


@dataclass(frozen=True)
class Point:
    """One point of a method, or its defaults if these are no point."""

    row: Row
    val_mAP: float | None  # None: not all of its runs are done
    failed: bool  # whether one of its runs has diverged

    @property
    def published(self) -> bool:
        """Whether all settings have their defaults."""
        return all(RunPath.parse(p).variant == DEFAULT for c in self.row.cells for p in c.runs)

    @property
    def ended(self) -> bool:
        return self.failed or self.val_mAP is not None


def points(artefact: Artefact, results: Results) -> dict[str, list[Point]]:
    """The rows of a tuning artefact by method, without those that cannot run."""
    results, found = results.on("val"), dict[str, list[Point]]()
    for row in artefact.rows:
        paths = [path for cell in row.cells for path in cell.runs]
        if row.role != "method" or not paths:
            continue
        scores = [results.scores(path) for path in paths]
        values = [own["metrics"]["mAP"] for own in scores if own and "mAP" in own["metrics"]]
        mean = sum(values) / len(values) if len(values) == len(paths) else None
        failed = any(results.diverged(path) for path in paths)
        method = RunPath.parse(paths[0]).method
        found.setdefault(method, []).append(Point(row, mean, failed))
    return found


def best(found: list[Point]) -> Point | None:
    """The point with the highest mAP; None before all points of the method have ended.

    If several are equal, the published one is preferred, then the first. A point that failed with
    some seed is not chosen.
    """
    tried = [point for point in found if point.row.tried is not None]
    if not all(point.ended for point in tried):
        return None
    numbers = [(p.val_mAP, p.published, -i) for i, p in enumerate(tried) if not p.failed]
    return tried[-max(numbers)[2]] if numbers else None


def choose(artefact: Artefact, results: Results) -> Tuned:
    """The chosen settings of every method that can run.

    Raises:
        UserError: runs are missing, or failed for another reason than their weights, or no point of
            a method could be trained.
    """
    by_method, choices = points(artefact, results), dict[str, Choice]()
    broken = [p for p in artefact.runs if results.state(p) == "failed" and not results.diverged(p)]
    if broken:
        what = f"{len(broken)} runs failed, but not because of their weights, such as {broken[0]}"
        raise UserError(f"{artefact.name}: {what}; see `mdkd status`, and train them again")
    left = [path for path in artefact.runs if results.state(path) not in ("done", "failed")]
    if left:
        what = f"{len(left)} of {len(artefact.runs)} runs are not done, such as {left[0]}"
        raise UserError(f"{artefact.name}: {what}; run `snakemake --cores all {artefact.name}`")
    for method, found in by_method.items():
        if (chosen := best(found)) is None:
            what = f"every point of method '{method}' failed, or has no validation mAP"
            raise UserError(f"{artefact.name}: {what}; see `mdkd status {artefact.name}`")
        published = next((p.val_mAP for p in found if p.published and not p.failed), None)
        assert chosen.val_mAP is not None and chosen.row.tried is not None
        choices[method] = Choice(
            settings=chosen.row.tried,
            val_mAP=round(chosen.val_mAP, DIGITS),
            published_val_mAP=None if published is None else round(published, DIGITS),
            failed=sum(point.failed for point in found if point.row.tried is not None),
        )
    if not choices:
        raise UserError(f"{artefact.name}: no method can be trained; there is nothing to choose")
    return Tuned(
        protocol=artefact.protocol,
        experiment=artefact.name,
        pairs=artefact.pairs,
        seeds=artefact.seeds,
        points=budget(artefact),
        methods=choices,
    )


def budget(artefact: Artefact) -> int:
    """The number of points of each method."""
    return max(int(row.x or 0) for row in artefact.rows)


def write(tuned: Tuned, file: Path) -> None:
    """Write a file that `mdkd.tuned.read` reads."""
    head = (
        "# Weights that `mdkd tune` chose by the mAP on validation images. Review, then commit.\n"
        "# Experiments with `weights: tuned` use this file (docs/tuning.md).\n"
        "# val_mAP: after the last epoch, mean over pairs and seeds, a fraction.\n"
    )
    text = yaml.safe_dump(asdict(tuned), sort_keys=False, default_flow_style=None, width=100)
    with records.atomic(file) as opened:
        opened.write((head + text).encode())


def summary(tuned: Tuned) -> str:
    """One line per method: its chosen settings, and what they change on validation images."""
    lines = [f"{'method':12} {'val mAP':>8} {'published':>10}  settings"]
    for name, choice in tuned.methods.items():
        published = choice.published_val_mAP
        before = "n/a" if published is None else f"{100 * published:.2f}"
        lines.append(
            f"{name:12} {100 * choice.val_mAP:8.2f} {before:>10}  {in_words(choice.settings)}"
        )
    return "\n".join(lines)
