"""A printed table of any content, as CSV, Markdown, LaTeX and HTML."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from mdkd import records
from mdkd.layout import TABLE_FORMATS
from mdkd.reporting import escapes

log = logging.getLogger(__name__)

GAP = "–"  # for a run that is not done yet
MANY_LINES, FULL_PAGE = 30, 60  # more of them are printed smaller, and smaller still
WIDE = 500  # points: wider tables are printed smaller and closer


Mark = Literal["", "best", "second"]


class Entry(NamedTuple):
    """One place of a table."""

    text: str
    mark: Mark = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row: what it is called and one entry per heading."""

    label: str
    entries: Sequence[Entry]
    rule: bool = False  # drawn above it


@dataclass(frozen=True, kw_only=True)
class Block:
    """Rows that belong together, under a heading of their own if there are several blocks."""

    heading: str | None
    lines: Sequence[Line]
    columns: Sequence[str] | None = None  # the block's headings, if they differ from the table's
    # The columns have nothing to do with those of the blocks above: as many and as wide as needed.
    apart: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """All that is printed, and the numbers behind it."""

    name: str  # of its files and of its label in LaTeX
    title: str
    headings: Sequence[str]  # without the one over the labels
    blocks: Sequence[Block]
    notes: Sequence[str] = ()
    frame: pd.DataFrame = field(default_factory=pd.DataFrame)  # for the CSV, one row per number

    def __post_init__(self) -> None:
        for block in self.blocks:
            width = len(self.headings_of(block))
            if not block.apart and width != len(self.headings):
                raise ValueError(f"{self.name}: {block.heading}: as many columns are needed")
            for line in block.lines:
                if len(line.entries) != width:
                    raise ValueError(f"{self.name}: {line.label}: one entry per heading is needed")

    def headings_of(self, block: Block) -> Sequence[str]:
        """What stands over the columns of a block."""
        return self.headings if block.columns is None else block.columns

    def parts(self) -> list[list[Block]]:
        """The blocks that share their columns: those of the table, then those that are apart."""
        shared = [block for block in self.blocks if not block.apart]
        return [part for part in (shared, [b for b in self.blocks if b.apart]) if part]


def write(table: Table, folder: Path) -> None:
    """Write ``{name}.{suffix}`` into ``folder`` for every suffix of `TABLE_FORMATS`."""
    texts = {
        "csv": table.frame.to_csv(index=False, lineterminator="\n"),
        "md": markdown(table),
        "tex": latex(table),
        "tabular.tex": tabular_alone(table),
        "html": html(table),
    }
    for suffix in TABLE_FORMATS:
        with records.atomic(folder / f"{table.name}.{suffix}") as file:
            file.write(texts[suffix].encode(errors="backslashreplace"))
    if lacking := _lacking(table):
        file_name, macro = folder / f"{table.name}.tex", escapes.NO_GLYPH
        log.warning("%s: LaTeX prints codes in place of %s; see %s", file_name, lacking, macro)


def _texts(table: Table) -> Iterable[str]:
    """All that is printed."""
    yield from (table.title, *table.headings, *table.notes)
    for block in table.blocks:
        yield from (block.heading or "", *(block.columns or ()))
        for line in block.lines:
            yield from (line.label, *(entry.text for entry in line.entries))


def _lacking(table: Table) -> str:
    """The characters of a table for which LaTeX has no glyph."""
    return escapes.lacking(" ".join(_texts(table)))


def sentence(text: str) -> str:
    """The text with a full stop, if it lacks one."""
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _marked(entry: Entry, best: str, second: str) -> str:
    marks = {"best": best, "second": second, "": "{}"}
    return marks[entry.mark].format(entry.text) if entry.text else ""


def markdown(table: Table) -> str:
    """GitHub's Markdown: a title, one table per block, and the notes as a list."""

    def line(texts: list[str]) -> str:
        return "| " + " | ".join(texts) + " |"

    lines = [f"**{escapes.markdown(table.title)}**"]
    for block in table.blocks:
        lines += ["", escapes.markdown(block.heading)] if block.heading else []
        headings = [escapes.markdown(heading) for heading in block.columns or table.headings]
        lines += ["", line(["", *headings]), "|---|" + "---:|" * len(headings)]
        for row in block.lines:
            escaped = [entry._replace(text=escapes.markdown(entry.text)) for entry in row.entries]
            texts = [_marked(entry, "**{}**", "<u>{}</u>") for entry in escaped]
            lines.append(line([escapes.markdown(row.label), *texts]))
    return "\n".join([*lines, "", *(f"- {escapes.markdown(note)}" for note in table.notes)]) + "\n"


def html(table: Table) -> str:
    """A complete page, for the workflow's report."""
    parts = "\n".join(f"<table>\n{_rows(table, part)}\n</table>" for part in table.parts())
    items = "\n".join(f"<li>{escapes.hypertext(note)}</li>" for note in table.notes)
    return (
        '<!DOCTYPE html><meta charset="utf-8"><style>body{font:14px sans-serif}'
        "table{border-collapse:collapse}td,th{padding:3px 12px;border-bottom:1px solid #ddd}"
        "td,tr:first-child th{text-align:right}th{text-align:left}"
        "ul{max-width:60em}</style>\n"
        f"<h3>{escapes.hypertext(table.title)}</h3>\n{parts}\n<ul>{items}</ul>\n"
    )


def _rows(table: Table, part: list[Block]) -> str:
    """The rows of one HTML table."""
    lines = []
    if not all(block.columns for block in part):
        lines = ["".join(f"<th>{escapes.hypertext(text)}</th>" for text in ["", *table.headings])]
    for block in part:
        if block.heading:
            width = 1 + len(table.headings_of(block))
            lines.append(f'<th colspan="{width}"><br>{escapes.hypertext(block.heading)}</th>')
        if block.columns:
            names = map(escapes.hypertext, ["", *block.columns])
            lines.append("".join(f"<th>{name}</th>" for name in names))
        for row in block.lines:
            escaped = [entry._replace(text=escapes.hypertext(entry.text)) for entry in row.entries]
            texts = [_marked(entry, "<b>{}</b>", "<u>{}</u>") for entry in escaped]
            cells = "".join(f"<td>{text}</td>" for text in texts)
            lines.append(f"<th>{escapes.hypertext(row.label)}</th>{cells}")
    return "\n".join(f"<tr>{line}</tr>" for line in lines)


def body(page: str) -> str:
    """What `html` shows, without its head: to be put into another page."""
    return page.partition("</style>\n")[2]


def latex(table: Table) -> str:
    """A booktabs ``table*`` that compiles alone and by ``\\input``, never larger than the page.

    The caption is the title; the notes stand below the table.
    """
    parts = "%\n}\\vskip8pt\\hbox{%\n".join(_tabular(table, part) for part in table.parts())
    notes = [
        "\\par\\smallskip",
        "\\begin{minipage}{0.92\\textwidth}\\footnotesize\\raggedright",
        *(f"{escapes.latex(note)}\\par" for note in table.notes),
        "\\end{minipage}",
    ]
    lines = [
        *_ALONE,
        *([escapes.DEFINE_NO_GLYPH] if _lacking(table) else []),
        "\\begin{table*}",
        "\\centering",
        "\\setlength{\\belowcaptionskip}{4pt}",
        f"\\caption{{{escapes.latex(sentence(table.title))}}}",
        f"\\label{{tab:{table.name}}}",
        f"\\setbox0\\vbox{{{_size(table)}\\hbox{{%",
        f"{parts}%",
        "}}%",
        *_FIT,
        *(notes if table.notes else []),
        *_END,
    ]
    return "\n".join(lines) + "\n"


def tabular_alone(table: Table) -> str:
    """The ``tabular`` alone, without caption, label, size and notes, for one's own ``table``."""
    lines = [
        "% needs \\usepackage{booktabs}",
        *([escapes.DEFINE_NO_GLYPH] if _lacking(table) else []),
        "\n\n\\medskip\n".join(_tabular(table, part) for part in table.parts()),
    ]
    return "\n".join(lines) + "\n"


def _tabular(table: Table, part: list[Block]) -> str:
    """The blocks that share their columns."""
    width = max(len(table.headings_of(block)) for block in part)
    lines = [f"\\begin{{tabular}}{{l{'r' * width}}}", "\\toprule"]
    if not all(block.columns for block in part):
        lines += [_tex_row("", map(escapes.latex, table.headings)), "\\midrule"]
    for i, block in enumerate(part):
        lines += ["\\midrule"] if i else []
        if block.heading:
            heading = f"\\emph{{{escapes.latex(block.heading)}}}"
            lines.append(f"\\multicolumn{{{1 + width}}}{{l}}{{{heading}}} \\\\")
        if block.columns:
            lines += [_tex_row("", map(escapes.latex, block.columns)), "\\midrule"]
        for row in block.lines:
            if row.rule:
                lines.append("\\midrule")
            escaped = [entry._replace(text=escapes.latex(entry.text)) for entry in row.entries]
            texts = [_marked(entry, "\\textbf{{{}}}", "\\underline{{{}}}") for entry in escaped]
            lines.append(_tex_row(escapes.latex(row.label), texts))
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"])


# In a document's body \@nodocument means nothing; a file that is compiled alone begins its own.
_ALONE = (
    "% needs \\usepackage{booktabs,graphicx}",
    "\\expandafter\\ifx\\csname @nodocument\\endcsname\\relax\\else",
    "\\documentclass{article}",
    "\\usepackage[margin=15mm]{geometry}",
    "\\usepackage{booktabs,graphicx}",
    "\\expandafter\\def\\csname tableends\\endcsname{\\end{document}}",
    "\\begin{document}",
    "\\fi",
)
_FIT = (
    "\\ifdim\\wd0>\\textwidth\\setbox0\\hbox{\\resizebox{\\textwidth}{!}{\\usebox0}}\\fi",
    "\\ifdim\\dimexpr\\ht0+\\dp0>0.7\\textheight"
    "\\setbox0\\hbox{\\resizebox*{!}{0.7\\textheight}{\\usebox0}}\\fi",
    "\\usebox0",
)
_END = (
    "\\end{table*}",
    "\\csname tableends\\endcsname",
)


def _tex_row(label: str, texts: Iterable[str]) -> str:
    return f"{label} & {' & '.join(texts)} \\\\"


def _size(table: Table) -> str:
    """The largest type in which a table fits a page, by its lines and its longest texts."""
    rows = [line for block in table.blocks for line in block.lines]
    small = max(_points(table, part) for part in table.parts())
    close = "\\setlength{\\tabcolsep}{3pt}" if small > WIDE else ""
    if len(rows) > FULL_PAGE:
        return f"\\tiny\\renewcommand{{\\arraystretch}}{{0.95}}{close}"
    return ("\\scriptsize" if close or len(rows) > MANY_LINES else "\\small") + close


def _points(table: Table, part: list[Block]) -> float:
    """About how wide the blocks are in type of 9 points."""
    texts = [["", *table.headings_of(block)] for block in part]
    texts += [[line.label, *(e.text for e in line.entries)] for b in part for line in b.lines]
    characters = sum(max(map(len, column)) for column in zip(*texts, strict=True))
    return 4.4 * characters + 12 * (len(texts[0]) - 1)
