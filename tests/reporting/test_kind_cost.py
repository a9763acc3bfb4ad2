"""The kind cost, from records of known times and machines."""

import json

import pytest
from reporting_cases import (
    CPU,
    METHODS,
    artefact_of,
    check_before_any_run,
    fail,
    markdown_row,
    path_of,
    planned,
    write_record,
    written,
)


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
    rest = {"losses": {}, "gradient_ratios": {}}
    epochs = [json.dumps(rest | {"epoch": i, "images_per_s": s}) for i, s in enumerate(speeds, 1)]
    (results.run(path) / "history.jsonl").write_text("\n".join(epochs) + "\n")


def cost_results(folder, environments=None, factor=1):
    """PKT has connectors, one run of MDKD is missing.

    MDKD's wall time is less than the student's, though its fastest epoch is slower.
    """
    artefact = artefact_of("cost", [*METHODS, "L2D"])
    results = planned(folder, artefact.runs)
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


def test_before_any_run_there_are_gaps(tmp_path):
    check_before_any_run(tmp_path, "cost", ["Teacher", "Student", "MLD", "L2D"])


def test_costs_are_means_and_ratios_are_of_the_fastest_epochs(tmp_path):
    text, lines = written(*cost_results(tmp_path))
    headings = "time (s) | images/s | × Student | × MLD | memory (GB) | parameters (M) | connec"
    assert headings in text
    assert markdown_row(text, "Teacher") == ["300", "50.0", "4.20", "3.20", "1.50", "21.5", "0"]
    assert markdown_row(text, "Student")[:4] == ["100 ± 14", "200 ± 14", "1.00", "0.76"]
    assert markdown_row(text, "MLD")[:4] == ["125", "160", "1.31", "1.00"]
    assert markdown_row(text, "PKT")[:4] == ["150 ± 7", "100 ± 1", "2.08", "1.58"]
    assert markdown_row(text, "PKT")[-1] == "2.00"
    assert markdown_row(text, "MDKD")[:4] == ["80.0†", "80.0†", "2.62†", "2.00†"]
    assert markdown_row(text, "L2D") == ["n/a"] * 7
    assert "- All runs were trained on One (AVX2)." in text
    found = {(row["row"], row["quantity"]): row for row in lines}
    assert float(found["Student", "wall_s"]["std"]) == pytest.approx(200**0.5)
    assert float(found["Student", "fastest_images_per_s"]["std"]) == pytest.approx(200**0.5)
    assert float(found["PKT", "cost_over_MLD"]["mean"]) == pytest.approx(160 / 101)
    assert "Other jobs on the machine affect these times" in text
    assert float(found["PKT", "parameters"]["mean"]) == 21_500_000
    assert found["PKT", "wall_s"]["machines"] == "One (AVX2)"


def test_a_run_that_read_stored_logits_is_charged_for_its_teacher(tmp_path):
    artefact, results = cost_results(tmp_path)
    for seed in (0, 1):  # 1/160 s for the student and 1/40 s for the teacher
        write_cost(
            results,
            path_of("mld", seed),
            [160],
            **costs(50),
            stored_logits_images_per_s=40.0,
        )
    text, _ = written(artefact, results)
    assert markdown_row(text, "MLD")[:3] == ["50.0", "32.0", "6.56"]


def test_long_trainings_are_counted_in_hours(tmp_path):
    text, _ = written(*cost_results(tmp_path, factor=36))
    assert "| time (h) |" in text
    assert markdown_row(text, "Student")[0] == "1.00 ± 0.14"


def test_costs_on_different_machines_are_not_compared(tmp_path):
    gpu = CPU | {"device": "H100"}
    other = {path_of("mld", 0): gpu, path_of("pkt", 0): gpu, path_of("pkt", 1): gpu}
    text, lines = written(*cost_results(tmp_path, other))
    assert markdown_row(text, "MLD")[:4] == ["125", "160", "n/a", "n/a"]
    assert markdown_row(text, "PKT")[:4] == ["150 ± 7", "100 ± 1", "n/a", "n/a"]
    assert markdown_row(text, "Student")[2:4] == ["1.00", "n/a"]
    assert markdown_row(text, "MDKD")[2:4] == ["2.62†", "n/a"]
    assert "- The runs were trained on different machines." in text
    assert "H100 beside One (AVX2): MLD (seed 0), PKT; " in text
    assert "; One (AVX2): Teacher, Student, MLD (seed 1), MDKD." in text
    found = {(row["row"], row["quantity"]): row for row in lines}
    assert found["PKT", "cost_over_Student"]["state"] == "n/a: trained on different machines"
    assert found["PKT", "cost_over_Student"]["mean"] == ""
    assert found["MLD", "wall_s"]["machines"] == "H100 beside One (AVX2); One (AVX2)"


def test_a_teacher_that_was_trained_elsewhere_has_parameters_alone(tmp_path):
    artefact, results = cost_results(tmp_path)
    write_cost(results, path_of("teacher"), [], **costs(0.1) | {"images_per_s": None})
    (results.run(path_of("teacher")) / "history.jsonl").write_text("")
    text, lines = written(artefact, results)
    assert markdown_row(text, "Teacher") == ["n/a", "n/a", "n/a", "n/a", "n/a", "21.5", "0"]
    assert "- Teacher: n/a: trained elsewhere, so only its parameters are known." in text
    assert markdown_row(text, "Student")[:4] == ["100 ± 14", "200 ± 14", "1.00", "0.76"]
    (speed,) = (
        line["state"]
        for line in lines
        if (line["row"], line["quantity"]) == ("Teacher", "fastest_images_per_s")
    )
    assert speed == "n/a: trained elsewhere"
    assert "- All runs were trained on One (AVX2)." in text


def test_one_seed_is_called_so(tmp_path):
    artefact = artefact_of("cost", ["Student"], seeds=[0])
    text, _ = written(artefact, planned(tmp_path, artefact.runs))
    assert "- One seed. Time: " in text
    text, _ = written(*cost_results(tmp_path / "two"))
    assert "- Mean ± standard deviation over seeds. Time: " in text


def test_a_ratio_to_what_has_not_been_run_is_a_gap(tmp_path):
    artefact = artefact_of("cost", ["Student", "MLD"], seeds=[0])
    results = planned(tmp_path, artefact.runs)
    write_cost(results, path_of("mld", 0), [20], **costs(50))
    fail(results, path_of("vanilla", 0))
    text, _ = written(artefact, results)
    assert markdown_row(text, "MLD")[:3] == ["50.0", "20.0", "–"]
    assert markdown_row(text, "MLD")[3] == "1.00"
    assert markdown_row(text, "Student") == ["failed"] * 7
    assert "- 1 runs failed; failed.json in the folder of each says why." in text
