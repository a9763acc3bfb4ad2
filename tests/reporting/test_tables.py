"""Printed tables with blocks and headings of their own; test_cells.py prints the plain ones."""

import shutil
import subprocess
from dataclasses import replace

import pandas as pd
import pytest

from mdkd.reporting import escapes
from mdkd.reporting.tables import Block, Entry, Line, Table, html, latex, markdown, tabular_alone

ONE = Line(label="a|b", entries=[Entry("1 < 2", "best"), Entry("50 %")])
TWO = Line(label="c_d", entries=[Entry("–"), Entry("3", "second")], rule=True)
PLAIN = Block(heading=None, lines=[ONE, TWO])
NAMED = Block(heading="Second & last", lines=[TWO], columns=["Ψ_2", "±"])


def table(*blocks, **keys):
    frame = pd.DataFrame({"x": [1]})
    return Table(name="t", title="T", headings=["A", "B"], blocks=blocks, frame=frame, **keys)


def test_markdown_of_blocks():
    assert markdown(table(PLAIN, NAMED, notes=["n"])).splitlines() == [
        "**T**",
        "",
        "|  | A | B |",
        "|---|---:|---:|",
        "| a\\|b | **1 < 2** | 50 % |",
        "| c_d | – | <u>3</u> |",
        "",
        "Second & last",
        "",
        "|  | Ψ_2 | ± |",
        "|---|---:|---:|",
        "| c_d | – | <u>3</u> |",
        "",
        "- n",
    ]


def test_latex_of_blocks():
    lines = latex(table(PLAIN, NAMED)).splitlines()
    body = lines[lines.index("\\toprule") + 1 : lines.index("\\bottomrule")]
    assert body == [
        " & A & B \\\\",
        "\\midrule",
        "a\\textbar{}b & \\textbf{1 \\textless{} 2} & 50 \\% \\\\",
        "\\midrule",
        "c\\_d & -- & \\underline{3} \\\\",
        "\\midrule",
        "\\multicolumn{3}{l}{\\emph{Second \\& last}} \\\\",
        " & $\\Psi$\\_2 & $\\pm$ \\\\",
        "\\midrule",
        "\\midrule",
        "c\\_d & -- & \\underline{3} \\\\",
    ]


def test_every_special_character_of_latex():
    assert escapes.latex("\\~^&%$#_{}") == (
        "\\textbackslash{}\\textasciitilde{}\\textasciicircum{}\\&\\%\\$\\#\\_\\{\\}"
    )


def test_headings_of_the_table_are_left_out_where_all_blocks_have_their_own():
    assert " & A & B" not in latex(table(NAMED))
    assert "<th>A</th>" not in html(table(NAMED))
    assert "<th>A</th>" in html(table(PLAIN, NAMED))
    assert "<b>1 &lt; 2</b>" in html(table(PLAIN))


def test_entries_and_columns_must_fit_the_headings():
    with pytest.raises(ValueError, match="one entry per heading"):
        table(Block(heading=None, lines=[Line(label="x", entries=[Entry("1")])]))
    with pytest.raises(ValueError, match="as many columns"):
        table(Block(heading="h", lines=[ONE], columns=["1"]))


APART = Block(heading="Apart", lines=[Line(label="x", entries=[Entry("1")] * 3)], apart=True)


def test_a_block_apart_has_a_tabular_of_its_own():
    both = table(PLAIN, replace(APART, columns=["p", "q", "r"]))
    assert tabular_alone(both) == (
        "% needs \\usepackage{booktabs}\n"
        "\\begin{tabular}{lrr}\n\\toprule\n & A & B \\\\\n\\midrule\n"
        "a\\textbar{}b & \\textbf{1 \\textless{} 2} & 50 \\% \\\\\n"
        "\\midrule\nc\\_d & -- & \\underline{3} \\\\\n\\bottomrule\n\\end{tabular}\n"
        "\n\\medskip\n"
        "\\begin{tabular}{lrrr}\n\\toprule\n\\multicolumn{4}{l}{\\emph{Apart}} \\\\\n"
        " & p & q & r \\\\\n\\midrule\nx & 1 & 1 & 1 \\\\\n\\bottomrule\n\\end{tabular}\n"
    )
    with pytest.raises(ValueError, match="one entry per heading"):
        table(PLAIN, replace(APART, columns=["p"]))


def test_the_caption_is_the_title_and_the_notes_stand_below():
    lines = latex(table(PLAIN, notes=["A note.", "5 %"])).splitlines()
    assert "\\caption{T.}" in lines
    below = lines[lines.index("\\usebox0") + 1 :]
    assert below[2:5] == ["A note.\\par", "5 \\%\\par", "\\end{minipage}"]
    assert "minipage" not in latex(table(PLAIN))
    assert "A note" not in tabular_alone(table(PLAIN, notes=["A note."]))


CLOSE = "\\setlength{\\tabcolsep}{3pt}"


@pytest.mark.parametrize(
    ("columns", "lines", "size"),
    [
        (3, 5, "\\small"),
        (3, 31, "\\scriptsize"),
        (10, 5, f"\\scriptsize{CLOSE}"),
        (3, 61, "\\tiny\\renewcommand{\\arraystretch}{0.95}"),
    ],
)
def test_long_and_wide_tables_are_printed_smaller(columns, lines, size):
    line = Line(label="x", entries=[Entry("12.34 ± 0.12")] * columns)
    block = Block(heading=None, lines=[line] * lines)
    text = latex(Table(name="t", title="T", headings=["A"] * columns, blocks=[block]))
    assert f"\\vbox{{{size}\\hbox" in text


def compiled(folder, name):
    """The log of a LaTeX run that must succeed."""
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", name]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-2000:]
    assert (folder / name).with_suffix(".pdf").stat().st_size > 0
    return result.stdout


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs a LaTeX")
def test_latex_compiles_alone_and_by_input(tmp_path):
    special = " ".join(map(chr, [*range(33, 127), *map(ord, "±→–−×Δ†ΨΦφλ≥")]))
    line = Line(label="wide", entries=[Entry("12.34 ± 0.12"), Entry(30 * "12.34 ± 0.12 ")])
    wide = Block(heading=None, lines=[line])
    long = Block(heading=None, lines=[ONE] * 150)
    apart = replace(APART, columns=["p", "q", "r"])
    (tmp_path / "l.tex").write_text(latex(table(long, apart, notes=["n"] * 9)), encoding="utf-8")
    (tmp_path / "a.tex").write_text(tabular_alone(table(PLAIN, NAMED, apart)), encoding="utf-8")
    (tmp_path / "t.tex").write_text(latex(table(PLAIN, NAMED, notes=[special])), encoding="utf-8")
    (tmp_path / "w.tex").write_text(latex(table(wide)), encoding="utf-8")
    (tmp_path / "both.tex").write_text(
        "\\documentclass[twocolumn]{article}\\usepackage{booktabs,graphicx}\\begin{document}"
        "a\\input{t}\\input{w}b\\begin{table}\\caption{My own.}\\input{a}\\end{table}"
        "\\end{document}"
    )
    for name in ("t.tex", "w.tex", "l.tex", "both.tex"):
        said = compiled(tmp_path, name)
        assert "Overfull" not in said and "Float too large" not in said
    assert escapes.latex("Ψ") == "$\\Psi$"
