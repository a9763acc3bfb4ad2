"""The kinds of artefacts: what each one makes, and what its experiment may tell it.

How a kind is computed is in the file of its name in `mdkd/artefacts/`. This list is apart because
planning reads it at every start of the workflow and must not import pandas or matplotlib.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

Output = Literal["table", "figure"]


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """Nothing to tell."""


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """One panel per setting of a method, one point per value; all else as by default."""

    method: str
    settings: list[str]
    points: list[float]


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """Label sequences; each is as long as the order of its dependency."""

    sequences: list[list[str]]


@dataclass(frozen=True, kw_only=True)
class Matrices:
    """Labels whose pairs are shown, for single images and over the whole test set."""

    labels: list[str]
    images: list[str] = field(default_factory=list)  # ids of test images
    count: int = 1  # of images, chosen automatically where none is given
    skip: int = 0  # images that another artefact shows already


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Images and the labels looked for in them; none given: chosen automatically."""

    images: list[str] = field(default_factory=list)  # ids of test images
    count: int = 3  # of images, chosen automatically where none is given
    labels: int = 3  # of each image, at most
    skip: int = 0  # images that another artefact shows already


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Orders of the dependencies whose errors are measured."""

    orders: list[int] = field(default_factory=lambda: [2, 3, 4, 5, 6])


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """The paired bootstrap over test images."""

    resamples: int = 1000


@dataclass(frozen=True, kw_only=True)
class Context:
    """Subsets of labels and images on which stored predictions are judged again."""

    at_least: int = 3  # labels of an image that counts as crowded
    pairs: int = 10  # label pairs with the strongest dependency


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What an artefact of this kind consists of."""

    outputs: tuple[Output, ...]
    options: type[Any] = NoOptions


KINDS = {
    "comparison": Kind(outputs=("table", "figure")),
    "per_label": Kind(outputs=("table",)),
    "sensitivity": Kind(outputs=("table", "figure"), options=Sensitivity),
    "scale": Kind(outputs=("table", "figure")),
    "sequences": Kind(outputs=("table",), options=Sequences),
    "matrices": Kind(outputs=("figure",), options=Matrices),
    "attention": Kind(outputs=("figure",), options=Attention),
    "transfer": Kind(outputs=("table", "figure"), options=Transfer),
    "cost": Kind(outputs=("table",)),
    "ranks": Kind(outputs=("table", "figure"), options=Ranks),
    "convergence": Kind(outputs=("table", "figure")),
    "context": Kind(outputs=("table",), options=Context),
}
