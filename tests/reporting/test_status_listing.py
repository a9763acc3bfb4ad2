"""`mdkd status` as text: totals, lines of runs, the end of everything, and watching."""

import os
import pty
import re
import signal
import termios

import pytest
import yaml
from conftest import edit_yaml
from cost_case import MLD_S, RATES, STUDENT_S, TEACHER, TEACHER_S, distilled, record
from status_case import MLD, STUDENT, ago, fail, lock, progress, shown, small_plan

from mdkd import cli, faults, given
from mdkd.reporting import status_listing
from mdkd.reporting.status_listing import ABOVE


@pytest.fixture
def plan_and_results(config, tmp_path):
    return small_plan(config, tmp_path)


def ending(text):
    """The estimate at the end, without its line breaks."""
    return " ".join(text.rpartition("\n\n")[2].split())


def test_the_overview(plan_and_results, config):
    results = plan_and_results[1]
    record(results, TEACHER, images_per_s=50.0)
    lock(results, MLD)
    progress(results, MLD)
    progress(results, distilled("mdkd", 0), step=4)
    fail(results, STUDENT, "losses not finite")
    text = shown(plan_and_results, config)
    assert re.match(r"Protocol smoke at \d\d:\d\d:\d\d: 4 runs: 1 done, 1 running, 1 f", text)
    table = [line.split() for line in text.splitlines()[2:7]]
    assert table == [
        ["runs", "done", "running", "failed", "waiting"],
        ["first", "3", "1", "1", "1", "0"],
        ["more", "3", "1", "1", "0", "1"],
        ["default:", "made", "if", "no", "target", "is", "named", "3", "1", "1", "1", "0"],
        ["all", "4", "1", "1", "1", "1"],
    ]
    sections = [section.splitlines() for section in text.split("\n\n")[2:-1]]
    assert [heading.partition(",")[0] for heading, *_ in sections] == [
        "running:",
        "failed:",
        "interrupted",
    ]
    told = "epoch 1/2  1,234 images/s, 40 s left, last sign of life 1.0 min ago"
    place = results.run(STUDENT) / "train.log"
    assert [
        [re.split(r" {2,}", line.strip(), maxsplit=1) for line in lines] for _, *lines in sections
    ] == [
        [[MLD, f"n7, cpu  {told}"]],
        [[STUDENT, "losses not finite"], [f"log: {place}"]],
        [[distilled("mdkd", 0), "epoch 1/2 + 33 %"]],
    ]


@pytest.mark.parametrize(
    ("target", "lines"),
    [
        ("wide", [["wide", "3"]]),  # an artefact: MLD, MDKD and their teacher
        ("more", [["wide", "3"]]),
        ("paper", [["small", "3"], ["wide", "3"], ["target", "paper", "4"]]),
        ("default", [["small", "3"]]),
    ],
)
def test_the_totals_of_a_target_are_those_of_its_artefacts(call, config, capsys, target, lines):
    for name in ("small", "wide"):
        file = config / "experiments" / f"{name}.yaml"
        edit_yaml(file, lambda e: e.update(targets=["paper", *e["targets"]]))
    assert call(target) == 0
    table = capsys.readouterr().out.split("\n\n")[1].splitlines()[1:]
    assert [line.split()[:-4] for line in table] == lines


def test_all_lists_every_run(plan_and_results, config):
    lock(plan_and_results[1], MLD)
    lines = shown(plan_and_results, config, all_runs=True).split("\n\n")[1].splitlines()
    found = [line.split()[:2] for line in lines]
    assert found == [
        ["running" if path == MLD else "waiting", path] for path in plan_and_results[0].runs
    ]


def test_a_run_whose_last_step_is_done_is_being_scored(plan_and_results, config):
    lock(plan_and_results[1], MLD)
    progress(plan_and_results[1], MLD, step=6, left_s=0.0)
    assert "trained, is being scored" in shown(plan_and_results, config)


def test_the_estimate_of_the_end(plan_and_results, config):
    """By hand: what runs has told its time, what waits is estimated; two are side by side."""
    results = plan_and_results[1]
    text = ending(shown(plan_and_results, config))
    total = TEACHER_S + STUDENT_S + 2 * MLD_S
    assert text.startswith(f"All done in about {total:.1f} s (Sat 31 Jan, ")
    assert "if one training runs at a time." in text
    lock(results, TEACHER)
    progress(results, TEACHER, left_s=62.0)  # 2 s are left
    lock(results, STUDENT)
    progress(results, STUDENT, left_s=64.0)
    text = ending(shown(plan_and_results, config))
    assert f"in about {(2 + 4 + 2 * MLD_S) / 2:.1f} s" in text
    assert "if 2 trainings run at once, as now." in text
    progress(results, STUDENT, left_s=160.0)  # the longest one decides
    assert "in about 1.7 min" in ending(shown(plan_and_results, config))


def test_logits_that_are_stored_first_are_in_the_estimate(config, tmp_path):
    """Both distillations read them, so the teacher's part of a training is paid once."""
    plan, results = small_plan(config, tmp_path, stored_logits="auto")
    teaching_s = 96 / (2 * 50)
    total = TEACHER_S + STUDENT_S + 2 * (MLD_S - teaching_s) + teaching_s
    assert f"in about {total:.1f} s" in ending(shown((plan, results), config))


def test_what_counts_in_the_estimate(plan_and_results, config):
    results = plan_and_results[1]
    record(results, TEACHER, images_per_s=50.0)
    fail(results, STUDENT, "no")
    progress(results, MLD)  # half of it is done
    lock(results, distilled("mdkd", 0), since=ago(hours=9))  # dead: all is to do again
    text = ending(shown(plan_and_results, config))
    assert f"in about {1.5 * MLD_S:.1f} s" in text
    assert "if one training runs at a time." in text
    assert text.endswith("Failed runs are left out.")
    lock(results, distilled("mdkd", 0), device=None)  # no time is told yet: the whole estimate
    assert f"in about {1.5 * MLD_S:.1f} s" in ending(shown(plan_and_results, config))


def test_unknown_lengths_are_counted(plan_and_results, config):
    rates = RATES | {"cpu": RATES["cpu"] | {"training": {"cifar:resnet8": 400}}}
    (config / "rates.yaml").write_text(yaml.safe_dump(rates))
    text = ending(shown(plan_and_results, config))
    assert STUDENT_S < 1  # so it is rounded to
    assert "in about 0 s" in text
    assert "3 runs of unknown length are left out." in text
    record(plan_and_results[1], STUDENT)
    text = ending(shown(plan_and_results, config))
    assert text == "How long the 3 runs that are left take is not known; `mdkd plan` says why."


def test_nothing_is_left(plan_and_results, config):
    for path in plan_and_results[1].runs:
        record(plan_and_results[1], path)
    assert ending(shown(plan_and_results, config)) == "Nothing is left to train."


@pytest.fixture
def call(plan_and_results, config, tmp_path, monkeypatch):
    """The command line in the folder of the results."""
    monkeypatch.chdir(tmp_path)
    given = ["--set", "experiments=[small]", "--set", "seeds=[0]"]
    return lambda *words: cli.main(["status", *words, "--config", str(config), *given])


def test_watching_ends_when_no_run_is_left(call, plan_and_results, monkeypatch, capsys):
    left = [*plan_and_results[1].runs]
    fail(plan_and_results[1], distilled("mdkd", 0), "no")
    left.remove(distilled("mdkd", 0))
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        record(plan_and_results[1], left.pop(0))

    monkeypatch.setattr(status_listing.time, "sleep", sleep)
    assert call("--watch", "2.5") == 0
    assert slept == [2.5] * 3
    text = capsys.readouterr().out
    assert re.findall(r"(\d) done, 0 running, 1 failed", text) == ["0", "1", "2", "3"]
    assert "\033" not in text  # only a terminal is cleared


def test_ctrl_c_is_the_usual_end_of_watching(call, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(status_listing.time, "sleep", interrupt)
    assert call("--watch") == 0
    assert capsys.readouterr().out.count("Protocol smoke") == 1
    monkeypatch.setattr(given, "plan", interrupt)
    assert call("--watch") == 0
    assert call() == 130
    monkeypatch.setattr(faults, "received", [signal.SIGINT])
    assert call("--watch") == 0
    monkeypatch.setattr(faults, "received", [signal.SIGTERM])  # a cluster ends it
    assert call("--watch") == 143


def test_one_target(call, capsys):
    assert call("wide", "--all") == 0
    assert (
        capsys.readouterr()
        .out.splitlines()[0]
        .endswith("3 runs: 0 done, 0 running, 0 failed, 3 waiting.")
    )
    assert call("default") == 0
    assert STUDENT not in capsys.readouterr().out
    assert call("smal") == 2
    assert "did you mean 'small'?" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon"])
def test_an_interval_is_a_number_of_seconds(call, seconds, capsys):
    with pytest.raises(SystemExit) as caught:
        call(f"--watch={seconds}")
    assert caught.value.code == 2
    assert "--watch" in capsys.readouterr().err


def test_a_line_has_all_that_matters(plan_and_results, config):
    """Two trainings with 1,234.5 and 765.5 images/s; by hand, they have 40 s and 80 s left."""
    results = plan_and_results[1]
    record(results, TEACHER)
    fail(results, STUDENT, "no")
    for name, speed, left_s in (("mld", 1234.5, 100.0), ("mdkd", 765.5, 140.0)):
        lock(results, distilled(name, 0))
        progress(results, distilled(name, 0), images_per_s=speed, left_s=left_s)
    text = shown(plan_and_results, config, of=status_listing.line)
    expected = "1/4 runs done, about 1.3 min left, mean 1,000 images/s, 2 running, 1 failed"
    assert text == expected
    rates = RATES | {"cpu": RATES["cpu"] | {"training": {}}}
    (config / "rates.yaml").write_text(yaml.safe_dump(rates))
    (results.run(MLD) / "lock").unlink()
    (results.run(MLD) / "progress.json").unlink()
    text = shown(plan_and_results, config, of=status_listing.line)
    assert text.startswith("1/4 runs done, about 1.3 min left, length of 1 not known, mean 766 im")
    for path in plan_and_results[1].runs:
        record(results, path)
    assert shown(plan_and_results, config, of=status_listing.line) == "4/4 runs done"


@pytest.fixture
def looks(plan_and_results, monkeypatch):
    """Before each further look, one more run is done; it ends when all are."""
    left = [*plan_and_results[1].runs]
    monkeypatch.setattr(
        status_listing.time, "sleep", lambda seconds: record(plan_and_results[1], left.pop(0))
    )
    return [f"{done}/4 runs done" for done in range(5)]


def test_a_terminal_shows_one_line_that_changes(call, looks, monkeypatch):
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 30))
    monkeypatch.delenv("COLUMNS", raising=False)
    with os.fdopen(end, "w") as file:
        monkeypatch.setattr("sys.stdout", file)
        monkeypatch.setattr("sys.__stdout__", file)  # its size counts
        assert call("--watch", "--line") == 0
        text = ""
        while not text.endswith("4/4 runs done\r\n"):  # the kernel may hand it over in parts
            text += os.read(terminal, 10_000).decode()
    os.close(terminal)
    first, *others = text.splitlines()
    assert len(others) == 4
    assert all(line.startswith(ABOVE) for line in others)
    lines = [first, *(line.removeprefix(ABOVE) for line in others)]
    assert [line.partition(",")[0] for line in lines] == looks
    assert max(map(len, lines)) == 29  # so none is wrapped
    assert lines[-1] == "4/4 runs done"


def test_elsewhere_each_look_is_one_line(call, looks, capsys):
    assert call("--watch", "--line") == 0
    text = capsys.readouterr().out
    assert "\033" not in text
    assert [line.partition(",")[0] for line in text.splitlines()] == looks
    with pytest.raises(SystemExit):
        call("--line", "--json")
    assert "not allowed with argument" in capsys.readouterr().err
