"""Tuning: the points of a study, the file that its records choose, and experiments that use it."""

import shutil

import numpy as np
import pytest
import yaml
from conftest import edit_yaml
from reporting_cases import fail
from tuning_case import PAIR, SEEDS, VALUES, experiment, finish, planned, value_of, write_run

from mdkd import precheck, records, registry, reporting, tuned, tuning
from mdkd.cli import main
from mdkd.errors import UserError
from mdkd.plan import make_plan
from mdkd.spec import Specification

TEST_PAIR = PAIR | {"dataset": "scenes"}


@pytest.fixture
def study(config, tmp_path):
    """The artefact of the experiment, and its results, of which none has been made."""
    experiment(config)
    plan, results = planned(config, tmp_path)
    return plan.artefacts["study"], results


def chosen(artefact, results, file):
    tuning.write(tuning.choose(artefact, results), file)
    return file.read_bytes()


def write_tuned(config, name="smoke", **methods):
    """A tuned file with these settings."""
    content = {
        "protocol": "smoke",
        "experiment": "study",
        "pairs": [PAIR],
        "seeds": [0],
        "points": 5,
        "methods": {m: {"settings": s, "val_mAP": 0.5} for m, s in methods.items()},
    }
    file = config / "tuned" / f"{name}.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump(content))
    return file


def variants(artefact):
    return {row.label: row.cells[0].runs[0].split("/")[-2] for row in artefact.rows[2:]}


def use(config, overrides=None, **keys):
    """The artefact of an experiment with tuned weights."""
    keys = {"kind": "comparison", "pairs": [TEST_PAIR], "weights": "tuned"} | keys
    experiment(config, "user", **keys)
    plan = make_plan(Specification(config, overrides))
    plan.refuse_broken(["user"])
    return plan.artefacts["user"]


def test_a_study_has_every_point_of_every_method_once(study):
    artefact, _ = study
    runs = {tuple(row.cells[0].runs[0].split("/")[3:5]) for row in artefact.rows[2:]}
    assert runs == set(VALUES)
    assert len(artefact.rows) == 2 + len(VALUES)
    labels = [row.label for row in artefact.rows]
    assert labels[2:5] == ["MLD: mld = 0.1", "MLD: mld = 1", "MLD"]
    assert artefact.rows[3].tried == {"mld": 1.0}
    assert artefact.rows[1].tried is None
    assert artefact.split == "val"
    assert all(len(row.cells[0].runs) == len(SEEDS) for row in artefact.rows[1:])


def test_defaults_that_are_no_point_are_a_row_that_cannot_be_chosen(config, tmp_path):
    (config / "methods.yaml").write_text("mld: {mld: 7}\n")
    experiment(config)
    artefact = planned(config, tmp_path)[0].artefacts["study"]
    found = [(row.label, row.tried) for row in artefact.rows if row.label.startswith("MLD")]
    assert found[0] == ("MLD", None)
    assert len(found) == 1 + 5
    assert tuning.budget(artefact) == 5


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (["vanilla", "mld", "one_point"], "the same number of points.*mld 5, one_point 1"),
        (["vanilla"], "found no method"),
        (["vanilla", "mld_matched"], "found no method"),
        (["mld", {"mse": {"weight": 2}}], "'mse': each method is tuned once, from its defaults"),
        ([{"method": "mld", "label": "A"}, {"method": "mld", "label": "B"}], "'mld': each method"),
    ],
)
def test_a_study_that_is_not_fair_is_refused(config, methods, message):
    plug_in = config / "plug_in" / "methods"
    plug_in.mkdir(parents=True)
    (plug_in / "one_point.py").touch()
    (plug_in / "one_point.yaml").write_text(
        "{label: One, revision: 1, needs: [], settings: {weight: 1.0}, tuning: [{weight: 1.0}]}"
    )
    edit_yaml(config / "config.yaml", lambda user: user.update(plugins=[str(plug_in.parent)]))
    experiment(config, methods=methods)
    with pytest.raises(UserError, match=rf"study\.yaml: methods: .*{message}"):
        make_plan(Specification(config)).refuse_broken(["study"])


def test_a_method_without_points_is_left_out_of_a_study_and_named(config):
    experiment(config, methods=["vanilla", "mld", "mld_matched"])
    artefact = make_plan(Specification(config)).artefacts["study"]
    assert not any("mld_matched" in path for path in artefact.runs)
    note = "Not tuned, because `tuning` in its file is empty: MLD, as strong as MDKD."
    assert note in artefact.notes


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"pairs": [TEST_PAIR]}, "data set 'scenes' has no validation images; .*scenes_val"),
        (
            {"kind": "comparison", "split": "val", "pairs": [TEST_PAIR]},
            "'scenes' has no validation",
        ),
        ({"kind": "ranks", "split": "val"}, "kind 'ranks' shows test images; .*comparison"),
        ({"kind": "comparison", "split": "train"}, "split: 'train' is not valid"),
        ({"kind": "comparison", "weights": "best"}, "weights: 'best' is not valid"),
    ],
)
def test_splits_that_cannot_be_shown_are_refused(config, keys, message):
    experiment(config, **keys)
    with pytest.raises(UserError, match=rf"study\.yaml: .*{message}") as caught:
        make_plan(Specification(config)).refuse_broken(["study"])
    assert "\n" not in str(caught.value)


def test_notes_say_which_images_the_numbers_are_of(config):
    experiment(config, kind="comparison")
    experiment(config, "other", kind="comparison", split="val")
    experiment(config, "whole", kind="comparison", pairs=[TEST_PAIR])
    artefacts = make_plan(Specification(config)).artefacts
    (note,) = (n for n in artefacts["study"].notes if "set aside" in n)
    assert note.startswith("Scenes: some training images are set aside for validation.")
    assert "Metrics are of the test images" in note
    (note,) = (n for n in artefacts["other"].notes if "set aside" in n)
    assert "All metrics are of the images set aside, and none is of test images." in note
    assert [n for n in artefacts["whole"].notes if "set aside" in n] == []
    assert "Published weights, not tuned." in artefacts["whole"].notes


def test_a_plugin_has_default_weights_and_no_published_ones(config, monkeypatch):
    experiment(config, "whole", kind="comparison", pairs=[TEST_PAIR])
    monkeypatch.setattr(registry, "plugin", lambda package, name: "mine" if name == "mld" else None)
    artefacts = make_plan(Specification(config)).artefacts
    assert "Default weights, not tuned." in artefacts["whole"].notes


def test_the_point_with_the_best_mean_of_the_last_epoch_is_chosen(study, tmp_path):
    artefact, results = study
    finish(results, artefact)
    content = yaml.safe_load(chosen(artefact, results, tmp_path / "tuned.yaml"))
    assert content == {
        "protocol": "smoke",
        "experiment": "study",
        "pairs": [PAIR],
        "seeds": SEEDS,
        "points": 5,
        "methods": {
            "mld": {
                "settings": {"mld": 1.0},
                "val_mAP": 0.55,
                "published_val_mAP": 0.5,
                "failed": 0,
            },
            # equal to weight 10: the published one is preferred
            "mse": {
                "settings": {"weight": 0.1},
                "val_mAP": 0.45,
                "published_val_mAP": 0.45,
                "failed": 0,
            },
        },
    }


def test_of_equal_points_without_the_published_one_the_first_is_chosen(study, tmp_path):
    artefact, results = study
    finish(results, artefact)
    for row in artefact.rows:
        for path in row.cells[0].runs:
            if "/mse/weight-0.01/" in path or "/mse/weight-1/" in path:
                write_run(results, path, 0.9)
    content = yaml.safe_load(chosen(artefact, results, tmp_path / "tuned.yaml"))
    assert content["methods"]["mse"]["settings"] == {"weight": 0.01}


def test_test_images_have_no_part_in_the_choice(study, tmp_path):
    """Other test labels and other test predictions in every run: the same bytes."""
    artefact, results = study
    finish(results, artefact)
    before = chosen(artefact, results, tmp_path / "before.yaml")
    test = results.scores(artefact.runs[3])["metrics"]
    finish(results, artefact, test_seed=1)
    assert results.scores(artefact.runs[3])["metrics"] != test
    assert chosen(artefact, results, tmp_path / "after.yaml") == before
    for path in artefact.runs:  # not even files without content
        (results.run(path) / "predictions.npz").write_bytes(b"")
        (results.run(path) / "metrics.json").unlink()
    assert chosen(artefact, results, tmp_path / "without.yaml") == before
    write_run(results, "distill/scenes_val/resnet20--resnet8/mld/mld-100/seed0", 1.0)
    write_run(results, "distill/scenes_val/resnet20--resnet8/mld/mld-100/seed1", 1.0)
    assert chosen(artefact, results, tmp_path / "other.yaml") != before


def test_a_failed_point_is_not_chosen_and_counted(study, tmp_path):
    artefact, results = study
    finish(results, artefact)
    path = "distill/scenes_val/resnet20--resnet8/mld/mld-1/seed1"
    shutil.rmtree(results.run(path))
    fail(results, path)
    content = yaml.safe_load(chosen(artefact, results, tmp_path / "tuned.yaml"))["methods"]["mld"]
    assert (content["settings"], content["failed"]) == ({"mld": 10.0}, 1)


def test_a_point_that_failed_for_another_reason_than_its_weights_is_an_error(study):
    """A full disk must not decide which weights are the best."""
    artefact, results = study
    finish(results, artefact)
    path = "distill/scenes_val/resnet20--resnet8/mld/mld-1/seed1"
    shutil.rmtree(results.run(path))
    message = f"study: 1 runs failed, but not because of their weights, such as {path}; see"
    for failure in ({"error": "CUDA out of memory", "diverged": False}, {"error": "?"}):
        records.write_json(results.run(path) / "failed.json", failure)
        with pytest.raises(UserError, match=message):
            tuning.choose(artefact, results)
        assert tuning.best(tuning.points(artefact, results)["mld"]) is None


def test_nothing_is_chosen_before_all_runs_are_done(study):
    artefact, results = study
    finish(results, artefact)
    path = artefact.runs[-1]
    shutil.rmtree(results.run(path))
    message = rf"study: 1 of 23 runs are not done, such as {path}; run `snakemake .* study`"
    with pytest.raises(UserError, match=message):
        tuning.choose(artefact, results)


def test_the_command_writes_the_file_and_the_plan_then_uses_it(
    config, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    experiment(config)
    experiment(config, "user", kind="comparison", pairs=[TEST_PAIR], weights="tuned")
    plan, results = planned(config, tmp_path)
    arguments = ["--config", str(config)]
    assert main(["tune", *arguments]) == 2
    assert "23 of 23 runs are not done" in capsys.readouterr().err
    assert main(["plan", "user", *arguments]) == 0
    assert f"cannot be trained: {plan.artefacts['user'].unavailable}" in capsys.readouterr().err
    finish(results, plan.artefacts["study"])
    assert main(["tune", *arguments]) == 0
    out = capsys.readouterr().out
    assert "mld             55.00      50.00  mld = 1\n" in out
    file = config / "tuned" / "smoke.yaml"
    assert f"wrote {file}; review and commit it" in out
    assert tuned.read(file, Specification(config).methods).methods["mld"].settings == {"mld": 1.0}
    assert main(["plan", "user", *arguments]) == 0
    out = capsys.readouterr().out
    assert "distill/scenes/resnet20--resnet8/mld/mld-1/seed0" in out
    assert "distill/scenes/resnet20--resnet8/mse/default/seed0" in out
    assert main(["tune", "usre", *arguments]) == 2
    assert "usre: not in the plan" in capsys.readouterr().err
    experiment(config, "another")
    assert main(["tune", *arguments]) == 2
    assert "name one of the experiments of kind tuning: another, study" in capsys.readouterr().err


def test_tuned_weights_are_changes_of_rows_that_keep_their_labels(config):
    write_tuned(config, mld={"mld": 1}, mdkd={"mld": 10, "bd2": 10, "bd3": 10})
    rows = [
        "vanilla",
        "mld",
        "mdkd",
        {"method": "mdkd", "label": "Own", "set": {"bd2": 1, "id4": 0}},
        {"method": "mld", "label": "Own MLD", "set": {"mld": 10}},
        "pkt",
    ]
    artefact = use(config, methods=rows)
    assert variants(artefact) == {
        "MLD": "mld-1",
        "MDKD": "bd2-10_bd3-10",
        "Own": "bd3-10_id4-0",
        "Own MLD": "default",
        "PKT": "default",
    }
    (note,) = (n for n in artefact.notes if n.startswith("Weights: of 5 settings of each method"))
    assert f"({config.as_posix()}/tuned/smoke.yaml): MLD mld = 1; MDKD bd2 = bd3 = 10." in note
    assert "tried on Scenes: ResNet20 → ResNet8, with seed 0 alone, and" in note
    assert "Published weights, not tuned: PKT." in artefact.notes
    published = use(config, methods=rows, weights="published")
    assert variants(published)["MDKD"] == "default"
    assert published.rows[1].cells[0].runs == artefact.rows[1].cells[0].runs  # the student


def test_the_file_is_that_of_the_protocol_or_the_named_one(config, tmp_path):
    write_tuned(config, "smoke", mld={"mld": 1})
    write_tuned(config, "quick", mld={"mld": 100})
    elsewhere = shutil.move(write_tuned(config, "third", mld={"mld": 0.1}), tmp_path / "x.yaml")
    assert variants(use(config))["MLD"] == "mld-1"
    edit_yaml(config / "protocols" / "smoke.yaml", lambda p: p.update(tuned="quick"))
    assert variants(use(config))["MLD"] == "mld-100"
    assert variants(use(config, {"tuned": str(elsewhere)}))["MLD"] == "mld-0.1"


def test_a_study_of_several_pairs_chooses_by_the_mean_over_pairs(config, tmp_path):
    """The first pair prefers mld-1, the second the default by more."""
    other = PAIR | {"student": "wrn10_1"}
    experiment(config, pairs=[PAIR, other], methods=["vanilla", "mld"])
    plan, results = planned(config, tmp_path)
    artefact = plan.artefacts["study"]
    assert [len(row.cells) for row in artefact.rows] == [2] * 7
    for path in artefact.runs:
        second = "wrn10_1" in path
        write_run(results, path, (0.9 if "default" in path else 0.2) if second else value_of(path))
    found = tuning.choose(artefact, results)
    assert found.methods["mld"].settings == {"mld": 10.0}
    assert found.methods["mld"].val_mAP == pytest.approx((0.5 + 0.9) / 2)
    assert [pair.student for pair in found.pairs] == ["resnet8", "wrn10_1"]


def test_without_a_file_only_the_experiment_itself_stops(config, tmp_path):
    artefact = use(config, methods=["vanilla", "mld"])
    experiment(config, "plain", kind="comparison", pairs=[TEST_PAIR])
    experiment(config)
    plan, results = planned(config, tmp_path)
    message = (
        f"experiment user: weights: no file {config}/tuned/smoke.yaml yet; run `snakemake --cores "
        "all study --config protocol=smoke`, then `mdkd tune --protocol smoke`"
    )
    assert plan.artefacts["user"].unavailable == message
    assert artefact.rows[2].cells[0].unavailable
    assert artefact.rows[1].cells[0].runs  # the student needs no weights
    precheck.check(plan, ["plain", "study"], results)
    for make in (
        lambda: precheck.check(plan, ["plain", "user"], results),
        lambda: reporting.report_table(plan, results, "user"),
        lambda: reporting.report_figure(plan, results, "user"),
    ):
        with pytest.raises(UserError) as caught:
            make()
        assert caught.value.args == (message,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["methods"].update(mdl=c["methods"].pop("mld")),
            "mdl: no such method; .*'mld'",
        ),
        (
            lambda c: c["methods"]["mld"].update(settings={"mdl": 1}),
            "unknown setting 'mdl'; .*'mld'",
        ),
        (lambda c: c["methods"]["mld"].update(settings={"mld": -1}), "settings: mld: -1 is not in"),
        (lambda c: c["methods"]["mld"].update(val_mAP=55), r"val_mAP: 55.0 is not in 0 \.\. 1"),
        (lambda c: c.update(points=1), "points: 1 is below 2"),
        (lambda c: c.pop("seeds"), "key 'seeds' is missing"),
        (lambda c: c.update(extra=1), "unknown key 'extra'"),
    ],
)
def test_mistakes_in_the_file_are_one_line(config, change, message):
    file = write_tuned(config, mld={"mld": 1})
    edit_yaml(file, change)
    with pytest.raises(UserError, match=rf"smoke\.yaml: .*{message}") as caught:
        use(config)
    assert "\n" not in str(caught.value)
    use(config, weights="published")  # the file is not read


def test_the_file_is_written_whole_or_not_at_all(study, tmp_path, monkeypatch):
    artefact, results = study
    finish(results, artefact)
    file = tmp_path / "tuned.yaml"
    before = chosen(artefact, results, file)
    write_run(results, artefact.runs[-1], 0.99)
    monkeypatch.setattr(records.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError):
        chosen(artefact, results, file)
    assert file.read_bytes() == before


def test_old_runs_without_validation_predictions_have_their_last_val_map(study):
    artefact, results = study
    write_run(results, path := artefact.runs[1], 0.25)
    assert results.on("val").scores(path)["metrics"] == {"mAP": 0.25}
    assert set(results.scores(path)["metrics"]) > {"mAP", "OF1"}
    assert np.isfinite(results.scores(path)["metrics"]["mAP"])
