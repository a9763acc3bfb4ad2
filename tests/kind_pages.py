"""What is printed and drawn of a kind of artefact, in a form that its contract can be read from."""

import csv
import io
from html.parser import HTMLParser

from kind_cases import SITUATIONS
from matplotlib import pyplot as plt
from matplotlib.text import Text

from mdkd import registry, reporting
from mdkd.layout import TABLE_FORMATS
from mdkd.reporting import plots


def module(kind):
    return registry.load("mdkd.reporting.kinds", kind)


class Printed:
    """The table of a kind in a situation, and its texts by format."""

    def __init__(self, bench, kind, situation):
        case = bench.case(situation)
        self.artefact, self.results = case.artefacts[kind], case.results
        self.names = SITUATIONS[situation].names
        self.table = module(kind).table(self.artefact, self.results)
        folder = bench.base / situation / "tables"
        reporting.write_table(self.artefact, self.results, folder)
        files = {suffix: folder / f"{self.artefact.name}.{suffix}" for suffix in TABLE_FORMATS}
        self.texts = {suffix: file.read_text("utf-8") for suffix, file in files.items()}
        self.csv = list(csv.DictReader(io.StringIO(self.texts["csv"])))
        self.entries = [e for b in self.table.blocks for line in b.lines for e in line.entries]

    def row(self, label):
        """The row with this label, which may have special characters behind it."""
        (row,) = [row for row in self.artefact.rows if row.label == self.names.get(label, label)]
        return row

    def named(self, row, line, heading):
        """Whether a line or a heading is a row's, or they are a point's value and setting."""
        point = row.panel is not None and (line, heading) == (f"{row.x:g}", row.panel)
        return point or row.label in (line, heading)

    def places(self, row):
        """The entries about a row, or None if nothing in the table has its name.

        The heading of a block may name a row too, and tell its numbers without an entry.
        """
        found, named = [], False
        for block in self.table.blocks:
            named |= row.label in (block.heading or "")
            headings = block.columns or self.table.headings
            for line in block.lines:
                for heading, entry in zip(headings, line.entries, strict=True):
                    found += [entry] if self.named(row, line.label, heading) else []
        return found if found or named else None

    def names_of_blocks(self):
        """Headings of blocks and labels of lines."""
        labels = {line.label for block in self.table.blocks for line in block.lines}
        return labels | {block.heading for block in self.table.blocks if block.heading}

    def groups(self):
        """Entries that are compared with each other: those of rows other than the teacher's."""
        rows = [row for row in self.artefact.rows if row.role != "teacher"]
        for block in self.table.blocks:
            headings = block.columns or self.table.headings
            across = {row.label for row in rows} & set(headings)
            grouped = {}
            for line in block.lines:
                for i, (heading, entry) in enumerate(zip(headings, line.entries, strict=True)):
                    if any(self.named(row, line.label, heading) for row in rows):
                        grouped.setdefault(line.label if across else i, []).append(entry)
            yield from grouped.values()


def draw(bench, kind, situation):
    """The texts of a figure and its file."""
    case, file = bench.case(situation), io.BytesIO()
    plots.set_style()
    figure = module(kind).figure(case.artefacts[kind], case.results)
    figure.savefig(file, format="svg", metadata={"Date": None})
    texts = [text.get_text() for text in figure.findobj(Text) if text.get_text()]
    plt.close(figure)
    return texts, file.getvalue()


class Page(HTMLParser):
    """The tags of a page, and the texts that its elements hold."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag in ("th", "td", "li", "h3"):
            self.texts.append("")

    def handle_data(self, data):
        if self.texts:
            self.texts[-1] += data.removesuffix("\n")
