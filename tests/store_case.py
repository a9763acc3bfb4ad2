"""Entries of the store, made by hand from the trained teacher of the tests, and `mdkd store`."""

import dataclasses
import json
import shutil

import pytest
from conftest import TEACHER, edit_yaml

from mdkd import keys, records, store
from mdkd.cli import main

METHODS = ["vanilla", "mld"]


def finish(bench, path):
    """Give a run an entry as if it had been trained: the files of the teacher, a record of its own.

    Returns the run.
    """
    run = bench.resolve(path)
    source, own, teacher = bench.entry(TEACHER), store.entry(run, bench.layout), None
    shutil.copytree(source.folder, own.folder)
    if run.teacher is not None:
        teacher = store.teacher_entry(run, bench.layout).record()["weights_sha256"]
    facts = {"run": dataclasses.asdict(run), "planned": keys.planned(run), "teacher": teacher}
    records.write_json(own.folder / "run.json", source.record() | facts)
    return run


def rewrite(file, **facts):
    """Change facts of a record."""
    records.write_json(file, json.loads(file.read_text(encoding="utf-8")) | facts)


def listing(folder):
    """Every file below a folder, with its content and its time."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {
        file.relative_to(folder).as_posix(): (file.read_bytes(), file.stat().st_mtime_ns)
        for file in files
        if not {".snakemake", "__pycache__"} & set(file.parts)
    }


@pytest.fixture
def kept(bench, monkeypatch):
    """A bench whose plans have the teacher, a student and a distilled run; it is the directory."""
    config = bench.base / "config"
    shutil.copytree(bench.spec.folder, config)
    edit_yaml(config / "config.yaml", lambda c: c.update(seeds=[0]))
    pair = {"dataset": "scenes", "teacher": "resnet20", "student": "resnet8"}
    experiment = config / "experiments" / "comparison.yaml"
    edit_yaml(experiment, lambda e: e.update(methods=METHODS, pairs=[pair]))
    for file in (config / "protocols").glob("*.yaml"):
        if file.stem not in {"smoke", "quick"}:
            file.unlink()
    monkeypatch.chdir(bench.base)
    return bench


@pytest.fixture
def keep(kept, capsys):
    """Run a verb of `mdkd store`; returns the exit status and all that was printed."""

    def call(*arguments):
        capsys.readouterr()
        status = main(["store", *arguments])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return call
