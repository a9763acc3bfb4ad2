"""`mdkd list`: what there is, one line each with its label, its source and what it needs."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mdkd import keys, registry
from mdkd.methodfiles import PACKAGE
from mdkd.plan import Plan
from mdkd.reporting.status_listing import columns
from mdkd.resolve import resolve_root, weights_of
from mdkd.results import Results
from mdkd.spec import Specification
from mdkd.yamlfiles import read_yaml

SOURCES = "mdkd.data.sources"
BUILDERS = {"": "timm", "tv": "torchvision", "cifar": "nothing"}  # by the prefix of a network

Item = dict[str, Any]  # name, label, source, needs (list of texts), and facts of the kind


def methods(spec: Specification, plan: Plan, results: Results) -> list[Item]:
    """The methods: what of the networks they read, and how many labels they need."""
    found = []
    for name, method in spec.methods.items():
        needs: list[str] = [*method.needs]
        least = max(method.labels_needed(method.settings).values(), default=0)
        needs += [f"{least} labels"] if least else []
        if reason := method.unavailable(spec.protocol.head.embeds_labels()):
            needs.append(f"not here: {reason}")
        source = _shown(registry.file(PACKAGE, name, ".yaml").with_suffix(".py"))
        found.append(_item(name, method.label, source, needs, settings=method.settings))
    return found


def networks(spec: Specification, plan: Plan, results: Results) -> list[Item]:
    """The backbones, and what builds them."""
    source, found = str(spec.folder / "architectures.yaml"), []
    for name, arch in spec.archs.items():
        prefix = arch.net.partition(":")[0] if ":" in arch.net else ""
        needs = [BUILDERS.get(prefix, arch.net)]  # a network of one's own: its module
        if arch.checkpoint:
            needs.append(f"checkpoint: {arch.checkpoint}")
        elif weights := weights_of(spec, name):
            needs.append(f"weights: {weights}")
        found.append(_item(name, arch.label, source, needs, net=arch.net))
    return found


def datasets(spec: Specification, plan: Plan, results: Results) -> list[Item]:
    """The data sets: their files, which those that the program draws do not need."""
    shared = read_yaml(spec.folder / "datasets.yaml") or {}
    found = []
    for name, dataset in spec.datasets.items():
        code = registry.load(SOURCES, dataset.source)
        cached = (results.cache(name) / "meta.json").exists()
        if getattr(code, "DRAWN", False):
            needs = ["nothing"]
        else:
            root = resolve_root(spec, name)
            needs = [f"{root}{'' if root.is_dir() else ' (no such folder)'}"]
        needs += ["cached"] if cached else []
        owners = [e for e, experiment in spec.experiments.items() if name in experiment.datasets]
        file = "datasets" if name in shared or not owners else f"experiments/{owners[0]}"
        source = f"{spec.folder / file}.yaml, {_shown(Path(str(code.__file__)))}"
        found.append(_item(name, dataset.label, source, needs, cached=cached))
    return found


def experiments(spec: Specification, plan: Plan, results: Results) -> list[Item]:
    """The experiments: the data sets and the number of runs that they need."""
    found = []
    for name, artefact in plan.artefacts.items():
        used = list(dict.fromkeys(pair.dataset for pair in artefact.pairs))
        runs = list(plan.only([name]).runs)
        needs = [*used, f"{len(runs)} runs"]
        needs += [artefact.unavailable] if artefact.unavailable else []
        source = str(spec.folder / "experiments" / f"{name}.yaml")
        facts = {"kind": artefact.kind, "targets": artefact.targets, "runs": len(runs)}
        default = name in plan.selected
        found.append(_item(name, artefact.title, source, needs, **facts, default=default))
    return found


def runs(spec: Specification, plan: Plan, results: Results) -> list[Item]:
    """The planned runs: their state, as label the mAP of those that are done, and their teacher."""
    found = []
    for path, run in plan.runs.items():
        state = results.state(path)
        scores = results.scores(path) if state == "done" else None
        mean_ap = scores["metrics"]["mAP"] if scores else None
        label = state if mean_ap is None else f"{state}, mAP {100 * mean_ap:.2f}"
        needs = [run.teacher] if run.teacher else [run.dataset.name]
        facts = {"state": state, "mAP": mean_ap, "key": keys.key(run)}
        found.append(_item(path, label, str(results.run(path)), needs, **facts))
    return found


KINDS: dict[str, Callable[[Specification, Plan, Results], list[Item]]] = {
    "methods": methods,
    "networks": networks,
    "datasets": datasets,
    "experiments": experiments,
    "runs": runs,
}


def listing(items: list[Item]) -> str:
    """One line per item: name, label, needs, and last the source, which may be long."""
    rows = [
        (
            item["name"],
            item["label"],
            f"needs {', '.join(item['needs']) or 'nothing'}",
            _place(item),
        )
        for item in items
    ]
    return "\n".join(columns(rows)) if rows else "none"


def _place(item: Item) -> str:
    """The source of an item; the folder of a run that is to do is not there yet."""
    return "" if item.get("state") == "to do" else item["source"]


def _item(name: str, label: str, source: str, needs: list[str], **facts: Any) -> Item:
    return {"name": name, "label": label, "source": source, "needs": needs, **facts}


def _shown(file: Path) -> str:
    """A file as people know it: below the package, below the working directory, or absolute."""
    for base, head in ((Path(registry.__file__).parent, Path("mdkd")), (Path(os.getcwd()), Path())):
        if file.is_relative_to(base):
            return str(head / file.relative_to(base))
    return str(file)
