"""From a run's stored predictions to its metrics; no network, no torch."""

import numpy as np

from mdkd import metrics, records
from mdkd.errors import UserError
from mdkd.layout import Layout


def score(run_path: str, layout: Layout) -> None:
    """Write ``metrics.json`` beside the predictions of a run.

    Labels without a positive test image have no average precision: they are left out of the mAP
    and named in the record.
    """
    folder = layout.run(run_path)
    record = records.read_json(folder / "run.json")
    file = folder / "predictions.npz"
    if not file.exists() or records.sha256(file) != record["predictions_sha256"]:
        raise UserError(f"{file}: missing, or not the predictions of its run.json; train it again")
    with np.load(file) as stored:
        logits_NC, targets_NC = stored["logits_NC"], stored["targets_NC"]
    scores_NC = probabilities(logits_NC)
    aps_C = metrics.average_precisions(scores_NC, targets_NC)
    classes = record["classes"]
    if not np.isfinite(aps_C).any():
        raise UserError(f"{file}: no label has a positive test image; use a larger test split")
    result = {
        "run": run_path,
        "predictions_sha256": record["predictions_sha256"],
        "test_images": len(targets_NC),
        "metrics": metrics.evaluate(scores_NC, targets_NC),
        "average_precision": {
            name: float(ap) for name, ap in zip(classes, aps_C, strict=True) if np.isfinite(ap)
        },
        "labels_without_positives": [
            name for name, ap in zip(classes, aps_C, strict=True) if not np.isfinite(ap)
        ],
    }
    records.write_json(folder / "metrics.json", result)


def probabilities(logits_NC: np.ndarray) -> np.ndarray:
    """Sigmoid in float32, finite for every logit."""
    small = np.exp(-np.abs(logits_NC.astype(np.float32)))
    return np.where(logits_NC >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)
