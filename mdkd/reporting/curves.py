"""`mdkd curves`: what trainings record after each epoch, as CSV or for TensorBoard."""

import csv
import io
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mdkd import neighbours, records, store
from mdkd.errors import UserError
from mdkd.results import Results, read_history

COLUMNS = ("run", "epoch", "quantity", "value")


class Curves(NamedTuple):
    """The curves of one training that has finished an epoch."""

    run: str
    epochs: list[dict[str, Any]]  # as `history.jsonl` has them
    written: float  # when the last epoch was recorded, in seconds since 1970

    def points(self) -> Iterator[tuple[int, str, float]]:
        """Epoch, quantity and value of every number.

        Quantities: ``loss`` is the sum of the weighted terms ``loss/TERM``. ``gradient/TERM`` is
        the length of a term's gradient relative to that of the supervised loss; it is not measured
        in every epoch. ``val_mAP`` is a fraction.
        """
        for entry in self.epochs:
            losses = entry["losses"]
            values = {"loss": sum(losses.values())}
            values |= {f"loss/{term}": value for term, value in losses.items()}
            ratios = entry["gradient_ratios"] or {}
            values |= {f"gradient/{term}": value for term, value in ratios.items()}
            values |= {key: entry.get(key) for key in ("lr", "val_mAP", "images_per_s")}
            for quantity, value in values.items():
                if value is not None and math.isfinite(value):
                    yield entry["epoch"], quantity, value


def read(results: Results, paths: Iterable[str]) -> list[Curves]:
    """The curves of those runs that have finished an epoch, also of running and failed ones.

    Raises:
        UserError: no run has, or a history is damaged.
    """
    paths, found = list(paths), []
    for path in paths:
        file = results.run(path) / store.HISTORY
        if not file.exists():
            continue
        epochs = results.history(path)  # checked against the record of a run that is done
        if epochs := read_history(file) if epochs is None else epochs:
            found.append(Curves(path, epochs, file.stat().st_mtime))
    if not found:
        what, fix = f"{len(paths)} runs", None
        if len(paths) == 1:
            what = paths[0]
            fix = neighbours.hint(results.runs[what], results)
        fix = fix or "`mdkd status` says what runs"
        raise UserError(f"{what}: no finished epoch is recorded; {fix}")
    return found


def as_csv(found: Iterable[Curves]) -> str:
    """One line per number, with the headings `COLUMNS`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for curves in found:
        writer.writerows([curves.run, *point] for point in curves.points())
    return text.getvalue()


def write_tensorboard(found: Iterable[Curves], folder: Path) -> None:
    """Write one folder of event files per run; those that an earlier call left there are replaced.

    The step is the epoch. The time is that of the last epoch, because epochs have no times.

    Raises:
        ModuleNotFoundError: tensorboard is not installed.
    """
    from tensorboard.summary import Writer

    for curves in found:
        place = folder / curves.run
        place.mkdir(parents=True, exist_ok=True)
        for old in place.glob("events.out.tfevents.*"):
            old.unlink()
        writer = Writer(str(place))
        for epoch, quantity, value in curves.points():
            writer.add_scalar(quantity, value, epoch, wall_time=curves.written)
        writer.close()


def write_csv(found: Iterable[Curves], file: Path) -> None:
    with records.atomic(file) as stream:
        stream.write(as_csv(found).encode())
