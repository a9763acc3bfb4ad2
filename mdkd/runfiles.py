"""Files that hold one run, and the check that the parts of a run agree with each other.

A run file is YAML or JSON: the keys of `mdkd.config.Run`, or a record with them under ``run``.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mdkd import methodfiles, records, registry
from mdkd.checkpoints import digest
from mdkd.config import Dataset, Run, parse
from mdkd.data.sources import facts
from mdkd.errors import UserError
from mdkd.runpath import DEFAULT, RunPath, changes_of, written
from mdkd.yamlfiles import read_yaml

SUFFIXES = (".yaml", ".yml", ".json")
FIX = "give the path of a run, or of a file with a resolved run: run.json of a finished run"


def read(file: Path) -> Run:
    """The checked run of a run file or of a record.

    Raises:
        UserError: the file is wrong, or parts of the run contradict each other.
    """
    if file.suffix == ".json":  # in YAML, 1e-05 is text
        content = records.read_json(file, FIX, damaged="correct the file")
    else:
        content = read_yaml(file, FIX)
    where = str(file)
    if isinstance(content, dict) and isinstance(content.get("run"), dict):
        content, where = content["run"], f"{file}: run"  # a record: train the same run again
    run = parse(Run, content, where)
    _check_path(run, where)
    check_settings(run, methodfiles.read(run.method.name), where)
    return _complete(run, where)


def _complete(run: Run, where: str) -> Run:
    """The run as a plan has it: settings, options, and the digest of its initial weights."""
    method, place = methodfiles.read(run.method.name), f"{where}: method: settings"
    options = facts(check_options(run.dataset, f"{where}: dataset"))
    weights_sha256 = run.weights_sha256
    if run.weights_file and weights_sha256 is None:  # written by hand
        weights_sha256 = digest(Path(run.weights_file), f"{where}: weights")
    return replace(
        run,
        weights_sha256=weights_sha256,
        method=replace(run.method, settings=method.complete(run.method.settings, place)),
        dataset=replace(run.dataset, options=options),
    )


def check_settings(run: Run, method: methodfiles.MethodFile, where: str) -> None:
    """Check the revision and settings of a run's method, and what the variant of its path names."""
    if run.method.revision != method.revision:
        what = f"{run.method.revision}, but the code has revision {method.revision}"
        raise UserError(f"{where}: method: revision: {what}; train the run of a plan instead")
    settings = method.complete(run.method.settings, f"{where}: method: settings")
    given = run.nameable | settings
    if (variant := RunPath.parse(run.path).variant) != DEFAULT:
        try:
            named = changes_of(variant, given)
        except ValueError:
            named = {}
        if written(named) != variant or any(given[key] != named[key] for key in named):
            hint = f"write {written({key: given[key] for key in named})} in its place"
            hint = hint if named else f"it may name {', '.join(given)}"
            raise UserError(f"{where}: path: '{variant}' contradicts the other keys; {hint}")


def check_options(dataset: Dataset, where: str) -> Any:
    """The checked options of a data set, as its source declares them."""
    try:
        source = registry.load("mdkd.data.sources", dataset.source)
    except UserError as error:
        raise UserError(f"{where}: source: {error}") from None
    return parse(source.Options, dataset.options, f"{where}: options")


def check_plan(runs: Mapping[str, Run], datasets: Mapping[str, Dataset], where: str) -> None:
    """Check the runs of a plan against each other, and each against itself."""
    files: dict[str, methodfiles.MethodFile] = {}
    for name, dataset in datasets.items():
        check_options(dataset, f"{where}: datasets: {name}")
    for path, run in runs.items():
        place = f"{where}: runs: {path}"
        _check_path(run, place)
        if run.method.name not in files:
            files[run.method.name] = methodfiles.read(run.method.name)
        check_settings(run, files[run.method.name], place)
        if run.path != path:
            raise UserError(f"{place}: path: '{run.path}' is another one")
        if datasets.get(run.dataset.name) != run.dataset:
            raise UserError(f"{place}: dataset: not that of the plan")
        if run.teacher is not None and run.teacher not in runs:
            raise UserError(f"{place}: teacher: '{run.teacher}' is not in the plan")


def _check_path(run: Run, where: str) -> None:
    try:
        path = RunPath.parse(run.path)
    except UserError as error:
        raise UserError(f"{where}: path: {error}") from None
    expected: dict[str, Any] = {"dataset": run.dataset.name, "arch": run.arch}
    expected |= {"method": run.method.name, "seed": run.seed, "teacher": _teacher(run, where)}
    if replace(path, **expected) != path:
        right = replace(path, **expected)
        raise UserError(f"{where}: path: '{run.path}' contradicts the other keys; write {right}")
    if (run.teacher is None) != (run.teacher_key is None):
        raise UserError(f"{where}: teacher_key: give it with teacher, and only with teacher")


def _teacher(run: Run, where: str) -> str | None:
    """The network of a run's teacher."""
    if run.teacher is None:
        return None
    try:
        teacher = RunPath.parse(run.teacher)
    except UserError as error:
        raise UserError(f"{where}: teacher: {error}") from None
    plain = RunPath(run.dataset.name, teacher.arch, teacher.seed)
    if teacher != plain:
        raise UserError(f"{where}: teacher: '{run.teacher}' cannot teach this run; write {plain}")
    return teacher.arch
