"""Compute the metrics of a run from its stored predictions. This needs no network and no torch."""

from pathlib import Path
from typing import Any

import numpy as np

from mdkd import metrics, records
from mdkd.errors import UserError
from mdkd.metrics import METRICS
from mdkd.store import PREDICTIONS, Entry

REVISION = 1  # raise it when the numbers of a metric change: metrics are then computed again


def score(entry: Entry) -> None:
    """Write ``metrics.json``, the `scores` of a finished run, beside its predictions."""
    file, record = entry.file(PREDICTIONS), entry.record()
    found = scores(file, record["predictions_sha256"], record["classes"])
    records.write_json(entry.folder / "metrics.json", found)


def stored(entry: Entry) -> dict[str, Any]:
    """The metrics of a finished run: those of ``metrics.json`` if they are complete and current.

    Otherwise they are computed again. They are not written, because several tables may be made at
    the same time.
    """
    file, record = entry.folder / "metrics.json", entry.record()
    if file.exists():
        found = records.read_json(file)
        current = found.get("revision") == REVISION and METRICS.keys() <= found["metrics"].keys()
        if current and found["predictions_sha256"] == record["predictions_sha256"]:
            return found
    return scores(entry.file(PREDICTIONS), record["predictions_sha256"], record["classes"])


def scores(file: Path, digest: str, classes: list[str]) -> dict[str, Any]:
    """All metrics of stored predictions.

    Labels without a positive test image have no average precision. They are left out of the mAP
    and listed in the record.
    """
    with np.load(file) as content:
        scores_NC = metrics.probabilities(content["logits_NC"])
        targets_NC, ignored_NC = content["targets_NC"], content.get("ignored_NC")
    judged = metrics.Judged(scores_NC, targets_NC, ignored_NC)
    aps_C = judged.average_precisions_C
    if not np.isfinite(aps_C).any():
        raise UserError(f"{file}: no label has a positive test image; use a larger test split")
    return {
        "revision": REVISION,
        "predictions_sha256": digest,
        "test_images": len(targets_NC),
        "metrics": metrics.of_judged(judged),
        "average_precision": {
            name: float(ap) for name, ap in zip(classes, aps_C, strict=True) if np.isfinite(ap)
        },
        "labels_without_positives": [
            name for name, ap in zip(classes, aps_C, strict=True) if not np.isfinite(ap)
        ],
    }
