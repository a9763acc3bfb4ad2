"""The kinds of artefacts: what each one consists of, and the options of its experiments.

The code of a kind is in the file of its name in `mdkd/reporting/kinds/`. This list is separate
because planning reads it at every start of the workflow and must not import pandas or matplotlib.
A kind of a plug-in (`mdkd.plugins`) is declared by the YAML file beside its code.
"""

from dataclasses import dataclass, field, make_dataclass
from typing import Any, Literal

from mdkd import registry
from mdkd.config import DISTINCT, SOME, number, parse
from mdkd.errors import UserError
from mdkd.yamlfiles import read_yaml

PACKAGE = "mdkd.reporting.kinds"

Output = Literal["table", "figure"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a kind that has none, and what all options have in common."""

    def further_rows(self) -> list[tuple[str, str, float]]:
        """Rows to add to those of ``methods``: method, the key of a setting, and its value."""
        return []

    def points_of_recipe(self) -> list[tuple[str, float]]:
        """Keys of the recipe with their values: each row of ``methods`` is made with each of them.

        Empty: the rows stay as they are.
        """
        return []


@dataclass(frozen=True, kw_only=True)
class Comparison(Options):
    """How the tests of methods over seeds are printed."""

    marks: bool = False  # true: marks at the means that differ; false: a block of all differences


@dataclass(frozen=True, kw_only=True)
class Sensitivity(Options):
    """One panel per setting of a method and one point per value; all else keeps its default."""

    method: str
    settings: list[str] = field(metadata=SOME)
    points: list[float] = field(metadata=SOME)

    def further_rows(self) -> list[tuple[str, str, float]]:
        return [(self.method, key, x) for key in self.settings for x in self.points]


@dataclass(frozen=True, kw_only=True)
class Sequences(Options):
    """Label sequences. The length of a sequence is the order of its dependency."""

    sequences: list[list[str]] = field(metadata=SOME)


@dataclass(frozen=True, kw_only=True)
class Matrices(Options):
    """Labels whose pairs are shown, for single images and over the whole test set."""

    labels: list[str] = field(metadata=SOME)
    images: list[str] = field(default_factory=list)  # ids of test images; none: chosen
    count: int = number(1, default=1)  # how many images to choose
    skip: int = number(0, default=0)  # how many images to skip first: another artefact shows them


@dataclass(frozen=True, kw_only=True)
class Attention(Options):
    """Images and the labels to look for in them."""

    images: list[str] = field(default_factory=list)  # ids of test images; none: chosen
    count: int = number(1, default=3)  # how many images to choose
    labels: int = number(1, default=3)  # of each image, at most
    skip: int = number(0, default=0)  # how many images to skip first: another artefact shows them


@dataclass(frozen=True, kw_only=True)
class Transfer(Options):
    """Orders of the dependencies whose errors are measured."""

    orders: list[int] = field(
        default_factory=lambda: [2, 3, 4, 5, 6], metadata=SOME | {"range": (2, 20)}
    )


@dataclass(frozen=True, kw_only=True)
class Ranks(Options):
    """The paired bootstrap over test images."""

    resamples: int = number(1, 10**6, default=1000)


@dataclass(frozen=True, kw_only=True)
class Context(Options):
    """Subsets of labels and images on which stored predictions are judged again."""

    at_least: int = number(1, default=3)  # labels of an image that counts as crowded
    pairs: int = number(1, default=10)  # label pairs with the strongest dependency


@dataclass(frozen=True, kw_only=True)
class Curve(Options):
    """The metrics of each row over a number of the recipe, or over the size of the teacher.

    A number of the recipe takes the values ``points``, in every row of ``methods``. The sizes of
    teachers are those of the pairs.
    """

    x: Literal["epochs", "batch_size", "lr", "weight_decay", "teacher"]
    points: list[float] = field(default_factory=list, metadata=DISTINCT)

    def check(self) -> None:
        """Called by `parse`: raise a UserError if there are no points, or points without use."""
        if self.x == "teacher" and self.points:
            raise UserError("points: x is the size of the teachers in pairs; remove the key")
        if self.x != "teacher" and not self.points:
            raise UserError(f"points: is empty; name the values of {self.x}")

    def points_of_recipe(self) -> list[tuple[str, float]]:
        return [(self.x, x) for x in sorted(self.points)]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What an artefact of this kind consists of."""

    outputs: tuple[Output, ...]
    options: type[Options] = Options
    maps: bool = False  # whether its figure needs attention maps, from `mdkd attend`
    # Whether all rows need one teacher and one recipe: what is shown is relative to the teacher, or
    # by epoch.
    alike: bool = False
    val: bool = False  # whether it can show metrics of validation images (`split: val`)
    tunes: bool = False  # whether it tries the `tuning` points of methods, always on val
    tests: bool = False  # whether it can show tests of rows (`against`)


KINDS = {
    "comparison": Kind(outputs=("table", "figure"), options=Comparison, val=True, tests=True),
    "per_label": Kind(outputs=("table",)),
    "sensitivity": Kind(outputs=("table", "figure"), options=Sensitivity, val=True),
    "scale": Kind(outputs=("table", "figure"), val=True, tests=True),
    "sequences": Kind(outputs=("table",), options=Sequences, alike=True),
    "matrices": Kind(outputs=("figure",), options=Matrices, alike=True),
    "attention": Kind(outputs=("figure",), options=Attention, maps=True, alike=True),
    "transfer": Kind(outputs=("table", "figure"), options=Transfer, alike=True),
    "cost": Kind(outputs=("table",)),
    "ranks": Kind(outputs=("table", "figure"), options=Ranks),
    "convergence": Kind(outputs=("table", "figure"), alike=True),
    "curve": Kind(outputs=("table", "figure"), options=Curve),
    "context": Kind(outputs=("table",), options=Context),
    "tuning": Kind(outputs=("table", "figure"), val=True, tunes=True, alike=True),
}


@dataclass(frozen=True, kw_only=True)
class KindFile:
    """The YAML file of a plug-in's kind."""

    outputs: list[Output] = field(metadata=SOME)
    maps: bool = False
    val: bool = False
    alike: bool = False
    options: dict[str, Any] = field(default_factory=dict)  # all of them, with their defaults


def names() -> list[str]:
    """All kinds, those of plug-ins included."""
    return registry.names(PACKAGE)


def get(name: str) -> Kind:
    """The kind that is called ``name``. Its code is not imported.

    Raises:
        UserError: there is none, or the file of a plug-in's kind is missing or wrong.
    """
    if name in KINDS:
        return KINDS[name]
    file = registry.file(PACKAGE, name, ".yaml")
    declared = parse(KindFile, read_yaml(file), str(file))
    options = [(key, _type(value), _default(value)) for key, value in declared.options.items()]
    return Kind(
        outputs=tuple(declared.outputs),
        options=make_dataclass("Options", options, bases=(Options,), frozen=True, kw_only=True),
        maps=declared.maps,
        val=declared.val,
        alike=declared.alike,
    )


def _type(default: Any) -> Any:
    """The type of an option: that of its default."""
    if default is None:
        return Any
    if isinstance(default, list):
        return list[Any]
    return dict[str, Any] if isinstance(default, dict) else type(default)


def _default(default: Any) -> Any:
    """The default of an option, a new list or dict at each use."""
    if isinstance(default, list | dict):
        return field(default_factory=default.copy)
    return field(default=default)
