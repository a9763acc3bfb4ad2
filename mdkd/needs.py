"""What a training needs of its data, known as soon as labels and images are counted."""

from collections.abc import Mapping

from mdkd import methodfiles, registry
from mdkd.config import Run


def without_positives(dataset: str, positives: Mapping[str, bool]) -> list[str]:
    """Why no run can be scored on a data set, one text per reason.

    Args:
        positives: of every split, whether a label has a positive image.
    """
    return [
        f"data set '{dataset}': no label has a positive {split} image; use a larger {split} split"
        for split, found in positives.items()
        if split != "train" and not found
    ]


def problems(run: Run, labels: int, images: int) -> list[str]:
    """Why a run cannot be trained with these data, one text per reason."""
    method, dataset = methodfiles.read(run.method.name), run.dataset.name
    found = []
    needed = method.labels_needed(run.method.settings)
    if lacking := {key: least for key, least in needed.items() if least > labels}:
        file = registry.file(methodfiles.PACKAGE, run.method.name, ".yaml")
        keys = ", ".join(lacking)
        found.append(
            f"method {run.method.name}: {keys} need {max(lacking.values())} labels, but data set "
            f"'{dataset}' has {labels}; set {keys} to 0 in config/methods.yaml or in the "
            f"experiment (the defaults are in {file})"
        )
    size, batches = run.recipe.batch_size, run.recipe.accumulate
    if size * batches > images:
        what = f"batch_size {size}" + (f" x accumulate {batches}" if batches > 1 else "")
        found.append(
            f"protocol {run.protocol}: recipe: {what} exceeds the {images} training images of "
            f"data set '{dataset}'; lower it to {images} or less"
        )
    head = run.head
    if run.teacher and (reason := method.unavailable(head.embeds_labels(labels))):
        found.append(f"method {run.method.name}: {reason}")
    if head.kind == "mldecoder" and head.queries is not None and head.queries > labels:
        found.append(
            f"protocol {run.protocol}: head: queries {head.queries} exceed the {labels} labels of "
            f"data set '{dataset}'; lower them, or write null for one per label"
        )
    return found
