"""The examples in the documentation run as they are printed."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from mdkd import methods
from mdkd.outputs import Output, Spec

ROOT = Path(__file__).parents[1]


def blocks(file, language):
    """Code blocks of a Markdown file, without the indentation of a list they stand in."""
    text = (ROOT / file).read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", code, flags=re.MULTILINE) for indent, code in found]


def test_the_method_of_the_contributing_guide_works(tmp_path, monkeypatch):
    (code,) = blocks("CONTRIBUTING.md", "python")
    (tmp_path / "mine.py").write_text(code)
    places = [*methods.__path__, str(tmp_path)]
    monkeypatch.setattr(methods, "__path__", places)
    monkeypatch.setattr(methods.__spec__, "submodule_search_locations", places)
    entry = yaml.safe_load(blocks("CONTRIBUTING.md", "yaml")[0])["mine"]
    spec = Spec(2, 1, (), (), None)
    loss = methods.build("mine", spec, spec, entry["settings"])
    student = Output(torch.zeros(1, 2), torch.zeros(1, 1), (), None)
    teacher = Output(torch.full((1, 2), 100.0), torch.zeros(1, 1), (), None)
    terms = loss(student, teacher, torch.zeros(1, 2))
    assert list(terms) == ["mine"]
    assert terms["mine"].item() == pytest.approx(2 * 0.5**2)
    assert entry["needs"] == list(methods.get("mld").needs)


def test_the_losses_of_the_readme_run():
    (code,) = blocks("README.md", "python")
    names = {}
    exec(code, names)
    assert names["student"].grad.abs().sum() > 0


def test_files_named_in_the_readme_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"\((?!https?:)([\w./-]+)\)|`(config/[\w./-]+\.yaml|mdkd/[\w/]+\.py)`", text)
    paths = {a or b for a, b in named}
    assert len(paths) > 8
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []
