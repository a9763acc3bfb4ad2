"""The kinds per_label, cost, context and ranks, from records with known content."""

import csv
import io
import itertools
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from conftest import copy_config
from sklearn.metrics import average_precision_score

from mdkd import metrics, records, reporting, score
from mdkd.errors import UserError
from mdkd.kinds import Context
from mdkd.plan import Artefact, Cell, Row, resolve_run
from mdkd.reporting import statistics
from mdkd.reporting.kinds import context, ranks
from mdkd.results import Predictions, Results
from mdkd.spec import Pair, Specification

METHODS = {"Student": "vanilla", "MLD": "mld", "MDKD": "mdkd", "PKT": "pkt"}
PAIR = ("resnet20", "resnet8")
PAIRS = [PAIR, *itertools.product(["wrn16_2", "resnet56"], ["resnet8", "resnet20", "wrn10_1"])]
CPU = {"device": "cpu", "cpu": "One", "cpu_capability": "AVX2"}


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    return Specification(copy_config(tmp_path_factory.mktemp("spec") / "config"))


def path_of(method, seed, pair=PAIR):
    teacher, student = pair
    if method == "teacher":
        return f"supervised/scenes/{teacher}/seed0"
    if method == "vanilla":
        return f"supervised/scenes/{student}/seed{seed}"
    return f"distill/scenes/{teacher}--{student}/{method}/default/seed{seed}"


def make_artefact(kind, labels=tuple(METHODS), pairs=(PAIR,), seeds=(0, 1), **keys):
    """Rows Teacher and some of METHODS; another label is a method that cannot run."""
    rows = [
        Row(
            label="Teacher",
            role="teacher",
            cells=[Cell(runs=[path_of("teacher", 0, p)]) for p in pairs],
        )
    ]
    for label in labels:
        role = "student" if label == "Student" else "method"
        if label in METHODS:
            cells = [Cell(runs=[path_of(METHODS[label], s, p) for s in seeds]) for p in pairs]
        else:
            cells = [Cell(runs=[], unavailable="needs embeddings") for _ in pairs]
        rows.append(Row(label=label, role=role, cells=cells))
    return Artefact(
        name="short",
        kind=kind,
        title="Title",
        protocol="smoke",
        seeds=list(seeds),
        pairs=[Pair(dataset="scenes", teacher=t, student=s) for t, s in pairs],
        columns=[f"{t} - {s}" for t, s in pairs],
        metrics=keys.pop("metrics", ["mAP"]),
        rows=rows,
        notes=["A note of the experiment."],
        **keys,
    )


def empty(artefact, spec, folder):
    return Results("smoke", folder, {path: resolve_run(spec, path) for path in artefact.runs})


def write_record(results, path, metric_values=(), aps=(), without=(), **keys):
    """A run that is done, with the given content of its two files."""
    folder = results.run(path)
    aps = dict(aps)
    run = {
        "run": asdict(results.runs[path]),
        "predictions_sha256": "p",
        "classes": sorted([*aps, *without], reverse=True),
        "dropped": {},
        "environment": CPU,
    }
    records.write_json(folder / "run.json", run | keys)
    scores = {
        "predictions_sha256": "p",
        "metrics": dict(metric_values),
        "average_precision": aps,
        "labels_without_positives": list(without),
    }
    records.write_json(folder / "metrics.json", scores)


def fail(results, path):
    failure = {"run": asdict(results.runs[path]), "error": "losses not finite"}
    records.write_json(results.run(path) / "failed.json", failure)


def predict(results, path, logits_NC, targets_NC, ids=None, ignored_NC=None, mean_ap=None):
    """A run that has predicted and been scored; ``mean_ap`` replaces its mAP."""
    folder = results.run(path)
    folder.mkdir(parents=True, exist_ok=True)
    ids = ids or [f"image{i}" for i in range(len(targets_NC))]
    stored = {"logits_NC": logits_NC, "targets_NC": targets_NC, "ids": np.array(ids)}
    stored |= {} if ignored_NC is None else {"ignored_NC": ignored_NC}
    np.savez(folder / "predictions.npz", **stored)
    run = {
        "run": asdict(results.runs[path]),
        "predictions_sha256": records.sha256(folder / "predictions.npz"),
        "classes": [f"label{c}" for c in range(targets_NC.shape[1])],
        "dropped": {},
    }
    records.write_json(folder / "run.json", run)
    score.score(path, results)
    if mean_ap is not None:
        scores = records.read_json(folder / "metrics.json")
        scores["metrics"]["mAP"] = mean_ap
        records.write_json(folder / "metrics.json", scores)


def written(artefact, results):
    """The Markdown page, and the CSV as dictionaries."""
    folder = results.base / "tables"
    reporting.write_table(artefact, results, folder)
    texts = [(folder / f"short.{suffix}").read_text(encoding="utf-8") for suffix in ("md", "csv")]
    return texts[0], list(csv.DictReader(io.StringIO(texts[1])))


def line(text, label):
    """The entries of a row of a Markdown table."""
    (row,) = [row for row in text.splitlines() if row.startswith(f"| {label} |")]
    return [cell.strip() for cell in row.strip("|").split(" | ")][1:]


def labels_of(text):
    return [row.split(" | ")[0].strip("| ") for row in text.splitlines() if row.startswith("| ")]


EVERY = [  # every kind, and labels of its lines before any run
    ("per_label", ["mAP"]),
    ("cost", ["Teacher", "Student", "MLD", "L2D"]),
    ("context", ["Teacher", "Student", "MLD", "L2D"]),
    ("ranks", ["resnet20 - resnet8", "mean rank"]),
]


@pytest.mark.parametrize(("kind", "labels"), EVERY)
def test_before_any_run_there_are_gaps(kind, labels, spec, tmp_path):
    artefact = make_artefact(kind, ["Student", "MLD", "L2D"])
    text, lines = written(artefact, empty(artefact, spec, tmp_path))
    assert labels_of(text)[1:] == labels
    assert "0 of 5 runs (– not yet run" in text
    assert "- L2D: n/a: needs embeddings." in text
    assert "- A note of the experiment." in text
    first = line(text, labels[0])
    assert first[:2] == ["–", "–"]
    assert "" not in first
    assert lines


@pytest.mark.parametrize("kind", [kind for kind, _ in EVERY])
def test_tables_are_rebuilt_byte_by_byte(kind, spec, tmp_path):
    artefact = make_artefact(kind, ["Student", "MLD"])
    results = empty(artefact, spec, tmp_path)
    assert written(artefact, results) == written(artefact, results)


# per_label


def test_average_precision_of_every_label(spec, tmp_path):
    artefact = make_artefact("per_label", [*METHODS, "L2D"], metrics=["mAP", "CF1_k"])
    results = empty(artefact, spec, tmp_path)
    for method, seed, cat, dog in (
        ("teacher", 0, 0.9, 0.9),
        ("vanilla", 0, 0.5, 0.25),
        ("vanilla", 1, 0.6, 0.35),
        ("mld", 0, 0.4, 0.30001),
        ("mld", 1, 0.4, 0.30001),  # reads the same as the student's 30.00
        ("mdkd", 0, 0.7, 0.2),
    ):
        values = {"mAP": (cat + dog) / 2, "CF1_k": 0.5}
        aps = {"cat": cat, "dog": dog}
        write_record(results, path_of(method, seed), values, aps, without=["bus"])
    fail(results, path_of("pkt", 0))
    text, lines = written(artefact, results)
    assert labels_of(text)[1:] == ["dog", "cat", "bus", "mAP", "± mAP", "CF1_k"]
    assert "|  | Teacher | Student | MLD | MDKD | PKT | L2D |" in text
    assert line(text, "cat") == ["90.00", "<u>55.00</u>", "40.00", "**70.00†**", "failed", "n/a"]
    assert line(text, "dog")[1:4] == ["**30.00**", "**30.00**", "20.00†"]
    assert line(text, "bus") == ["n/a", "n/a", "n/a", "n/a", "failed", "n/a"]
    assert line(text, "mAP") == ["90.00", "<u>42.50</u>", "35.00", "**45.00†**", "failed", "n/a"]
    assert line(text, "± mAP") == ["–", "7.07", "0.00", "–", "failed", "n/a"]
    assert "n/a: no test image has the label" in text
    found = {(row["row"], row["metric"], row["label"]): row for row in lines}
    student = found["Student", "AP", "cat"]
    assert [float(student[key]) for key in ("mean", "std", "rank")] == [55, 7.0711, 2]
    assert found["Teacher", "AP", "cat"]["rank"] == found["MDKD", "AP", "cat"]["std"] == ""
    assert found["Student", "AP", "bus"]["state"] == "n/a: no positive test image"
    assert float(found["MLD", "mAP", ""]["mean"]) == 35.0005


def test_labels_of_two_pairs_are_ranked_apart(spec, tmp_path):
    artefact = make_artefact("per_label", ["MLD", "MDKD"], pairs=PAIRS[:2], seeds=[0])
    results = empty(artefact, spec, tmp_path)
    for pair, values in zip(PAIRS, ((0.1, 0.2), (0.4, 0.3)), strict=False):
        for method, ap in zip(("mld", "mdkd"), values, strict=True):
            write_record(results, path_of(method, 0, pair), {"mAP": ap}, {"cat": ap})
    text, _ = written(artefact, results)
    first, second = text.split("\nresnet20 - resnet8\n")[1].split("\nwrn16_2 - resnet8\n")
    assert line(first, "cat") == ["–", "<u>10.00</u>", "**20.00**"]
    assert line(second, "cat") == ["–", "**40.00**", "<u>30.00</u>"]
    assert "± mAP" not in text  # one seed


def test_eighty_labels_are_printed(spec, tmp_path):
    artefact = make_artefact("per_label", ["Student"], seeds=[0])
    results = empty(artefact, spec, tmp_path)
    aps = {f"label{i:02}": i / 100 for i in range(80)}
    write_record(results, path_of("vanilla", 0), {"mAP": 0.5}, aps)
    text, _ = written(artefact, results)
    assert line(text, "label07") == ["–", "**7.00**"]
    assert len(labels_of(text)) == 1 + 80 + 1


# cost


def costs(wall_s, connectors=0, environment=CPU):
    return {
        "wall_s": wall_s,
        "images_per_s": 1.0,  # of the whole run, which other jobs slow down
        "peak_memory_bytes": 1_500_000_000,
        "parameters": {"backbone": 20_000_000, "head": 1_500_000, "connectors": connectors},
        "environment": environment,
    }


def write_cost(results, path, speeds, **content):
    """A run that is done, and the images/s of its epochs."""
    write_record(results, path, {"mAP": 0.5}, {"cat": 0.5}, **content)
    epochs = [json.dumps({"epoch": i, "images_per_s": s}) for i, s in enumerate(speeds, 1)]
    (results.run(path) / "history.jsonl").write_text("\n".join(epochs) + "\n")


def cost_results(spec, folder, environments=None, factor=1):
    """PKT has connectors, one run of MDKD is missing.

    MDKD's wall time is less than the student's, though its fastest epoch is slower.
    """
    artefact = make_artefact("cost", [*METHODS, "L2D"])
    results = empty(artefact, spec, folder)
    for method, times in {
        "teacher": [(300, [50, 40])],
        "vanilla": [(90, [190, 30, 20]), (110, [5, 210])],  # mean of the fastest: 200, fastest: 210
        "mld": [(125, [160]), (125, [1, 160])],
        "pkt": [(145, [90, 99]), (155, [101, 10])],  # 100
        "mdkd": [(80, [80, 70])],
    }.items():
        for seed, (wall_s, speeds) in enumerate(times):
            path = path_of(method, seed)
            connectors = 2_000_000 if method == "pkt" else 0
            environment = (environments or {}).get(path, CPU)
            content = costs(factor * wall_s, connectors, environment)
            write_cost(results, path, speeds, **content)
    return artefact, results


def test_costs_are_means_and_ratios_of_means(spec, tmp_path):
    text, lines = written(*cost_results(spec, tmp_path))
    headings = "time (s) | images/s | × Student | × MLD | memory (GB) | parameters (M) | connec"
    assert headings in text
    assert line(text, "Teacher") == ["300", "50.0", "4.20", "3.20", "1.50", "21.5", "0"]
    assert line(text, "Student")[:4] == ["100 ± 14", "200 ± 14", "1.00", "0.76"]
    assert line(text, "MLD")[:4] == ["125", "160", "1.31", "1.00"]
    assert line(text, "PKT")[:4] == ["150 ± 7", "100 ± 1", "2.08", "1.58"]
    assert line(text, "PKT")[-1] == "2.00"
    assert line(text, "MDKD")[:4] == ["80.0†", "80.0†", "2.62†", "2.00†"]
    assert line(text, "L2D") == ["n/a"] * 7
    assert "- All runs were trained on One (AVX2)." in text
    found = {(row["row"], row["quantity"]): row for row in lines}
    assert float(found["Student", "wall_s"]["std"]) == pytest.approx(200**0.5)
    assert float(found["Student", "fastest_images_per_s"]["std"]) == pytest.approx(200**0.5)
    assert float(found["PKT", "cost_over_MLD"]["mean"]) == pytest.approx(160 / 101)
    assert "Other jobs on the machine affect these times" in text
    assert float(found["PKT", "parameters"]["mean"]) == 21_500_000
    assert found["PKT", "wall_s"]["machines"] == "One (AVX2)"


def test_long_trainings_are_counted_in_hours(spec, tmp_path):
    text, _ = written(*cost_results(spec, tmp_path, factor=36))
    assert "| time (h) |" in text
    assert line(text, "Student")[0] == "1.00 ± 0.14"


def test_costs_on_different_machines_are_not_compared(spec, tmp_path):
    gpu = CPU | {"device": "H100"}
    other = {path_of("mld", 0): gpu, path_of("pkt", 0): gpu, path_of("pkt", 1): gpu}
    text, lines = written(*cost_results(spec, tmp_path, other))
    assert line(text, "MLD")[:4] == ["125", "160", "n/a", "n/a"]
    assert line(text, "PKT")[:4] == ["150 ± 7", "100 ± 1", "n/a", "n/a"]
    assert line(text, "Student")[2:4] == ["1.00", "n/a"]
    assert line(text, "MDKD")[2:4] == ["2.62†", "n/a"]
    assert "- The runs were trained on different machines." in text
    assert "H100 beside One (AVX2): MLD (seed 0), PKT; " in text
    assert "; One (AVX2): Teacher, Student, MLD (seed 1), MDKD." in text
    found = {(row["row"], row["quantity"]): row for row in lines}
    assert found["PKT", "cost_over_Student"]["state"] == "n/a: trained on different machines"
    assert found["PKT", "cost_over_Student"]["mean"] == ""
    assert found["MLD", "wall_s"]["machines"] == "H100 beside One (AVX2); One (AVX2)"


def test_a_ratio_to_what_has_not_been_run_is_a_gap(spec, tmp_path):
    artefact = make_artefact("cost", ["Student", "MLD"], seeds=[0])
    results = empty(artefact, spec, tmp_path)
    write_cost(results, path_of("mld", 0), [20], **costs(50))
    fail(results, path_of("vanilla", 0))
    text, _ = written(artefact, results)
    assert line(text, "MLD")[:3] == ["50.0", "20.0", "–"]
    assert line(text, "MLD")[3] == "1.00"
    assert line(text, "Student") == ["failed"] * 7
    assert "- 1 runs failed; `failed.json` in the folder of each says why." in text


# context


def test_the_strongest_pairs_are_those_of_largest_absolute_phi():
    random = np.random.default_rng(0)
    targets_NC = (random.random((200, 6)) < 0.4).astype(np.uint8)
    targets_NC[:, 1] = targets_NC[:, 0] ^ (random.random(200) < 0.05)  # phi about 0.9
    targets_NC[:, 3] = 1 - targets_NC[:, 2] ^ (random.random(200) < 0.15)  # about -0.7
    targets_NC[:, 5] = targets_NC[:, 4]  # equal: A without B has no positive image
    phi_CC = np.corrcoef(targets_NC.T)
    judged = [p for p in itertools.combinations(range(6), 2) if p != (4, 5)]
    expected = sorted(judged, key=lambda p: -round(abs(phi_CC[p]), 9))  # (0, 4) ties with (0, 5)
    assert expected[:2] == [(0, 1), (2, 3)]
    found = context.strongest_pairs(targets_NC, 5)
    assert found[::2] == expected[:5]
    assert found[1::2] == [(b, a) for a, b in expected[:5]]
    assert len(context.strongest_pairs(targets_NC, 99)) == 2 * len(judged)


def test_pairs_that_cannot_be_judged_are_left_out():
    always, never, some = np.ones(4), np.zeros(4), np.array([1, 1, 0, 0])
    apart, within = np.array([0, 0, 1, 0]), np.array([1, 0, 0, 0])
    for other in (always, never, apart, within):
        targets_NC = np.stack([some, other], axis=1).astype(np.uint8)
        assert context.strongest_pairs(targets_NC, 10) == []
    crossed = np.stack([some, [1, 0, 1, 0]], axis=1).astype(np.uint8)
    assert context.strongest_pairs(crossed, 10) == [(0, 1), (1, 0)]


def test_thirds_go_by_frequency_and_ties_by_order():
    counts = [1, 5, 0, 3, 3, 5, 1, 3]  # label 2 has no positive image
    targets_NC = (np.arange(6)[:, None] < counts).astype(np.uint8)
    predictions = Predictions(targets_NC * 1.0, targets_NC, list("abcdef"), list("01234567"))
    found = context.subsets(predictions, Context(at_least=7))
    assert [group.tolist() for group in found.groups] == [[1, 5, 3], [4, 7], [0, 6]]
    assert found.crowded_N.tolist() == [True, False, False, False, False, False]


def random_predictions(seed, ignoring=False):
    random = np.random.default_rng(seed)
    targets_NC = (np.random.default_rng(99).random((60, 5)) < 0.45).astype(np.uint8)
    logits_NC = np.round(2 * (random.normal(size=(60, 5)) + targets_NC)).astype(np.float32)
    ignored_NC = (random.random((60, 5)) < 0.2) & (targets_NC == 0) if ignoring else None
    return logits_NC, targets_NC, ignored_NC


@pytest.mark.parametrize("ignoring", [False, True])
def test_a_run_is_judged_on_subsets(ignoring):
    logits_NC, targets_NC, ignored_NC = random_predictions(0, ignoring)
    scores_NC = metrics.probabilities(logits_NC)
    names = list("abcde")
    predictions = Predictions(scores_NC, targets_NC, [str(i) for i in range(60)], names, ignored_NC)
    chosen = context.subsets(predictions, Context(at_least=3, pairs=2))
    found = context.judge(predictions, chosen)
    counts_NC = np.ones((60, 5), bool) if ignored_NC is None else ~ignored_NC
    expected = {context.WITH: [], context.WITHOUT: []}
    for a, b in chosen.pairs:
        for name, b_is in ((context.WITH, 1), (context.WITHOUT, 0)):
            images = [
                i
                for i in range(60)
                if targets_NC[i, b] == b_is and counts_NC[i, a] and counts_NC[i, b]
            ]
            ap = average_precision_score(targets_NC[images, a], scores_NC[images, a])
            assert found[name, names[a], names[b]] == pytest.approx(ap)
            expected[name].append(ap)
    for name, aps in expected.items():
        assert len(aps) == 4
        assert found[name, "", ""] == pytest.approx(np.mean(aps))
    keep_NC = counts_NC & (targets_NC.sum(axis=1) >= 3)[:, None]
    for kept_NC, labels, name in (
        (counts_NC, range(5), "mAP"),
        (counts_NC, chosen.groups[0], "head"),
        (counts_NC, chosen.groups[2], "tail"),
        (keep_NC, range(5), "crowded mAP"),
    ):
        aps = [
            average_precision_score(targets_NC[kept_NC[:, c], c], scores_NC[kept_NC[:, c], c])
            for c in labels
        ]
        assert found[name, "", ""] == pytest.approx(np.mean(aps)), name
    hits, true = 0, 0
    for i in np.flatnonzero(targets_NC.sum(axis=1) >= 3):
        k = targets_NC[i].sum()
        order = sorted((c for c in range(5) if counts_NC[i, c]), key=lambda c: -scores_NC[i, c])
        hits += targets_NC[i, order[:k]].sum()
        true += k
    assert found["crowded OF1_k", "", ""] == pytest.approx(hits / true)


def test_the_context_table(spec, tmp_path):
    artefact = make_artefact("context", [*METHODS, "L2D"], options={"at_least": 3, "pairs": 2})
    results = empty(artefact, spec, tmp_path)
    runs = {
        path_of("teacher", 0): 9,
        path_of("vanilla", 0): 0,
        path_of("vanilla", 1): 1,
        path_of("mld", 0): 2,
    }
    for path, seed in runs.items():
        predict(results, path, *random_predictions(seed)[:2])
    fail(results, path_of("pkt", 1))
    text, lines = written(artefact, results)
    chosen = context.subsets(results.predictions(path_of("mld", 0)), Context(at_least=3, pairs=2))
    values = [
        100 * context.judge(results.predictions(path_of("vanilla", seed)), chosen)["tail", "", ""]
        for seed in (0, 1)
    ]
    tail = context.NAMES.index("tail")
    mean, spread = np.mean(values), np.std(values, ddof=1)
    assert line(text, "Student")[tail].strip("*</u>") == f"{mean:.2f} ± {spread:.2f}"
    assert line(text, "MLD")[tail].strip("*</u>").endswith("†")
    assert line(text, "MDKD") == ["–"] * 8
    assert line(text, "PKT") == ["failed"] * 8
    assert line(text, "L2D") == ["n/a"] * 8
    marks = {line(text, label)[tail][:2] for label in ("Student", "MLD")}
    assert marks == {"**", "<u"}
    of_pairs = [row for row in lines if row["label"] and row["row"] == "Student"]
    assert len(of_pairs) == 8  # 2 pairs, both directions, with and without
    (of_pair,) = [
        row
        for row in of_pairs
        if (row["metric"], row["label"], row["given"])
        == (context.WITH, *(f"label{c}" for c in chosen.pairs[0]))
    ]
    assert of_pair["runs"] == "2"
    a, b = chosen.pairs[0]
    assert f"- resnet20 - resnet8: label{a} + label{b}, " in text


def test_subsets_without_anything_to_judge_are_not_zero(spec, tmp_path):
    artefact = make_artefact("context", ["Student"], seeds=[0], options={"at_least": 3, "pairs": 4})
    results = empty(artefact, spec, tmp_path)
    targets_NC = np.array([[1, 0], [1, 0], [0, 1], [0, 0]], np.uint8)  # no image with both
    logits_NC = np.array([[3, 0], [2, 0], [1, 2], [0, 1]], np.float32)
    predict(results, path_of("vanilla", 0), logits_NC, targets_NC)
    text, lines = written(artefact, results)
    expected = ["100.00", "n/a", "n/a", "100.00", "100.00", "n/a", "n/a", "n/a"]
    assert [entry.strip("*") for entry in line(text, "Student")] == expected
    states = {row["metric"]: row["state"] for row in lines if row["row"] == "Student"}
    assert states["crowded OF1_k"] == "n/a: nothing to judge"


def test_context_refuses_runs_of_other_test_images(spec, tmp_path):
    artefact = make_artefact("context", ["Student"], options={"at_least": 3, "pairs": 2})
    results = empty(artefact, spec, tmp_path)
    logits_NC, targets_NC, _ = random_predictions(0)
    predict(results, path_of("vanilla", 0), logits_NC, targets_NC)
    predict(results, path_of("vanilla", 1), logits_NC[:50], targets_NC[:50])
    with pytest.raises(UserError, match="seed1: its test images differ"):
        written(artefact, results)


# ranks

# mAP of MLD, MDKD and PKT in six cells; the ranks are 1 2 3 but for one tie and one change.
CELLS = [
    (0.60, 0.50, 0.40),
    (0.61, 0.51, 0.41),
    (0.62, 0.52, 0.42),
    (0.63, 0.53, 0.43),
    (0.54, 0.54, 0.44),
    (0.35, 0.55, 0.45),
]
MEAN_RANKS = [(4 * 1 + 1.5 + 3) / 6, (4 * 2 + 1.5 + 1) / 6, (4 * 3 + 3 + 2) / 6]
RANKED = ("mld", "mdkd", "pkt")


def ranked(spec, folder, cells=CELLS, labels=("MLD", "MDKD", "PKT"), seeds=(0,)):
    """Every mAP as in CELLS, whatever the predictions, which are random."""
    pairs = PAIRS[: len(cells)]
    artefact = make_artefact("ranks", labels, pairs, seeds, options={"resamples": 25})
    results = empty(artefact, spec, folder)
    number = itertools.count()
    for pair, values in zip(pairs, cells, strict=True):
        for method, value in zip(RANKED, values, strict=True):
            for seed in seeds:
                logits_NC, targets_NC, _ = random_predictions(next(number))
                path = path_of(method, seed, pair)
                if path in results.runs and value is not None:
                    predict(results, path, logits_NC, targets_NC, mean_ap=value)
    return artefact, results


def test_mean_ranks_and_tests_over_six_cells(spec, tmp_path):
    text, lines = written(*ranked(spec, tmp_path))
    assert "|  | MLD | MDKD | PKT | best − second | share |" in text
    assert line(text, "resnet20 - resnet8")[:3] == ["1", "2", "3"]
    assert line(text, "resnet56 - resnet8")[:3] == ["1.5", "1.5", "3"]
    assert line(text, "resnet56 - resnet20")[:3] == ["3", "1", "2"]
    means = ["**1.42**", "<u>1.75</u>", "2.83"]
    assert line(text, "mean rank")[:3] == means
    found = {(row["quantity"], row["method"], row["against"]): row for row in lines}
    for method, value in zip(("MLD", "MDKD", "PKT"), MEAN_RANKS, strict=True):
        assert float(found["mean rank", method, ""]["value"]) == pytest.approx(value, abs=1e-6)
    # Friedman with the correction for one tie of two: 1 - (2^3 - 2) / (6 (3^3 - 3))
    sums = [6 * rank for rank in MEAN_RANKS]
    chi2 = 12 / (6 * 3 * 4) * sum(s**2 for s in sums) - 3 * 6 * 4
    chi2 /= 1 - 6 / (6 * 24)
    assert float(found["Friedman chi square", "", ""]["value"]) == pytest.approx(chi2, abs=1e-6)
    assert float(found["Friedman p", "", ""]["value"]) == pytest.approx(np.exp(-chi2 / 2), abs=1e-6)
    critical = 2.343 * (3 * 4 / (6 * 6)) ** 0.5  # Demsar, Table 5a
    assert f"of two mean ranks at 5 %: {critical:.2f}." in text
    # against PKT MLD wins five times by 0.2 or 0.1, and loses by 0.1
    p = {key[2]: float(row["value"]) for key, row in found.items() if "Wilcoxon" in key[0]}
    raw = [
        statistics.wilcoxon(np.array(CELLS)[:, 0], np.array(CELLS)[:, other]) for other in (1, 2)
    ]
    assert p == pytest.approx({"MDKD": max(raw[0], 2 * raw[1]), "PKT": 2 * min(raw)}, abs=1e-6)


def test_the_difference_of_the_two_best_is_resampled(spec, tmp_path):
    artefact, results = ranked(spec, tmp_path, CELLS[-1:], seeds=(0, 1))
    text, lines = written(artefact, results)
    best, second = (
        [results.predictions(path_of(method, seed)) for seed in (0, 1)]
        for method in ("mdkd", "pkt")
    )
    expected = statistics.paired_bootstrap(
        [p.scores_NC for p in best], [p.scores_NC for p in second], best[0].targets_NC, 25
    )
    found = {row["quantity"]: row for row in lines if row["against"]}
    assert (found["difference"]["method"], found["difference"]["against"]) == ("MDKD", "PKT")
    numbers = [float(found["difference"][key]) for key in ("value", "low", "high")]
    assert numbers == pytest.approx([100 * x for x in expected[:3]], abs=1e-5)
    assert float(found["share not above 0"]["value"]) == expected.not_above
    points = "{:.2f} [{:.2f}, {:.2f}]".format(*numbers).replace("-", "−")
    assert line(text, "resnet20 - resnet8")[3:] == [points, f"{expected.not_above:.3f}"]
    assert "of 25 resamples" in text
    assert "NOT the seeds" in text


def test_below_six_cells_there_are_mean_ranks_but_no_tests(spec, tmp_path):
    cells = [*CELLS[:4], (0.6, None, 0.5), (None, 0.4, 0.5)]
    artefact, results = ranked(spec, tmp_path, cells, ("MLD", "MDKD", "PKT", "L2D"), seeds=(0, 1))
    fail(results, path_of("mdkd", 1, PAIRS[4]))
    (results.run(path_of("pkt", 1, PAIRS[0])) / "run.json").unlink()
    text, lines = written(artefact, results)
    assert "|  | MLD | MDKD | PKT | best − second | share |" in text
    assert "- Left out, because they cannot run in every cell: L2D." in text
    assert "- 4 of 6 cells are complete" in text
    assert line(text, "resnet20 - resnet8")[:3] == ["1", "2", "3†"]
    assert line(text, "resnet56 - resnet8")[:3] == ["(1)", "failed", "(2)"]
    assert line(text, "resnet56 - resnet20")[:3] == ["–", "(2)", "(1)"]
    assert line(text, "mean rank")[:3] == ["**1.00**", "<u>2.00</u>", "3.00"]
    assert "Friedman's test, critical difference: n/a: fewer than six cells." in text
    kinds = {row["quantity"] for row in lines}
    assert kinds == {"mAP", "rank", "mean rank", "difference", "share not above 0"}
    (shown,) = ranks.figure(artefact, results).axes[0].texts
    assert shown.get_text() == "n/a: fewer than six cells (4 of 6 cells are complete)"


def test_one_complete_cell_marks_no_mean_rank(spec, tmp_path):
    text, _ = written(*ranked(spec, tmp_path, [CELLS[0], (None, 0.5, 0.4)]))
    assert line(text, "mean rank")[:3] == ["1.00", "2.00", "3.00"]
    assert "bold" not in text
    text, _ = written(*ranked(spec, tmp_path / "two", CELLS[:2]))
    assert line(text, "mean rank")[:3] == ["**1.00**", "<u>2.00</u>", "3.00"]
    assert "best mean rank is bold" in text


def test_no_complete_cell_has_no_mean_rank(spec, tmp_path):
    text, _ = written(*ranked(spec, tmp_path, [(0.6, None, 0.5), (None, 0.5, 0.4)]))
    assert line(text, "mean rank")[:3] == ["n/a", "n/a", "n/a"]
    assert "bold" not in text


def test_a_share_of_none_of_the_resamples_is_a_bound(spec, tmp_path):
    artefact, results = ranked(spec, tmp_path, [(0.9, 0.1, None)])
    targets_NC = np.eye(5, dtype=np.uint8).repeat(12, axis=0)
    for method, sign, mean_ap in (("mld", 1, 0.9), ("mdkd", -1, 0.1)):  # all right, all wrong
        logits_NC = sign * (2 * targets_NC.astype(np.float32) - 1)
        predict(results, path_of(method, 0), logits_NC, targets_NC, mean_ap=mean_ap)
    for resamples, share in ((25, "< 0.040"), (2000, "< 0.001")):
        text, lines = written(replace(artefact, options={"resamples": resamples}), results)
        assert line(text, "resnet20 - resnet8")[-1] == share
        (row,) = [row for row in lines if row["quantity"] == "share not above 0"]
        assert float(row["value"]) == 0


def test_one_method_alone_is_not_compared(spec, tmp_path):
    artefact, results = ranked(spec, tmp_path, CELLS, ["MLD"])
    text, _ = written(artefact, results)
    assert line(text, "resnet20 - resnet8") == ["1", "n/a", "n/a"]
    assert "n/a: fewer than three methods." in text


def test_the_bootstrap_refuses_runs_of_other_test_images(spec, tmp_path):
    artefact, results = ranked(spec, tmp_path, CELLS[:1])
    logits_NC, targets_NC, _ = random_predictions(0)
    ids = [f"other{i}" for i in range(60)]
    predict(results, path_of("mdkd", 0), logits_NC, targets_NC, ids, mean_ap=0.5)
    with pytest.raises(UserError, match="mdkd/default/seed0: its test images differ"):
        written(artefact, results)


def test_the_diagram_shows_ranks_groups_and_the_critical_difference(spec, tmp_path):
    artefact, results = ranked(spec, tmp_path)
    (axis,) = ranks.figure(artefact, results).axes
    shown = [text.get_text() for text in axis.texts]
    critical = 2.343 * (3 * 4 / (6 * 6)) ** 0.5
    assert shown == [
        "1",
        "2",
        "3",
        "MLD (1.42)",
        "MDKD (1.75)",
        "PKT (2.83)",
        f"CD = {critical:.2f}",
    ]
    bars = [bar for bar in axis.collections if bar.get_linewidth()[0] == 3]
    ends = [bar.get_segments()[0][:, 0] for bar in bars]
    mld, mdkd, pkt = MEAN_RANKS  # MLD is told from PKT, but neither from MDKD
    assert len(ends) == 2
    assert ends[0] == pytest.approx([mld, mdkd], abs=0.05)
    assert ends[1] == pytest.approx([mdkd, pkt], abs=0.05)


def test_the_diagram_is_rebuilt_byte_by_byte(spec, tmp_path):
    artefact, results = ranked(spec, tmp_path)
    for name in ("first", "second"):
        reporting.write_figure(artefact, results, tmp_path / name)
    for suffix in ("pdf", "svg", "png"):
        first, second = (tmp_path / name / f"short.{suffix}" for name in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()
