"""Which images the metrics of an artefact are of: test images, or validation images.

A data set with ``val`` sets this fraction of its training images aside; networks are trained on the
rest (`mdkd.data.build`).
"""

from collections.abc import Iterable

from mdkd import kinds
from mdkd.config import Split
from mdkd.errors import UserError
from mdkd.spec import Specification
from mdkd.specfiles import Experiment, Pair


def checked(spec: Specification, name: str, experiment: Experiment, pairs: Iterable[Pair]) -> Split:
    """The split of an experiment whose pairs are trained in this protocol.

    Raises:
        UserError: its kind or one of its data sets has no metrics of validation images.
    """
    where, kind = f"{spec.folder}/experiments/{name}.yaml", kinds.get(experiment.kind)
    split: Split = "val" if kind.tunes else experiment.split
    if split == "test":
        return split
    if not kind.val:
        known = ", ".join(other for other in kinds.names() if kinds.get(other).val)
        what = f"kind '{experiment.kind}' shows test images; kinds that can show val: {known}"
        raise UserError(f"{where}: split: {what}")
    for pair in pairs:
        if not spec.resolved[pair.dataset].val:
            others = [other for other, dataset in spec.resolved.items() if dataset.val]
            hint = f", or use one that has: {', '.join(others)}" if others else ""
            what = f"data set '{pair.dataset}' has no validation images"
            raise UserError(f"{where}: {what}; give it `val` in {spec.folder}/datasets.yaml{hint}")
    return split


def notes(spec: Specification, split: Split, pairs: Iterable[Pair]) -> list[str]:
    """Which images the numbers are of, if a data set has validation images."""
    datasets = [spec.resolved[name] for name in dict.fromkeys(pair.dataset for pair in pairs)]
    lines = []
    for dataset in datasets:
        aside, rest = f"{100 * dataset.val:g} %", f"{100 * (1 - dataset.val):g} %"
        if dataset.val and split == "val":
            lines.append(
                f"Validation: the metrics are of {aside} of the training images of {dataset.name}, "
                f"which are set aside. The networks are trained on the other {rest}. No number is "
                "of test images."
            )
        elif dataset.val:
            lines.append(
                f"{dataset.name}: the networks are trained on {rest} of the training images; "
                f"{aside} are set aside for validation. Metrics are of the test images unless they "
                "are called val."
            )
    return lines
