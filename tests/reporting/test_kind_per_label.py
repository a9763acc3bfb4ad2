"""The kind per_label, from records with known average precisions."""

from reporting_cases import (
    METHODS,
    PAIRS,
    artefact_of,
    check_before_any_run,
    fail,
    labels_of,
    markdown_row,
    path_of,
    planned,
    write_record,
    written,
)


def test_before_any_run_there_are_gaps(tmp_path):
    check_before_any_run(tmp_path, "per_label", ["mAP"])


def test_average_precision_of_every_label(tmp_path):
    artefact = artefact_of("per_label", [*METHODS, "L2D"], metrics=["mAP", "CF1_k"])
    results = planned(tmp_path, artefact.runs)
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
    assert markdown_row(text, "cat") == [
        "90.00",
        "<u>55.00</u>",
        "40.00",
        "**70.00†**",
        "failed",
        "n/a",
    ]
    assert markdown_row(text, "dog")[1:4] == ["**30.00**", "**30.00**", "20.00†"]
    assert markdown_row(text, "bus") == ["n/a", "n/a", "n/a", "n/a", "failed", "n/a"]
    assert markdown_row(text, "mAP") == [
        "90.00",
        "<u>42.50</u>",
        "35.00",
        "**45.00†**",
        "failed",
        "n/a",
    ]
    assert markdown_row(text, "± mAP") == ["", "7.07", "0.00", "", "failed", "n/a"]
    assert "- Only the mAP has its standard deviation here, in the row ± mAP; " in text
    assert "n/a: no test image has the label" in text
    found = {(row["row"], row["metric"], row["label"]): row for row in lines}
    student = found["Student", "AP", "cat"]
    assert [float(student[key]) for key in ("mean", "std", "rank")] == [55, 7.0711, 2]
    assert found["Teacher", "AP", "cat"]["rank"] == found["MDKD", "AP", "cat"]["std"] == ""
    assert found["Student", "AP", "bus"]["state"] == "n/a: no positive test image"
    assert float(found["MLD", "mAP", ""]["mean"]) == 35.0005


def test_labels_of_two_pairs_are_ranked_apart(tmp_path):
    artefact = artefact_of("per_label", ["MLD", "MDKD"], pairs=PAIRS[:2], seeds=[0])
    results = planned(tmp_path, artefact.runs)
    for pair, values in zip(PAIRS, ((0.1, 0.2), (0.4, 0.3)), strict=False):
        for method, ap in zip(("mld", "mdkd"), values, strict=True):
            write_record(results, path_of(method, 0, pair), {"mAP": ap}, {"cat": ap})
    text, _ = written(artefact, results)
    first, second = text.split("\nresnet20 - resnet8\n")[1].split("\nwrn16_2 - resnet8\n")
    assert markdown_row(first, "cat") == ["–", "<u>10.00</u>", "**20.00**"]
    assert markdown_row(second, "cat") == ["–", "**40.00**", "<u>30.00</u>"]
    assert "± mAP" not in text  # one seed
    assert "standard deviation" not in text


def test_eighty_labels_are_printed(tmp_path):
    artefact = artefact_of("per_label", ["Student"], seeds=[0])
    results = planned(tmp_path, artefact.runs)
    aps = {f"label{i:02}": i / 100 for i in range(80)}
    write_record(results, path_of("vanilla", 0), {"mAP": 0.5}, aps)
    text, _ = written(artefact, results)
    assert markdown_row(text, "label07") == ["–", "**7.00**"]
    assert len(labels_of(text)) == 1 + 80 + 1
