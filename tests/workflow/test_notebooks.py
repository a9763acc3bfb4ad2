"""Notebooks as they stand in git: valid, without outputs, with their parameters first.

They are executed by ``pytest --nbmake notebooks``, which needs the records of finished runs.
"""

import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
FILES = sorted(FOLDER.glob("*.ipynb"))
PARAMETER = 'PROTOCOL = os.environ.get("MDKD_PROTOCOL", "quick")'
OF_ONE_MACHINE = re.compile(r"/(home|root|tmp|work|Users)/")


def faults(notebook):
    """What keeps a notebook from being committed, one line each."""
    if len({cell["id"] for cell in notebook.cells}) < len(notebook.cells):
        return ["cells share an id"]  # validation would silently give them new ones
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        return [f"not valid: {error.message}"]
    found = []
    title = notebook.cells[0]
    if title.cell_type != "markdown" or not title.source.startswith("# "):
        found.append("no title in the first cell")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if not any(line.startswith(PARAMETER) for line in code[0].source.splitlines()):
        found.append(f"the first code cell lacks {PARAMETER}")
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        found.append("the kernel is not python3")
    for cell in code:
        if cell.outputs or cell.execution_count is not None:
            found.append(f"{cell.id}: has been run; clear its output")
    for cell in notebook.cells:
        if OF_ONE_MACHINE.search(cell.source):
            found.append(f"{cell.id}: a path of one machine")
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_notebooks_can_be_committed(file):
    assert faults(nbformat.v4.reads(file.read_text(encoding="utf-8"))) == []


def _untitled(notebook):
    del notebook.cells[0]


def _late_parameters(notebook):
    notebook.cells.insert(1, nbformat.v4.new_code_cell("1 + 1"))


def _output(notebook):
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="2")]


def _count(notebook):
    notebook.cells[1].execution_count = 1


def _kernel(notebook):
    notebook.metadata.kernelspec.name = "venv"


def _twice(notebook):
    notebook.cells.append(notebook.cells[0].copy())


def _path(notebook):
    notebook.cells[1].source += '\nBASE = "/home/me/results"'


def _invalid(notebook):
    del notebook.cells[1]["outputs"]


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_untitled, "title"),
        (_late_parameters, "lacks"),
        (_output, "has been run"),
        (_count, "has been run"),
        (_kernel, "kernel"),
        (_twice, "share an id"),
        (_path, "path of one machine"),
        (_invalid, "not valid"),
    ],
)
def test_every_fault_is_seen(spoil, expected):
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# Title"), nbformat.v4.new_code_cell(PARAMETER)],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    assert faults(notebook) == []
    spoil(notebook)
    (fault,) = faults(notebook)
    assert expected in fault


def test_the_readme_lists_every_notebook():
    named = re.findall(r"`(\w+\.ipynb)`", (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert named == [file.name for file in FILES]
    assert FILES
