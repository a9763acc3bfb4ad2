"""The documentation agrees with the code: its examples run, and its tables list what there is."""

import re
import shutil
from dataclasses import MISSING, asdict, fields

import pytest
import torch
import yaml
from conftest import ROOT
from pages import blocks, text_of

from mdkd import methods, registry
from mdkd.agreement import SELECTABLE
from mdkd.config import Head, Recipe, parse
from mdkd.kinds import KINDS
from mdkd.methodfiles import read
from mdkd.metrics import METRICS
from mdkd.outputs import Output, Spec
from mdkd.plan import make_plan
from mdkd.reporting.plan_listing import overview
from mdkd.results import Results
from mdkd.spec import Specification
from mdkd.specfiles import DatasetEntry, Entry, Experiment, Pair, Protocol

EXPERIMENTS, PROTOCOLS = "docs/experiments.md", "docs/protocols.md"
COMMANDS, DATA = "docs/commands.md", "docs/bring-your-own.md"
REFERENCE = ROOT / "results" / "reference" / "tables"
RULES = ("Rule", "Image 1", "Image 2", "Image 3", "Image 4", "Overall", "By class")
REQUIRED = "required"
PAGES = [f"docs/{file.name}" for file in sorted((ROOT / "docs").glob("*.md"))]


def table_of(file, *headings):
    """The cells of the one table of a Markdown file with these headings, without backticks."""
    lines = [line.strip() for line in text_of(file).splitlines()]
    starts = [i for i, line in enumerate(lines) if cells_of(line) == list(headings)]
    assert len(starts) == 1, f"{file}: {len(starts)} tables with the headings {headings}"
    rows = []
    for line in lines[starts[0] + 2 :]:
        if not line.startswith("|"):
            return rows
        rows.append(cells_of(line))
        assert len(rows[-1]) == len(headings), line
    return rows


def cells_of(line):
    if not line.startswith("|"):
        return []
    return [re.sub(r"^`(.*)`$", r"\1", cell.strip()) for cell in line.strip("|").split("|")]


def default_of(field):
    """The default of a dataclass's field as a table says it."""
    if field.default is not MISSING:
        return field.default
    return REQUIRED if field.default_factory is MISSING else field.default_factory()


def defaults_of(cls):
    return {field.name: default_of(field) for field in fields(cls)}


def test_the_method_of_the_contributing_guide_works(tmp_path, monkeypatch):
    (code,), (settings,) = (blocks("CONTRIBUTING.md", language) for language in ("python", "yaml"))
    (tmp_path / "mine.py").write_text(code)
    (tmp_path / "mine.yaml").write_text(settings)
    places = [*methods.__path__, str(tmp_path)]
    monkeypatch.setattr(methods, "__path__", places)
    monkeypatch.setattr(methods.__spec__, "submodule_search_locations", places)
    file = read("mine")
    assert methods.settings_of(methods.get("mine")) == tuple(file.settings)
    spec = Spec(2, 1, (), (), None)
    loss = methods.build("mine", spec, spec, file.settings)
    student = Output(torch.zeros(1, 2), torch.zeros(1, 1), (), None)
    teacher = Output(torch.full((1, 2), 100.0), torch.zeros(1, 1), (), None)
    terms = loss(student, teacher, torch.zeros(1, 2))
    assert list(terms) == ["mine"]
    assert terms["mine"].item() == pytest.approx(2 * 0.5**2)


def test_the_columns_of_the_plan_are_all_explained(tmp_path):
    plan = make_plan(Specification(ROOT / "config", {"protocol": "paper"}))
    results = Results(protocol="paper", base=tmp_path, runs=plan.runs)
    printed = overview(plan, results, ROOT / "config" / "rates.yaml").splitlines()
    (excerpt,) = (block for block in blocks(COMMANDS, "text") if "kind" in block)
    (headings,) = (line.split() for line in excerpt.splitlines() if "kind" in line)
    assert headings == printed[2].split()
    explained = re.findall(r"`([a-zA-Z ]+)`(?:,|:)", text_of(COMMANDS).split(excerpt)[1])
    assert set(" ".join(explained).split()) >= set(headings)


def test_the_example_of_the_metrics_has_the_numbers_of_its_page(capsys):
    (code,) = blocks("docs/metrics.md", "python")
    names = {}
    exec(code, names)
    found = names["evaluate"](names["scores"], names["targets"])
    rows = {row[0]: row[-2:] for row in table_of("docs/metrics.md", *RULES)}
    for rule, suffix in (("0.5", ""), ("k", "_k"), ("top 3", "_top3")):
        assert rows[rule] == [f"{found[kind + suffix]:.3f}" for kind in ("OF1", "CF1")]
    assert f"= {found['mAP']:.3f}." in text_of("docs/metrics.md")


def test_the_numbers_of_the_results_are_in_the_tables():
    """Means with their spread, and differences with their interval."""
    text = " ".join(text_of("docs/results.md").split())
    quoted = re.findall(r"\d+\.\d\d ± \d+\.\d\d|[+−]\d+\.\d\d \[[^\]]+\]", text)
    tables = " ".join(file.read_text(encoding="utf-8") for file in REFERENCE.glob("*.md"))
    assert quoted
    assert [number for number in quoted if number.replace("[", r"\[") not in tables] == []


def test_the_results_say_which_seeds_and_weights_a_table_has():
    named = set()
    for names, seeds, weights in table_of("docs/results.md", "Tables", "Seeds", "Weights"):
        numbers = seeds.replace("0 to 4", "0, 1, 2, 3, 4")
        for name in re.findall(r"\w+", names):
            table = (REFERENCE / f"{name}.md").read_text(encoding="utf-8")
            assert re.search(rf"Protocol standard, seeds? {numbers}, \d+ runs", table), name
            assert weights.startswith("tuned") == ("config/tuned/" in table), name
            published = "Published weights" in table or "Weights are the published ones" in table
            assert weights.startswith("published") == published, name
            named.add(name)
    assert named == {file.stem for file in REFERENCE.glob("*.html")}


@pytest.mark.parametrize("metric", ["OF1", "CF1", "OF1_k", "CF1_k"])
def test_the_readme_repeats_the_notes_on_metrics(metric):
    note = re.escape(METRICS[metric].note)
    assert re.search(rf"^- .*\b{metric}\b.*: {note}\.$", text_of("README.md"), re.MULTILINE)


@pytest.mark.parametrize(
    "file",
    [
        "README.md",
        "CONTRIBUTING.md",
        "config/README.md",
        "config/experiments/README.md",
        "config/protocols/README.md",
        "examples/plugin/README.md",
        *PAGES,
    ],
)
def test_files_that_the_documentation_names_exist(file):
    links = re.findall(r"\]\((?!https?:)([\w./-]+)(?:#[\w-]+)?\)", text_of(file))
    folders = "config|mdkd|tests|docs|workflow"
    named = re.findall(rf"`((?:{folders})/[\w./-]+\.(?:py|yaml|md))`", text_of(file))
    paths = [(ROOT / file).parent / link for link in links] + [ROOT / name for name in named]
    not_yet = {ROOT / f"mdkd/methods/mine.{suffix}" for suffix in ("py", "yaml")}
    assert sorted(path for path in paths if path not in not_yet and not path.exists()) == []


def test_the_keys_of_an_experiment_are_all_explained():
    rows = table_of(EXPERIMENTS, "Key", "Meaning", "Default")
    found = {key: yaml.safe_load(default) for key, _, default in rows}
    assert found == defaults_of(Experiment)
    assert len(found) == len(rows)


def test_the_keys_of_a_recipe_are_all_explained():
    rows = table_of("docs/recipe.md", "Key", "Meaning", "Default")
    assert {key: yaml.safe_load(default) for key, _, default in rows} == defaults_of(Recipe)
    assert len(rows) == len(fields(Recipe))


def test_the_recipes_of_the_documentation_are_right():
    example, changes = map(yaml.safe_load, blocks("docs/recipe.md", "yaml"))
    recipe = parse(Recipe, example["recipe"], "docs/recipe.md")
    for name, changed in changes["recipes"].items():
        parse(Recipe, asdict(recipe) | changed, name)


def test_the_keys_of_a_protocol_are_all_explained():
    rows = table_of(PROTOCOLS, "Key", "Meaning", "Default")
    found = {key: yaml.safe_load(default) for key, _, default in rows}
    assert found == {"extends": None} | defaults_of(Protocol)
    rows = table_of(PROTOCOLS, "Key of `head`", "Meaning", "Default")
    assert {key: yaml.safe_load(default) for key, _, default in rows} == defaults_of(Head)


def test_the_protocols_are_all_described():
    files = (ROOT / "config" / "protocols").glob("*.yaml")
    described = table_of(PROTOCOLS, "Protocol", "For", "Data", "Networks")
    rows = table_of(PROTOCOLS, "Protocol", "Made without a target", "Seeds", "Runs", "Time", "Disk")
    names = {file.stem for file in files}
    assert {row[0] for row in described} == {row[0] for row in rows} == names
    for name, _, seeds, runs, *_ in rows:
        specification = Specification(ROOT / "config", {"protocol": name})
        plan = make_plan(specification)
        assert int(seeds) == len(specification.seeds)
        assert int(runs) == len(plan.only(plan.selected).runs)


def test_the_protocol_of_the_documentation_is_right(tmp_path):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    example, _ = blocks(PROTOCOLS, "yaml")
    (tmp_path / "config" / "protocols" / "long.yaml").write_text(example)
    specification = Specification(tmp_path / "config", {"protocol": "long"})
    assert specification.seeds == [0, 1, 2, 3, 4]
    assert specification.protocol.recipe.epochs == 40


def test_the_keys_of_a_data_set_are_all_explained():
    rows = table_of(DATA, "Key", "Meaning", "Default")
    assert {key: yaml.safe_load(default) for key, _, default in rows} == defaults_of(DatasetEntry)


def test_the_options_of_data_sources_are_all_explained():
    rows = table_of(DATA, "Source", "Option", "Meaning", "Default")
    found = {(source, option): yaml.safe_load(default) for source, option, _, default in rows}
    package = "mdkd.data.sources"
    assert found == {
        (name, option): default
        for name in registry.names(package)
        for option, default in defaults_of(registry.load(package, name).Options).items()
    }
    assert len(found) == len(rows)


def test_the_start_page_and_the_menu_lead_to_every_page():
    pages = {*(file.removeprefix("docs/") for file in PAGES), "conformance/README.md"}
    menu = re.findall(r"- ([\w/-]+\.md)$", text_of("mkdocs.yml"), re.MULTILINE)
    assert len(menu) == len(set(menu))
    assert set(menu) == pages
    links = re.findall(r"\| \[(.+)\]\(([\w/-]+\.md)\) \|$", text_of("docs/index.md"), re.MULTILINE)
    titles = {file: text_of(f"docs/{file}").splitlines()[0] for file in pages - {"index.md"}}
    assert {file: f"# {label}" for label, file in links} == titles


def test_the_targets_are_all_named():
    plan = make_plan(Specification(ROOT / "config"))
    rows = table_of("README.md", "Target", "Makes")
    named = {name for cell, _ in rows for name in re.findall(r"\w+", cell)}
    groups = {target for artefact in plan.artefacts.values() for target in artefact.targets}
    assert named >= groups
    assert named <= plan.targets().keys() | {"partial"}
    # README.md and docs/commands.md warn that this name is a group, which is not of its file.
    assert "comparison" in groups
    assert "comparison" not in plan.targets()["comparison"]


def test_the_experiments_are_all_listed_with_their_groups():
    plan = make_plan(Specification(ROOT / "config"))
    listed = [
        (name, group)
        for files, _, group in table_of(EXPERIMENTS, "File", "Shows", "Target")
        for name in re.findall(r"\w+", files)
    ]
    groups = {name: set(artefact.targets) for name, artefact in plan.artefacts.items()}
    assert {name: {group} - {""} for name, group in listed} == {
        name: group - {"paper"} for name, group in groups.items()
    }
    assert len(listed) == len(groups)


def test_the_keys_of_pairs_and_rows_are_all_explained():
    meanings = dict(row[:2] for row in table_of(EXPERIMENTS, "Key", "Meaning", "Default"))
    assert {field.name for field in fields(Pair)} <= set(re.findall(r"`(\w+)`", meanings["pairs"]))
    (full,) = (row for row, _ in table_of(EXPERIMENTS, "Written", "Meaning") if "method:" in row)
    assert yaml.safe_load(full).keys() == {field.name for field in fields(Entry)}


def test_the_kinds_are_all_explained():
    rows = table_of(EXPERIMENTS, "Kind", "Makes", "Shows")
    assert {kind: tuple(makes.split(", ")) for kind, makes, _ in rows} == {
        name: kind.outputs for name, kind in KINDS.items()
    }
    assert len(rows) == len(KINDS)


def test_the_options_of_kinds_are_all_explained():
    rows = table_of(EXPERIMENTS, "Kind", "Option", "Meaning", "Default")
    assert {(kind, option): yaml.safe_load(default) for kind, option, _, default in rows} == {
        (name, option): default
        for name, kind in KINDS.items()
        for option, default in defaults_of(kind.options).items()
    }


def test_the_metrics_are_all_explained():
    assert [name for name, _ in table_of(EXPERIMENTS, "Metric", "Meaning")] == list(SELECTABLE)


def test_the_example_of_an_experiment_is_complete_and_right():
    (example,) = blocks(EXPERIMENTS, "yaml")
    experiment = Experiment(**yaml.safe_load(example))
    assert experiment.kind in KINDS
    assert set(experiment.metrics) <= set(SELECTABLE)
