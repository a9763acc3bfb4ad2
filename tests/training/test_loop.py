"""Trainings: the same bits again, frozen teachers, trained connectors, and what is recorded."""

import json
import logging
from dataclasses import replace
from importlib.metadata import version

import hash_orders
import numpy as np
import pytest
import torch
from conftest import TEACHER, python
from hash_orders import HASH_SEEDS
from trainings import MDKD, MLD, REVIEW, STUDENT, history, losses, read, tamper, weights

from mdkd import records, reporting, store
from mdkd.artefacts import Artefact, Cell, Row
from mdkd.data.cache import open_cache
from mdkd.errors import UserError
from mdkd.results import Results
from mdkd.score import score
from mdkd.specfiles import Pair
from mdkd.training import loop as training
from mdkd.training import teacher as teaching
from mdkd.training.networks import load_network, new_network


def table_of(bench):
    """The table of one distilled run beside its baselines."""
    rows = [
        ("Teacher", "teacher", TEACHER),
        ("Student", "student", STUDENT),
        ("MLD", "method", MLD),
    ]
    for _, _, path in rows:
        score(bench.entry(path))
    artefact = Artefact(
        name="short",
        kind="comparison",
        title="Short",
        protocol="smoke",
        seeds=[0],
        pairs=[Pair(dataset="scenes", teacher="resnet20", student="resnet8")],
        columns=["Scenes"],
        metrics=["mAP", "CF1_k"],
        rows=[Row(label=n, role=role, cells=[Cell(runs=[path])]) for n, role, path in rows],
        notes=[],
    )
    runs = {path: bench.resolve(path) for _, _, path in rows}
    reporting.write_table(artefact, Results("smoke", bench.base, runs), bench.base)
    return [(bench.base / f"short.{suffix}").read_bytes() for suffix in ("csv", "md", "tex")]


TRAIN = """
import sys
from mdkd.cli import main
config, *paths = sys.argv[1:]
for path in paths:
    assert main(["train", path, "--config", config, "--device", "cpu"]) == 0
"""


@pytest.mark.parametrize("hash_seed", HASH_SEEDS)
def test_the_same_run_in_another_process_and_directory_gives_the_same_bytes(
    finished, bench, hash_seed
):
    paths = (STUDENT, MLD, MDKD, REVIEW)
    hash_orders.python(hash_seed, "-c", TRAIN, bench.spec.folder, *paths, cwd=bench.base)
    for path in paths:
        first, second = finished.layout.run(path), bench.layout.run(path)
        assert first != second
        assert read(first, "model.pt") == read(second, "model.pt")
        assert read(first, "predictions.npz") == read(second, "predictions.npz")
        assert losses(first) == losses(second)
    assert table_of(finished) == table_of(bench)


def test_seeds_methods_and_settings_change_the_weights(finished, bench):
    others = [
        STUDENT.replace("seed0", "seed1"),
        MLD.replace("default", "mld-1"),
    ]
    files = [read(bench.train(path), "model.pt") for path in others]
    files += [read(finished.layout.run(path), "model.pt") for path in (STUDENT, MLD, REVIEW)]
    assert len(set(files)) == 5


def test_methods_start_alike_and_see_the_same_batches(finished, bench):
    """A method whose weight is zero trains the very student that no method trains."""
    folder = bench.train(MLD.replace("default", "mld-0"))
    assert read(folder, "model.pt") == read(finished.layout.run(STUDENT), "model.pt")


def test_a_diverged_loss_is_one_line_with_the_way_out(bench):
    path = MLD.replace("/mld/", "/mse/")
    run = bench.resolve(path)
    endless = replace(run.method, settings={"weight": 1e39})  # infinite in float32
    with pytest.raises(UserError) as caught:
        bench.train(replace(run, method=endless))
    message = str(caught.value)
    assert message.startswith("losses not finite in epoch 1, step 1: ")
    assert "mse; lower the method's weights, or recipe: lr" in message
    assert "\n" not in message
    folder = store.entry(replace(run, method=endless), bench.layout).folder
    assert {file.name for file in folder.iterdir()} == {"failed.json", "train.log"}
    failure = records.read_json(folder / "failed.json")
    assert (failure["error"], failure["diverged"]) == (message, True)
    assert failure["run"]["method"]["settings"] == {"weight": 1e39}
    assert not (bench.train(run) / "failed.json").exists()


@pytest.mark.parametrize("spoil", [tamper, lambda file: file.unlink()])
def test_a_teacher_that_is_not_the_recorded_one_is_refused(bench, spoil):
    file = bench.layout.run(TEACHER) / "model.pt"
    spoil(file)
    with pytest.raises(UserError) as caught:
        bench.train(MLD)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {file.name for file in bench.layout.run(MLD).iterdir()} == {"failed.json", "train.log"}
    assert not store.diverged(bench.resolve(MLD), bench.layout)


def test_a_teacher_of_another_cache_is_refused(bench):
    file = bench.layout.cache("scenes") / "meta.json"
    meta = json.loads(file.read_text())
    records.write_json(file, meta | {"fingerprint": "0" * 64})
    with pytest.raises(UserError, match="another cache of scenes"):
        bench.train(MLD)


def test_a_missing_teacher_is_named(bench):
    path = MLD.replace("resnet20", "wrn16_2")
    with pytest.raises(
        UserError,
        match=r"supervised/scenes/wrn16_2/seed0/\w+/run\.json: no such file; train it first",
    ):
        bench.train(path)


def test_the_teacher_is_frozen(bench, monkeypatch):
    teachers = []
    monkeypatch.setattr(
        teaching, "load_network", lambda *args: teachers.append(load_network(*args)) or teachers[0]
    )
    bench.train(REVIEW)
    (teacher,) = teachers
    assert not teacher.training
    assert [module for module in teacher.modules() if module.training] == []
    parameters = dict(teacher.named_parameters())
    assert [key for key, p in parameters.items() if p.requires_grad or p.grad is not None] == []
    before = weights(bench.layout.run(TEACHER))
    after = teacher.state_dict()
    assert before.keys() == after.keys()
    # batch statistics too
    assert [key for key in before if not torch.equal(before[key], after[key])] == []


def test_connectors_are_trained_and_counted_but_not_saved(finished):
    review, student = finished.layout.run(REVIEW), finished.layout.run(STUDENT)
    assert weights(review).keys() == weights(student).keys()
    parameters = records.read_json(review / "run.json")["parameters"]
    plain = records.read_json(student / "run.json")["parameters"]
    assert parameters["connectors"] > 0
    assert plain == parameters | {"connectors": 0}
    shapes = [value.numel() for key, value in weights(student).items() if "running" not in key]
    assert plain["backbone"] + plain["head"] < sum(shapes)  # queries are a buffer
    cache = open_cache(finished.layout.cache("scenes"))
    run = finished.resolve(STUDENT)
    network = new_network(run, len(cache.classes), torch.device("cpu"), 0)
    assert plain["backbone"] == sum(p.numel() for p in network.backbone.parameters())
    assert plain["head"] == sum(p.numel() for p in network.head.parameters())


def test_connectors_learn(bench, monkeypatch):
    methods = []
    original = training.methods.build

    def build(*args):
        methods.append(original(*args))
        methods.append({key: value.clone() for key, value in methods[0].state_dict().items()})
        return methods[0]

    monkeypatch.setattr(training.methods, "build", build)
    bench.train(REVIEW)
    method, before = methods
    moved = [key for key, p in method.named_parameters() if not torch.equal(p, before[key])]
    assert moved == [key for key, _ in method.named_parameters()]


def test_the_record_vouches_for_files_teacher_and_data(finished):
    folder, teacher = finished.layout.run(MLD), finished.layout.run(TEACHER)
    record = records.read_json(folder / "run.json")
    assert record["weights_sha256"] == records.sha256(folder / "model.pt")
    assert record["predictions_sha256"] == records.sha256(folder / "predictions.npz")
    assert record["teacher"] == records.sha256(teacher / "model.pt")
    cache = open_cache(finished.layout.cache("scenes"))
    assert record["cache"] == cache.fingerprint
    assert record["classes"] == list(cache.classes)
    assert record["run"]["method"] == {"name": "mld", "revision": 1, "settings": {"mld": 10.0}}
    assert record["environment"]["torch"] == version("torch")
    assert record["final_epoch"] == history(folder)[-1]
    assert records.read_json(teacher / "run.json")["teacher"] is None


def test_predictions_are_the_networks_on_the_test_images(finished):
    run = finished.resolve(MLD)
    cache = open_cache(finished.layout.cache("scenes"))
    network = new_network(run, len(cache.classes), torch.device("cpu"), 0)
    network.load_state_dict(weights(finished.layout.run(MLD)))
    network.eval()
    loaded = load_network(finished.entry(MLD), cache, torch.device("cpu"))
    with np.load(finished.layout.run(MLD) / "predictions.npz") as stored:
        assert stored["ids"].tolist() == cache.splits["test"].ids
        np.testing.assert_array_equal(stored["targets_NC"], cache.splits["test"].targets_NC)
        scale = np.array([255 * s for s in (0.229, 0.224, 0.225)])
        shift = np.array([0.485, 0.456, 0.406]) * 255
        for i in (0, 17, 31):
            pixels = (cache.splits["test"].images_NSSC[i] - shift) / scale
            image = torch.tensor(pixels.transpose(2, 0, 1)[None], dtype=torch.float32)
            with torch.no_grad():
                logits_C = network(image).logits_BC[0].numpy()
            np.testing.assert_array_equal(loaded(image).logits_BC[0].numpy(), logits_C)
            np.testing.assert_allclose(logits_C, stored["logits_NC"][i], atol=1e-4)


def test_a_resolved_run_file_trains_without_the_specification(bench, finished):
    run = records.read_json(finished.layout.run(STUDENT) / "run.json")["run"]
    records.write_json(bench.base / "mine.json", run)
    result = python("-m", "mdkd", "train", "mine.json", "--device", "cpu", cwd=bench.base)
    assert result.returncode == 0, result.stderr
    assert read(bench.layout.run(STUDENT), "model.pt") == (
        read(finished.layout.run(STUDENT), "model.pt")
    )


def test_a_finished_run_is_not_trained_again(bench, finished, caplog):
    folder = bench.train(STUDENT)
    before = (folder / "run.json").stat().st_mtime_ns
    (folder / "metrics.json").write_text("{}")
    with caplog.at_level(logging.INFO):
        bench.train(STUDENT)
    assert "already trained; nothing is trained again" in caplog.text
    assert (folder / "run.json").stat().st_mtime_ns == before
    bench.train(replace(bench.resolve(STUDENT), stem="cifar"))  # has an entry of its own
    assert (folder / "run.json").stat().st_mtime_ns == before


def test_a_record_can_be_trained_again_and_must_agree_with_its_path(bench, finished):
    record = finished.layout.run(STUDENT) / "run.json"
    assert python("-m", "mdkd", "train", str(record), cwd=bench.base).returncode == 0
    assert read(bench.layout.run(STUDENT), "model.pt") == read(record.parent, "model.pt")
    for path, reason in (
        ("../../escape", "path: ../../escape: not a run path"),
        (STUDENT.replace("seed0", "seed00"), "seed00: not a run path"),
        (MLD, f"path: '{MLD}' contradicts"),
    ):
        run = records.read_json(record)["run"] | {"path": path}
        (bench.base / "mine.json").write_text(json.dumps(run))
        result = python("-m", "mdkd", "train", "mine.json", cwd=bench.base)
        assert result.returncode == 2
        assert reason in result.stderr
