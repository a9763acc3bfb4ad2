"""Entries of the store, made by hand from the trained teacher of the tests."""

import dataclasses
import json
import shutil

from conftest import TEACHER

from mdkd import keys, records, store


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
