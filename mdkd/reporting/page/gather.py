"""What the page shows, as JSON: runs, groups of runs that differ by their seed, pairs of networks.

Metrics and average precisions are whole numbers here: hundredths of a percent, so 6543 is 65.43 %.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from mdkd import __version__, records
from mdkd.artefacts import Artefact
from mdkd.errors import UserError
from mdkd.metrics import METRICS
from mdkd.plan import Plan
from mdkd.reporting import summary
from mdkd.reporting.page import curves, matrices
from mdkd.reporting.page.differences import MANY, differences, hundredths
from mdkd.reporting.statistics import FEWEST_SEEDS
from mdkd.results import Results
from mdkd.runpath import DEFAULT, SUPERVISED_METHOD, RunPath
from mdkd.store import RunState

Group = str  # the path of a run without its seed
NO_TEACHER = "no teacher"  # how the page calls a student that learns from the targets alone


@dataclass(frozen=True)
class Finished:
    """A run that is done."""

    identity: RunPath
    record: dict[str, Any]
    scores: dict[str, Any]  # of `mdkd.score`
    values_V: np.ndarray  # metrics in their order, then average precisions by label; fractions


@dataclass
class PairOfNetworks:
    """What is compared with each other: the groups of one teacher and one student."""

    dataset: str
    label: str
    teacher: Group
    student: Group | None  # the row of the student without a teacher
    members: list[Group]  # the student without a teacher, then methods, in the order of the tables
    main: list[Group]  # those of the first table


def content(plan: Plan, results: Results) -> dict[str, Any]:
    """All that is embedded in the page.

    Raises:
        UserError: a file of a run that is done is damaged.
    """
    every = summary.with_other_seeds(results)
    planned = _pairs(plan)
    found = dict(_finished(every, planned))
    members: dict[Group, list[str]] = {}
    for path in found:
        members.setdefault(group_of(path), []).append(path)
    index = {path: i for i, path in enumerate(found)}
    pairs = [pair for pair in planned if set(pair.members) & members.keys()]
    datasets = _datasets(found)
    dependencies = matrices.matrices(every, members, _named_labels(plan))
    for name, facts in datasets.items():
        facts["dependencies"] = dependencies.datasets.get(name)
    names = _names(plan)
    groups = {
        group: _group(group, [found[path] for path in paths], names)
        | {"runs": [index[path] for path in paths], "matrices": dependencies.groups.get(group)}
        for group, paths in members.items()
    }
    order = {group: i for i, group in enumerate(groups)}
    state_of = {path: results.state(path) for path in results.runs}
    states, done = [*state_of.values()], {p for p, state in state_of.items() if state == "done"}
    return {
        "protocol": plan.protocol,
        "version": __version__,
        "validation": len(done - found.keys()),
        "unplanned": len(found.keys() - results.runs.keys()),
        "states": {state: states.count(state) for state in get_args(RunState) if state in states},
        "fewest_seeds": FEWEST_SEEDS,  # of an interval
        "metrics": [{"name": name, "note": metric.note} for name, metric in METRICS.items()],
        "datasets": datasets,
        "runs": [_run(path, run, order[group_of(path)]) for path, run in found.items()],
        "groups": list(groups.values()),
        "pairs": [_pair(pair, order, members, found) for pair in pairs],
        "curves": curves.curves(every, list(found)),
    }


def group_of(path: str) -> Group:
    """The path of a run without its seed.

    >>> group_of("supervised/scenes/resnet8/seed0")
    'supervised/scenes/resnet8'
    """
    return path.rpartition("/")[0]


def _finished(results: Results, pairs: list[PairOfNetworks]) -> Iterator[tuple[str, Finished]]:
    """The runs that are done: in the order of the pairs, and the seeds of a group in theirs."""
    groups = dict.fromkeys(group for pair in pairs for group in (pair.teacher, *pair.members))
    place = {group: i for i, group in enumerate(groups)}

    def order(path: str) -> tuple[int, int]:
        group = group_of(path)
        return place[group], results.runs[path].seed

    for path in sorted((p for p in results.runs if group_of(p) in place), key=order):
        scores = results.scores(path)
        if scores is None:
            continue
        record = results.record(path)
        of_labels = scores["average_precision"]
        values = [scores["metrics"][name] for name in METRICS]
        values += [of_labels.get(label, np.nan) for label in record["classes"]]
        yield path, Finished(RunPath.parse(path), record, scores, np.array(values, float))


def _datasets(found: dict[str, Finished]) -> dict[str, dict[str, Any]]:
    """The labels of each data set; all of its runs have the same."""
    datasets: dict[str, dict[str, Any]] = {}
    for path, run in found.items():
        labels = run.record["classes"]
        known = datasets.setdefault(run.identity.dataset, {"labels": labels})["labels"]
        if labels != known:
            raise UserError(f"{path}: its labels differ from those of other runs; train it again")
    return datasets


def _run(path: str, run: Finished, group: int) -> dict[str, Any]:
    record, environment = run.record, run.record["environment"]
    revision = environment["git_revision"] or ""
    speed = record["images_per_s"]  # None: nothing was trained
    return {
        "group": group,
        "path": path,
        "seed": run.identity.seed,
        "protocol": record["run"]["protocol"],
        "values": hundredths(run.values_V[: len(METRICS)]),
        "epochs": record["run"]["recipe"]["epochs"] if speed else 0,
        "seconds": round(record["wall_s"], 1),
        "speed": speed and round(speed, 1),
        "memory": round(record["peak_memory_bytes"] / 1e6),
        "device": environment["device"],
        "cpu": environment["cpu"],
        "revision": revision[:12] + ("+" if revision.endswith("+") else ""),
    }


def _group(group: Group, runs: list[Finished], names: dict[Group, str]) -> dict[str, Any]:
    """A group with the means and standard deviations (n - 1) of its runs."""
    identity = runs[0].identity
    values_RV = np.stack([run.values_V for run in runs])
    means_V = values_RV.mean(axis=0)  # NaN for a label that has no average precision in a run
    spread_V = values_RV.std(axis=0, ddof=1) if len(runs) > 1 else np.full_like(means_V, np.nan)
    count = len(METRICS)
    return {
        "id": records.digest(group)[:6],  # the same in other versions of the page
        "dataset": identity.dataset,
        "teacher": identity.teacher,
        "student": identity.arch,
        "method": identity.method,
        "variant": identity.variant,
        "label": names.get(group, identity.method),
        "mean": hundredths(means_V[:count]),
        "sd": hundredths(spread_V[:count]),
        "ap": hundredths(means_V[count:]),
    }


def _names(plan: Plan) -> dict[Group, str]:
    """How tables call a group: the label of its row.

    A point of a sensitivity study or a curve is called after its method and variant.
    """
    names: dict[Group, str] = {}
    methods: dict[str, str] = {}
    for artefact in _in_order(plan):
        for row in artefact.rows:
            for path in _paths(row.cells):
                identity = RunPath.parse(path)
                is_default = identity.variant == DEFAULT
                if row.x is not None or (row.role != "method" and is_default):
                    continue  # a network without a teacher may be the student or the teacher
                names.setdefault(group_of(path), row.label)
                if is_default:
                    methods.setdefault(identity.method, row.label)
    methods[SUPERVISED_METHOD] = NO_TEACHER
    for path in plan.runs:
        identity = RunPath.parse(path)
        label = methods.get(identity.method, identity.method)
        plain = identity.method == SUPERVISED_METHOD and identity.variant == DEFAULT
        names.setdefault(group_of(path), label if plain else f"{label} ({identity.variant})")
    return names


def _in_order(plan: Plan) -> list[Artefact]:
    """The artefacts that are made by default first, and comparisons before others.

    Those of the validation split are left out, and so are runs that no other one needs: the page
    shows metrics of the test split, which must select nothing.
    """

    def key(artefact: Artefact) -> tuple[bool, bool]:
        return artefact.name not in plan.selected, artefact.kind != "comparison"

    of_test = (artefact for artefact in plan.artefacts.values() if artefact.split == "test")
    return sorted(of_test, key=key)


def _paths(cells: Iterable[Any]) -> Iterator[str]:
    return (path for cell in cells for path in cell.runs)


def _pairs(plan: Plan) -> list[PairOfNetworks]:
    """Every pair of networks of the plan, with its groups in the order of the tables."""
    pairs: dict[tuple, PairOfNetworks] = {}
    for artefact in _in_order(plan):
        for i, (pair, label) in enumerate(zip(artefact.pairs, artefact.columns, strict=True)):
            rows: dict[str, list[Group]] = {"teacher": [], "student": [], "method": []}
            for row in artefact.rows:
                groups = dict.fromkeys(map(group_of, row.cells[i].runs))
                rows[row.role] += [g for g in groups if g not in rows[row.role]]
            own = rows["student"] + rows["method"]
            student = next(iter(rows["student"]), None)
            first = PairOfNetworks(pair.dataset, label, rows["teacher"][0], student, [], own)
            known = pairs.setdefault(pair.names(), first)
            known.student = known.student or student
            known.members += [group for group in own if group not in known.members]
    return list(pairs.values())


def _pair(
    pair: PairOfNetworks,
    order: dict[Group, int],
    members: dict[Group, list[str]],
    found: dict[str, Finished],
) -> dict[str, Any]:
    """A pair of networks with the differences of its methods. Groups are given by number."""
    compared = [group for group in pair.members if group in order]
    by_seed = [
        {found[path].identity.seed: found[path].values_V for path in members[group]}
        for group in compared
    ]
    references = [
        i
        for i, group in enumerate(compared)
        if len(compared) <= MANY
        or group in pair.main
        or RunPath.parse(members[group][0]).variant == DEFAULT
    ]
    return {
        "id": records.digest([pair.dataset, pair.label])[:6],
        "label": pair.label,
        "dataset": pair.dataset,
        "teacher": order.get(pair.teacher),
        "student": None if pair.student is None else order.get(pair.student),
        "members": [order[group] for group in compared],
        "main": [order[group] for group in pair.main if group in order],
        "references": references,
        "differences": differences(by_seed, references),
    }


def _named_labels(plan: Plan) -> dict[str, list[str]]:
    """The labels of each data set that experiments ask to see, as far as they name them."""
    named: dict[str, list[str]] = {}
    for artefact in plan.artefacts.values():
        if artefact.kind == "matrices":
            for pair in artefact.pairs:
                named.setdefault(pair.dataset, []).extend(artefact.options["labels"])
    return named
