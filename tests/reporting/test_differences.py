"""Paired tests over seeds in a comparison, against scipy's test and Holm's steps by hand."""

import re
from dataclasses import replace

import numpy as np
import pytest
from reporting_cases import (
    artefact,
    artefact_of,
    csv_lines,
    path_of,
    planned,
    row,
    table_texts,
    write_record,
)
from scipy import stats

from mdkd.reporting.statistics import paired_t

PAIRS = [("resnet20", "resnet8"), ("wrn16_2", "wrn10_1")]
SEEDS = (0, 1, 2, 3, 4, 7)
LABELS = ("Student", "MDKD", "MLD", "PKT", "L2D")  # the last one cannot run
METHODS = {"Student": "vanilla", "MDKD": "mdkd", "MLD": "mld", "PKT": "pkt"}


def value(label, seed, pair):
    """mAP of a run: MDKD gains much and PKT little; runs of one seed vary together."""
    random = np.random.default_rng([seed, PAIRS.index(pair)])
    own = np.random.default_rng([seed, LABELS.index(label), PAIRS.index(pair)])
    shared = 0.5 + 0.03 * random.normal()
    gain = {"Student": 0, "MLD": 0.02, "MDKD": 0.05, "PKT": 0.021}[label]
    return shared + gain + 0.003 * own.normal()


def scored(
    folder, pairs=PAIRS, seeds=SEEDS, missing=(), kind="comparison", metrics=("mAP", "OF1"), **keys
):
    table = artefact_of(kind, LABELS, pairs, seeds, metrics=list(metrics), **keys)
    results = planned(folder, table.runs)
    for pair in pairs:
        write_record(results, path_of("teacher", pair=pair), {"mAP": 0.9}, {"a": 0.5})
        for label, method in METHODS.items():
            for seed in seeds:
                path = path_of(method, seed, pair)
                if (label, seed) not in missing:
                    write_record(results, path, {"mAP": value(label, seed, pair)}, {"a": 0.5})
    return table, results


def by_scipy(pairs, seeds_of):
    """Mean, interval and p of every test, and p by Holm's steps."""
    found = {}
    for pair in pairs:
        for label in ("MDKD", "MLD", "PKT"):
            for other in ("Student", "MLD"):
                if label != other:
                    seeds = seeds_of(label, other)
                    own, theirs = ([value(x, s, pair) for s in seeds] for x in (label, other))
                    test = stats.ttest_rel(own, theirs)
                    interval = test.confidence_interval(0.95)
                    mean = np.mean(np.subtract(own, theirs))
                    place = (label, f"{pair[0]} - {pair[1]}", other)
                    found[place] = [mean, interval.low, interval.high, test.pvalue]
    left, before = len(found), 0.0
    for place in sorted(found, key=lambda place: found[place][3]):
        before = max(before, min(1.0, left * found[place][3]))
        found[place].append(before)
        left -= 1
    return found


def found_in(text):
    """The tests in a CSV by row, column and reference: mean, interval and both p."""
    return {
        (line["row"], line["column"], line["against"]): [
            *(float(line[key]) / 100 for key in ("mean", "low", "high")),
            *(float(line[key]) for key in ("p", "p_holm")),
        ]
        for line in csv_lines(text)
        if line.get("against")
    }


@pytest.mark.parametrize("missing", [(), [("MLD", 3)]])
def test_every_method_is_tested_against_student_and_mld(tmp_path, missing):
    table, results = scored(tmp_path, missing=missing)
    found = found_in(table_texts(table, results)["csv"])

    def seeds_of(*labels):
        return [s for s in SEEDS if not any((label, s) in missing for label in labels)]

    expected = by_scipy(PAIRS, seeds_of)
    assert found.keys() == expected.keys()
    assert len(expected) == 2 * (3 + 2)
    for place, numbers in expected.items():
        assert found[place] == pytest.approx(numbers, abs=1e-6), place  # the CSV has 4 decimals
    corrected = [numbers[-1] for numbers in expected.values()]
    assert min(corrected) < 0.001 and max(corrected) > 0.05  # both outcomes are there


def escaped(text):
    """As Markdown prints it, with minus signs."""
    return text.replace("-", "−").replace("[", "\\[")


def test_the_table_prints_tests_below_the_metrics(tmp_path):
    table, results = scored(tmp_path)
    texts, expected = table_texts(table, results), by_scipy(PAIRS, lambda *_: SEEDS)
    lines = texts["md"].splitlines()
    start = lines.index("resnet20 - resnet8: differences of mAP")
    assert lines[start + 2] == "|  | − Student | p | − MLD | p |"
    rows = [line.strip("| ").split(" | ") for line in lines[start + 4 : start + 8]]
    assert [row[0] for row in rows] == ["MDKD", "MLD", "PKT", ""]
    mean, low, high, _, p = expected["MDKD", "resnet20 - resnet8", "Student"]
    assert p < 0.001
    text = f"**{100 * mean:+.2f} [{100 * low:.2f}, {100 * high:.2f}]**"
    assert rows[0][1:3] == [escaped(text), "< 0.001"]
    mean, low, high, _, p = expected["PKT", "resnet20 - resnet8", "MLD"]
    assert p > 0.05
    text = f"{100 * mean:+.2f} [{100 * low:.2f}, {100 * high:.2f}]"
    assert rows[2][3:5] == [escaped(text), f"{p:.3f}"]
    assert "".join(rows[1][3:]).strip() == ""
    assert "corrected for all 10 tests of this table (Holm)" in texts["md"]
    assert lines.index("wrn16_2 - wrn10_1: differences of mAP") > start
    assert "differences of mAP" in texts["tex"] and "differences of mAP" in texts["html"]


@pytest.mark.parametrize(
    ("seeds", "missing"), [(SEEDS[:4], ()), (SEEDS[:5], [(m, 1) for m in METHODS])]
)
def test_fewer_than_five_pairs_are_not_tested(tmp_path, seeds, missing):
    table, results = scored(tmp_path, seeds=seeds, missing=missing)
    texts = table_texts(table, results)
    assert "differences of mAP" not in texts["md"] and "- Differences:" not in texts["md"]
    assert "against" not in texts["csv"].splitlines()[0]


def test_differences_change_no_column_of_the_metrics(tmp_path):
    table, results = scored(tmp_path, pairs=PAIRS[:1], metrics=["mAP"])
    texts = table_texts(table, results)
    assert "|  | mAP |\n" in texts["md"]
    assert "\ndifferences of mAP\n" in texts["md"]
    assert re.findall(r"tabular}{(\w+)}", texts["tabular.tex"]) == ["lr", "lrrrr"]
    assert re.findall(r"tabular}{(\w+)}", texts["tex"]) == ["lr", "lrrrr"]
    assert texts["html"].count("<table>") == 2


def test_signs_stand_at_the_means_that_differ(tmp_path):
    table, results = scored(tmp_path, options={"marks": True})
    texts, expected = table_texts(table, results), by_scipy(PAIRS, lambda *_: SEEDS)
    found = {"MDKD": [], "MLD": [], "PKT": [], "Student": []}
    for line in texts["md"].splitlines():
        name, *entries = line.strip("| ").split(" | ")
        if name in found:
            found[name].append(re.sub(r"[^*‡]", "", entries[0].replace("**", "", 2)))
    signs = {
        label: [
            "".join(
                sign
                for sign, other in (("*", "Student"), ("‡", "MLD"))
                if expected.get((label, f"{a} - {b}", other), [1])[-1] < 0.05
            )
            for a, b in PAIRS
        ]
        for label in found
    }
    assert found == signs
    assert {sign for texts in signs.values() for sign in texts} >= {"", "*", "*‡"}
    assert "differences of mAP" not in texts["md"]
    assert "- \\*: mAP differs from Student; ‡: mAP differs from MLD. " in texts["md"]
    assert "{*}$^\\ddagger$" in texts["tex"]
    assert found_in(texts["csv"]).keys() == expected.keys()  # the CSV keeps the tests


def variants(folder, rows, **keys):
    """A comparison of other rows, each by its role and the path of its runs without the seed."""
    seeds = range(5)
    made = [row("Teacher", "teacher", [path_of("teacher")])]
    for label, (role, path) in rows.items():
        made.append(row(label, role, [f"{path}/seed{seed}" for seed in seeds]))
    table = artefact("comparison", made, seeds=list(seeds), **keys)
    results = planned(folder, table.runs)
    random = np.random.default_rng(0)
    for path in table.runs:
        write_record(results, path, {"mAP": 0.5 + 0.1 * random.random()}, {"a": 0.5})
    return table, results


STEM = "distill/scenes/resnet20--resnet8"
OF_TEACHERS = {
    "Student": ("student", "supervised/scenes/resnet8"),
    **{
        f"{label}, teacher {seed}": ("method", f"{STEM}/{method}/{variant}")
        for label, method in (("MLD", "mld"), ("PKT", "pkt"))
        for seed, variant in ((0, "default"), (1, "teacher_seed-1"))
    },
}


def test_a_method_is_tested_against_mld_of_its_teacher(tmp_path):
    texts = table_texts(*variants(tmp_path, OF_TEACHERS))
    assert {(a, other) for a, _, other in found_in(texts["csv"])} == {
        ("MLD, teacher 0", "Student"),
        ("MLD, teacher 1", "Student"),
        ("PKT, teacher 0", "Student"),
        ("PKT, teacher 1", "Student"),
        ("PKT, teacher 0", "MLD, teacher 0"),
        ("PKT, teacher 1", "MLD, teacher 1"),
    }
    assert "|  | − Student | p | − MLD | p |" in texts["md"]
    assert "compared with the rows of the same recipe and the same teacher" in texts["md"]


def test_a_method_is_tested_against_the_student_of_its_recipe(tmp_path):
    rows = {
        "Student": ("student", "supervised/scenes/resnet8"),
        "Student, long": ("student", "supervised/scenes/resnet8/epochs-9"),
        "PKT": ("method", f"{STEM}/pkt/default"),
        "PKT, long": ("method", f"{STEM}/pkt/epochs-9"),
        "PKT, alone": ("method", f"{STEM}/pkt/epochs-7"),
    }
    found = found_in(table_texts(*variants(tmp_path, rows))["csv"])
    expected = {("PKT", "Student"), ("PKT, long", "Student, long")}
    assert {(a, other) for a, _, other in found} == expected


def test_an_experiment_names_what_is_tested(tmp_path):
    against = {"PKT, teacher 0": ["PKT, teacher 1"], "MLD, teacher 1": ["Student"]}
    table, results = variants(tmp_path, OF_TEACHERS, against=against)
    texts = table_texts(table, results)
    found = found_in(texts["csv"])
    assert {(a, other) for a, _, other in found} == {
        (a, other) for a, others in against.items() for other in others
    }
    lines = texts["md"].splitlines()
    start = lines.index("|  | difference | p |")
    assert [line.split(" | ")[0] for line in lines[start + 2 : start + 4]] == [
        "| MLD, teacher 1 − Student",
        "| PKT, teacher 0 − PKT, teacher 1",
    ]
    assert "corrected for all 2 tests of this table (Holm)" in texts["md"]
    (p, corrected), (larger, last) = sorted(numbers[-2:] for numbers in found.values())
    expected = [min(1, 2 * p), min(1, max(2 * p, larger))]  # Holm, of two tests
    assert [corrected, last] == pytest.approx(expected, rel=1e-4)


def test_an_experiment_can_have_no_tests(tmp_path):
    texts = table_texts(*variants(tmp_path, OF_TEACHERS, against={}))
    assert "differences" not in texts["md"] and "Power" not in texts["md"]
    assert "Fewer than" not in texts["md"] and "against" not in texts["csv"].splitlines()[0]


def test_a_study_of_weights_has_tests_only_if_it_names_them(tmp_path):
    table, results = scored(tmp_path, kind="scale")
    for path in table.runs:
        line = '{"epoch": 1, "losses": {}, "gradient_ratios": {}, "images_per_s": 1}\n'
        (results.run(path) / "history.jsonl").write_text(line)
    assert "ifferences of mAP\n" not in table_texts(table, results)["md"]
    named = replace(table, against={"PKT": ["MLD"]})
    found = found_in(table_texts(named, results)["csv"])
    expected = by_scipy(PAIRS, lambda *_: SEEDS)
    assert {(a, other) for a, _, other in found} == {("PKT", "MLD")} and len(found) == len(PAIRS)
    for place, numbers in found.items():
        assert numbers[:4] == pytest.approx(expected[place][:4], abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_a_paired_test_is_that_of_scipy(seed):
    first, second = np.random.default_rng(seed).normal([0, 0.5], size=(5 + seed, 2)).T
    expected = stats.ttest_rel(first, second)
    interval = expected.confidence_interval(0.95)
    numbers = [np.mean(first - second), interval.low, interval.high, expected.pvalue]
    assert list(paired_t(first, second)) == pytest.approx(numbers, rel=1e-9)


def test_equal_differences_have_an_interval_without_width():
    first = np.array([0.1, 0.2, 0.3, 0.5, 0.6])
    assert paired_t(first, first) == (0, 0, 0, 1)
    assert paired_t(first + 0.7, first) == pytest.approx((0.7, 0.7, 0.7, 0))
