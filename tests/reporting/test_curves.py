"""Sensitivity, scale and convergence, from records and histories with known values."""

import csv
import io
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from conftest import copy_config, edit_yaml
from matplotlib import pyplot as plt

from mdkd import records, reporting
from mdkd.errors import UserError
from mdkd.metrics import METRICS
from mdkd.plan import Artefact, Cell, Row, resolve_run
from mdkd.reporting import plots
from mdkd.reporting.kinds import convergence, scale, sensitivity
from mdkd.results import Results
from mdkd.spec import Pair, Specification

pytestmark = pytest.mark.filterwarnings("error")
SEEDS = [0, 1]
EPOCHS = 6


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    config = copy_config(tmp_path_factory.mktemp("spec") / "config")
    edit_yaml(config / "protocols" / "smoke.yaml", lambda p: p["recipe"].update(epochs=EPOCHS))
    return Specification(config)


def teacher(data="scenes", arch="resnet8x2"):
    return [f"supervised/{data}/{arch}/seed0"]


def student(data="scenes"):
    return [f"supervised/{data}/resnet8/seed{seed}" for seed in SEEDS]


def of(method, variant="default", data="scenes", arch="resnet8x2"):
    pair = f"{data}/{arch}--resnet8"
    return [f"distill/{pair}/{method}/{variant}/seed{seed}" for seed in SEEDS]


def row(label, role, *runs, unavailable=None, panel=None, x=None):
    cells = [Cell(runs=r, unavailable=unavailable) for r in runs]
    return Row(label=label, role=role, cells=cells, panel=panel, x=x)


def artefact(kind, rows, metrics=("mAP",), data="scenes", archs=("resnet8x2",)):
    return Artefact(
        name="drawn",
        kind=kind,
        title="Drawn",
        protocol="smoke",
        seeds=SEEDS,
        pairs=[Pair(dataset=data, teacher=arch, student="resnet8") for arch in archs],
        columns=[f"Scenes: {arch}" for arch in archs],
        metrics=list(metrics),
        rows=rows,
        notes=[],
    )


def results_of(base, spec, artefact, values, histories=None):
    """The folders of a protocol: runs of `values` are done, with metrics by name or the mAP.

    The text ``failed`` is a run that failed; runs that are not named have not been made.
    """
    runs = {path: resolve_run(spec, path) for path in artefact.runs}
    results = Results(protocol="smoke", base=base, runs=runs)
    assert set(values) <= set(runs)
    for path, value in values.items():
        folder, run = results.run(path), {"run": asdict(runs[path])}
        if value == "failed":
            records.write_json(folder / "failed.json", run | {"error": "lost"})
            continue
        metrics = value if isinstance(value, dict) else {"mAP": value}
        stored = {"predictions_sha256": "p"}
        records.write_json(folder / "run.json", run | stored | {"dropped": {}})
        rest = {"labels_without_positives": [], "average_precision": {"a": 0.5}}
        metrics = dict.fromkeys(METRICS, 0.125) | metrics
        records.write_json(folder / "metrics.json", stored | rest | {"metrics": metrics})
        lines = [
            {"epoch": i, "losses": {}, "gradient_ratios": {}} | entry
            for i, entry in enumerate((histories or {}).get(path, [{}] * EPOCHS), 1)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "history.jsonl").write_text(text, encoding="utf-8")
    return results


def written(artefact, results):
    """The Markdown as {label: entries} of each block, the notes, and the lines of the CSV."""
    folder = results.base / "tables"
    reporting.write_table(artefact, results, folder)
    text = (folder / "drawn.md").read_text(encoding="utf-8")
    blocks = []
    for line in text.splitlines():
        if line.startswith("|---"):
            blocks.append({})
        elif line.startswith("| ") and not line.startswith("|  |"):
            label, *entries = (cell.strip() for cell in line.strip("|").split(" | "))
            blocks[-1][label] = entries
    content = (folder / "drawn.csv").read_text(encoding="utf-8")
    return blocks, text, list(csv.DictReader(io.StringIO(content)))


def of_csv(lines, **wanted):
    (line,) = [ln for ln in lines if all(ln[key] == value for key, value in wanted.items())]
    return line


def texts(axis):
    return {text.get_text(): text.get_position() for text in axis.texts}


def line_of(axis, label):
    """The points of a line of a figure."""
    (line,) = [line for line in axis.lines if line.get_label() == label]
    return np.array(line.get_xydata(), dtype=float)


def points_of(container):
    """Centres and half lengths of whiskers: one row (x, y, half) per point."""
    (_, _, (bars,)) = container.lines
    segments = bars.get_segments()
    half = [(s[1, 1] - s[0, 1]) / 2 if len(s) else np.nan for s in segments]
    return np.column_stack([container.lines[0].get_xydata(), half])


def drawn(artefact, results):
    """The figure, laid out as on paper; a warning is an error."""
    plots.set_style()
    kind = {"sensitivity": sensitivity, "scale": scale, "convergence": convergence}
    figure = kind[artefact.kind].figure(artefact, results)
    figure.draw_without_rendering()
    plt.close(figure)
    return figure


def files_twice(artefact, results):
    """Figures and tables are the same bytes when they are made again."""
    contents = []
    for folder in (results.base / "first", results.base / "second"):
        reporting.write_table(artefact, results, folder)
        reporting.write_figure(artefact, results, folder)
        contents.append({file.name: file.read_bytes() for file in folder.iterdir()})
    assert contents[0] == contents[1]
    return set(contents[0])


FILES = {f"drawn.{suffix}" for suffix in ("csv", "md", "tex", "html", "pdf", "svg", "png")}


# --- sensitivity


def points(setting, *values, archs=("resnet8x2",)):
    rows = []
    for value in values:
        variant = "default" if value == 1 else f"{setting}-{value:g}"
        runs = [of("mdkd", variant, arch=arch) for arch in archs]
        rows.append(row(f"{setting} = {value:g}", "method", *runs, panel=setting, x=float(value)))
    return rows


def levels(archs=("resnet8x2",)):
    return [
        row("Teacher", "teacher", *(teacher(arch=arch) for arch in archs)),
        row("Student", "student", *(student() for _ in archs)),
        row("MLD", "method", *(of("mld", arch=arch) for arch in archs)),
        row("MDKD", "method", *(of("mdkd", arch=arch) for arch in archs)),
    ]


SENSITIVITY = artefact(
    "sensitivity",
    # the order of an experiment's points is the user's
    [*levels(), *points("bd2", 1, 0, 4), *points("mld", 1, 0, 4)],
    metrics=["mAP", "OF1_k"],
)


VARIED = {
    teacher()[0]: 0.8,
    **dict(zip(student(), (0.50, 0.54), strict=True)),
    **dict(zip(of("mld"), (0.6, 0.6), strict=True)),
    of("mdkd")[0]: {"mAP": 0.70, "OF1_k": 0.30},
    of("mdkd")[1]: {"mAP": 0.74, "OF1_k": 0.40},
    of("mdkd", "bd2-0")[0]: {"mAP": 0.68, "OF1_k": 0.35},
    of("mdkd", "bd2-0")[1]: {"mAP": 0.74, "OF1_k": 0.43},
    # of the value 4 one seed only: the other, and so the difference of means, says nothing
    of("mdkd", "bd2-4")[1]: {"mAP": 0.72, "OF1_k": 0.41},
    of("mdkd", "mld-0")[0]: "failed",
}


@pytest.fixture
def varied(tmp_path, spec):
    return results_of(tmp_path, spec, SENSITIVITY, VARIED)


def test_a_line_per_value_and_an_entry_per_setting(varied):
    (mean_ap, of1), text, _ = written(SENSITIVITY, varied)
    assert "|  | bd2 | mld |" in text
    # mean 72 twice in bd2: they share the first place, and no second is named
    assert list(mean_ap) == ["0", "1", "4"]
    assert mean_ap["0"] == ["71.00 ± 4.24", "failed"]
    assert mean_ap["1"] == ["**72.00 ± 2.83**", "**72.00 ± 2.83**"]
    assert mean_ap["4"] == ["**72.00†**", "–"]
    assert of1["0"] == ["<u>39.00 ± 5.66</u>", "failed"]
    assert of1["4"] == ["**41.00†**", "–"]
    assert of1["1"] == ["35.00 ± 7.07", "**35.00 ± 7.07**"]
    heading = "mAP: Teacher 80.00, Student 52.00 ± 2.83, MLD 60.00 ± 0.00, MDKD 72.00 ± 2.83"
    assert heading in text.splitlines()


def test_differences_are_those_of_runs_with_the_same_seed(varied):
    _, _, lines = written(SENSITIVITY, varied)
    assert len(lines) == 10 * 2
    low = of_csv(lines, row="bd2 = 0", metric="mAP")
    assert (low["setting"], low["value"]) == ("bd2", "0.0")
    assert (float(low["mean"]), float(low["rank"])) == (71.0, 3.0)
    assert float(low["difference"]) == pytest.approx(-1.0)  # of -2 and 0
    assert float(low["difference_std"]) == pytest.approx(2**0.5, abs=1e-4)
    high = of_csv(lines, row="bd2 = 4", metric="mAP")
    assert float(high["difference"]) == pytest.approx(-2.0)  # the means are equal
    assert high["difference_std"] == ""
    assert float(of_csv(lines, row="bd2 = 4", metric="OF1_k")["difference"]) == pytest.approx(1.0)
    default = of_csv(lines, row="bd2 = 1", metric="mAP")
    assert (float(default["difference"]), float(default["difference_std"])) == (0.0, 0.0)
    for label in ("mld = 0", "Student", "MDKD"):
        line = of_csv(lines, row=label, metric="mAP")
        assert line["difference"] == line["difference_std"] == line["rank"] == ""


def test_a_seed_without_the_default_is_not_compared(varied):
    (varied.run(of("mdkd")[1]) / "run.json").unlink()
    _, _, lines = written(SENSITIVITY, varied)
    line = of_csv(lines, row="bd2 = 0", metric="mAP")
    assert (float(line["mean"]), float(line["difference"])) == (71.0, pytest.approx(-2.0))
    assert of_csv(lines, row="bd2 = 4", metric="mAP")["difference"] == ""


def test_runs_that_several_points_share_are_one_piece_of_evidence(varied):
    _, text, _ = written(SENSITIVITY, varied)
    # Student, MLD, MDKD, bd2 = 0: variances 8, 0, 8, 18 of two runs each
    assert "the standard deviation over seeds is 2.92 mAP" in text
    assert "10 of 15 runs" in text
    assert "1 runs failed" in text


def test_the_figure_shows_values_at_equal_distances(varied):
    top, other, bottom, _ = drawn(SENSITIVITY, varied).axes
    assert [axis.get_title() for axis in (top, other)] == [r"$\lambda_{BD_{2}}$", "mld"]
    assert [tick.get_text() for tick in bottom.get_xticklabels()] == ["0", "1", "4"]
    means = points_of(top.containers[0])
    expected = [(0, 71, 18**0.5), (1, 72, 8**0.5), (2, 72, np.nan)]
    np.testing.assert_allclose(means, expected, atol=1e-9)
    np.testing.assert_allclose(line_of(top, "MDKD")[:, 1], 72)
    np.testing.assert_allclose(line_of(top, "Student")[:, 1], 52)
    assert "Teacher" not in {line.get_label() for line in top.lines}
    runs = [line.get_xydata() for line in top.lines if line.get_markersize() == 3]
    heights = sorted(float(y) for line in runs for _, y in line)
    np.testing.assert_allclose(heights, [68, 70, 72, 74, 74])
    assert top.get_ylim() == other.get_ylim()
    of1 = points_of(bottom.containers[1])
    np.testing.assert_allclose(of1[:, 1], [4, 0, 1], atol=1e-9)  # of 5 and 3; 0; 1
    np.testing.assert_allclose(of1[0, 2], 2**0.5, atol=1e-9)


def test_missing_and_failed_points_are_named_gaps(varied):
    _, other, *_ = drawn(SENSITIVITY, varied).axes
    assert {text: x for text, (x, _) in texts(other).items()} == {"failed": 0, "–": 2}
    assert other.get_xlim() == (-0.5, 2.5)
    heights = points_of(other.containers[0])[:, 1]
    np.testing.assert_allclose(heights, [np.nan, 72, np.nan])


@pytest.mark.parametrize(
    ("setting", "title"),
    [("id4", r"$\lambda_{ID_{4}}$"), ("bd12", r"$\lambda_{BD_{12}}$"), ("weight", "weight")],
)
def test_titles_of_panels(setting, title):
    assert sensitivity.symbol(setting) == title


def test_a_study_of_two_pairs_without_the_default(tmp_path, spec):
    archs = ("resnet8x2", "resnet14")
    rows = [*levels(archs), *points("bd2", 0, 4, archs=archs), *points("id3", 0, 4, archs=archs)]
    study = artefact("sensitivity", rows, archs=archs)
    results = results_of(tmp_path, spec, study, {of("mdkd", "bd2-0", arch="resnet14")[0]: 0.5})
    blocks, text, lines = written(study, results)
    assert [block["0"] for block in blocks] == [["–", "–"], ["**50.00†**", "–"]]
    assert "Scenes: resnet14, mAP: Teacher –, Student –, MLD –, MDKD –" in text.splitlines()
    assert {line["difference"] for line in lines} == {""}
    assert len(drawn(study, results).axes) == 2 * 2 * 2


def test_a_study_that_cannot_run_or_has_not(tmp_path, spec):
    nothing = results_of(tmp_path, spec, SENSITIVITY, {})
    top, *_, bottom = drawn(SENSITIVITY, nothing).axes
    assert [text.get_text() for text in top.texts] == ["–", "–", "–"]
    assert list(texts(bottom)) == ["–"]
    labels = {line.get_label() for line in top.lines}
    assert {"Student: –", "MLD: –", "MDKD: –"} <= labels
    reason = "needs more"
    rows = [
        row(r.label, r.role, [], unavailable=reason, panel=r.panel, x=r.x) if r.panel else r
        for r in SENSITIVITY.rows
    ]
    blocks, text, _ = written(replace(SENSITIVITY, rows=rows), nothing)
    assert blocks[0]["4"] == ["n/a", "n/a"]
    assert f"n/a: {reason}" in text


def test_a_study_is_rebuilt_byte_by_byte(varied):
    assert files_twice(SENSITIVITY, varied) == FILES


# --- scale

STRONG = "bd2-100_id2-100"
SCALE = artefact(
    "scale",
    [
        *levels(),
        row("MDKD x 100", "method", of("mdkd", STRONG)),
        row("MDKD x 10", "method", of("mdkd", "bd2-10")),
        row("L2D", "method", of("l2d")),
        row("PS", "method", of("ps")),
        row("RKD", "method", [], unavailable="needs more"),
    ],
    metrics=["mAP", "OF1_k"],
)


def ratios(last, **first):
    """A history with the ratios `last`, of which some differ in the first epoch."""
    return [{"gradient_ratios": last | first}] + [{"gradient_ratios": last}] * (EPOCHS - 1)


MATCHED = {
    teacher()[0]: 0.8,
    **dict(zip(student(), (0.50, 0.54), strict=True)),
    **dict(zip(of("mld"), (0.6, 0.6), strict=True)),
    **dict(zip(of("mdkd"), (0.7, 0.74), strict=True)),
    of("mdkd", STRONG)[0]: 0.71,
    of("mdkd", "bd2-10")[0]: "failed",
    **dict(zip(of("l2d"), (0.7, 0.7), strict=True)),
}
GRADIENTS = {
    **{path: ratios({"mld": 8.0}, mld=2.0) for path in of("mld")},
    # BD: the mean over seeds is largest for order 3, the largest number of a seed is of order 2
    of("mdkd")[0]: ratios({"mld": 10.0, "bd2": 0.005, "bd3": 0.004, "id2": 0.25}, bd2=3.0),
    of("mdkd")[1]: ratios({"mld": 14.48, "bd2": 0.001, "bd3": 0.003, "id2": 0.35}, bd2=3.0),
    of("mdkd", STRONG)[0]: ratios({"mld": 9.0, "bd2": 1.25, "id2": 0.999}),
    **{path: ratios({"mld": 4.0, "cd": 2.0, "id": 5.0}) for path in of("l2d")},
}


@pytest.fixture
def matched(tmp_path, spec):
    return results_of(tmp_path, spec, SCALE, MATCHED, GRADIENTS)


def test_ratios_of_the_last_epoch_stand_beside_the_metrics(matched):
    (lines,), text, _ = written(SCALE, matched)
    assert "|  | mAP | OF1_k | MLD / BCE | BD / BCE | ID / BCE |" in text
    assert lines["Teacher"] == ["80.00", "12.50", "0", "0", "0"]
    assert lines["Student"] == ["52.00 ± 2.83", "**12.50 ± 0.00**", "0", "0", "0"]
    assert lines["MLD"][2:] == ["8.0", "0", "0"]
    assert lines["MDKD"][0] == "**72.00 ± 2.83**"
    assert lines["MDKD"][2:] == ["12.2", "0.0035", "0.3"]  # BD: of order 3; 12.24
    assert lines["MDKD x 100"] == ["<u>71.00†</u>", "**12.50†**", "9.0†", "1.2†", "1†"]
    assert lines["MDKD x 10"] == ["failed"] * 5
    assert lines["L2D"][2:] == ["4.0", "0", "0"]  # its term `id` is none of ours
    assert lines["PS"] == ["–"] * 5
    assert lines["RKD"] == ["n/a"] * 5
    assert "first batch (16 images) of the last epoch" in text


def test_every_term_and_its_mean_over_epochs_is_in_the_csv(matched):
    _, _, lines = written(SCALE, matched)
    terms = [line for line in lines if line["metric"] == "gradient ratio"]
    assert {line["unit"] for line in terms} == {"1"}
    assert {line["unit"] for line in lines if line not in terms} == {"%"}
    found = {(line["row"], line["term"]) for line in terms}
    assert found == {
        *(("MDKD", term) for term in ("mld", "bd2", "bd3", "id2")),
        *(("MDKD x 100", term) for term in ("mld", "bd2", "id2")),
        *(("L2D", term) for term in ("mld", "cd", "id")),
        ("MLD", "mld"),
    }
    last = of_csv(terms, row="MDKD", term="bd2", epochs="last")
    assert float(last["mean"]) == pytest.approx(0.003)
    assert float(last["std"]) == pytest.approx(0.004 / 2**0.5)
    assert (last["runs"], last["planned"]) == ("2", "2")
    assert of_csv(terms, row="MDKD x 100", term="bd2", epochs="all")["planned"] == "2"
    mean = of_csv(terms, row="MDKD", term="bd2", epochs="all")
    assert float(mean["mean"]) == pytest.approx((3 + 5 * 0.003) / 6)
    assert of_csv(terms, row="MDKD x 100", term="id2", epochs="last")["std"] == ""
    first = of_csv(terms, row="MLD", term="mld", epochs="all")
    assert float(first["mean"]) == pytest.approx((2 + 5 * 8) / 6)


def test_the_figure_has_a_marker_per_term(matched):
    left, right = drawn(SCALE, matched).axes
    assert right.get_xscale() == "log"
    rows = [tick.get_text() for tick in left.get_yticklabels()]
    assert rows == [r.label for r in SCALE.rows[1:]]
    (x, y) = np.transpose(line_of(right, "BD 2"))
    np.testing.assert_allclose(x, [0.003, 1.25])
    assert [rows[round(place)] for place in y] == ["MDKD", "MDKD x 100"]
    x, y = np.transpose(line_of(right, "MLD"))
    assert {rows[round(place)]: value for place, value in zip(y, x, strict=True)} == {
        "MLD": 8.0,
        "MDKD": pytest.approx(12.24),
        "MDKD x 100": 9.0,
        "L2D": 4.0,
    }
    assert line_of(right, "id")[0, 0] == 5.0
    said = {
        rows[round(y)]: text.get_text() for text in right.texts for y in [text.get_position()[1]]
    }
    assert said == {
        "Student": "the BCE alone",
        "MDKD x 10": "failed",
        "PS": "–",
        "RKD": "n/a",
    }


def test_scale_is_rebuilt_byte_by_byte(matched):
    assert files_twice(SCALE, matched) == FILES


def test_scale_of_two_pairs(tmp_path, spec):
    archs = ("resnet8x2", "resnet14")
    two = artefact("scale", levels(archs), archs=archs)
    one, other = of("mdkd")[1], of("mdkd", arch="resnet14")
    history = dict.fromkeys(other, ratios({"mld": 3.0, "id2": 0.5}))
    history[one] = ratios({"mld": 9.0, "bd2": 0.02, "id2": 0.25})
    results = results_of(tmp_path, spec, two, dict.fromkeys(history, 0.7), history)
    blocks, _, _ = written(two, results)
    entries = [block["MDKD"] for block in blocks]
    assert entries[0] == ["**70.00†**", "9.0†", "0.02†", "0.25†"]
    assert entries[1] == ["**70.00 ± 0.00**", "3.0", "0", "0.5"]
    assert blocks[0]["MLD"] == ["–"] * 4
    axes = drawn(two, results).axes
    assert [line_of(axis, "ID 2")[0, 0] for axis in axes[1::2]] == [0.25, 0.5]


# --- convergence

CONVERGENCE = artefact(
    "convergence",
    [
        row("Teacher", "teacher", teacher("scenes_val")),
        row("Student", "student", student("scenes_val")),
        row("MLD", "method", of("mld", data="scenes_val")),
        row("L2D", "method", of("l2d", data="scenes_val")),
        row("MDKD", "method", of("mdkd", data="scenes_val")),
        row("PS", "method", of("ps", data="scenes_val")),
        row("MSE", "method", of("mse", data="scenes_val")),
    ],
    data="scenes_val",
)


def rising(*values):
    return [{"val_mAP": value} for value in values]


LEARNT = {
    teacher("scenes_val")[0]: rising(0.2, 0.4, 0.5, 0.6, 0.7, 0.75),
    # the mean ends at 0.4
    student("scenes_val")[0]: rising(0.1, 0.1, 0.2, 0.3, 0.3, 0.375),
    student("scenes_val")[1]: rising(0.1, 0.2, 0.3, 0.4, 0.42, 0.425),
    # the mean is 0.4 after the third epoch, though one run never gets there; later it falls
    of("mld", data="scenes_val")[0]: rising(0.1, 0.2, 0.375, 0.3, 0.3, 0.35),
    of("mld", data="scenes_val")[1]: rising(0.1, 0.3, 0.425, 0.4, 0.4, 0.45),
    of("l2d", data="scenes_val")[1]: rising(0.1, 0.3, 0.6, 0.5, 0.5, 0.5),
    **{path: rising(0.1, 0.1, 0.2, 0.3, 0.3, 0.39) for path in of("mdkd", data="scenes_val")},
    of("ps", data="scenes_val")[0]: "failed",
}


@pytest.fixture
def learnt(tmp_path, spec):
    values = {path: "failed" if curve == "failed" else 0.5 for path, curve in LEARNT.items()}
    values[student("scenes_val")[0]] = 0.3
    return results_of(tmp_path, spec, CONVERGENCE, values, LEARNT)


def test_validation_on_the_way_and_the_epoch_at_which_the_student_is_reached(learnt):
    (lines,), text, _ = written(CONVERGENCE, learnt)
    assert "after these epochs: 2, 3, 5, 6." in text  # 1.5, 3, 4.5 and 6 of 6
    assert "The validation split is 20 % of the training images" in text
    # 25 %, 50 %, 75 %, 100 %, epoch, test
    assert lines["Teacher"] == ["40.00", "50.00", "70.00", "75.00", "2", "50.00"]
    assert lines["Student"][:4] == [
        "15.00 ± 7.07",
        "25.00 ± 7.07",
        "<u>36.00 ± 8.49</u>",
        "<u>40.00 ± 3.54</u>",
    ]
    assert lines["Student"][4:] == ["6", "40.00 ± 14.14"]
    assert lines["MLD"][1] == "<u>40.00 ± 3.54</u>"
    assert lines["MLD"][3:] == ["<u>40.00 ± 7.07</u>", "**3**", "**50.00 ± 0.00**"]
    assert lines["L2D"] == [
        "**30.00†**",
        "**60.00†**",
        "**50.00†**",
        "**50.00†**",
        "**3†**",
        "**50.00†**",
    ]
    assert lines["MDKD"][3:] == ["39.00 ± 0.00", "–", "**50.00 ± 0.00**"]
    assert lines["PS"] == ["failed"] * 6
    assert lines["MSE"] == ["–"] * 6


def test_the_csv_has_every_epoch_and_the_test_metrics(learnt):
    _, _, lines = written(CONVERGENCE, learnt)
    curve = [line for line in lines if line["metric"] == "val mAP"]
    assert len(curve) == 7 * EPOCHS
    second = of_csv(curve, row="MLD", epoch="2")
    assert float(second["mean"]) == 25.0
    assert float(second["std"]) == pytest.approx(50**0.5, abs=1e-4)
    assert (second["runs"], second["planned"], second["state"]) == ("2", "2", "done")
    assert of_csv(curve, row="PS", epoch="1")["mean"] == ""
    test = of_csv(lines, row="MLD", metric="mAP")
    assert (float(test["mean"]), test["epoch"]) == (50.0, str(EPOCHS))
    reached = {
        line["row"]: (line["epoch"], line["runs"], line["planned"])
        for line in lines
        if line["metric"] == "epoch reaching student"
    }
    assert reached["L2D"] == ("3", "1", "2")
    assert reached["MDKD"] == ("", "2", "2")


def test_the_figure_draws_means_over_epochs(learnt):
    left, right = drawn(CONVERGENCE, learnt).axes
    mld = line_of(left, "MLD")
    np.testing.assert_allclose(mld[:, 0], range(1, EPOCHS + 1))
    np.testing.assert_allclose(mld[:, 1], [10, 25, 40, 35, 35, 40])
    np.testing.assert_allclose(line_of(left, "L2D")[:, 1], [10, 30, 60, 50, 50, 50])
    np.testing.assert_allclose(line_of(left, "Teacher")[-1], [6, 75])
    assert {"PS: failed", "MSE: –"} <= {line.get_label() for line in left.lines}
    student_band, mld_band, *_ = left.collections
    reach = mld_band.get_paths()[0].get_extents()
    np.testing.assert_allclose(reach.ymax, 40 + 50**0.5)  # after the last epoch
    np.testing.assert_allclose(student_band.get_paths()[0].get_extents().ymin, 15 - 50**0.5)
    assert {text.get_text() for text in right.texts} == {"failed", "–"}


def test_without_the_student_nothing_can_reach_it(learnt):
    for path in student("scenes_val"):
        (learnt.run(path) / "run.json").unlink()
    (lines,), _, _ = written(CONVERGENCE, learnt)
    assert {entries[4] for entries in lines.values()} == {"–", "failed"}
    assert lines["MLD"][0] == "<u>25.00 ± 7.07</u>"


def test_a_data_set_without_a_validation_split_is_the_users_error(learnt):
    path = of("mdkd", data="scenes_val")[1]
    text = "".join('{"epoch": 1, "losses": {}}\n' for _ in range(EPOCHS))
    (learnt.run(path) / "history.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"config/datasets.yaml: scenes_val: .*mdkd.*`val`"):
        written(CONVERGENCE, learnt)


def test_convergence_is_rebuilt_byte_by_byte(learnt):
    assert files_twice(CONVERGENCE, learnt) == FILES


def test_convergence_before_anything_has_run(tmp_path, spec):
    nothing = results_of(tmp_path, spec, CONVERGENCE, {})
    (lines,), _, _ = written(CONVERGENCE, nothing)
    assert lines["Teacher"] == lines["MDKD"] == ["–"] * 6
    assert len(drawn(CONVERGENCE, nothing).axes) == 2
