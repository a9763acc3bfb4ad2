"""Compute the metrics of a run from its stored predictions. This needs no network and no torch."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from mdkd import metrics, records
from mdkd.config import Split, parse_known
from mdkd.errors import UserError
from mdkd.metrics import METRICS
from mdkd.store import SPLITS, Entry

AGAIN = "delete it; it is then computed again from the predictions"
REVISION = 1  # raise it when the numbers of a metric change: metrics are then computed again


def score(entry: Entry) -> None:
    """Write the metrics of a finished run beside its predictions, of every split that it has."""
    for split in splits_of(entry):
        records.write_json(entry.folder / SPLITS[split].metrics, computed(entry, split))


def write(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the metrics of predictions whose digests a record holds that is not written yet."""
    for split, files in SPLITS.items():
        if digest := record.get(files.digest):
            found = scores(folder / files.predictions, digest, record["classes"], split)
            records.write_json(folder / files.metrics, found)


def splits_of(entry: Entry) -> list[Split]:
    """The splits of which a finished run has predictions."""
    record = entry.record()
    return [split for split, files in SPLITS.items() if record.get(files.digest)]


def computed(entry: Entry, split: Split) -> dict[str, Any]:
    """The `scores` of a finished run, computed again from its predictions."""
    files, record = SPLITS[split], entry.record()
    return scores(entry.file(files.predictions), record[files.digest], record["classes"], split)


def stored(entry: Entry, split: Split = "test") -> dict[str, Any]:
    """The metrics of a finished run: those of its file of metrics if it is complete and current.

    Otherwise they are computed again. They are not written, because several tables may be made at
    the same time.
    """
    file, record = entry.folder / SPLITS[split].metrics, entry.record()
    if file.exists():
        found = records.read_object(file, AGAIN, AGAIN)
        if _is_current(found, record[SPLITS[split].digest]):
            try:
                parse_known(Scores, found, str(file))
            except UserError as error:
                raise UserError(f"{error}; {AGAIN}") from None
            return found
    return computed(entry, split)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What ``metrics.json`` must hold, as far as it is read again."""

    revision: int
    predictions_sha256: str
    metrics: dict[str, float]
    average_precision: dict[str, float]
    labels_without_positives: list[str]


def _is_current(found: dict[str, Any], digest: str) -> bool:
    values = found.get("metrics")
    if not isinstance(values, dict) or not METRICS.keys() <= values.keys():
        return False
    return found.get("revision") == REVISION and found.get("predictions_sha256") == digest


class Stored(NamedTuple):
    """The content of a file of predictions. Shape key: N images, C labels."""

    logits_NC: np.ndarray  # float
    targets_NC: np.ndarray  # uint8 in {0, 1}
    ids_N: np.ndarray  # text
    ignored_NC: np.ndarray | None  # bool; None: nothing is ignored


NAMES = {"ids": "ids_N"} | {name: name for name in Stored._fields if name != "ids_N"}  # in the file


def write_predictions(file: BinaryIO, content: Stored) -> None:
    """Write ``predictions.npz``. Equal content gives equal bytes.

    Logits are not compressed: it would save about a tenth of their size, and reading would take
    four times as long. Targets and ids shrink to a twentieth.
    """
    with zipfile.ZipFile(file, "w") as archive:
        for name, own in NAMES.items():
            array = getattr(content, own)
            if array is None:
                continue
            member = zipfile.ZipInfo(f"{name}.npy")  # always of the same date
            is_logits = own == "logits_NC"
            member.compress_type = zipfile.ZIP_STORED if is_logits else zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)


def read_predictions(file: Path, labels: int) -> Stored:
    """The checked content of a file of predictions for this number of labels.

    Raises:
        UserError: the file is damaged, or its arrays do not fit together.
    """
    hint = f"delete {file.parent} and train the run again"
    try:
        with np.load(file) as content:  # never unpickles
            found = {own: content[name] for name, own in NAMES.items() if name in content}
    except Exception as error:  # a damaged archive raises many types
        what = f"not readable as predictions ({' '.join(str(error).split())[:100]})"
        raise UserError(f"{file}: {what}; {hint}") from None
    for name, kinds in (("logits_NC", "f"), ("targets_NC", "bui"), ("ids_N", "U")):
        if name not in found or found[name].dtype.kind not in kinds:
            raise UserError(f"{file}: {name}: missing, or of another type; {hint}")
    shape = found["logits_NC"].shape
    others = {found[name].shape for name in ("targets_NC", "ignored_NC") if name in found}
    if len(shape) != 2 or shape[1] != labels or others != {shape} or 0 in shape:
        what = f"arrays {shape} {sorted(others)}, expected [images, {labels}]"
        raise UserError(f"{file}: {what}; {hint}")
    if found["ids_N"].shape != shape[:1]:
        raise UserError(f"{file}: ids: {found['ids_N'].shape}, expected {shape[:1]}; {hint}")
    targets_NC = found["targets_NC"]
    is_target_NC = (targets_NC == 0) | (targets_NC == 1)  # four times as fast as np.isin
    if not np.isfinite(found["logits_NC"]).all() or not is_target_NC.all():
        raise UserError(f"{file}: a logit is not finite, or a target is not 0 or 1; {hint}")
    return Stored(**{"ignored_NC": None} | found)


def scores(file: Path, digest: str, classes: list[str], split: Split = "test") -> dict[str, Any]:
    """All metrics of stored predictions for the images of a split.

    Labels without a positive image have no average precision. They are left out of the mAP
    and listed in the record.
    """
    found = read_predictions(file, len(classes))
    scores_NC = metrics.probabilities(found.logits_NC)
    judged = metrics.Judged(scores_NC, found.targets_NC, found.ignored_NC)
    aps_C = judged.average_precisions_C
    if not np.isfinite(aps_C).any():
        raise UserError(
            f"{file}: no label has a positive {split} image; use a larger {split} split"
        )
    return {
        "revision": REVISION,
        "predictions_sha256": digest,
        f"{split}_images": len(found.targets_NC),
        "metrics": metrics.of_judged(judged),
        "average_precision": {
            name: float(ap) for name, ap in zip(classes, aps_C, strict=True) if np.isfinite(ap)
        },
        "labels_without_positives": [
            name for name, ap in zip(classes, aps_C, strict=True) if not np.isfinite(ap)
        ],
    }
