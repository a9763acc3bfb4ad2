"""`mdkd plan` as text: the overview adds up, states are counted, and every run is listed."""

from dataclasses import asdict, replace

import pytest
import yaml
from conftest import edit_yaml
from cost_case import (
    MLD_S,
    PREDICTIONS,
    STUDENT_S,
    TEACHER,
    TEACHER_S,
    distilled,
    estimator,
    notes,
    planned,
    record,
    seconds,
    table,
    two_experiments,
    without,
)

from mdkd import records
from mdkd.cli import main
from mdkd.costs import costs
from mdkd.errors import UserError
from mdkd.reporting.plan_listing import listing, overview


@pytest.fixture
def config(config):
    return two_experiments(config)


@pytest.fixture
def plan_and_results(config, tmp_path):
    return planned(config, tmp_path)


def test_the_overview_adds_up(config, plan_and_results):
    text = overview(*plan_and_results, config / "rates.yaml")
    assert text.splitlines()[0] == "Protocol smoke: 9 runs for 2 artefacts."
    lines = table(text)
    assert lines["small"] == [*["comparison", "4", "7", "7", "0", "0", "7"], "14 s", "566 kB"]
    assert lines["wide"] == [*["comparison", "3", "5", "2", "0", "0", "5"], "2.9 s", "90 kB"]
    assert lines["total"] == ["7", "9", "9", "0", "0", "9", "17 s", "656 kB"]
    assert "* small " in text
    assert "* wide " not in text
    assert "* default: 7 of 7 runs are left to train, 14 s." in notes(text)
    assert "100 % of the time: partly guessed" not in notes(text)
    share = 2 * STUDENT_S / (TEACHER_S + 2 * STUDENT_S + 10 * MLD_S)  # all else has a guessed net
    assert f"{100 * share:.0f} % of the time: tabulated in" in notes(text)
    assert "for a core at 32 px: cifar:resnet8x2." in notes(text)
    assert notes(text).startswith("the runs of this artefact that are not already counted")
    none = overview(
        plan_and_results[0].only(["wide"]), *plan_and_results[1:], config / "rates.yaml"
    )
    assert "* default: none of these artefacts is made if no target is named." in none
    assert "n/a" not in text
    assert "core time" in text


def test_states_are_counted_and_only_what_is_left_takes_time(config, plan_and_results):
    plan, results = plan_and_results
    record(results, TEACHER, images_per_s=50.0)
    record(results, distilled("mld", 0))
    record(results, distilled("mld", 1), stem="cifar")
    failed = {"run": asdict(plan.runs[distilled("reviewkd", 0)]), "error": "no"}
    records.write_json(results.run(distilled("reviewkd", 0)) / "failed.json", failed)
    assert seconds(plan, results, TEACHER) == 0
    assert seconds(plan, results, distilled("mld", 0)) == 0
    assert seconds(plan, results, distilled("mld", 1)) == pytest.approx(9.6)
    text = overview(plan, results, config / "rates.yaml")
    assert table(text)["small"][1:7] == ["4", "7", "7", "2", "1", "4"]
    assert table(text)["wide"][1:7] == ["3", "5", "2", "2", "0", "3"]
    assert table(text)["total"][:6] == ["7", "9", "9", "2", "1", "6"]
    left = "* default: 5 of 7 runs (1 failed, 1 other settings) are left"
    assert left in notes(text)


def test_all_is_done(config, plan_and_results):
    plan, results = plan_and_results
    for path in plan.runs:
        record(results, path)
    text = overview(plan, results, config / "rates.yaml")
    assert "* default: all of 7 runs are done." in text
    assert table(text)["total"][3:7] == ["9", "0", "0", "0"]
    assert "Speeds" not in text
    assert costs(estimator(plan, results))[1].disk == 2 * (4 * 5600 + PREDICTIONS)


def test_an_unknown_network_is_not_available(config, plan_and_results):
    plan, results = plan_and_results
    record(results, distilled("mld", 0))
    (config / "rates.yaml").write_text(yaml.safe_dump(without("training", "cifar:resnet8")))
    text = overview(plan, results, config / "rates.yaml")
    assert table(text)["small"][-2] == "n/a"  # its students
    assert table(text)["wide"][-2] == table(text)["total"][-2] == "19 s"  # measured for the pair
    assert "n/a: no speed of cifar:resnet8 (stem small) on a core" in notes(text)
    assert "The totals leave out what is n/a." in notes(text)
    (config / "rates.yaml").write_text(yaml.safe_dump(without("sizes", "cifar:resnet8x2")))
    text = overview(plan, results, config / "rates.yaml")
    assert [table(text)[name][-1] for name in ("small", "wide", "total")] == (
        ["n/a", "50 kB", "50 kB"]  # 2 x (4 x 5600 + 2560)
    )
    assert "n/a: no size of cifar:resnet8x2" in notes(text)
    record(results, TEACHER)
    assert "n/a" not in overview(plan, results, config / "rates.yaml")


def test_speeds_hold_for_one_stem(config, tmp_path):
    edit_yaml(config / "protocols" / "smoke.yaml", lambda p: p.update(stem="cifar"))
    plan, results = planned(config, tmp_path)
    text = overview(plan, results, config / "rates.yaml")
    assert table(text)["small"][-2] == "n/a"
    assert "cifar:resnet8 (stem cifar), cifar:resnet8x2 (stem cifar)" in notes(text)


def test_uncounted_images_are_not_available(config, plan_and_results):
    plan, results = plan_and_results
    unknown = replace(plan.datasets["scenes"], options={})
    runs = {path: replace(run, dataset=unknown) for path, run in plan.runs.items()}
    plan = replace(plan, datasets={"scenes": unknown}, runs=runs)
    text = overview(plan, replace(results, runs=runs), config / "rates.yaml")
    assert table(text)["small"][-2:] == ["n/a", "n/a"]
    assert table(text)["total"][-2:] == ["0", "0"]
    assert "n/a: the number of images of scenes is known after `mdkd cache scenes`." in notes(text)


def test_the_command_for_uncounted_images_has_the_settings_of_the_call(config, capsys, monkeypatch):
    """It stands on lines of a hundred characters, and no word of it is cut."""
    monkeypatch.chdir(config.parent)
    entry = {"label": "Mine", "source": "folder", "root": "of-mine"}
    pair = {"dataset": "mine", "teacher": "resnet8x2", "student": "resnet8"}
    mine = {"kind": "comparison", "title": "Mine", "datasets": {"mine": entry}, "pairs": [pair]}
    file = config / "experiments" / "mine.yaml"
    file.write_text(yaml.safe_dump(mine | {"methods": ["vanilla"]}))
    place = "where/" * 9 + "my-photos-of-this-year"
    given = ["--protocol", "quick", "--set", f"data_root={place}", "--set", "experiments=[mine]"]
    assert main(["plan", *given]) == 0
    text = notes(capsys.readouterr().out)
    command = f"""mdkd cache mine --set data_root={place} --set 'experiments=["mine"]'"""
    assert f"is known after `{command} --protocol quick`." in text


def test_the_list_of_runs(plan_and_results):
    plan, results = plan_and_results
    record(results, TEACHER)
    text = listing(plan, results)
    lines = text.splitlines()
    assert len(lines) == 10
    assert lines[0] == f"done           {TEACHER}  (2 epochs of scenes; small, wide)"
    shared = f"to do          {distilled('mld', 1)}  (2 epochs of scenes; small, wide)"
    assert shared in lines
    assert f"to do          {distilled('mdkd', 0)}  (2 epochs of scenes; wide)" in lines
    assert lines[-1] == "protocol smoke: 9 runs for 7 cells"
    lines = listing(plan, results, "wide").splitlines()
    assert len(lines) == 6
    assert shared in lines
    assert lines[-1] == "wide: 5 runs for 3 cells"
    with pytest.raises(UserError, match="did you mean 'wide'"):
        listing(plan, results, "wiide")
