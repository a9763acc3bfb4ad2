"""Labels of every kind of character, in each format, read back by an independent parser."""

import csv
import html.parser
import logging
import shutil
import subprocess
import unicodedata
from xml.dom import minidom

import numpy as np
import pandas as pd
import pytest
from matplotlib import font_manager

from mdkd.config import one_line
from mdkd.errors import UserError
from mdkd.reporting import dataset, escapes, plots
from mdkd.reporting.tables import Block, Entry, Line, Table, write

ODD = [
    *("a|b", "||", "a\\|b", "<b>x</b>", "<!-- c -->", "<script>alert(1)</script>", "3 < 4 > 2"),
    *("&amp; & &lt; &#65;", "a_b _c_ __d__", "x^2 \\alpha", "$y$ $$z$$", "100% #1 {x} }{", "\\"),
    "\\\\",
    *("*i* **b**", "`c` ``d``", "[l](u) ![i](v)", "[x] y", "* z", "~~s~~ ~t~", "^", "!`?`"),
    *("line\nbreak\n\nparagraph", "tab\there", "--- -- -", "a--b---c", "# h", "1. n", "1) n"),
    *("> q", "+ p", "- m", "===", "---", "'q' \"q\"", "http://x.y/z?a=b&c=d", "‘’“”„«»"),
    "\u202eabc",
    *("日本語 한국어", "שלום مرحبا", "हिन्दी", "😀👍🏽", "é e\u0301 ß ł ø Ş", "α β λ Δ µ Ω"),
    "− ± × → ≥ †",
    *("\x00\x1b\x7f", "\ud83d", "", " ", "L" * 400, "word " * 80, "007", "1e5", "nan"),
]  # fmt: skip


def odd_table():
    lines = [Line(label=text, entries=[Entry(text, "best"), Entry(text, "second")]) for text in ODD]
    return Table(
        name="odd",
        title=" ".join(ODD),
        headings=["x|y_z", "$h$"],
        blocks=[Block(heading="--- [b] *c*", lines=lines)],
        notes=ODD,
        frame=pd.DataFrame({"label": ODD}),
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    write(odd_table(), folder)
    return folder


class Reader(html.parser.HTMLParser):
    """The texts of all cells by row, and all kinds of elements."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.tags, self.cell = [], set(), None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.cell = ""

    def handle_data(self, data):
        if self.cell is not None:
            self.cell += data

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.rows[-1].append(" ".join(self.cell.split()))
            self.cell = None


def printed(text):
    """What a table shows of a text: blanks once, and a mark for what cannot be shown."""
    shown = " ".join(text.split())
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") else c for c in shown)


def test_html_shows_every_label_as_it_is(written):
    page = Reader((written / "odd.html").read_text(encoding="utf-8"))
    rows = [row for row in page.rows if len(row) == 3][1:]
    assert rows == [[printed(text)] * 3 for text in ODD]
    assert page.tags <= {
        "meta",
        "style",
        "h3",
        "table",
        "tr",
        "td",
        "th",
        "b",
        "u",
        "ul",
        "li",
        "br",
    }


def test_markdown_shows_every_label_as_it_is(written):
    parser = pytest.importorskip("markdown_it", reason="needs the package markdown-it-py")
    rendered = parser.MarkdownIt("gfm-like", {"linkify": False}).render(
        (written / "odd.md").read_text(encoding="utf-8")
    )
    page = Reader(rendered)
    rows = [row for row in page.rows if len(row) == 3][1:]
    assert rows == [[printed(text)] * 3 for text in ODD]
    assert page.tags <= {
        "p",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "strong",
        "u",
        "ul",
        "li",
    }


def test_csv_is_read_back(written):
    with (written / "odd.csv").open(encoding="utf-8", newline="") as lines:
        (_, *texts) = [row[0] for row in csv.reader(lines)]
    assert texts == [text.encode(errors="backslashreplace").decode() for text in ODD]


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs a LaTeX")
def test_latex_compiles_alone_and_prints_codes_of_what_it_lacks(written, tmp_path):
    for file in written.iterdir():
        shutil.copy(file, tmp_path)
    shutil.copy(tmp_path / "odd.tex", tmp_path / "again.tex")
    (tmp_path / "both.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}"
        "\\listoftables\\input{odd}\\input{again}\\end{document}"
    )
    for name in ("odd.tex", "both.tex", "both.tex"):  # the list of tables needs a second run
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", name]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True)
        assert done.returncode == 0, done.stdout[-2000:]
        assert b"Missing character" not in done.stdout


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs a LaTeX")
def test_latex_has_what_the_list_of_latin_letters_promises(tmp_path):
    body = "\n".join(f"x{escapes.latex(c)}x\\par" for c in (*escapes.LATIN, *escapes.TEX))
    text = f"\\documentclass{{article}}\\begin{{document}}\n{body}\n\\end{{document}}\n"
    (tmp_path / "t.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True)
    assert done.returncode == 0 and b"Missing character" not in done.stdout, done.stdout[-2000:]


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("日", "\\noglyph{65E5}{日}"),
        ("e\u0301 é", "é é"),
        ("a--b-c", "a-{}-b-c"),
        ("[1] *", "{[}1{]} {*}"),
        ("a\n\nb\tc", "a b c"),
        ("\x07", "\\noglyph{FFFD}{\ufffd}"),
    ],
)
def test_source_of_latex(text, source):
    assert escapes.latex(text) == source


def test_what_latex_lacks_is_logged_once_per_table(tmp_path, caplog):
    line = Line(label="日 日 é", entries=[Entry("1")])
    table = Table(name="t", title="語", headings=["h"], blocks=[Block(heading=None, lines=[line])])
    with caplog.at_level(logging.WARNING):
        write(table, tmp_path)
    (message,) = caplog.messages
    assert message == f"{tmp_path}/t.tex: LaTeX prints codes in place of 語日; see \\noglyph"
    assert "\\providecommand{\\noglyph}" in (tmp_path / "t.tex").read_text(encoding="utf-8")


def figure_of(*labels):
    plots.set_style()
    figure, axes = plots.subplots()
    axes.barh([f"{i} {label}" for i, label in enumerate(labels)], np.arange(len(labels)))
    axes.set_title(labels[0])
    figure.tight_layout()
    return figure


def test_a_figure_says_which_characters_no_font_has(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(plots, "FURTHER_FONTS", ())
    with caplog.at_level(logging.WARNING):
        plots.save(figure_of("日本 日 é α → שלום"), tmp_path, "f")
    (message,) = caplog.messages
    assert message.startswith(f"{tmp_path}/f: no installed font has 日本, so boxes are drawn")
    assert "fonts-noto-cjk" in message


def test_a_figure_uses_further_fonts_that_are_installed(tmp_path, caplog, monkeypatch):
    """STIX comes with matplotlib, so a test may count on it."""
    odd = next(c for c in map(chr, range(0xE000, 0xE400)) if has("STIXNonUnicode", c))
    with caplog.at_level(logging.WARNING):
        monkeypatch.setattr(plots, "FURTHER_FONTS", ("No Such Font",))
        plots.save(figure_of(odd), tmp_path, "without")
        assert len(caplog.messages) == 1
        monkeypatch.setattr(plots, "FURTHER_FONTS", ("No Such Font", "STIXNonUnicode"))
        plots.save(figure_of(odd), tmp_path, "with")
    assert len(caplog.messages) == 1
    assert (tmp_path / "with.svg").read_bytes() != (tmp_path / "without.svg").read_bytes()


def has(font, char):
    properties = font_manager.FontProperties(family=[font])
    charmap = font_manager.get_font(font_manager.findfont(properties)).get_charmap()
    plain = font_manager.FontProperties(family=[plots.FONT])
    own = font_manager.get_font(font_manager.findfont(plain)).get_charmap()
    return ord(char) in charmap and ord(char) not in own


def test_figures_of_all_labels_are_files_that_can_be_read(tmp_path):
    labels = [found for text in ODD if (found := accepted(text)) is not None]
    assert len(labels) == len(ODD) - 2
    plots.save(figure_of(*labels), tmp_path, "f")
    minidom.parse(str(tmp_path / "f.svg"))
    assert (tmp_path / "f.pdf").read_bytes().startswith(b"%PDF")
    from PIL import Image

    with Image.open(tmp_path / "f.png") as image:
        image.load()


def accepted(text):
    """The label as the settings take it, or None if they refuse it."""
    try:
        return one_line(text, "here")
    except UserError as error:
        assert str(error).startswith("here: ") and str(error).endswith("cannot be printed")
        return None


def test_the_page_of_a_data_set_shows_every_label(tmp_path):
    parser = pytest.importorskip("markdown_it", reason="needs the package markdown-it-py")
    names = [text for text in ODD if accepted(text)]
    text = dataset._table(pd.DataFrame({"label": names, "images": range(len(names))}))
    page = Reader(parser.MarkdownIt("gfm-like", {"linkify": False}).render(text))
    assert page.rows[1:] == [[printed(name), str(i)] for i, name in enumerate(names)]
    assert dataset._table(pd.DataFrame({"a": [], "b": [], "phi": []})).startswith("| a ")
