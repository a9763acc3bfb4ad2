"""What all figures share: their look and their files. The same input gives the same bytes.

Matplotlib and seaborn are loaded when a figure is drawn. Tables come from the same modules, and
loading them takes longer than most tables.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pandas as pd

from mdkd import records
from mdkd.artefacts import Artefact
from mdkd.layout import FIGURE_FORMATS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

os.environ.setdefault("SOURCE_DATE_EPOCH", "0")  # no dates in PDF and SVG

log = logging.getLogger(__name__)

FONT = "DejaVu Sans"  # comes with matplotlib, so it is the same everywhere
# Fonts for characters that it lacks. Those that are installed are used, in this order.
FURTHER_FONTS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Noto Sans SC", "Noto Sans KR"),
    *("Source Han Sans", "WenQuanYi Zen Hei", "Hiragino Sans", "Arial Unicode MS"),
    *("Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Thai"),
    *("Noto Sans", "Noto Emoji", "Symbola", "Unifont"),
)
ALWAYS: dict[Any, Any] = {
    "svg.hashsalt": "mdkd",
    "text.parse_math": False,  # users may write $ in labels and titles
}
COLORS: tuple[Any, ...] = (  # seaborn's palette "colorblind"
    *("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc"),
    *("#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9"),
)


def set_style() -> None:
    """The look of all figures. Settings of the user, such as a ``matplotlibrc``, have no effect."""
    import matplotlib
    import seaborn as sns
    from matplotlib import font_manager

    matplotlib.rcdefaults()
    installed = set(font_manager.fontManager.get_font_names())
    fonts = [FONT, *(name for name in FURTHER_FONTS if name in installed)]
    sns.set_theme(style="whitegrid", context="paper", font=fonts)  # type: ignore[arg-type]
    matplotlib.rcParams.update(ALWAYS)
    warnings.filterwarnings("ignore", "Glyph .* missing from font")  # `save` says it in one line
    warnings.filterwarnings("ignore", "Tight layout not applied")  # long labels; all is saved


def subplots(*args: Any, **kwargs: Any) -> tuple[Figure, Any]:
    """Matplotlib's ``subplots``; the same texts as in `set_style`, also before it is called."""
    import matplotlib
    from matplotlib import pyplot as plt

    matplotlib.rcParams.update(ALWAYS)
    return plt.subplots(*args, **kwargs)


def palette(name: str, count: int) -> list:
    """So many colors of a palette of seaborn."""
    import seaborn as sns

    return sns.color_palette(name, count)


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write ``{name}.{suffix}`` into ``folder`` for every suffix of `FIGURE_FORMATS`."""
    from matplotlib import pyplot as plt

    for suffix in FIGURE_FORMATS:
        metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(suffix, {})
        with records.atomic(folder / f"{name}.{suffix}") as file:
            figure.savefig(file, format=suffix, dpi=200, bbox_inches="tight", metadata=metadata)
    if lacking := _lacking(figure):
        log.warning(
            "%s: no installed font has %s, so boxes are drawn; install one, for example "
            "fonts-noto-cjk or fonts-noto-core (Debian, Ubuntu), and make the figure again",
            *(folder / name, lacking),
        )
    plt.close(figure)


def _lacking(figure: Figure) -> str:
    """The characters of a drawn figure, each once, that none of its fonts has."""
    import matplotlib
    from matplotlib import font_manager
    from matplotlib.text import Text

    known = set(map(ord, "\n\r"))
    for font in matplotlib.rcParams["font.family"]:
        file = font_manager.findfont(font_manager.FontProperties(family=[font]))
        known |= font_manager.get_font(file).get_charmap().keys()
    texts = (text.get_text() for text in figure.findobj(Text) if text.get_visible())
    return "".join(dict.fromkeys(c for text in texts for c in text if ord(c) not in known))


def caption(figure: Figure, artefact: Artefact, text: str) -> None:
    """Protocol, seeds and how to read it, below a figure."""
    images = "metrics of validation images; " if artefact.split == "val" else ""
    line = f"protocol {artefact.protocol}; {artefact.named_seeds}; {images}{text}"
    figure.text(0.01, -0.01, line, fontsize=7, va="top")


def legend(
    figure: Figure,
    axes: Iterable[Axes],
    *,
    names: Mapping[str, str] = MappingProxyType({}),
    last: str = "",
    **look: Any,
) -> None:
    """One legend above the panels: what is drawn in any of ``axes``, each label once.

    Args:
        names: what to print for a label, if not the label.
        last: the label that comes last.
        look: arguments of matplotlib's ``legend``.
    """
    found = {
        names.get(label, label): handle
        for axis in axes
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    labels = sorted(found, key=last.__eq__)  # stable: the others keep their order
    usual: dict[str, Any] = {"loc": "outside upper center", "ncols": 6, "frameon": False}
    figure.legend([found[label] for label in labels], labels, **usual | look)


def baselines(draw: Callable, frame: pd.DataFrame) -> None:
    """Lines at the means of the first student and of each teacher; ``draw``: axvline or axhline."""
    for role, style in (("student", ":"), ("teacher", "--")):
        cells = frame[(frame["role"] == role) & (frame["runs"] > 0)]
        means = cells["mean"] if role == "teacher" else cells["mean"].iloc[:1]
        for i, mean in enumerate(means):  # several teachers share one entry of the legend
            label = "_" if i else role
            draw(100 * mean, linestyle=style, color="black", linewidth=1, label=label)
