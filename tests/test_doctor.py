"""`mdkd doctor`: what tools print is understood, and each verdict comes when it should."""

import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from cost_case import record
from doctor_case import INFORMATION, SINFO, SMI, make_estimator

from mdkd import cli, devices, slurm
from mdkd.doctor import check, examination, machine, tools
from mdkd.plan import make_plan
from mdkd.results import Results
from mdkd.spec import Specification
from mdkd.specfiles import JobLimits


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Make programs by name that run a shell script; no others are found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def add(name, script):
        (folder / name).write_text(f"#!{shell}\n{script}\n")
        (folder / name).chmod(0o755)

    shell = shutil.which("sh", path="/bin:/usr/bin")
    return add


def say(text):
    return f"while read line; do echo \"$line\"; done <<'END'\n{text}END"


def test_a_program_that_hangs_is_ended_with_its_children(programs, tmp_path):
    """Its child keeps the output open, as a hanging `squeue` below a wrapper does."""
    sleep = shutil.which("sleep", path="/bin:/usr/bin")
    programs("squeue", f"{sleep} 300 &\necho $! > {tmp_path}/child\nwait")
    answer = check.ask(["squeue"], 0.5)
    assert answer.error == "squeue gave no answer within 0.5 s"
    child = Path("/proc", (tmp_path / "child").read_text().strip(), "stat")
    while Path("/proc/self").exists() and child.exists() and ") Z" not in child.read_text():
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("echo yes", ("yes\n", None)),
        ("echo some; echo first >&2; echo 'last ' >&2; exit 3", ("some\n", "last")),
        ("echo only this; exit 1", ("only this\n", "only this")),
        ("exit 7", ("", "exit status 7")),
        ("read line || echo nothing to read", ("nothing to read\n", None)),
    ],
)
def test_what_a_program_says_is_taken(programs, script, answer):
    programs("tool", script)
    assert check.ask(["tool"], 60) == answer
    assert check.ask(["other"], 60) == ("", "other is not installed")


def test_a_check_is_one_line_and_its_fix_the_next():
    assert str(check.Check("GPU", "ok", "none")) == "ok       GPU          none"
    lines = str(check.Check("disk", "problem", "full", "free some")).splitlines()
    assert lines == ["problem  disk         full", "                      fix: free some"]
    assert check.judged("a", "b", "c", None) == ("a", "ok", "b", "")
    assert check.judged("a", "b", "c", "warning") == ("a", "warning", "b", "c")


@pytest.mark.parametrize(
    ("version", "verdict"),
    [((3, 10, 9), "problem"), ((3, 11, 0), "ok"), ((3, 13, 5), "ok"), ((3, 14, 0), "warning")],
)
def test_python(monkeypatch, version, verdict):
    monkeypatch.setattr(machine, "sys", SimpleNamespace(version_info=version, prefix="/venv"))
    assert machine.python().verdict == verdict


def test_packages(monkeypatch):
    assert machine.packages().verdict == "ok"
    monkeypatch.setattr(machine, "SNAKEMAKE", (999,))
    assert machine.packages().verdict == "problem"
    monkeypatch.setitem(machine.PACKAGES, "no_such_module", "no-such-package")
    assert machine.packages()[1:3] == ("problem", "not installed: no-such-package")


def test_gpus_from_nvidia_smi(programs, monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "DRIVER", tmp_path / "driver")
    assert [found[:2] for found in machine.gpus()] == [("GPU", "ok")]
    programs("nvidia-smi", say(SMI))
    a100, busy, gh200 = machine.gpus()
    assert a100[:2] == ("GPU 0", "ok")
    assert a100.text == "NVIDIA A100-SXM4-80GB, driver 535.129.03, 81 GB of 82 GB free"
    assert (busy.verdict, gh200.verdict) == ("warning", "ok")


def test_gpus_from_the_driver_where_nvidia_smi_is_missing_or_fails(programs, monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "DRIVER", tmp_path)
    (found,) = machine.gpus()
    assert found.verdict == "warning"
    assert "nvidia-smi is not installed" in found.text
    programs("nvidia-smi", "echo 'NVIDIA-SMI has failed'; exit 9")
    (found,) = machine.gpus()
    assert found.text.endswith("but: NVIDIA-SMI has failed")
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    (tmp_path / "gpus" / "0000:01:00.0" / "information").write_text(INFORMATION)
    (found,) = machine.gpus()
    assert found.text.startswith("NVIDIA H100 80GB HBM3")


@pytest.mark.parametrize(
    ("facts", "visible", "device", "verdict", "text"),
    [
        ({}, 2, "auto", "ok", "it computes on 2 GPUs"),
        ({"gpus": 0}, 0, "auto", "ok", "no GPU is visible"),
        ({"gpus": 0}, 0, "cuda", "problem", "no GPU is visible"),
        ({"gpus": 0, "cuda": None}, 2, "auto", "problem", "built without CUDA, but there is a GPU"),
        ({"gpus": 0, "cuda": None}, 2, "cpu", "ok", "device: cpu"),
        ({"gpus": 0, "error": "driver too old"}, 2, "auto", "problem", "driver too old"),
        ({"gpus": 1}, 2, "auto", "problem", "it sees 1 of 2"),
    ],
)
def test_torch_is_compared_with_the_gpus(facts, visible, device, verdict, text):
    facts = {"version": "2.11.0", "cuda": "12.8", "gpus": 2, "error": None} | facts
    found = machine.judge_torch(facts, visible, device)
    assert found.verdict == verdict
    assert text in found.text
    assert bool(found.fix) == (verdict != "ok")


def test_torch_is_asked_in_a_process_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "DEV", tmp_path)  # no GPU is visible
    import torch

    found = machine.torch("auto")
    assert found.verdict == "ok"
    assert found.text.startswith(torch.__version__)
    monkeypatch.setattr(machine, "TRY_TORCH", "import no_such_torch")
    found = machine.torch("auto")
    assert found.verdict == "problem"
    assert "No module named 'no_such_torch'" in found.text


@pytest.mark.parametrize(
    ("available", "verdict"), [(999, "problem"), (1000, "warning"), (3999, "warning"), (4000, "ok")]
)
def test_memory_is_compared_with_the_largest_training(available, verdict):
    found = machine.judge_memory("some", available * 10**6, 10**9, 4)
    assert found.verdict == verdict
    assert ("mem_mb=" in found.fix) is (verdict == "warning")


def test_environment_variables(monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "DEV", tmp_path)
    for name in (*machine.ROUNDING, "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    assert machine.variables().verdict == "ok"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine.variables().verdict == "ok"  # there is no GPU to hide
    (tmp_path / "nvidia0").touch()
    assert machine.variables().verdict == "warning"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert machine.variables()[1:3] == ("ok", "CUDA_VISIBLE_DEVICES=0")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert machine.variables()[3] == "unset NVIDIA_TF32_OVERRIDE"


@pytest.fixture
def estimator(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_estimator(config)


def test_latex(programs):
    assert tools.latex(["pdflatex", "tectonic"]).verdict == "warning"
    programs("tectonic", "")
    assert tools.latex(["pdflatex", "tectonic"])[1:3] == ("ok", "tectonic makes paper.pdf")


@pytest.mark.parametrize(
    ("script", "verdict", "text"),
    [
        (None, "ok", "not installed"),
        ("echo conda 24.7.1", "ok", "conda 24.7.1"),
        ("echo conda 24.7.0", "warning", "conda 24.7.0"),
        ("echo conda 4.12.0", "warning", "conda 4.12.0"),
        ("echo nothing", "warning", "its version is not readable: nothing"),
        ("echo broken >&2; exit 1", "warning", "broken"),
    ],
)
def test_conda(programs, script, verdict, text):
    if script:
        programs("conda", script)
    found = tools.conda()
    assert found.verdict == verdict
    assert text in found.text
    assert ("24.7.1" in found.fix) is (verdict != "ok")


DISABLED = "Slurm accounting storage is disabled"
DOWN = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"


@pytest.mark.parametrize(
    ("squeue", "sacct", "verdict", "text"),
    [
        ("exit 0", "exit 0", "ok", "squeue and sacct answer"),
        ("exit 0", f"echo '{DISABLED}' >&2; exit 1", "warning", DISABLED),
        (f"echo '{DOWN}' >&2; exit 1", "exit 0", "warning", DOWN),
        (f"echo '{DOWN}' >&2; exit 1", f"echo '{DISABLED}'; exit 1", "problem", "neither works"),
    ],
)
def test_the_queue_and_accounting(programs, squeue, sacct, verdict, text):
    programs("sinfo", say(SINFO))
    programs("squeue", squeue)
    programs("sacct", sacct)
    (jobs,) = (found for found in tools.cluster(None, JobLimits()) if found.name == "jobs")
    assert jobs.verdict == verdict
    assert text in jobs.text
    assert ("slurm-status-command: squeue" in jobs.fix) is (text == DISABLED)


def test_a_hanging_queue_is_a_warning(programs, monkeypatch):
    monkeypatch.setattr(tools, "SLURM_S", 0.5)
    programs("sinfo", say(SINFO))
    programs("squeue", f"{shutil.which('sleep', path='/bin:/usr/bin')} 300")
    programs("sacct", "exit 0")
    (jobs,) = (found for found in tools.cluster(None, JobLimits()) if found.name == "jobs")
    assert jobs[1:3] == ("warning", "squeue: squeue gave no answer within 0.5 s")


def test_slurm_is_told_if_it_is_there(programs, monkeypatch):
    assert [found[:2] for found in tools.cluster(None, JobLimits())] == [("Slurm", "ok")]
    programs("sinfo", "echo 'sinfo: fatal: Could not establish a configuration source' >&2; exit 1")
    (found,) = tools.cluster(None, JobLimits())
    assert found.verdict == "warning"
    assert "Could not establish a configuration source" in found.text
    programs("sinfo", say(SINFO))
    monkeypatch.setattr(tools, "PLUGIN", "no_such_plugin")
    *lines, _jobs, plugin = tools.cluster(None, JobLimits())
    assert [line.text for line in lines] == [
        "partition debug: 4 nodes with 32 cores, 192 GB, up to 30 min",
        "partition batch (default): 118 nodes with 64 cores, 257 GB, up to 2880 min",
        "partition gpu: 12 nodes with 128 cores, 1031 GB, gpu:a100:4, up to 1440 min",
        "partition gpu: 3 nodes with 48 cores, 385 GB, gpu:v100:8, up to 1440 min",
        "partition old: 1 node with 16 cores, 64 GB, gpu:2, no time limit, not up",
    ]
    assert plugin.verdict == "warning"
    monkeypatch.setattr(tools, "PLUGIN", "json")
    assert [*tools.cluster(None, JobLimits())][-1].verdict == "ok"


def test_trainings_for_gpus_on_a_machine_without_are_a_warning(estimator, monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "DEV", tmp_path)
    estimator.on_gpu = True
    assert list(machine.device(estimator)) == []  # device: cpu
    estimator.plan = replace(estimator.plan, device="auto")
    assert [found.verdict for found in machine.device(estimator)] == ["warning"]
    (tmp_path / "nvidia0").touch()
    assert list(machine.device(estimator)) == []
    (tmp_path / "nvidia0").unlink()
    estimator.on_gpu = False
    assert list(machine.device(estimator)) == []


def test_the_largest_job_of_the_plan(estimator):
    """5008 images twice, 50 a second: 200 s; three times as long, and 30 minutes: 40 minutes."""
    memory_mb = max(estimator.memory(run) for run in estimator.plan.runs.values()) // 10**6
    assert tools.largest_job(estimator, JobLimits()) == (40, 1, memory_mb, 0)
    assert memory_mb > 1000
    limits = JobLimits(minutes=35, memory_gb=1)
    assert tools.largest_job(estimator, limits) == (35, 1, 1000, 0)
    limits = JobLimits(minutes=50, memory_gb=100)
    assert tools.largest_job(estimator, limits) == (40, 1, memory_mb, 0)
    estimator.on_gpu = True
    assert tools.largest_job(estimator, JobLimits()).gpus == 1
    estimator.done.update({path: {} for path in estimator.plan.runs})
    assert tools.largest_job(estimator, JobLimits())[:3] == (0, 1, 0)


@pytest.mark.parametrize(
    ("node", "reason", "fix"),
    [
        ("n1|1:00:00|8|16000|gpu:2", None, None),
        ("n1|infinite|8|16000|gpu:2", None, None),
        ("n1|39:00|8|16000|gpu:2", "a job asks for 40 min", "job_limits"),
        ("n1|1:00:00|8|1000|gpu:2", "a job asks for 2000 MB", "job_limits"),
        ("n1|1:00:00|8|16000|(null)", "a job asks for 1 GPUs", "device: cpu"),
    ],
)
def test_a_cluster_whose_nodes_are_too_small_is_a_warning(
    programs, estimator, monkeypatch, node, reason, fix
):
    monkeypatch.setattr(tools, "largest_job", lambda *_: slurm.Request(40, 1, 2000, 1))
    nodes = f'echo "{node}"; exit'
    programs("sinfo", f"for word; do if test $word = --Node; then {nodes}; fi; done\n{say(SINFO)}")
    found = [each for each in tools.cluster(estimator, JobLimits()) if each.name == "Slurm"]
    warnings = [each for each in found if each.verdict != "ok"]
    assert len(found) == 5 + len(warnings)
    assert len(warnings) == (reason is not None)
    for warning in warnings:
        assert warning.verdict == "warning"
        assert warning.text.startswith(reason)
        assert fix in warning.fix
    nodes = "echo 'sinfo: error: gone' >&2; exit 1"
    programs("sinfo", f"for word; do if test $word = --Node; then {nodes}; fi; done\n{say(SINFO)}")
    assert "sinfo: sinfo: error: gone" in [
        each.text for each in tools.cluster(estimator, JobLimits())
    ]


def test_a_cluster_with_no_partition_that_is_up_is_a_problem(programs):
    programs("sinfo", "echo 'a|inact|infinite|4|8000|(null)|1'")
    verdicts = [(each.verdict, each.text) for each in tools.cluster(None, JobLimits())]
    assert ("problem", "no partition is up") in verdicts


@pytest.fixture
def call(config, tmp_path, monkeypatch, programs):
    """The command line in an empty folder, on a machine with no other programs and quick torch."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(devices, "DEV", tmp_path / "dev")
    monkeypatch.setattr(machine, "DRIVER", tmp_path / "driver")
    quick = 'print(\'{"version": "2.11", "cuda": null, "gpus": 0, "error": null}\')'
    monkeypatch.setattr(machine, "TRY_TORCH", quick)
    return lambda *words: cli.main(["doctor", "--config", str(config), *words])


def test_every_check_is_a_line_and_only_problems_make_the_exit_status(call, capsys):
    assert call() == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line[9:20].strip() for line in lines[:-1] if not line.startswith(" ")]
    assert names == [
        *("Python", "packages", "settings", "GPU", "torch", "cores", "memory", "environment"),
        *["folders", "locks", "disk", *names[11:-5]],
        *("data", "weights", "LaTeX", "conda", "Slurm"),
    ]
    assert set(names[11:-5]) <= {"locks", "disk"}  # of further file systems
    assert lines[-1].startswith("0 problems, ")
    assert call("--set", "device=cuda") == 1
    assert "1 problem, " in capsys.readouterr().out


def test_wrong_settings_are_a_finding_and_the_machine_is_still_checked(call, capsys):
    assert call("--protocol", "smok") == 1
    text = capsys.readouterr().out
    assert "problem  settings" in text
    assert "did you mean 'smoke'?" in text
    assert "folders" in text
    assert "memory" not in text  # depends on the plan


def test_what_is_done_needs_nothing(config, tmp_path, monkeypatch, call, capsys):
    plan = make_plan(Specification(config))
    results = Results("smoke", tmp_path, plan.runs)
    for path in plan.runs:
        record(results, path)
    assert call() == 0
    text = capsys.readouterr().out
    assert f"{len(plan.runs)} runs, {len(plan.runs)} done" in text
    assert "the largest training" not in text


def test_the_doctor_changes_nothing(call, tmp_path):
    def listing():
        return {(file, file.stat().st_mode) for file in tmp_path.rglob("*")}

    before = listing()
    call()
    assert listing() == before


def test_warnings_are_counted_and_make_no_exit_status(monkeypatch, capsys):
    checks = [check.Check("a", "ok", "b"), check.Check("c", "warning", "d", "e")]
    monkeypatch.setattr(examination, "examine", lambda *_: iter(checks))
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "0 problems, 1 warning"
