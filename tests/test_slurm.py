"""What Slurm's commands print is understood, and a silent or failing Slurm gives one line."""

import os

import pytest

from mdkd import slurm
from mdkd.errors import UserError
from mdkd.slurm import Node, Request


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Write a stand-in for one of Slurm's commands; it also notes how it was called."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setenv("SLURM_JOB_ID", "17")

    def write(name, output="", status=0, error=""):
        (tmp_path / f"{name}.out").write_text(output)
        (tmp_path / f"{name}.err").write_text(error)
        file = tmp_path / name
        file.write_text(
            f'#!/bin/sh\necho "$@" >> {tmp_path}/{name}.calls\n'
            f"cat {tmp_path}/{name}.out; cat {tmp_path}/{name}.err >&2; exit {status}\n"
        )
        file.chmod(0o755)
        return tmp_path / f"{name}.calls"

    return write


@pytest.mark.parametrize(
    ("said", "left"),
    [("9:58", 598), ("1:00:00", 3600), ("2-00:00:30", 172830), ("UNLIMITED", None), ("", None)],
)
def test_the_time_that_a_job_has_left(command, said, left):
    calls = command("squeue", f"{said}\n")
    assert slurm.seconds_left() == left
    assert "--jobs 17" in calls.read_text()


def test_outside_a_job_nothing_is_asked(command, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID")
    asked = [command("squeue"), command("scontrol")]
    assert slurm.seconds_left() is None
    slurm.requeue()
    assert not any(calls.exists() for calls in asked)


def test_a_job_puts_itself_back_into_the_queue(command, caplog):
    calls = command("scontrol")
    slurm.requeue()
    assert calls.read_text() == "requeue 17\n"
    assert "Slurm job 17 goes back into the queue" in caplog.text
    command("scontrol", error="Requested operation is presently disabled\n", status=1)
    slurm.requeue()
    assert "could not be requeued: scontrol: Requested operation is presently dis" in caplog.text


def test_the_queue_by_job_number(command):
    here = os.getcwd()
    said = (f"12|{here}|rule_distill_wildcards_a_b_0f3c", f"13|{here}|(null)", "14|/other|rule_x")
    command("squeue", "\n".join([*said, "", ""]))
    assert slurm.queued() == {"12": "rule_distill_wildcards_a_b_0f3c", "13": "(null)"}


def test_nodes_and_an_unknown_partition(command):
    command("sinfo", "n1|2:00:00|64|512000|gpu:a100:4(S:0-1)\nn2|infinite|8|16000|(null)\n")
    assert slurm.nodes("gpu") == [
        Node("n1", 120, 64, 512000, 4),
        Node("n2", None, 8, 16000, 0),
    ]
    command("sinfo", "")
    with pytest.raises(UserError, match="Slurm has no partition 'gpus'; `sinfo` lists"):
        slurm.nodes("gpus")


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (Request(60, 4, 8000, 1), None),
        (Request(1440, 4, 8000, 0), None),  # on n2, which has no limit
        (Request(1440, 4, 8000, 1), "asks for 1440 min, but no node there gives more than 120 min"),
        (Request(60, 65, 8000, 0), "asks for 65 cores, but no node there gives more than 64 cores"),
        (Request(60, 4, 8000, 5), "asks for 5 GPUs, but no node there gives more than 4 GPUs"),
        (Request(60, 4, 600000, 0), "asks for 600000 MB, but no node there gives more than 512000"),
    ],
)
def test_a_job_that_no_node_can_run(request_, reason):
    nodes = [Node("n1", 120, 64, 512000, 4), Node("n2", None, 8, 16000, 0)]
    found = slurm.refusal(request_, nodes)
    assert found is None if reason is None else reason in found


def test_accounting_that_is_off_or_missing(command, tmp_path):
    command("sacct", error="Slurm accounting storage is disabled\n", status=1)
    assert not slurm.has_accounting()
    command("sacct")
    assert slurm.has_accounting()
    (tmp_path / "sacct").unlink()
    assert not slurm.has_accounting()


def test_slurm_that_does_not_answer(command, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "ANSWER_S", 0.2)
    file = tmp_path / "squeue"
    file.write_text("#!/bin/sh\nexec sleep 60\n")
    file.chmod(0o755)
    with pytest.raises(UserError, match=r"squeue: no answer within 0\.2 s"):
        slurm.queued()
