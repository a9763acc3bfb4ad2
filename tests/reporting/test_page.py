"""The page of all runs: its numbers against records, its texts as a browser reads them."""

import json
import os
import pickle
import re
import subprocess
from dataclasses import replace

import comparison_case
import numpy as np
import page_case
import pytest
import reporting_cases
from hash_orders import printed_by_both
from page_case import CHROMIUM, NODE, data_of, group_in
from reporting_cases import path_of
from scipy import stats

from mdkd import records, reporting
from mdkd.errors import UserError
from mdkd.metrics import METRICS
from mdkd.plan import Plan
from mdkd.reporting import page
from mdkd.reporting.page import curves, matrices
from mdkd.reporting.page.differences import differences, paired
from mdkd.reporting.page.gather import content

REQUIRED = "MDKD_REQUIRE_BROWSER"  # if 1, a test fails where it would be skipped
HOSTILE = "</script><script>document.title='broken out'</script><!--&\u2028{{ 7 * 7 }}"
NAMES = list(METRICS)


def known(base):
    """The data of the page of `comparison_case`, whose records are written by hand."""
    results = comparison_case.scored(base)
    return content(page_case.plan_of(comparison_case.ARTEFACT, results), results)


def test_every_run_that_is_done_has_the_numbers_of_its_record(tmp_path):
    data = known(tmp_path)
    values = {run["path"]: run["values"] for run in data["runs"]}
    assert values.keys() == comparison_case.VALUES.keys()
    for path, value in comparison_case.VALUES.items():
        expected = dict.fromkeys(METRICS, 1250) | {
            "mAP": round(value * 10_000),
            "CF1_k": round(value * 5_000),
        }
        assert values[path] == [expected[name] for name in METRICS]
    done = len(comparison_case.VALUES)
    assert data["states"]["done"] == done
    assert sum(data["states"].values()) > done
    (run,) = [run for run in data["runs"] if run["path"] == path_of("mld", 1)]
    assert (run["seed"], run["protocol"], run["seconds"], run["device"]) == (1, "smoke", 1.0, "cpu")


def test_groups_have_means_and_deviations_over_seeds(tmp_path):
    data = known(tmp_path)
    student = group_in(data, "vanilla")
    assert (student["mean"][0], student["sd"][0]) == (6000, 1000)  # of 0.5, 0.6 and 0.7
    assert group_in(data, "rkd")["mean"][0] == 3000  # of 0.2 and 0.4; one seed is missing
    teacher = group_in(data, "teacher")
    assert (teacher["mean"][0], teacher["sd"][0], teacher["teacher"]) == (8000, None, None)
    assert group_in(data, "mdkd")["label"] == comparison_case.ODD
    assert data["datasets"]["scenes"]["labels"] == ["c", "b", "a"]
    assert student["ap"] == [5000, 5000, 5000]


def test_the_pair_has_its_rows_in_the_order_of_the_table(tmp_path):
    data = known(tmp_path)
    (pair,) = data["pairs"]
    labels = [data["groups"][number]["label"] for number in pair["members"]]
    assert labels == ["no teacher", "MLD", comparison_case.ODD, "PKT", "RKD"]  # PS is not done
    assert pair["main"] == pair["members"]
    assert data["groups"][pair["teacher"]]["student"] == reporting_cases.PAIR[0]
    assert [run["group"] for run in data["runs"]] == sorted(run["group"] for run in data["runs"])


def test_differences_are_paired_over_the_seeds_that_both_have(tmp_path):
    (pair,) = known(tmp_path)["pairs"]
    found = {(i, j): rest for i, j, *rest in pair["differences"]}
    assert len(found) == 5 * 4 / 2
    # Student minus MLD: -0.2, -0.1, 0. The deviation is 0.1, t is 4.3027, so ± 0.2484.
    seeds, means, halves = found[0, 1]
    assert (seeds, means[0], halves[0]) == ([0, 1, 2], -1000, 2484)
    # Student minus RKD, of which two seeds are done: 0.3 and 0.2. t is 12.7062.
    seeds, means, halves = found[0, 4]
    assert (seeds, means[0], halves[0]) == ([0, 1], 2500, 6353)
    assert len(means) == len(METRICS) + 3  # and the three labels


def test_the_interval_is_that_of_scipy():
    first_SV, second_SV = np.random.default_rng(0).random((2, 5, 3))
    mean_V, half_V = paired(first_SV, second_SV)
    for v in range(3):
        test = stats.ttest_rel(first_SV[:, v], second_SV[:, v]).confidence_interval(0.95)
        assert mean_V[v] - half_V[v] == pytest.approx(test.low)
        assert mean_V[v] + half_V[v] == pytest.approx(test.high)


def test_one_seed_has_no_interval_and_no_shared_seed_no_difference():
    one, other, third = {0: np.array([0.5, 0.2])}, {0: np.array([0.25, np.nan])}, {1: np.ones(2)}
    assert differences([one, other, third], [0, 1, 2]) == [[0, 1, [0], [2500, None], None]]


def test_of_many_methods_those_of_the_main_table_are_compared_with_all(tmp_path, monkeypatch):
    monkeypatch.setattr("mdkd.reporting.page.gather.MANY", 3)
    paths = {
        label: [path_of(method, variant=variant)]
        for label, method, variant in (
            ("MLD", "mld", "mld-5"),
            ("MDKD", "mdkd", "default"),
            ("changed", "mdkd", "bd2-0"),
            ("more", "mdkd", "bd2-2"),
        )
    }
    teacher = reporting_cases.row("Teacher", "teacher", [path_of("teacher")])
    rows = [teacher, *(reporting_cases.row(label, "method", own) for label, own in paths.items())]
    main, further = (reporting_cases.artefact("comparison", found) for found in (rows[:2], rows))
    results = reporting_cases.planned(tmp_path, further.runs)
    for path in further.runs:
        reporting_cases.write_record(results, path, aps={"a": 0.5})
    plan = page_case.plan_of(main, results)
    plan = replace(plan, artefacts={"short": main, "more": replace(further, name="more")})
    (pair,) = content(plan, results)["pairs"]
    assert (len(pair["members"]), len(pair["main"])) == (4, 1)
    assert pair["references"] == [0, 1]  # MLD is in the table, the settings of MDKD are unchanged
    assert [(i, j) for i, j, *_ in pair["differences"]] == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3)]


def test_only_references_are_compared_with_all():
    found = differences([{0: np.array([float(i)])} for i in range(4)], [1])
    assert [(i, j) for i, j, *_ in found] == [(0, 1), (1, 2), (1, 3)]


def test_average_precisions_and_differences_of_labels(tmp_path):
    plan, results = page_case.predicted(tmp_path)
    data = content(plan, results)
    aps = {}
    for method in ("vanilla", "mld"):
        records_of = [results.scores(path_of(method, seed)) for seed in (0, 1)]
        aps[method] = np.array([list(r["average_precision"].values()) for r in records_of])
        assert data["datasets"]["scenes"]["labels"] == list(records_of[0]["average_precision"])
        expected = (1e4 * aps[method].mean(axis=0)).round()
        assert group_in(data, method)["ap"] == expected.tolist()
    ((_, _, _, means, _), *_) = data["pairs"][0]["differences"]
    expected = (1e4 * (aps["vanilla"] - aps["mld"]).mean(axis=0)).round()
    assert means[len(METRICS) :] == expected.tolist()


def test_matrices_are_means_over_seeds(tmp_path):
    plan, results = page_case.predicted(tmp_path)
    data = content(plan, results)
    facts, found = data["datasets"]["scenes"]["dependencies"], group_in(data, "mld")["matrices"]
    assert facts["labels"] == [0, 1, 2, 3, 4]
    both = [results.predictions(path_of("mld", seed)) for seed in (0, 1)]
    i = 0
    for k in range(5):
        for m in range(k):
            distances = [
                np.mean([(p[k] - p[m]) ** 2 for p in one.scores_NC.astype(float)]) for one in both
            ]
            assert found["psi"][i] == pytest.approx(1000 * np.mean(distances), abs=0.51)
            labels_NC = both[0].targets_NC
            share = np.mean([row[k] != row[m] for row in labels_NC])  # Psi of labels
            assert facts["truths"][0]["psi"][i] == pytest.approx(1000 * share, abs=0.51)
            phi = np.corrcoef(labels_NC[:, k], labels_NC[:, m])[0, 1]
            assert facts["truths"][0]["phi"][i] == pytest.approx(1000 * phi, abs=0.51)
            i += 1
    assert len(found["psi"]) == len(found["phi"]) == i
    assert facts["positives"] == both[0].targets_NC.sum(axis=0).tolist()


def test_named_labels_are_shown_before_frequent_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(matrices, "LABELS", 2)
    _, results = page_case.predicted(tmp_path)
    test = results.predictions(path_of("mld"))
    counts_C = test.targets_NC.sum(axis=0)
    rarest, frequent = int(np.argmin(counts_C)), int(np.argmax(counts_C))
    assert matrices.choose(test, [f"label{rarest}", "no such"]) == sorted([rarest, frequent])


def test_other_test_images_are_an_error(tmp_path):
    plan, results = page_case.predicted(tmp_path)
    logits_NC, targets_NC, _ = reporting_cases.random_predictions(7)
    ids = [f"other{i}" for i in range(60)]
    reporting_cases.predict(results, path_of("mdkd", 1), logits_NC, targets_NC, ids)
    with pytest.raises(UserError, match=r"mdkd.*its test images differ"):
        content(plan, results)


def test_curves_are_those_of_the_history(tmp_path):
    plan, results = page_case.predicted(tmp_path)
    losses = {"bce": [1.23456, 0.5], "mld": [20.0, 10.0]}
    page_case.keep_history(results, path_of("mld"), losses, {"mld": [0.1, 0.25]}, [0.5, 0.6123456])
    data = content(plan, results)
    found = {run["path"]: data["curves"][i] for i, run in enumerate(data["runs"])}
    assert found[path_of("mld")] == {
        "epochs": [1, 2],
        "losses": {"bce": [1.235, 0.5], "mld": [20.0, 10.0]},
        "gradient_ratios": {"mld": [0.1, 0.25]},
        "val": [5000, 6123],
    }
    assert found[path_of("mld", 1)] is None  # its history was not kept


def test_long_curves_are_thinned_out_and_keep_their_ends():
    assert curves.shown(60) == list(range(60))
    places = curves.shown(110)
    assert (len(places), places[0], places[-1]) == (curves.POINTS, 0, 109)
    assert max(np.diff(places)) == 2


def test_runs_without_predictions_have_numbers_but_no_matrix(tmp_path):
    data = known(tmp_path)  # only records
    assert data["datasets"]["scenes"]["dependencies"] is None
    assert group_in(data, "mld")["matrices"] is None


def test_runs_for_the_validation_split_alone_are_left_out(tmp_path):
    """The page has test metrics, and these must not select the settings of a method."""
    results = comparison_case.scored(tmp_path)
    rows = comparison_case.ARTEFACT.rows
    shown = replace(comparison_case.ARTEFACT, rows=rows[:3])
    tuning = replace(comparison_case.ARTEFACT, name="tuning", split="val")
    plan = page_case.plan_of(shown, results)
    data = content(replace(plan, artefacts={"tuning": tuning, "short": shown}), results)
    methods = {group["method"] for group in data["groups"]}
    assert methods == {"vanilla", "mld"}
    done = {path for path in results.runs if results.state(path) == "done"}
    assert 0 < data["validation"] == len(done - set(shown.runs)) < len(results.runs)
    assert data["unplanned"] == 0


def test_nothing_done_is_a_page_too(tmp_path):
    artefact = reporting_cases.artefact_of("comparison")
    results = reporting_cases.planned(tmp_path, artefact.runs)
    data = content(page_case.plan_of(artefact, results), results)
    assert (data["runs"], data["groups"], data["pairs"]) == ([], [], [])
    assert data["states"] == {"to do": 9}
    assert (data["validation"], data["unplanned"]) == (0, 0)


def test_a_plan_from_a_file_gives_the_same_page(tmp_path):
    """A file holds artefacts and runs in another order."""
    plan, results = page_case.predicted(tmp_path)
    records.write_json(tmp_path / "plan.json", plan.to_json())
    again = Plan.read(tmp_path / "plan.json")
    results_again = type(results)("smoke", tmp_path, again.runs)
    assert list(again.runs) != list(plan.runs)
    assert page.html(content(again, results_again)) == page.html(content(plan, results))


WRITE = """
import hashlib, pickle, sys
from pathlib import Path
from mdkd.reporting.page import html
from mdkd.reporting.page.gather import content
print(hashlib.sha256(html(content(*pickle.loads(Path(sys.argv[1]).read_bytes()))).encode()).hexdigest())
"""


def test_equal_runs_give_an_equal_page(tmp_path):
    (tmp_path / "case").write_bytes(pickle.dumps(page_case.predicted(tmp_path)))
    first, second = printed_by_both(WRITE, tmp_path / "case")
    assert first == second != ""


# ---- the page as a browser reads it -----------------------------------------------------------


def hostile(base):
    """A page in which a method and a label have a name that would break out of a script."""
    plan, results = page_case.predicted(base)
    (artefact,) = plan.artefacts.values()
    (row,) = [row for row in artefact.rows if row.label == "MDKD"]
    object.__setattr__(row, "label", HOSTILE)
    for path in plan.runs:
        page_case.renamed(results, path, [HOSTILE, *(f"label{c}" for c in range(1, 5))])
    return plan, results


def test_hostile_names_stay_text(tmp_path):
    plan, results = hostile(tmp_path)
    text = page.html(content(plan, results))
    reader = page_case.Reader(text)
    assert len(reader.scripts) == 2  # the numbers and the program
    assert "broken out" not in reader.scripts[1] + "".join(reader.texts)
    assert not re.search("[\u2028\u2029]", text)
    data = json.loads(reader.scripts[0])
    assert HOSTILE in [group["label"] for group in data["groups"]]
    assert data["datasets"]["scenes"]["labels"][0] == HOSTILE
    odd = page.html(data | {"protocol": "<b>&"})
    assert "<title>Runs of protocol &lt;b&gt;&amp;</title>" in odd


def test_the_page_needs_no_other_file_and_no_network(tmp_path):
    plan, results = page_case.predicted(tmp_path)
    reader = page_case.Reader(page.html(content(plan, results)))
    for tag, attributes in reader.elements:
        assert not {"src", "srcset", "action", "data"} & attributes.keys(), tag
        assert attributes.get("href", "data:,") == "data:,", tag
    program = reader.scripts[1]
    addresses = set(re.findall(r"https?://[\w./]+", program))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, not an address
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert word not in program  # texts become text nodes only
    (policy,) = [a["content"] for _, a in reader.elements if "http-equiv" in a]
    assert policy.startswith("default-src 'none';")


def test_the_verb_writes_the_page(tmp_path):
    plan, results = page_case.predicted(tmp_path)
    reporting.report_page(plan, results)
    text = (tmp_path / "results" / "smoke" / "explore.html").read_text(encoding="utf-8")
    assert data_of(text)["protocol"] == "smoke"


@pytest.mark.skipif(NODE is None, reason="node is not installed; the browser's test is independent")
def test_the_program_is_valid(tmp_path):
    plan, results = page_case.predicted(tmp_path)
    file = tmp_path / "program.js"
    file.write_text(page_case.Reader(page.html(content(plan, results))).scripts[1], "utf-8")
    done = subprocess.run([NODE, "--check", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_view_is_drawn_by_a_browser(tmp_path):
    """From the file system, in the state that the address names."""
    if CHROMIUM is None:
        reason = "chromium is not installed, so no view of the page was drawn"
        assert os.environ.get(REQUIRED) != "1", reason
        pytest.skip(reason)
    plan, results = hostile(tmp_path)
    for path in plan.runs:
        page_case.keep_history(results, path, {"bce": [2.0, 1.0], "mld": [3.0, 1.0]})
    reporting.report_page(plan, results)
    file = tmp_path / "results" / "smoke" / "explore.html"
    data = data_of(file.read_text(encoding="utf-8"))
    drawn = {
        view: page_case.Reader(page_case.shown(file, state))
        for view, state in {
            "comparison": "",
            "runs": "view=runs&find=seed1&sort=-mAP",
            "curves": f"view=curves&rows={group_in(data, 'mld')['id']}",
            "labels": "view=labels",
            "dependencies": "view=dependencies&measure=phi",
            "difference": f"view=difference&first={group_in(data, 'mld')['id']}",
        }.items()
    }
    for view, reader in drawn.items():
        title = "".join(reader.texts)
        assert "Runs of protocol smoke" in title, view
        (current,) = [a for _, a in reader.elements if "aria-current" in a]
        assert f"view={view}" in current["href"]
        tags = [tag for tag, _ in reader.elements]
        assert ("svg" in tags) == (view != "runs"), view
        assert tags.count("script") == 2, view  # no name has become one
    texts = {view: reader.texts for view, reader in drawn.items()}
    best = max(data["runs"], key=lambda run: (run["seed"] == 1, run["values"][0]))
    numbers = [text for text in texts["runs"] if re.fullmatch(r"\d+\.\d\d", text)]
    assert numbers[0] == f"{best['values'][0] / 100:.2f}"  # sorted, and only those of seed 1
    assert "3 of 7 runs; 0 selected. " in texts["runs"]
    assert "loss term bce" in texts["curves"] and "loss term mld" in texts["curves"]
    assert HOSTILE in texts["labels"] and HOSTILE in texts["comparison"]
    ((_, _, _, means, halves), *_) = data["pairs"][0]["differences"]  # Student minus MLD
    gain, half = -means[0], halves[0]
    numbers = [f"{v / 100:+.2f}".replace("-", "−") for v in (gain, gain - half, gain + half)]
    verdict = "MLD − Student: {} mAP, 95 % interval {} to {}; shared seeds 0, 1.".format(*numbers)
    assert any(text.startswith(verdict) for text in texts["difference"])
    cells = [a for tag, a in drawn["dependencies"].elements if tag == "rect"]
    assert len(cells) == 5 * (10 + 30)  # five matrices of ten pairs, each with a scale of 30 steps
