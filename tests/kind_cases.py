"""Every kind of artefact with hand-made records of its runs: what the contract of kinds is about.

A situation says what has become of the runs, and how the artefact looks. Within a situation all
kinds share their runs: two pairs of networks, two seeds, and rows with the labels below.
"""

import json
import zlib
from dataclasses import MISSING, dataclass, fields, replace

import numpy as np
import yaml
from conftest import copy_config, edit_yaml, facts_of
from reporting_cases import CPU, fail, write_predictions

from mdkd import attention, methodfiles, records, score, store
from mdkd.attention import Maps
from mdkd.data.build import build
from mdkd.data.cache import open_cache
from mdkd.kinds import KINDS
from mdkd.plan import make_plan
from mdkd.resolve import resolve_dataset
from mdkd.results import Results
from mdkd.runpath import SUPERVISED_METHOD, RunPath
from mdkd.spec import Specification

# The smallest options of the kinds that require some. A new kind with required ones needs a line.
OPTIONS = {
    "sensitivity": {"method": "mdkd", "settings": ["bd2", "id2"], "points": [0, 1]},
    "sequences": {"sequences": [["person", "parking meter", "dog"], ["dog", "person"]]},
    "curve": {"x": "teacher"},
    "matrices": {"labels": ["person", "dog", "parking meter"]},
}
SMALL = {"resamples": 20}  # for speed, in every kind that has such an option

DATASET = "scenes_val"  # it has a validation split
IMAGES, EPOCHS, SIZE = 40, 4, 8  # of the test split; of a training; pixels of an attention map
CLASSES = ["person", "car", "dog", "parking meter", "chair", "cup", "tv"]
UNSEEN = "tv"  # no test image has it
PAIRS = [("resnet8x2", "resnet8"), ("resnet14", "wrn10_1")]
SEEDS = [0, 1]
# The labels of the rows besides the teacher's and the student's. A situation may befall all runs
# of LOST and one of PARTLY; TIED has the numbers of FIRST where there are ties.
FIRST, TIED, PARTLY, LOST, CANNOT = LABELS = ["First", "Tied", "Partly", "Lost", "Cannot"]
REASON = "needs what this network lacks"
TITLE, NOTE = "Kinds compared", "A note of the experiment."
# Special in LaTeX, HTML, Markdown or figures.
SPECIAL = "a_b & 50% #1 {x} ~ ^ \\y $5 $6 *s* <script>z</script> | \"q\" 'r'"


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What befalls the runs of LOST, and one of PARTLY; and how the artefact looks."""

    state: str = "done"  # of the runs that are hit
    everything: bool = False  # whether all runs are hit
    changed: bool = False  # whether the runs that are hit have other numbers
    tied: bool = False  # whether all methods have the numbers of their teacher
    special: bool = False  # whether all names have characters that are special somewhere
    published: bool = False  # whether there are published numbers of FIRST and LOST
    columns: int = 2
    seeds: int = 2

    @property
    def names(self):
        """Every text that a user chooses, as it is in this situation."""
        texts = [*LABELS, *CLASSES, REASON, TITLE, NOTE, "Teacher", "Student"]
        return {text: f"{text} {SPECIAL}" if self.special else text for text in texts}


SITUATIONS = {
    "all done": Situation(),
    "runs missing": Situation(state="to do"),
    "one column": Situation(state="to do", columns=1),
    "runs failed": Situation(state="failed", columns=1),
    "runs of other settings": Situation(state="other settings", columns=1),
    "nothing run": Situation(state="to do", everything=True, columns=1),
    "one seed": Situation(columns=1, seeds=1),
    "other numbers": Situation(changed=True, columns=1, seeds=1),
    "ties": Situation(tied=True),
    "published numbers": Situation(state="to do", published=True, columns=1),
    "special characters": Situation(state="to do", special=True, columns=1),
}


def options_of(kind):
    """Valid options of a kind as an experiment's file has them."""
    known = {option.name: option for option in fields(KINDS[kind].options)}
    required = {name for name, option in known.items() if option.default is MISSING}
    required -= {name for name in required if known[name].default_factory is not MISSING}
    given = OPTIONS.get(kind, {})
    assert required <= set(given), (
        f"{kind}: its options {sorted(required)} are required: give small ones in OPTIONS of "
        "tests/kind_cases.py"
    )
    return {key: value for key, value in SMALL.items() if key in known} | given


def experiment(kind):
    """The content of an experiment's file with a row for each of LABELS."""
    files = methodfiles.read_all()
    methods = [name for name in files if name != SUPERVISED_METHOD]
    methods.sort(key=lambda name: not files[name].tuning)  # those that can be tuned come first
    named = zip(methods, LABELS, strict=False)
    return {
        "kind": kind,
        "title": TITLE,
        "pairs": [{"dataset": DATASET, "teacher": t, "student": s} for t, s in PAIRS],
        "methods": [SUPERVISED_METHOD, *({"method": m, "label": label} for m, label in named)],
        "metrics": ["mAP", "OF1_k", "ECE"],
        "notes": [NOTE],
        "options": options_of(kind),
    }


def renamed(content, names):
    """Options with other names of labels, however deep they are."""
    if isinstance(content, dict):
        return {key: renamed(value, names) for key, value in content.items()}
    if isinstance(content, list):
        return [renamed(value, names) for value in content]
    return names.get(content, content) if isinstance(content, str) else content


@dataclass(frozen=True)
class Case:
    """The artefacts of one situation by kind, and the records of their runs."""

    artefacts: dict
    results: Results


class Bench:
    """A plan with one artefact of every kind, and a cache of its data set."""

    def __init__(self, base):
        self.base = base
        config = copy_config(base / "config")
        data = {DATASET: {"train": 48, "test": IMAGES, "labels": len(CLASSES)}}
        change = {"datasets": data, "seeds": SEEDS}
        edit_yaml(config / "protocols" / "smoke.yaml", lambda p: p.update(change))
        edit_yaml(config / "protocols" / "smoke.yaml", lambda p: p["recipe"].update(epochs=EPOCHS))
        for kind in KINDS:
            file = config / "experiments" / f"of_{kind}.yaml"
            file.write_text(yaml.safe_dump(experiment(kind)), encoding="utf-8")
        spec = Specification(config)
        self.plan = make_plan(spec).only([f"of_{kind}" for kind in KINDS])
        self.cache = base / "cache"
        build(resolve_dataset(spec, DATASET), base / "data", self.cache, jobs=1)
        self.cases = {}

    def case(self, name):
        """The artefacts and records of a situation, made once."""
        if name not in self.cases:
            self.cases[name] = self.make(name, SITUATIONS[name])
        return self.cases[name]

    def make(self, folder, situation):
        """The artefacts of a situation, and the records of their runs in a new folder."""
        results = Results("smoke", self.base / folder, self.plan.runs)
        artefacts = {kind: self.artefact(kind, situation) for kind in KINDS}
        rows = {}
        for artefact in artefacts.values():
            rows |= {path: row for row in artefact.rows for c in row.cells for path in c.runs}
        hit = set().union(*(hit_runs(artefact) for artefact in artefacts.values()))
        hit = set(rows) if situation.everything else hit
        if not situation.special:  # the cache has the labels' own names
            results.cache(DATASET).parent.mkdir(parents=True)
            results.cache(DATASET).symlink_to(self.cache)
        split = open_cache(self.cache).splits["test"]
        targets_NC = split.targets_NC * (np.array(CLASSES) != UNSEEN)
        for path, row in rows.items():
            if path in hit and situation.state == "to do":
                continue
            if path in hit and situation.state == "failed":
                fail(results, path)
                continue
            content = content_of(path, row.role, situation.tied)
            if path in hit and situation.changed:
                content = replace(content, seed=content.seed + 1)
            write_run(results, path, content, split.ids, targets_NC.astype(np.uint8), situation)
            if path in hit and situation.state == "other settings":
                record = records.read_json(results.run(path) / "run.json")
                record["planned"]["recipe"]["epochs"] += 1
                records.write_json(results.run(path) / "run.json", record)
        for kind, artefact in artefacts.items():
            if KINDS[kind].maps:
                write_maps(artefact, results, split, situation)
        return Case(artefacts, results)

    def artefact(self, kind, situation):
        """A kind's artefact with the rows, columns and names of a situation."""
        planned, names = self.plan.artefacts[f"of_{kind}"], situation.names
        pairs = planned.pairs[: situation.columns]
        rows = []
        for row in planned.rows:
            cells = [
                replace(cell, runs=cell.runs[: situation.seeds])
                for cell in row.cells[: situation.columns]
            ]
            if situation.published and row.label in (FIRST, LOST):
                cells = [replace(cell, reported={"mAP": 0.5}) for cell in cells]
            if CANNOT in (row.label, row.panel):
                cells = [replace(cell, runs=[], unavailable=names[REASON]) for cell in cells]
            rows.append(replace(row, label=names.get(row.label, row.label), cells=cells))
        columns = planned.columns[: situation.columns]
        return replace(
            planned,
            title=names[TITLE],
            seeds=planned.seeds[: situation.seeds],
            pairs=pairs,
            columns=[f"{c} {SPECIAL}" for c in columns] if situation.special else columns,
            rows=rows,
            notes=[names[NOTE]],
            options=renamed(planned.options, names),
        )


def hit_rows(artefact):
    """The rows of which all runs are hit, and those of which one run is.

    In a study of settings also the first and the last point that is no method's default.
    """
    paths = [
        path for row in artefact.rows if row.panel is None for c in row.cells for path in c.runs
    ]
    # The rows of a panel that is one of LABELS are found by their own labels.
    points = [row for row in artefact.rows if row.panel and row.panel not in LABELS]
    points = [row for row in points if not set(row.cells[0].runs) & set(paths)]
    lost, partly = ([r for r in artefact.rows if r.label.startswith(x)] for x in (LOST, PARTLY))
    return lost + points[:1], partly + points[1:][-1:]


def hit_runs(artefact):
    lost, partly = hit_rows(artefact)
    whole = {path for row in lost for cell in row.cells for path in cell.runs}
    return whole | {path for row in partly for cell in row.cells for path in cell.runs[-1:]}


@dataclass(frozen=True)
class Content:
    """What distinguishes the records of one run from those of another."""

    skill: float  # how well it tells positive from negative images
    seed: int  # of its noise
    connectors: int


def content_of(path, role, tied):
    """Content that depends on the run alone, or on its teacher where methods are tied."""
    identity = RunPath.parse(path)
    if role == "method" and tied:
        return content_of(str(RunPath(identity.dataset, identity.teacher, 0)), "teacher", tied)
    seed = zlib.crc32(path.encode())
    skill = {"teacher": 2.5, "student": 0.5}.get(role, 1 + seed % 100 / 100)
    return Content(skill, seed, 1000 * (role == "method"))


def write_run(results, path, content, ids, targets_NC, situation):
    """All records of a run that is done."""
    folder, random = results.run(path), np.random.default_rng(content.seed)
    logits_NC = content.skill * (2.0 * targets_NC - 1) + random.normal(size=targets_NC.shape)
    digest = write_predictions(results, path, logits_NC.astype(np.float32), targets_NC, ids)
    record = {
        **facts_of(results, path),
        "classes": [situation.names[name] for name in CLASSES],
        "predictions_sha256": digest,
        "weights_sha256": f"weights {content.seed}",
        "dropped": {"train": {"missing": 0, "damaged": 1}},
        "wall_s": 100 + content.seed % 50,
        "peak_memory_bytes": 1_500_000_000,
        "parameters": {"backbone": 20_000, "head": 1_500, "connectors": content.connectors},
        "environment": CPU,
    }
    records.write_json(folder / "run.json", record)
    score.score(store.entry(results.runs[path], results))
    lines = [
        {
            "epoch": epoch,
            "losses": {"bce": 1 / epoch},
            "gradient_ratios": {"mld": 2.0 + random.random(), "bd2": 0.1, "id2": 0.2},
            "images_per_s": 50 + 100 * random.random(),
            "val_mAP": content.skill * epoch / 20 + content.seed % 10 / 1000,
        }
        for epoch in range(1, EPOCHS + 1)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "history.jsonl").write_text(text, encoding="utf-8")


def write_maps(artefact, results, split, situation):
    """Attention maps of two labels of an image in every column whose teacher is trained."""
    states_KR = np.array(
        [
            [str(attention.state(row.cells[k], results)) for row in artefact.rows]
            for k in range(len(artefact.columns))
        ]
    )
    shown = [k for k, states_R in enumerate(states_KR) if states_R[0] == "done"]
    column_P = np.repeat(np.array(shown, int), 2)
    done_PR = states_KR[column_P] == "done"
    random = np.random.default_rng(0)
    maps_PRSS = random.random((*done_PR.shape, SIZE, SIZE)).astype(np.float16)
    maps_PRSS[~done_PR] = np.nan
    labels = [situation.names[name] for name in CLASSES[:2]]
    Maps(
        basis=np.array(attention.basis(artefact, results)),
        rows_R=np.array([row.label for row in artefact.rows]),
        states_KR=states_KR,
        column_P=column_P,
        ids_P=np.array([split.ids[0]] * len(column_P)),
        labels_P=np.array(labels * len(shown)),
        errors_P=np.zeros(len(column_P), int),
        images_PSSC=random.integers(0, 256, (len(column_P), SIZE, SIZE, 3), np.uint8),
        probabilities_PR=np.where(done_PR, 0.75, np.nan),
        maps_PRSS=maps_PRSS,
    ).save(attention.path_of(artefact, results))
