"""The legend of a figure with several panels names what any of them shows."""

import json
from dataclasses import replace

import pytest
from reporting_cases import PAIRS, artefact_of, planned, write_record

from mdkd import registry
from mdkd.reporting import plots

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("comparison", {"student", "teacher"}),
        ("convergence", {"Teacher", "Student", "Student (right panel)", "MLD"}),
        ("curve", {"Teacher", "Student", "MLD"}),
        ("scale", {"student", "teacher", "as strong as the BCE"}),
    ],
)
def test_runs_of_the_second_pair_alone_are_in_the_legend(kind, expected, tmp_path):
    options = {"x": "teacher", "points": []} if kind == "curve" else {}
    made = artefact_of(kind, ["Student", "MLD"], pairs=[PAIRS[0], PAIRS[3]], options=options)
    made = replace(made, labels={name: name for pair in (*PAIRS, ["scenes"]) for name in pair})
    results = planned(tmp_path, made.runs, epochs=1)
    for path in (path for row in made.rows for path in row.cells[1].runs):
        write_record(results, path, {"mAP": 0.5}, {"a": 0.5})
        epoch = {"epoch": 1, "losses": {}, "gradient_ratios": {}, "images_per_s": 1.0}
        line = json.dumps(epoch | {"val_mAP": 0.5})
        (results.run(path) / "history.jsonl").write_text(line + "\n", encoding="utf-8")
    plots.set_style()
    figure = registry.load("mdkd.reporting.kinds", kind).figure(made, results)
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert expected <= set(texts)
    assert len(texts) == len(set(texts))
