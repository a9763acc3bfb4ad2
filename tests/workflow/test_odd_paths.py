"""Odd names of folders and odd texts, through the whole workflow and each way to give a setting."""

import csv
import json
import re

import pytest
import yaml
from conftest import edit_yaml
from make_datasets import photo
from workflow_project import small_project

from mdkd.config import expanded
from mdkd.data.cache import open_cache
from mdkd.errors import UserError
from mdkd.plan import make_plan
from mdkd.spec import Specification

ODD = "a 'b\" #$HOME `id` 100% größe 日;&|*?[1]\\~"
LABELS = ['a "b" | <i>c</i>', "$x^2$ & 5% #1 {x} a_b", "naïve 日本 \\n", "-- 1. #"]
TITLE = "It's {x} 100% $HOME *b* `c`_ |d| <b> \\e"
NAMES = ["blank name", "o'neil", 'a"b', "a#b", "$HOME", "100%", "größe", "~", "a;b&c"]


def data_set(root):
    """Images in a folder with a table of labels."""
    rows = [["file", "split", "labels"]]
    for i in range(40):
        file = f"{i} {ODD.replace('/', '')}.jpg"
        photo(root / file, i)
        split = "train" if i < 24 else "test"
        rows.append([file, split, f"{LABELS[i % 4]};{LABELS[i % 3]}"])
    with (root / "labels.csv").open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows(rows)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project in an oddly named folder, after the whole workflow; its data and store too."""
    base = tmp_path_factory.mktemp("odd")
    (base / f"p {ODD}\nx").mkdir()
    data_set(base / f"d {{x}} {ODD}" / "photos")
    project = small_project(base / f"p {ODD}\nx")
    config = project.folder / "config"
    pairs = [{"dataset": "mine", "teacher": "resnet8x2", "student": "resnet8"}]
    experiment = {
        "kind": "comparison",
        "title": TITLE,
        "datasets": {"mine": {"label": "M {y} & <b> $5", "source": "folder", "root": "photos"}},
        "pairs": pairs,
        "methods": ["vanilla", {"method": "mld", "label": "MLD {z} | $w$\n'q' <i>"}],
        "notes": [TITLE],
    }
    text = yaml.safe_dump(experiment, allow_unicode=True)
    (config / "experiments" / "mine.yaml").write_text(text, encoding="utf-8")
    (config / "experiments" / "comparison.yaml").unlink()
    edit_yaml(config / "protocols" / "smoke.yaml", lambda c: c.update(datasets={}))
    edit_yaml(config / "config.yaml", lambda c: c.update(data_root=f"{base}/d {{x}} {ODD}"))
    project.base = base
    (base / "home").mkdir()
    given = ("experiments=mine", "store=~/st {q} o'x", "weights_folder=it's")
    command = ("snakemake", "--cores", "1", "--config", *given)
    project.result = project.run(*command, HOME=str(base / "home"))
    return project


def test_the_whole_workflow(made):
    assert made.result.returncode == 0, made.result.stderr[-3000:]
    assert list((made.base / "home" / "st {q} o'x").rglob("run.json"))
    assert not (made.folder / "~").exists() and not (made.folder / "store").exists()
    table = (made.results / "tables" / "mine.md").read_text(encoding="utf-8")
    assert table.strip() in made.result.stdout  # shown at the end, by a call of its own
    assert "MLD {z} \\| \\$w\\$ 'q' \\<i>" in table
    assert (made.results / "report.html").stat().st_size > 0
    log = (made.folder / "logs" / "smoke" / "report.log").read_text(encoding="utf-8")
    assert "ERROR" not in log and "WARNING" not in log


def test_labels_are_those_of_the_table(made):
    cache = open_cache(made.folder / "cache" / "smoke" / "mine")
    assert sorted(cache.classes) == sorted(LABELS)
    assert all(ODD in name for name in cache.splits["test"].ids)


def test_the_report_was_given_what_the_call_was_given(made):
    given = json.loads((made.folder / "logs" / "smoke" / "given.json").read_text(encoding="utf-8"))
    expected = {"experiments": "mine", "store": "~/st {q} o'x", "weights_folder": "it's"}
    assert given == expected


def test_a_download_into_an_odd_folder(made):
    options = ("--dry-run", "--printshellcmds", "--config", "experiments=mine")
    result = made.run("snakemake", "--cores", "1", *options, "--", "download_voc2007")
    assert result.returncode == 0, result.stdout + result.stderr
    command = re.search(r"python -m mdkd download voc2007.*", result.stdout)[0]
    assert made.run("bash", "-c", command.replace("python -m mdkd", "printf '<%s>\\n'")).stdout == (
        "<download>\n<voc2007>\n<--config>\n<config>\n<--set>\n"
        f"<data_root={json.dumps(f'{made.base}/d {{x}} {ODD}')}>\n"
        "<--log>\n<logs/download/voc2007.log>\n"
    )


@pytest.mark.parametrize("name", ["{x}", "a{b"])
def test_a_folder_with_braces_is_one_line(made, tmp_path, name):
    """Snakemake takes the path of the workflow for a pattern."""
    folder = tmp_path / name
    folder.mkdir()
    result = small_project(folder).run("snakemake", "--cores", "1", "--dry-run")
    assert result.returncode == 1 and "Traceback" not in result.stdout + result.stderr
    assert f"{name}: Snakemake fails in a folder with braces; rename it" in (
        result.stdout + result.stderr
    )


# The settings alone, without the workflow


@pytest.mark.parametrize("name", [*NAMES, "{x}", "a: b", "null", "-x", "日本", "a\\b"])
def test_a_path_in_yaml_reaches_the_plan_as_it_is(config, name, monkeypatch):
    monkeypatch.setenv("HOME", "/the/home")
    given = dict.fromkeys(("data_root", "store", "weights_folder"), name)
    edit_yaml(config / "config.yaml", lambda c: c.update(given))
    plan = make_plan(Specification(config))
    expected = "/the/home" if name == "~" else name
    assert (plan.store, plan.weights_folder) == (expected, expected)
    assert plan.roots["scenes"].startswith(expected)


@pytest.mark.parametrize(
    ("text", "path"),
    [("~", "/h"), ("~/a b", "/h/a b"), ("./~", "./~"), ("a/~/b", "a/~/b"), ("$HOME", "$HOME")],
)
def test_the_home_is_put_in_place_of_a_tilde_at_the_head(monkeypatch, text, path):
    monkeypatch.setenv("HOME", "/h")
    assert expanded(text, "x") == path


def test_a_path_that_cannot_be_one_is_refused():
    with pytest.raises(UserError, match=r"store: '~no_such_user/x': no such user; for a folder"):
        expanded("~no_such_user/x", "config.yaml: store")
    with pytest.raises(UserError, match="cannot contain the character 0"):
        expanded("a\0b", "config.yaml: store")


@pytest.mark.parametrize("name", ["new\nline", " ", ""])
def test_a_folder_without_a_name_or_with_a_line_break_is_refused(config, name):
    edit_yaml(config / "config.yaml", lambda c: c.update(store=name))
    with pytest.raises(UserError, match=r"config\.yaml: store: expected the path of a folder"):
        Specification(config)


@pytest.mark.parametrize("label", ["a\x07b", "a\x1b[31mb", "a\x00"])
def test_a_label_that_cannot_be_printed_is_refused(config, label):
    def change(content):
        content["scenes"]["label"] = label

    edit_yaml(config / "datasets.yaml", change)
    with pytest.raises(UserError, match=r"scenes: label: .*: remove .* from the text"):
        Specification(config)
