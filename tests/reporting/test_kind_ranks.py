"""The kind ranks, from records with known ranks."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from reporting_cases import (
    PAIRS,
    artefact_of,
    check_before_any_run,
    fail,
    markdown_row,
    path_of,
    planned,
    predict,
    random_predictions,
    written,
    written_by_both,
)

from mdkd.errors import UserError
from mdkd.layout import FIGURE_FORMATS
from mdkd.reporting import statistics
from mdkd.reporting.kinds import ranks

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


def ranked(folder, cells=CELLS, labels=("MLD", "MDKD", "PKT"), seeds=(0,)):
    """Every mAP as in CELLS, whatever the predictions, which are random."""
    pairs = PAIRS[: len(cells)]
    artefact = artefact_of("ranks", labels, pairs, seeds, options={"resamples": 25})
    results = planned(folder, artefact.runs)
    number = itertools.count()
    for pair, values in zip(pairs, cells, strict=True):
        for method, value in zip(RANKED, values, strict=True):
            for seed in seeds:
                logits_NC, targets_NC, _ = random_predictions(next(number))
                path = path_of(method, seed, pair)
                if path in results.runs and value is not None:
                    predict(results, path, logits_NC, targets_NC, mean_ap=value)
    return artefact, results


def test_before_any_run_there_are_gaps(tmp_path):
    check_before_any_run(tmp_path, "ranks", ["resnet20 - resnet8", "mean rank"])


def test_mean_ranks_and_tests_over_six_cells(tmp_path):
    text, lines = written(*ranked(tmp_path))
    assert "|  | MLD | MDKD | PKT | best − second | share |" in text
    assert markdown_row(text, "resnet20 - resnet8")[:3] == ["1", "2", "3"]
    assert markdown_row(text, "resnet56 - resnet8")[:3] == ["1.5", "1.5", "3"]
    assert markdown_row(text, "resnet56 - resnet20")[:3] == ["3", "1", "2"]
    means = ["**1.42**", "<u>1.75</u>", "2.83"]
    assert markdown_row(text, "mean rank")[:3] == means
    found = {(row["quantity"], row["method"], row["against"]): row for row in lines}
    for method, value in zip(("MLD", "MDKD", "PKT"), MEAN_RANKS, strict=True):
        assert float(found["mean rank", method, ""]["value"]) == pytest.approx(value, abs=1e-6)
    # Friedman with the correction for one tie of two: 1 - (2^3 - 2) / (6 (3^3 - 3))
    sums = [6 * rank for rank in MEAN_RANKS]
    chi2 = 12 / (6 * 3 * 4) * sum(s**2 for s in sums) - 3 * 6 * 4
    chi2 /= 1 - 6 / (6 * 24)
    assert float(found["Friedman chi square", "", ""]["value"]) == pytest.approx(chi2, abs=1e-6)
    assert f"chi square {chi2:.2f}, p ≈ " in text and "This p is approximate" in text
    assert "They are too small, because the best method is chosen on the same data." in text
    assert float(found["Friedman p", "", ""]["value"]) == pytest.approx(np.exp(-chi2 / 2), abs=1e-6)
    critical = 2.343 * (3 * 4 / (6 * 6)) ** 0.5  # Demsar, Table 5a
    assert f"of two mean ranks at 5 %: {critical:.2f}." in text
    # against PKT MLD wins five times by 0.2 or 0.1, and loses by 0.1
    p = {key[2]: float(row["value"]) for key, row in found.items() if "Wilcoxon" in key[0]}
    raw = [
        statistics.wilcoxon(np.array(CELLS)[:, 0], np.array(CELLS)[:, other]) for other in (1, 2)
    ]
    assert p == pytest.approx({"MDKD": max(raw[0], 2 * raw[1]), "PKT": 2 * min(raw)}, abs=1e-6)


def test_the_difference_of_the_two_best_is_resampled(tmp_path):
    artefact, results = ranked(tmp_path, CELLS[-1:], seeds=(0, 1))
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
    points = "{:.2f} \\[{:.2f}, {:.2f}]".format(*numbers).replace("-", "−")
    assert markdown_row(text, "resnet20 - resnet8")[3:] == [points, f"{expected.not_above:.3f}"]
    assert "of 25 resamples" in text
    assert "NOT the seeds" in text


def test_below_six_cells_there_are_mean_ranks_but_no_tests(tmp_path):
    cells = [*CELLS[:4], (0.6, None, 0.5), (None, 0.4, 0.5)]
    artefact, results = ranked(tmp_path, cells, ("MLD", "MDKD", "PKT", "L2D"), seeds=(0, 1))
    fail(results, path_of("mdkd", 1, PAIRS[4]))
    (results.run(path_of("pkt", 1, PAIRS[0])) / "run.json").unlink()
    text, lines = written(artefact, results)
    assert "|  | MLD | MDKD | PKT | best − second | share |" in text
    assert "- Left out, because they cannot run in every cell: L2D." in text
    assert "- 4 of 6 cells are complete" in text
    assert markdown_row(text, "resnet20 - resnet8")[:3] == ["1", "2", "3†"]
    assert markdown_row(text, "resnet56 - resnet8")[:3] == ["(1)", "failed", "(2)"]
    assert markdown_row(text, "resnet56 - resnet20")[:3] == ["–", "(2)", "(1)"]
    assert markdown_row(text, "mean rank")[:3] == ["**1.00**", "<u>2.00</u>", "3.00"]
    assert "Friedman's test, critical difference: n/a: fewer than six cells." in text
    kinds = {row["quantity"] for row in lines}
    assert kinds == {"mAP", "rank", "mean rank", "difference", "share not above 0"}
    (shown,) = ranks.figure(artefact, results).axes[0].texts
    assert shown.get_text() == "n/a: fewer than six cells (4 of 6 cells are complete)"


def test_one_complete_cell_marks_no_mean_rank(tmp_path):
    text, _ = written(*ranked(tmp_path, [CELLS[0], (None, 0.5, 0.4)]))
    assert markdown_row(text, "mean rank")[:3] == ["1.00", "2.00", "3.00"]
    assert "bold" not in text
    text, _ = written(*ranked(tmp_path / "two", CELLS[:2]))
    assert markdown_row(text, "mean rank")[:3] == ["**1.00**", "<u>2.00</u>", "3.00"]
    assert "best mean rank is bold" in text


def test_no_complete_cell_has_no_mean_rank(tmp_path):
    text, _ = written(*ranked(tmp_path, [(0.6, None, 0.5), (None, 0.5, 0.4)]))
    assert markdown_row(text, "mean rank")[:3] == ["n/a", "n/a", "n/a"]
    assert "bold" not in text


def test_a_share_of_none_of_the_resamples_is_a_bound(tmp_path):
    artefact, results = ranked(tmp_path, [(0.9, 0.1, None)])
    targets_NC = np.eye(5, dtype=np.uint8).repeat(12, axis=0)
    for method, sign, mean_ap in (("mld", 1, 0.9), ("mdkd", -1, 0.1)):  # all right, all wrong
        logits_NC = sign * (2 * targets_NC.astype(np.float32) - 1)
        predict(results, path_of(method, 0), logits_NC, targets_NC, mean_ap=mean_ap)
    for resamples, share in ((25, "< 0.040"), (2000, "< 0.001")):
        text, lines = written(replace(artefact, options={"resamples": resamples}), results)
        assert markdown_row(text, "resnet20 - resnet8")[-1] == share
        (row,) = [row for row in lines if row["quantity"] == "share not above 0"]
        assert float(row["value"]) == 0


def test_one_method_alone_is_not_compared(tmp_path):
    artefact, results = ranked(tmp_path, CELLS, ["MLD"])
    text, _ = written(artefact, results)
    assert markdown_row(text, "resnet20 - resnet8") == ["1", "n/a", "n/a"]
    assert "n/a: fewer than three methods." in text


def test_the_bootstrap_refuses_runs_of_other_test_images(tmp_path):
    artefact, results = ranked(tmp_path, CELLS[:1])
    logits_NC, targets_NC, _ = random_predictions(0)
    ids = [f"other{i}" for i in range(60)]
    predict(results, path_of("mdkd", 0), logits_NC, targets_NC, ids, mean_ap=0.5)
    with pytest.raises(UserError, match="mdkd/default/seed0: its test images differ"):
        written(artefact, results)


def test_the_diagram_shows_ranks_groups_and_the_critical_difference(tmp_path):
    artefact, results = ranked(tmp_path)
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


def test_another_process_draws_the_same_diagram(tmp_path):
    artefact, results = ranked(tmp_path)
    made = {"ranks": (artefact, results, ["figure"])}
    first, second = written_by_both(tmp_path / "files", made)["ranks"]
    assert set(first) == {f"short.{suffix}" for suffix in FIGURE_FORMATS}
    assert first == second
