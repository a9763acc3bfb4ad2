"""Runs of the same path with other settings: what differs, and how to ask for them."""

import shutil
from dataclasses import replace

import pytest
from store_case import finish

from mdkd import keys, neighbours, store
from mdkd.aside import move_aside
from mdkd.cli import main

STUDENT = "supervised/scenes/resnet8/seed0"


def test_they_say_what_differs(bench):
    run = finish(bench, STUDENT)
    assert neighbours.differences(run, bench.layout) == []
    assert neighbours.hint(run, bench.layout) is None
    longer = replace(run, recipe=replace(run.recipe, epochs=9))
    assert neighbours.differences(longer, bench.layout) == ["recipe.epochs: 9, found 2"]
    move_aside(bench.entry(STUDENT))
    assert neighbours.differences(run, bench.layout) == ["other data"]


def test_a_hint_names_the_file_the_protocol_and_how_many_more_there_are(bench):
    run = finish(bench, STUDENT)
    file = store.entry(run, bench.layout).folder / "run.json"
    longer = replace(run, recipe=replace(run.recipe, epochs=9), protocol="quick")
    assert neighbours.hint(longer, bench.layout) == (
        f"trained with other settings: {file} (protocol smoke); "
        "add --protocol smoke (and the --set that it was trained with)"
    )
    shutil.copytree(file.parent, file.parent.with_name(f"{file.parent.name}.aside"))
    assert neighbours.hint(replace(longer, protocol="smoke"), bench.layout, file=True) == (
        f"trained with other settings: {file} (protocol smoke), and 1 more; "
        "give this file, or add the --set that it was trained with"
    )


@pytest.mark.parametrize("words", [["predict", "{}", "a.png"], ["export", "{}", "--to", "onnx"]])
def test_a_run_of_another_protocol_is_named_where_a_run_is_used(kept, capsys, words):
    run = finish(kept, STUDENT)
    command = [word.format(STUDENT) for word in words]
    assert main([*command, "--protocol", "quick"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"error: {STUDENT}: not trained with protocol quick; trained with other" in line
    assert f"{STUDENT}/{keys.key(run)}/run.json (protocol smoke); give this file, or" in line
    assert main(["curves", STUDENT, "--protocol", "quick"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no finished epoch is recorded; trained with other settings: " in line
    assert "give this file" not in line and "add --protocol smoke" in line
    assert main(["compare", STUDENT, STUDENT, "--protocol", "quick"]) == 2
    assert "to do; trained with other settings: " in capsys.readouterr().err
