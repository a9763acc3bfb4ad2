"""Compute the metrics of a run from its stored predictions. This needs no network and no torch."""

from typing import Any

import numpy as np

from mdkd import metrics, records
from mdkd.errors import UserError
from mdkd.layout import Layout


def score(run_path: str, layout: Layout) -> None:
    """Write the `scores` of a run to ``metrics.json``, beside its predictions."""
    records.write_json(layout.run(run_path) / "metrics.json", scores(run_path, layout))


def scores(run_path: str, layout: Layout) -> dict[str, Any]:
    """All metrics of a run's stored predictions.

    Labels without a positive test image have no average precision. They are left out of the mAP
    and listed in the record.
    """
    folder = layout.run(run_path)
    record = records.read_json(folder / "run.json")
    file = folder / "predictions.npz"
    if not file.exists() or records.sha256(file) != record["predictions_sha256"]:
        raise UserError(f"{file}: missing, or not the predictions of its run.json; train it again")
    with np.load(file) as stored:
        scores_NC = metrics.probabilities(stored["logits_NC"])
        targets_NC, ignored_NC = stored["targets_NC"], stored.get("ignored_NC")
    aps_C = metrics.average_precisions(scores_NC, targets_NC, ignored_NC)
    classes = record["classes"]
    if not np.isfinite(aps_C).any():
        raise UserError(f"{file}: no label has a positive test image; use a larger test split")
    return {
        "run": run_path,
        "predictions_sha256": record["predictions_sha256"],
        "test_images": len(targets_NC),
        "metrics": metrics.evaluate(scores_NC, targets_NC, ignored_NC),
        "average_precision": {
            name: float(ap) for name, ap in zip(classes, aps_C, strict=True) if np.isfinite(ap)
        },
        "labels_without_positives": [
            name for name, ap in zip(classes, aps_C, strict=True) if not np.isfinite(ap)
        ],
    }
