"""The document of all artefacts, from hand-made tables and figures."""

import logging
import shutil
import subprocess
from dataclasses import replace

import pytest
import yaml
from conftest import ENVIRONMENT, edit_yaml, facts_of, python

from mdkd import __version__, records
from mdkd.artefacts import Artefact, Cell, Row
from mdkd.errors import UserError
from mdkd.plan import Plan, make_plan
from mdkd.reporting.document import ordered, text, write
from mdkd.resolve import resolve_run
from mdkd.results import Results
from mdkd.spec import Specification

ODD = "Gains of 5% & more: a_b #1 {x} → y"
ODD_TEX = r"Gains of 5\% \& more: a\_b \#1 \{x\} $\rightarrow$ y."
COLUMN = "Scenes: ResNet8x2 → ResNet8"
TABLE = r"""\begin{table*}
\caption{A title. Notes.}
\begin{tabular}{lr}
\toprule
a & 1 \\
\bottomrule
\end{tabular}
\end{table*}
"""
RUNS = [f"supervised/scenes/resnet8/seed{seed}" for seed in (0, 1, 2)]


def artefact(name, kind="comparison", title="Methods", targets=("paper",), **changes):
    cells = [Cell(runs=RUNS)]
    fields = {
        "protocol": "smoke",
        "seeds": [0, 1, 2],
        "pairs": [],
        "columns": [COLUMN],
        "metrics": ["mAP"],
        "rows": [Row(label="Student", role="student", cells=cells)],
        "notes": ["A note.", "Another."],
    }
    return Artefact(name=name, kind=kind, title=title, targets=list(targets), **fields | changes)


ARTEFACTS = [
    artefact("alpha", "sequences"),
    artefact("figure10", "matrices", targets=["paper", "dependencies"]),
    artefact("figure4", "sensitivity", targets=["paper"]),
    artefact("hidden", targets=["comparison"]),
    artefact("table2", title=ODD, targets=["comparison", "paper"]),
    artefact("table7", "sequences", targets=["dependencies", "paper"]),
    artefact("zeta", "sequences", targets=["comparison", "paper"]),
]


@pytest.fixture
def results(config, tmp_path):
    spec = Specification(config)
    return Results("smoke", tmp_path, {path: resolve_run(spec, path) for path in RUNS})


def plan_of(artefacts, results):
    return Plan(
        protocol="smoke",
        device="cpu",
        datasets={},
        roots={},
        runs=results.runs,
        artefacts={artefact.name: artefact for artefact in artefacts},
        selected=[],
    )


@pytest.fixture
def plan(results):
    return plan_of(ARTEFACTS, results)


def make(results, *files, content=TABLE):
    for file in files:
        path = results.results / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def draw(results, name, width=3.0, height=2.0):
    """A real figure."""
    from mdkd.reporting import plots

    figure, _ = plots.subplots(figsize=(width, height))
    plots.save(figure, results.results / "figures", name)


EVERYTHING = [
    *("tables/table2.tex", "figures/table2.pdf", "tables/table7.tex", "tables/figure4.tex"),
    *("figures/figure4.pdf", "figures/figure10.pdf", "tables/alpha.tex", "tables/zeta.tex"),
]


def body(source):
    """The lines behind the front matter."""
    return source.partition("\\tableofcontents\n")[2].splitlines()


def test_the_default_artefacts_keep_the_order_of_the_protocol(results):
    plan = replace(plan_of(ARTEFACTS, results), selected=["zeta", "alpha"])
    make(results, *EVERYTHING)
    lines = body(text(plan, results, "default"))
    inputs = [line for line in lines if line.startswith(r"\input")]
    assert inputs == [r"\input{tables/zeta.tex}", r"\input{tables/alpha.tex}"]


def test_an_unknown_target_is_an_error(plan, results):
    with pytest.raises(UserError, match="papers: not in the plan; did you mean 'paper'"):
        write(plan, results, "papers")
    assert not (results.results / "papers.tex").exists()


def test_order_of_the_artefacts():
    names = ["zeta", "figure10", "table10", "alpha", "table9", "figure4", "table2x"]
    expected = ["table9", "table10", "figure4", "figure10", "alpha", "table2x", "zeta"]
    assert [one.name for one in ordered([artefact(name) for name in names])] == expected


def test_sections_and_numbers(plan, results):
    make(results, *EVERYTHING, "tables/hidden.tex", "figures/hidden.pdf")
    lines = body(text(plan, results))
    starts = ("\\section", "\\renewcommand", "\\input", "\\centering")
    assert [line for line in lines if line.startswith(starts)] == [
        r"\section{Comparison}",
        r"\renewcommand{\thetable}{2}",
        r"\input{tables/table2.tex}",
        r"\renewcommand{\thefigure}{S1}",
        r"\centering\sbox{\content}{\includegraphics{figures/table2.pdf}}",
        r"\renewcommand{\thetable}{S1}",
        r"\input{tables/zeta.tex}",
        r"\section{Dependencies}",
        r"\renewcommand{\thetable}{7}",
        r"\input{tables/table7.tex}",
        r"\renewcommand{\thefigure}{10}",
        r"\centering\sbox{\content}{\includegraphics{figures/figure10.pdf}}",
        r"\section{Further results}",
        r"\renewcommand{\thetable}{S2}",
        r"\input{tables/figure4.tex}",
        r"\renewcommand{\thefigure}{4}",
        r"\centering\sbox{\content}{\includegraphics{figures/figure4.pdf}}",
        r"\renewcommand{\thetable}{S3}",
        r"\input{tables/alpha.tex}",
    ]


def test_a_caption_says_that_stand_ins_are_not_comparable(config, results):
    edit_yaml(
        config / "protocols" / "smoke.yaml", lambda p: p.update(stand_ins={"voc2007": "scenes"})
    )
    pair = {"dataset": "voc2007", "teacher": "resnet20", "student": "resnet8"}
    content = {"kind": "comparison", "title": "Mine", "pairs": [pair], "methods": ["vanilla"]}
    content |= {"notes": ["My own note.", "Another one."], "targets": ["paper"]}
    (config / "experiments" / "mine.yaml").write_text(yaml.safe_dump(content))
    plan = make_plan(Specification(config)).only(["mine"])
    make(results, "figures/mine.pdf")
    found = replace(results, runs=plan.runs)
    (caption,) = [line for line in body(text(plan, found)) if line.startswith(r"\caption")]
    assert ". My own note. Stand-ins of protocol smoke: Scenes. Not comparable with" in caption
    assert "Another one" not in caption


def test_captions_of_figures_are_escaped(plan, results):
    make(results, *EVERYTHING)
    lines = body(text(plan, results))
    column = COLUMN.replace("→", r"$\rightarrow$")
    assert rf"\caption{{{ODD_TEX} {column}. A note.}}" in lines
    assert rf"\caption{{Methods. {column}. A note.}}" in lines
    assert lines.count(r"\fitted{\content}{0.85\textheight}") == 3
    bare = [replace(ARTEFACTS[4], notes=[], columns=["one", "two"])]
    assert rf"\caption{{{ODD_TEX}}}" in body(text(plan_of(bare, results), results))


def test_what_is_missing_is_named(plan, results):
    make(results, "tables/table2.tex", "figures/figure4.pdf")
    lines = body(text(plan, results))
    assert [line for line in lines if "\\input" in line] == [r"\input{tables/table2.tex}"]
    assert [line for line in lines if "\\item" in line] == [
        rf"\item figure of table2: {ODD_TEX}",
        r"\item table of table7: Methods.",
        r"\item table of figure4: Methods.",
        r"\item figure of figure10: Methods.",
        r"\item table of alpha: Methods.",
        r"\item table of zeta: Methods.",
    ]
    make(results, *EVERYTHING)
    assert "Not yet computed" not in text(plan, results)


def test_the_front_says_what_was_run_with_which_code(plan, results):
    assert r"Protocol smoke, seeds 0, 1, 2: 0 of 3 runs done.\par" in text(plan, results)
    assert rf"mdkd {__version__}.\par" in text(plan, results)
    for path, revision in zip(RUNS[:2], ("0123456789abcdef+", None), strict=True):
        environment = ENVIRONMENT | {"git_revision": revision}
        record = facts_of(results, path) | {"environment": environment}
        records.write_json(results.run(path) / "run.json", record)
    source = text(plan, results)
    assert "2 of 3 runs done." in source
    revisions = "0123456789ab+ (1 runs), unknown (1 runs); +: with local changes"
    assert rf"mdkd {__version__}; trained at revision {revisions}.\par" in source
    single = plan_of([replace(ARTEFACTS[0], seeds=[0])], results)
    assert "Protocol smoke, seed 0: " in text(single, results)


def test_nothing_is_in_the_document(results):
    assert "\\section" not in "".join(body(text(plan_of([ARTEFACTS[3]], results), results)))


def only(monkeypatch, folder, **programs):
    """A PATH of shell scripts and nothing else."""
    folder.mkdir()
    for name, script in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_without_a_latex_only_the_source_is_written(plan, results, tmp_path, monkeypatch, caplog):
    only(monkeypatch, tmp_path / "bin")
    make(results, "paper.pdf")  # of another text
    with caplog.at_level(logging.INFO):
        write(plan, results)
    assert (results.results / "paper.tex").read_text() == text(plan, results)
    assert not (results.results / "paper.pdf").exists()
    (message,) = caplog.messages
    assert "paper.pdf is not written" in message
    assert "install texlive" in message


def test_tectonic_is_used_where_there_is_no_pdflatex(plan, results, tmp_path, monkeypatch):
    script = 'test "$1 $2 $4" = "--keep-logs --outdir paper.tex" && echo PDF > "$3/paper.pdf"'
    only(monkeypatch, tmp_path / "bin", tectonic=script)
    write(plan, results)
    assert (results.results / "paper.pdf").read_text() == "PDF\n"


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (
            r'printf "Text\n./tables/a.tex:7: Undefined.\n! Stop.\n" > "$5/paper.log"; exit 1',
            "./tables/a.tex:7: Undefined.",
        ),
        ("echo broken; exit 3", "pdflatex ended with status 3"),
    ],
)
def test_an_error_of_latex(plan, results, tmp_path, monkeypatch, script, error):
    only(monkeypatch, tmp_path / "bin", pdflatex=script)
    make(results, "paper.pdf")
    kept = results.results / "paper.log"
    with pytest.raises(UserError) as caught:
        write(plan, results)
    source = results.results / "paper.tex"
    assert str(caught.value) == f"{source}: LaTeX stopped at '{error}'; its log is {kept}"
    assert kept.read_text().startswith(("Text", "broken"))
    assert not (results.results / "paper.pdf").exists()


def has_latex():
    if not shutil.which("pdflatex") or not shutil.which("kpsewhich"):
        return False
    return all(
        subprocess.run(["kpsewhich", f"{package}.sty"], capture_output=True).returncode == 0
        for package in ("booktabs", "caption", "geometry", "graphicx")
    )


needs_latex = pytest.mark.skipif(not has_latex(), reason="no pdflatex with booktabs")


@needs_latex
def test_the_pdf_is_made_and_made_again_byte_by_byte(plan, results):
    make(results, *(file for file in EVERYTHING if file.startswith("tables")))
    for name in ("table2", "figure4"):
        draw(results, name)
    write(plan, results)
    pdf = results.results / "paper.pdf"
    first = pdf.read_bytes()
    assert first.startswith(b"%PDF")
    pdf.unlink()
    write(plan, results)
    assert pdf.read_bytes() == first
    assert not [date for date in (b"CreationDate", b"/ID") if date in first]
    left = {file.name for file in results.results.iterdir()}
    assert left == {"paper.tex", "paper.pdf", "tables", "figures"}


@needs_latex
def test_nothing_is_wider_or_higher_than_a_page(plan, results, tmp_path):
    make(results, "tables/table7.tex", content=TABLE.replace("a &", "a \\\\\n" * 150 + "a &"))
    wide = TABLE.replace("{lr}", f"{{{'r' * 62}}}").replace("a &", "a &" + "123456 & " * 60)
    make(results, "tables/table2.tex", content=wide)
    draw(results, "figure4", width=30)
    draw(results, "figure10", width=5, height=30)
    write(plan, results)
    command = ["pdflatex", "-interaction=nonstopmode", "-output-directory", str(tmp_path)]
    subprocess.run([*command, "paper.tex"], cwd=results.results, capture_output=True, check=True)
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert "Overfull" not in log
    assert "(6 pages" in log  # the front, one for each of the four, and what is not yet made


@needs_latex
def test_a_real_error_names_file_and_line(plan, results):
    make(results, "tables/table2.tex", content="\n\\nonsense\n")
    with pytest.raises(UserError, match=r"tables/table2.tex:2: Undefined control sequence"):
        write(plan, results)
    assert "nonsense" in (results.results / "paper.log").read_text()
    make(results, "tables/table2.tex")
    write(plan, results)
    assert (results.results / "paper.pdf").exists()
    assert not (results.results / "paper.log").exists()


def test_no_torch_is_loaded():
    result = python("-c", "import sys, mdkd.reporting.document; print('torch' in sys.modules)")
    assert result.stdout == "False\n", result.stderr
