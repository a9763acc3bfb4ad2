"""From records to tables: CSV, Markdown, LaTeX and HTML. Never imports torch, never trains.

Metrics are fractions in records and percentages here, and only here.
"""

from html import escape
from pathlib import Path

import pandas as pd

from mdkd import records
from mdkd.plan import Artefact
from mdkd.results import Results

RUN_COLUMNS = ("kind", "dataset", "teacher", "student", "method", "variant", "seed")
PARTIAL = "†"  # some seeds have not been run yet
GAP = "–"  # a run that has not been made yet


def metrics_csv(results: Results) -> None:
    """Write ``metrics.csv``: every scored run of the plan, one row per metric."""
    text = collect(results).to_csv(index=False, lineterminator="\n")
    with records.atomic(results.results / "metrics.csv") as file:
        file.write(text.encode())


def collect(results: Results) -> pd.DataFrame:
    """One tidy row per run and metric of all runs that have been scored.

    Columns: kind, dataset, teacher, student, method, variant, seed, metric, value (a fraction).
    """
    rows = []
    for path, run in results.runs.items():
        scores = results.scores(path)
        parts = path.split("/")
        for metric, value in scores["metrics"].items() if scores else ():
            rows.append(
                {
                    "kind": parts[0],
                    "dataset": run.dataset.name,
                    "teacher": run.teacher.split("/")[2] if run.teacher else "",
                    "student": run.arch,
                    "method": run.method.name,
                    "variant": parts[4] if parts[0] == "distill" else "default",
                    "seed": run.seed,
                    "metric": metric,
                    "value": value,
                }
            )
    return pd.DataFrame(rows, columns=[*RUN_COLUMNS, "metric", "value"])


def summary(artefact: Artefact, results: Results) -> pd.DataFrame:
    """Mean and spread of every cell of a comparison.

    Columns: row, role, column, metric, mean, std (fractions; std with n - 1, NaN for one run),
    runs, planned, state (``done``, ``partial``, ``missing`` or ``n/a: reason``), rank (1 is the
    best method of its column and metric, ties share a rank; NaN for the teacher and gaps).
    """
    rows = []
    for row in artefact.rows:
        for column, cell in zip(artefact.columns, row.cells, strict=True):
            found = [scores["metrics"] for path in cell.runs if (scores := results.scores(path))]
            state = "done" if len(found) == len(cell.runs) else "partial" if found else "missing"
            for metric in artefact.metrics:
                values = pd.Series([metrics[metric] for metrics in found], dtype=float)
                rows.append(
                    {
                        "row": row.label,
                        "role": row.role,
                        "column": column,
                        "metric": metric,
                        "mean": values.mean(),
                        "std": values.std(),
                        "runs": len(found),
                        "planned": len(cell.runs),
                        "state": f"n/a: {cell.unavailable}" if cell.unavailable else state,
                    }
                )
    frame = pd.DataFrame(rows)
    # rank what is printed: two cells that read the same share a rank
    ranked = frame[frame["role"] != "teacher"].assign(printed=lambda f: (100 * f["mean"]).round(2))
    frame["rank"] = ranked.groupby(["column", "metric"])["printed"].rank("min", ascending=False)
    return frame


def comparison_table(artefact: Artefact, results: Results, folder: Path) -> None:
    """Write ``{name}.csv .md .tex .html`` of a comparison into ``folder``."""
    frame = summary(artefact, results)
    notes = table_notes(artefact, frame, results)
    csv = frame.assign(mean=(100 * frame["mean"]).round(4), std=(100 * frame["std"]).round(4))
    texts = {
        "csv": csv.to_csv(index=False, lineterminator="\n"),
        "md": _markdown(artefact, frame, notes),
        "tex": _latex(artefact, frame, notes),
        "html": _html(artefact, frame, notes),
    }
    for suffix, text in texts.items():
        with records.atomic(folder / f"{artefact.name}.{suffix}") as file:
            file.write(text.encode())


def table_notes(artefact: Artefact, frame: pd.DataFrame, results: Results) -> list[str]:
    """What must stand under a table for its numbers to be read rightly."""
    states = [results.state(path) for path in artefact.runs]  # cells may share runs
    done, planned, other = states.count("done"), len(states), states.count("other settings")
    runs = f"{done} runs"
    if done < planned:
        runs = f"{done} of {planned} runs ({GAP} not yet run, {PARTIAL} some seeds only)"
    seeds = ", ".join(map(str, artefact.seeds))
    plural = "s" if len(artefact.seeds) > 1 else ""
    notes = [
        f"Protocol {artefact.protocol}, seed{plural} {seeds}, {runs}. Percentages, mean ± standard "
        "deviation over seeds of the last epoch; the teacher is one run shared by all methods.",
        "Best bold, second underlined, the teacher apart.",
    ]
    if other:
        notes.append(f"{other} runs were made under other settings and are left out.")
    if any(metric.endswith("_k") for metric in artefact.metrics):
        notes.append(
            "OF1, CF1: threshold 0.5. OF1_k, CF1_k: as many predictions per image as it has true "
            "labels (oracle k), the form that L2D's code computes and the paper follows."
        )
    notes += _left_out(artefact, results)
    reasons = frame.loc[frame["state"].str.startswith("n/a"), ["row", "state"]].drop_duplicates()
    notes += [f"{row}: {state}." for row, state in reasons.itertuples(index=False)]
    return notes + list(artefact.notes)


def _left_out(artefact: Artefact, results: Results) -> list[str]:
    """Labels that no test image of a column has, and images that its data set lacks."""
    notes = []
    for i, column in enumerate(artefact.columns):
        paths = [path for row in artefact.rows for path in row.cells[i].runs]
        path = next((path for path in paths if results.state(path) == "done"), None)
        scores = results.scores(path) if path else None
        if path is None or scores is None:
            continue
        out, there = len(scores["labels_without_positives"]), len(scores["average_precision"])
        if out:
            labels = f"{out} of {out + there} labels, absent in the test split"
            notes.append(f"{column}: mAP leaves out {labels}.")
        for split, dropped in results.record(path)["dropped"].items():
            if any(dropped.values()):
                counts = ", ".join(f"{n} {why}" for why, n in dropped.items() if n)
                notes.append(f"{column}: images left out of {split}: {counts}.")
    return notes


def _printed(artefact: Artefact, frame: pd.DataFrame) -> list[tuple[str, list[tuple[str, float]]]]:
    """The rows of a printed table: label, then (text, rank) of every cell, left to right."""
    cells = frame.set_index(["row", "column", "metric"]).to_dict("index")
    places = [(column, metric) for column in artefact.columns for metric in artefact.metrics]
    return [
        (row.label, [_text(cells[row.label, *place]) for place in places]) for row in artefact.rows
    ]


def _text(cell: dict) -> tuple[str, float]:
    """``mean ± std`` in percent, a gap or ``n/a`` where there is no number; and the rank."""
    if cell["state"].startswith("n/a"):
        return "n/a", cell["rank"]
    if not cell["runs"]:
        return GAP, cell["rank"]
    spread = f" ± {100 * cell['std']:.2f}" if cell["runs"] > 1 else ""
    mark = PARTIAL if cell["state"] == "partial" else ""
    return f"{100 * cell['mean']:.2f}{spread}{mark}", cell["rank"]


def _title(artefact: Artefact) -> str:
    """The title of a printed table; a single column is named here instead of in every heading."""
    if len(artefact.columns) > 1:
        return artefact.title
    return f"{_sentence(artefact.title)} {artefact.columns[0]}"


def _headings(artefact: Artefact) -> list[str]:
    if len(artefact.columns) == 1:
        return artefact.metrics
    return [f"{column}, {metric}" for column in artefact.columns for metric in artefact.metrics]


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _markdown(artefact: Artefact, frame: pd.DataFrame, notes: list[str]) -> str:
    def line(texts: list[str]) -> str:
        return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"

    headings = _headings(artefact)
    rule = "|---|" + "---:|" * len(headings)
    lines = [f"**{_title(artefact)}**", "", line(["", *headings]), rule]
    for label, cells in _printed(artefact, frame):
        marked = {1.0: "**{}**", 2.0: "<u>{}</u>"}
        lines.append(line([label, *(marked.get(rank, "{}").format(text) for text, rank in cells)]))
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]) + "\n"


def _html(artefact: Artefact, frame: pd.DataFrame, notes: list[str]) -> str:
    """A page of its own, for the workflow's report."""
    lines = ["".join(f"<th>{escape(text)}</th>" for text in ["", *_headings(artefact)])]
    for label, cells in _printed(artefact, frame):
        marked = {1.0: "<b>{}</b>", 2.0: "<u>{}</u>"}
        texts = [marked.get(rank, "{}").format(text) for text, rank in cells]
        lines.append(f"<th>{escape(label)}</th>" + "".join(f"<td>{text}</td>" for text in texts))
    rows = "\n".join(f"<tr>{line}</tr>" for line in lines)
    items = "\n".join(f"<li>{escape(note)}</li>" for note in notes)
    return (
        '<!DOCTYPE html><meta charset="utf-8"><style>body{font:14px sans-serif}'
        "table{border-collapse:collapse}td,th{padding:3px 12px;border-bottom:1px solid #ddd}"
        "td,tr:first-child th{text-align:right}th{text-align:left}</style>\n"
        f"<h3>{escape(_title(artefact))}</h3>\n<table>\n{rows}\n</table>\n<ul>{items}</ul>\n"
    )


def _latex(artefact: Artefact, frame: pd.DataFrame, notes: list[str]) -> str:
    """A booktabs ``table*``; needs ``\\usepackage{booktabs}`` and nothing else."""
    width, columns = len(artefact.metrics), len(artefact.columns)
    spans = [f"\\multicolumn{{{width}}}{{c}}{{{tex_escape(c)}}}" for c in artefact.columns]
    rules = [f"\\cmidrule(lr){{{2 + i * width}-{1 + (i + 1) * width}}}" for i in range(columns)]
    caption = " ".join([_sentence(artefact.title), *notes])
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table*}",
        "\\centering\\small",
        "\\setlength{\\belowcaptionskip}{4pt}",
        f"\\caption{{{tex_escape(caption)}}}",
        f"\\label{{tab:{artefact.name}}}",
        f"\\begin{{tabular}}{{l{'r' * width * columns}}}",
        "\\toprule",
        f" & {' & '.join(spans)} \\\\",
        "".join(rules),
        f" & {' & '.join(tex_escape(metric) for metric in artefact.metrics * columns)} \\\\",
        "\\midrule",
    ]
    marked = {1.0: "\\textbf{{{}}}", 2.0: "\\underline{{{}}}"}
    roles = [row.role for row in artefact.rows]
    for i, (label, cells) in enumerate(_printed(artefact, frame)):
        if i and roles[i] == "method" and roles[i - 1] != "method":
            lines.append("\\midrule")
        texts = [marked.get(rank, "{}").format(tex_escape(text)) for text, rank in cells]
        lines.append(f"{tex_escape(label)} & {' & '.join(texts)} \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", "\\end{table*}"]) + "\n"


_TEX = {
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "±": "$\\pm$",
    "→": "$\\rightarrow$",
    "–": "--",
    "†": "$^\\dagger$",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    **{char: f"\\{char}" for char in "&%$#_{}"},
}


def tex_escape(text: str) -> str:
    """Plain text as LaTeX source that prints it."""
    return "".join(_TEX.get(char, char) for char in text)
