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
    names = dict.fromkeys(pair.dataset for pair in pairs if spec.resolved[pair.dataset].val)
    aside = "some training images are set aside for validation. Networks are trained on the others"
    metrics = "Metrics are of the test images unless they are called val."
    if split == "val":
        metrics = "All metrics are of the images set aside, and none is of test images."
    return [f"{spec.datasets[name].label}: {aside}. {metrics}" for name in names]
