"""One LaTeX document with every table and figure of a target; by default of ``paper``.

Tables and figures of the paper keep their numbers; the others are numbered S1, S2, ...
"""

import itertools
import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from mdkd import __version__, extras, kinds, records
from mdkd.artefacts import DOCUMENT, NOT_COMPARABLE, Artefact
from mdkd.errors import UserError
from mdkd.kinds import Output
from mdkd.plan import DEFAULT, Plan
from mdkd.reporting import escapes
from mdkd.reporting.cells import title
from mdkd.reporting.tables import sentence
from mdkd.results import Results

log = logging.getLogger(__name__)

FILES = {"table": "tables/{}.tex", "figure": "figures/{}.pdf"}  # below the folder of the document
ENGINES = {  # the preferred one first; how they are called, and how often for all references
    "pdflatex": ("-interaction=nonstopmode -halt-on-error -file-line-error -output-directory", 2),
    "tectonic": ("--keep-logs --outdir", 1),
}
ERROR = re.compile(r"^(?:! |error: |\S+:\d+: ).+", re.MULTILINE)
ENVIRONMENT = {"SOURCE_DATE_EPOCH": "0", "max_print_line": "1000"}  # no dates, no broken lines

PREAMBLE = r"""\documentclass[a4paper]{article}
\usepackage[margin=15mm,includefoot]{geometry}
\usepackage{booktabs,graphicx}
\usepackage[font=footnotesize]{caption}
\ifdefined\pdftrailerid % the same bytes at every run
  \pdfinfoomitdate=1 \pdftrailerid{} \pdfsuppressptexinfo=-1
\fi
\newsavebox{\content}
\newsavebox{\whole}
\newcommand{\fitted}[2]{% a box, made smaller if it is wider than a line or higher than #2
  \ifdim\wd#1>\linewidth \sbox{#1}{\resizebox{\linewidth}{!}{\usebox{#1}}}\fi
  \ifdim\dimexpr\ht#1+\dp#1\relax>#2 \sbox{#1}{\resizebox*{!}{#2}{\usebox{#1}}}\fi
  \usebox{#1}}
\makeatletter % tables and figures do not float: they keep their order, each on one page
\newenvironment{block}[1]
  {\begin{lrbox}{\whole}\begin{minipage}{\linewidth}\def\@captype{#1}}
  {\end{minipage}\end{lrbox}\begin{center}\fitted{\whole}{0.94\textheight}\end{center}}
\makeatother
\renewenvironment{table*}{\begin{block}{table}}{\end{block}}
\renewenvironment{figure}{\begin{block}{figure}}{\end{block}}
\let\plaintabular\tabular
\let\endplaintabular\endtabular
\renewenvironment{tabular}[1]
  {\begin{lrbox}{\content}\plaintabular{#1}}
  {\endplaintabular\end{lrbox}\fitted{\content}{\maxdimen}}
\setcounter{secnumdepth}{0}
\setlength{\parindent}{0pt}
\raggedbottom
"""


def write(plan: Plan, results: Results, target: str = DOCUMENT) -> None:
    """Write ``<target>.tex``, and ``<target>.pdf`` if a LaTeX is installed.

    Raises:
        UserError: there is no such target, or LaTeX stops at an error.
    """
    source = results.results / f"{target}.tex"
    content = text(plan, results, target)
    with records.atomic(source) as file:
        file.write(content.encode())
    source.with_suffix(".pdf").unlink(missing_ok=True)  # it belongs to an older text
    engine = next((name for name in ENGINES if shutil.which(name)), None)
    if engine:
        _compile(source, engine)
    else:
        log.info(f"{target}.pdf is not written, because no LaTeX is installed; {extras.LATEX}")


def _artefacts(plan: Plan, target: str) -> list[Artefact]:
    """The artefacts of a target; of ``default``, in the order in which the protocol names them."""
    if target == DOCUMENT:  # it may be empty
        return ordered([plan.artefacts[name] for name in plan.targets().get(target, [])])
    artefacts = [plan.artefacts[name] for name in plan.members(target)]
    return artefacts if target == DEFAULT else ordered(artefacts)


def text(plan: Plan, results: Results, target: str = DOCUMENT) -> str:
    """The document's source. It names its parts relative to its own folder."""
    artefacts = _artefacts(plan, target)
    sections: dict[str, list[tuple[Artefact, Output]]] = defaultdict(list)
    missing = []
    for artefact in artefacts:
        for output in kinds.get(artefact.kind).outputs:
            if (results.results / FILES[output].format(artefact.name)).exists():
                sections[artefact.group].append((artefact, output))
            else:
                what = f"{output} of {artefact.name}: {sentence(artefact.title)}"
                missing.append(rf"\item {escapes.latex(what)}")
    lines = _front(artefacts, plan, results)
    supplements = {kind: itertools.count(1) for kind in FILES}
    for section, parts in sections.items():
        lines += [r"\clearpage", rf"\section{{{escapes.latex(section)}}}"]
        for artefact, output in parts:
            of_paper = re.fullmatch(rf"{output}(\d+)", artefact.name)
            number = of_paper[1] if of_paper else f"S{next(supplements[output])}"
            lines.append(rf"\renewcommand{{\the{output}}}{{{number}}}")
            file = FILES[output].format(artefact.name)
            lines += [rf"\input{{{file}}}"] if output == "table" else _figure(artefact, file)
    if missing:
        lines += [r"\clearpage", r"\section{Not yet computed}", r"\begin{itemize}"]
        lines += [*missing, r"\end{itemize}"]
    front = f"{PREAMBLE}{escapes.DEFINE_NO_GLYPH}\n\\begin{{document}}\n"
    return front + "\n".join([*lines, r"\end{document}"]) + "\n"


def ordered(artefacts: list[Artefact]) -> list[Artefact]:
    """The paper's tables by number, then its figures, then all others by name."""

    def key(artefact: Artefact) -> tuple[int, int, str]:
        for i, output in enumerate(FILES):
            if match := re.fullmatch(rf"{output}(\d+)", artefact.name):
                return i, int(match[1]), ""
        return len(FILES), 0, artefact.name

    return sorted(artefacts, key=key)


def _front(artefacts: list[Artefact], plan: Plan, results: Results) -> list[str]:
    """What has been trained, and with which code."""
    seeds = sorted({seed for artefact in artefacts for seed in artefact.seeds})
    paths = dict.fromkeys(path for artefact in artefacts for path in artefact.runs)
    done = [path for path in paths if results.state(path) == "done"]
    revisions = Counter(_revision(results.record(path)) for path in done)
    counts = ", ".join(f"{name} ({revisions[name]} runs)" for name in sorted(revisions))
    counts += "; +: with local changes" if "+" in counts else ""
    lines = [
        f"Protocol {plan.protocol}, seed{'s' if len(seeds) > 1 else ''} "
        f"{', '.join(map(str, seeds))}: {len(done)} of {len(paths)} runs done.",
        f"mdkd {__version__}{f'; trained at revision {counts}' if counts else ''}.",
        "Tables and figures keep the paper's numbers. Further ones have numbers with an S.",
    ]
    heading = r"{\LARGE Multi-label knowledge distillation: tables and figures\par}"
    return [
        heading,
        r"\bigskip",
        *(rf"{escapes.latex(line)}\par" for line in lines),
        r"\tableofcontents",
    ]


def _revision(record: dict[str, Any]) -> str:
    """The commit that trained a run; a ``+`` behind it means that the code had been changed."""
    revision = record["environment"]["git_revision"] or "unknown"
    return revision[:12] + ("+" if revision.endswith("+") else "")


def _figure(artefact: Artefact, file: str) -> list[str]:
    first, others = artefact.notes[:1], artefact.notes[1:]
    needed = [note for note in others if note.endswith(NOT_COMPARABLE)]
    caption = " ".join([sentence(title(artefact)), *first, *needed])
    return [
        r"\begin{figure}",
        rf"\centering\sbox{{\content}}{{\includegraphics{{{file}}}}}",
        r"\fitted{\content}{0.85\textheight}",
        rf"\caption{{{escapes.latex(caption)}}}",
        rf"\label{{fig:{artefact.name}}}",
        r"\end{figure}",
    ]


def _compile(source: Path, engine: str) -> None:
    """Make the PDF in a temporary folder. If LaTeX fails, only its log is kept."""
    options, passes = ENGINES[engine]
    kept = source.with_suffix(".log")
    kept.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [engine, *options.split(), folder, source.name]
        for _ in range(passes):
            done = subprocess.run(
                command,
                cwd=source.parent,
                env=os.environ | ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                capture_output=True,
            )
            if done.returncode:
                said = (done.stdout + done.stderr).decode(errors="replace")
                there = Path(folder, kept.name)
                said = there.read_text(errors="replace") if there.exists() else said
                with records.atomic(kept) as file:
                    file.write(said.encode())
                found = ERROR.search(said)
                error = found[0] if found else f"{engine} ended with status {done.returncode}"
                raise UserError(f"{source}: LaTeX stopped at '{error}'; its log is {kept}")
        with records.atomic(source.with_suffix(".pdf")) as file:
            file.write(Path(folder, source.with_suffix(".pdf").name).read_bytes())
