"""Settings of the device: compiled students and deterministic trainings, on the CPU."""

import os
import re
import shutil
import signal
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from conftest import ROOT, edit_yaml, python
from trainings import MDKD, REVIEW, STEPS, STUDENT, history, losses, read

from mdkd import devices, records, store
from mdkd.errors import UserError
from mdkd.training import loop, teacher
from mdkd.training.execution import DEFAULT, Execution, prepare

COMPILED, DETERMINISTIC = Execution(compile="default"), Execution(deterministic=True)


@pytest.fixture(autouse=True)
def _global_switches_as_before(monkeypatch):
    for name in ("CUBLAS_WORKSPACE_CONFIG", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    yield
    prepare(DEFAULT, Path())
    monkeypatch.undo()


def train(bench, path, execution):
    run = bench.resolve(path)
    loop.train(run, bench.layout, "cpu", execution=execution)
    return store.entry(run, bench.layout).folder


def test_a_deterministic_training_on_the_cpu_has_the_usual_bits(bench, finished):
    for path in (MDKD, REVIEW):
        folder = train(bench, path, DETERMINISTIC)
        assert read(folder, "model.pt") == read(finished.layout.run(path), "model.pt")
        environment = records.read_json(folder / "run.json")["environment"]
        assert (environment["deterministic"], environment["compile"]) == (True, None)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    usual = records.read_json(finished.layout.run(MDKD) / "run.json")["environment"]
    assert (usual["deterministic"], usual["compile"]) == (False, None)


def test_by_default_a_gpu_may_choose_the_fastest_algorithms():
    prepare(DETERMINISTIC, Path())
    prepare(DEFAULT, Path())
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark and not torch.backends.cudnn.deterministic
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ


def test_a_training_by_default_imports_no_compiler(bench):
    """It takes longer than all other imports, in every job."""
    arguments = ["train", MDKD, "--config", str(bench.spec.folder)]
    code = f"import sys; from mdkd.cli import main; assert main({arguments}) == 0; "
    done = python("-c", code + "print('torch._dynamo' in sys.modules)", cwd=bench.base)
    assert done.stdout.splitlines()[-1] == "False", done.stderr


@pytest.mark.parametrize("path", [STUDENT, REVIEW])
def test_a_compiled_student_learns_the_same(bench, finished, path, monkeypatch):
    """Traced and differentiated ahead of time, as always; but no compiler is needed."""
    compiled = []

    def compile(network, mode):
        compiled.append(mode)
        return compiler(network, backend="aot_eager")

    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", compile)
    folder, usual = train(bench, path, COMPILED), finished.layout.run(path)
    assert compiled == ["default"]
    assert records.read_json(folder / "run.json")["environment"]["compile"] == "default"
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(bench.layout.store.absolute() / "compiled")
    for (found, ratios), (expected, others) in zip(losses(folder), losses(usual), strict=True):
        assert found == pytest.approx(expected, rel=1e-3)
        assert ratios == pytest.approx(others, rel=1e-3)


def test_a_checkpoint_of_other_settings_is_set_aside(bench, monkeypatch, caplog):
    class Killed(Exception):
        pass

    def kill(*args):
        raise Killed

    monkeypatch.setattr(loop, "write_results", kill)
    for execution in (DEFAULT, DEFAULT, DETERMINISTIC, DETERMINISTIC):
        with pytest.raises(Killed):
            train(bench, STUDENT, execution)
    assert caplog.text.count("other data, weights, device or execution settings") == 1


def test_the_checkpoint_of_settings_that_come_back_is_found_again(bench, monkeypatch, caplog):
    """One call on a node without a GPU costs no epochs; here, `deterministic` takes its place."""
    caplog.set_level("INFO")
    folder, original, steps = bench.layout.run(STUDENT), loop.learning_rate, []
    stop = [0]

    def learning_rate(recipe, update, last_update):
        file = folder / "history.jsonl"
        steps.append((update, len(history(folder)) if file.exists() else 0))
        if len(steps) == stop[0]:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(recipe, update, last_update)

    monkeypatch.setattr(loop, "learning_rate", learning_rate)
    for execution, stop[0] in ((DEFAULT, STEPS + 1), (DETERMINISTIC, 1)):
        steps.clear()
        with pytest.raises(SystemExit):
            train(bench, STUDENT, execution)
    assert history(folder) == []  # of the second training
    (first,) = folder.glob("checkpoint-*.pt")
    steps.clear()
    stop[0] = 0
    train(bench, STUDENT, DEFAULT)
    assert steps == [(STEPS + 1, 1), (STEPS + 2, 1)]  # with the epochs of the first training
    assert f"{first} is used" in caplog.text and f"resumed at step {STEPS + 1} " in caplog.text
    assert [epoch["epoch"] for epoch in history(folder)] == [1, 2]
    (second,) = folder.glob("checkpoint-*.pt")
    assert second != first


def test_the_defaults_are_in_no_fingerprint():
    """So checkpoints stay valid when a setting is added."""
    assert DEFAULT.changed() == {}
    assert COMPILED.changed() == {"compile": "default"}
    assert DETERMINISTIC.changed() == {"deterministic": True}


def test_the_page_names_every_setting():
    page = (
        (ROOT / "docs/gpu.md").read_text(encoding="utf-8").split("| Key |")[1].split("| Part |")[0]
    )
    named = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert named == [field.name for field in fields(Execution)]


def test_both_are_settings_of_the_user(bench, tmp_path):
    config = shutil.copytree(bench.spec.folder, tmp_path / "own config")
    edit_yaml(config / "config.yaml", lambda c: c.update(deterministic=True))
    result = python("-m", "mdkd", "train", STUDENT, "--config", config, cwd=bench.base)
    assert result.returncode == 0, result.stderr
    record = records.read_json(bench.layout.run(STUDENT) / "run.json")
    assert record["environment"]["deterministic"] is True
    arguments = ("-m", "mdkd", "train", STUDENT, "--config", config, "--set", "compile=fast")
    result = python(*arguments, cwd=bench.base)
    assert result.returncode == 2
    assert "compile: 'fast' is not valid" in result.stderr


@pytest.mark.parametrize(
    ("cuda", "says"),
    [
        (None, "was built without CUDA; install PyPI's default build, or set device: cpu"),
        ("12.8", "cannot use this GPU; update the driver, or set device: cpu"),
    ],
)
def test_a_gpu_that_torch_cannot_use_is_one_line(bench, monkeypatch, tmp_path, cuda, says):
    """The device file is there, but torch or the driver is not made for the GPU."""
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(devices, "DEV", tmp_path)
    monkeypatch.setattr(devices, "DRIVER", tmp_path / "driver")
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    for variable in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.setenv(variable, "")  # restored after the test
        monkeypatch.delenv(variable)
    run = bench.resolve(MDKD)
    with pytest.raises(UserError, match=f"^cuda 0: torch .* {says}$"):
        loop.train(run, bench.layout, "auto")
    assert not (store.entry(run, bench.layout).folder / "failed.json").exists()
    with pytest.raises(UserError, match=says):
        teacher.store_logits(run, bench.layout, "logits", "auto")
    loop.train(run, bench.layout, "cpu")


def test_every_verb_that_claims_a_gpu_checks_it():
    files = (ROOT / "mdkd").rglob("*.py")
    callers = [f.name for f in files if "devices.claim(" in f.read_text(encoding="utf-8")]
    assert callers == ["execution.py"]
