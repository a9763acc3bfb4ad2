"""Kill trainings, cache builds and Snakemake, and count what goes wrong.

    python tests/stress.py --train 300 --cache 100 --snakemake 20 --every 1
    make stress STRESS="--train 300 --cache 100 --snakemake 20 --every 1"

Processes are killed from outside at random times. They also kill themselves just before they open
a file to write, rename it, delete it, or make a folder; `--every 1` tries each such moment.

Each round begins in a fresh folder, is killed until it is done, and is compared with a round that
nobody interrupted. The exit status is 1 if any bytes differ, if a finished run was trained any
further, if two processes trained a run at the same time, or if files were left over.
"""

import argparse
import collections
import contextlib
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from conftest import TEACHER, copy_config, edit_yaml
from trainings import MLD, REVIEW, STUDENT
from workflow_project import TRACE, Project

from mdkd import cli
from mdkd.data.sources import scenes  # noqa: F401
from mdkd.store import PREDICTIONS, WEIGHTS
from mdkd.training import loop

SAME = (WEIGHTS, PREDICTIONS)  # files without times
FILES = {"run.json", "metrics.json", "history.jsonl", "train.log", *SAME}  # of a finished entry
COLLECT = ("snakemake", "--cores", "2", "collect")
CHANGES = {
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.truncate",
}  # audit events of Python
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
SIGNALS = (signal.SIGKILL, signal.SIGTERM)
PARTS = ("config", "cache", "store", "results")  # of a project
MOST_KILLS = 6  # of one round; then it runs to its end


@dataclass
class Counts:
    """What happened in all rounds of one kind."""

    rounds: int = 0
    kills: int = 0
    before_the_end: int = 0  # kills that hit a process that was not done
    steps: int = 0
    after_finish: int = 0  # steps of runs that were finished
    two_at_once: int = 0  # runs that two processes trained at the same time
    other_bytes: int = 0
    left_over: int = 0
    errors: collections.Counter = field(default_factory=collections.Counter)

    @property
    def wrong(self) -> int:
        found = self.after_finish + self.two_at_once + self.other_bytes + self.left_over
        return found + self.errors.total()


def kill_before_change(number: int, folder: Path) -> None:
    """Kill this process just before its n-th change of a file below a folder."""
    left = number

    def watch(event: str, arguments: tuple) -> None:
        nonlocal left
        if event in CHANGES or (event == "open" and arguments[2] & WRITING):
            place = arguments[0] if isinstance(arguments[0], str | os.PathLike) else "/"
            if folder in Path(os.path.abspath(place)).parents:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


class Child:
    """A verb of the command line in a forked process: Python and torch are loaded already."""

    def __init__(self, folder: Path, arguments: list[str], die_before: int = 0):
        self.log = folder / "log.txt"
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.chdir(folder)
                log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(log, 1)
                os.dup2(log, 2)
                sys.stderr = os.fdopen(2, "w", buffering=1)
                logging.getLogger().handlers.clear()
                if die_before:
                    kill_before_change(die_before, folder)
                status = cli.main(arguments)
            except SystemExit as error:
                status = error.code
            finally:
                os._exit(status)

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def kill_until_done(begin, seconds: float, counts: Counts, rng: random.Random) -> None:
    """Begin the process again and again, and kill it `MOST_KILLS` times at most."""
    for attempt in range(MOST_KILLS + 1):
        child = begin()
        if attempt < MOST_KILLS:
            time.sleep(rng.uniform(0, 1.1) * seconds)
            os.kill(child.pid, rng.choice(SIGNALS))
            counts.kills += 1
        status = child.wait()
        if status == 0:
            return
        counts.before_the_end += 1
        if status not in {-signal.SIGKILL, -signal.SIGTERM, 143}:
            counts.errors[child.log.read_text().splitlines()[-1]] += 1
    if status:
        counts.errors["never done"] += 1


def entries(folder: Path, path: str = "") -> dict[str, dict[str, bytes]]:
    """The files of all finished entries that every training must make alike."""
    return {
        str(file.parent.relative_to(folder)): {n: (file.parent / n).read_bytes() for n in SAME}
        for file in (folder / "store" / path).rglob("run.json")
    }


def check(folder: Path, expected: dict[str, dict[str, bytes]], counts: Counts) -> None:
    """Compare the finished entries in a folder, and look at the trace of all steps."""
    found = entries(folder)
    counts.other_bytes += sum(found.get(name) != files for name, files in expected.items())
    for name in found:
        extra = {file.name for file in (folder / name).iterdir()} - FILES
        counts.left_over += len(extra)
        if extra:
            print(f"left over in {name}: {sorted(extra)}")
    trace = folder / "steps.txt"
    processes = collections.defaultdict(list)
    for line in trace.read_text().splitlines() if trace.exists() else ():
        entry, pid, finished, *_ = line.split()
        counts.steps += 1
        counts.after_finish += finished == "True"
        if pid not in processes[entry][-1:]:
            processes[entry].append(pid)
    counts.two_at_once += sum(len(pids) > len(set(pids)) for pids in processes.values())


def copy(source: Path, target: Path, *parts: str) -> None:
    for part in parts:
        if (source / part).exists():
            shutil.copytree(source / part, target / part, dirs_exist_ok=True)


def trainings(base: Path, rounds: int, rng: random.Random, found: dict[str, Counts]) -> None:
    """`mdkd train` and `mdkd cache`, killed and begun again."""
    origin = base / "origin"
    copy_config(origin / "config")
    for verb, target in (("cache", "scenes"), ("train", TEACHER)):
        assert Child(origin, [verb, target]).wait() == 0, (origin / "log.txt").read_text()
    for path in (STUDENT, MLD, REVIEW):
        counts = found[f"mdkd train {path}"] = Counts()
        whole = base / "whole"
        copy(origin, whole, "config", "cache", "store")
        started = time.monotonic()
        assert Child(whole, ["train", path]).wait() == 0, (whole / "log.txt").read_text()
        seconds, expected = time.monotonic() - started, entries(whole)
        for _ in range(rounds):
            folder = base / "round"
            copy(origin, folder, "config", "cache", "store")
            minutes = rng.choice((0, 10))
            edit_yaml(
                folder / "config" / "config.yaml",
                lambda c, minutes=minutes: c.update(checkpoint_minutes=minutes),
            )
            kill_until_done(lambda: Child(folder, ["train", path]), seconds, counts, rng)  # noqa: B023
            assert Child(folder, ["train", path]).wait() == 0  # has nothing to do
            check(folder, expected, counts)
            counts.rounds += 1
            shutil.rmtree(folder)
        shutil.rmtree(whole)


def caches(base: Path, rounds: int, rng: random.Random, found: dict[str, Counts]) -> None:
    """`mdkd cache` of 600 images, with one process and with two."""

    def content(folder: Path) -> dict[str, bytes]:
        files = (folder / "cache" / "smoke" / "scenes").iterdir()
        return {file.name: file.read_bytes() for file in files}

    counts, folder = found.setdefault("mdkd cache", Counts()), base / "round"
    for jobs in ("1", "2"):
        command = ["cache", "scenes", "--jobs", jobs]

        def begin(command=command):
            (folder / "config").exists() or copy_config(folder / "config")
            sizes = {"scenes": {"train": 400, "test": 200}}
            edit_yaml(folder / "config/protocols/smoke.yaml", lambda p: p.update(datasets=sizes))
            return Child(folder, command)

        started = time.monotonic()
        assert begin().wait() == 0, (folder / "log.txt").read_text()
        seconds, expected = time.monotonic() - started, content(folder)
        for _ in range(-(-rounds // 2)):
            shutil.rmtree(folder)
            kill_until_done(begin, seconds, counts, rng)
            counts.other_bytes += content(folder) != expected
            counts.rounds += 1
        shutil.rmtree(folder)


def crash_points(base: Path, every: int, rng: random.Random, found: dict[str, Counts]) -> None:
    """Verbs that kill themselves at every change of a file, and are then run again."""
    origin = base / "origin"
    copy_config(origin / "config")
    edit_yaml(origin / "config/config.yaml", lambda c: c.update(seeds=[0], checkpoint_minutes=0))
    experiment = origin / "config/experiments/comparison.yaml"
    pair = {"dataset": "scenes", "teacher": "resnet20", "student": "resnet8"}
    edit_yaml(experiment, lambda e: e.update(methods=["vanilla", "mld"], pairs=[pair]))
    verbs = [["cache", "scenes", "--jobs", "1"]]
    verbs += [["train", path] for path in (TEACHER, STUDENT, MLD, REVIEW)]
    verbs += [["report", "table", "comparison"], ["report", "figure", "comparison"]]
    for verb in verbs:
        counts, whole = Counts(), base / "whole"
        found[f"each change: mdkd {' '.join(verb)}"] = counts
        copy(origin, whole, *PARTS)
        assert Child(whole, verb).wait() == 0, (whole / "log.txt").read_text()
        number = rng.randint(1, every)
        while True:
            folder = base / "round"
            copy(origin, folder, *PARTS)
            (folder / "steps.txt").unlink(missing_ok=True)
            status = Child(folder, verb, die_before=number).wait()
            if status == 0:  # it has no further change
                break
            counts.rounds += 1
            counts.kills += 1
            counts.before_the_end += status == -signal.SIGKILL
            if Child(folder, verb).wait():
                counts.errors[(folder / "log.txt").read_text().splitlines()[-1]] += 1
            counts.other_bytes += _content(folder) != _content(whole)
            check(folder, {}, counts)
            shutil.rmtree(folder)
            number += every
        shutil.rmtree(folder)
        shutil.rmtree(origin)
        whole.rename(origin)  # the next verb needs what this one made


def _content(folder: Path) -> dict[str, bytes]:
    """All files that must not depend on what was interrupted; a record contains times."""
    files = [f for part in PARTS for f in (folder / part).rglob("*") if f.is_file()]
    varying = {"run.json", "history.jsonl", "train.log", "lock"}
    return {str(f.relative_to(folder)): f.read_bytes() for f in files if f.name not in varying}


def processes_in(folder: Path) -> list[int]:
    """Processes whose working directory is this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.joinpath("cwd").readlink() == folder:
                found.append(int(process.name))
        except OSError:
            pass
    return found


def workflows(base: Path, rounds: int, rng: random.Random, found: dict[str, Counts]) -> None:
    """Snakemake, killed with its jobs or alone, while its job lives on."""
    (base / "project").mkdir()
    origin = Project(base / "project")
    edit_yaml(origin.folder / "config/config.yaml", lambda c: c.update(seeds=[0]))
    experiment = origin.folder / "config/experiments/comparison.yaml"
    edit_yaml(experiment, lambda e: e.update(methods=["vanilla", "mld"]))
    origin.trace()
    whole, folder = origin.copy(base / "whole"), base / "round"
    started = time.monotonic()
    whole.begin(*COLLECT).wait()
    seconds, expected = time.monotonic() - started, entries(whole.folder)
    assert len(expected) == 3, (whole.folder / "log.txt").read_text()
    for name, group in (("snakemake with its jobs", True), ("snakemake alone", False)):
        counts = found[name] = Counts()
        for _ in range(-(-rounds // 2)):
            _kill_snakemake_until_done(origin.copy(folder), seconds, group, counts, rng)
            check(folder, expected, counts)
            published = list((folder / "results").rglob("runs/**/*.json"))
            counts.left_over += len(published) != len(expected)
            counts.rounds += 1
            shutil.rmtree(folder)


def _kill_snakemake_until_done(
    project: Project, seconds: float, group: bool, counts: Counts, rng: random.Random
) -> None:
    for attempt in range(MOST_KILLS):
        process = project.begin(*COLLECT)
        if attempt < MOST_KILLS - 1:
            time.sleep(rng.uniform(0.1, 1.0) * seconds)
            (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
            counts.kills += 1
        status = process.wait()
        counts.before_the_end += status == -signal.SIGKILL
        if status == 0:
            break
        if status != -signal.SIGKILL:
            text = (project.folder / "log.txt").read_text()
            counts.errors[text.splitlines()[-1]] += 1
            print(text[-3000:])
        assert project.begin("snakemake", "--unlock").wait() == 0
    if status:
        counts.errors["never done"] += 1
    while processes_in(project.folder):  # jobs that live on
        time.sleep(0.1)


def table(found: dict[str, Counts]) -> str:
    columns = ("rounds", "kills", "before_the_end", "steps", "after_finish", "two_at_once")
    columns += ("other_bytes", "left_over")
    lines = [" | ".join(["what", *(c.replace("_", " ") for c in columns), "errors"])]
    for name, counts in found.items():
        numbers = [str(getattr(counts, column)) for column in columns]
        lines.append(" | ".join([name, *numbers, str(dict(counts.errors) or "none")]))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--train", type=int, default=12, help="rounds of `mdkd train`")
    parser.add_argument("--cache", type=int, default=4, help="rounds of `mdkd cache`")
    parser.add_argument("--snakemake", type=int, default=2, help="rounds of snakemake")
    parser.add_argument("--every", type=int, default=10, help="n-th change of a file; 0: none")
    parser.add_argument("--seed", type=int, help="of the random times; another one each time")
    args = parser.parse_args()
    seed = time.time_ns() % 10**6 if args.seed is None else args.seed
    print(f"seed {seed}", flush=True)
    rng, found = random.Random(seed), {}
    exec(TRACE, vars(loop))
    kinds = {trainings: -(-args.train // 3), caches: args.cache, workflows: args.snakemake}
    kinds[crash_points] = args.every
    with contextlib.suppress(KeyboardInterrupt):  # then the table of what has been done is printed
        for kind, rounds in kinds.items():
            with tempfile.TemporaryDirectory(prefix="stress-") as base:
                if rounds:
                    kind(Path(base), rounds, rng, found)
    print(table(found))
    return int(any(counts.wrong for counts in found.values()))


if __name__ == "__main__":
    raise SystemExit(main())
