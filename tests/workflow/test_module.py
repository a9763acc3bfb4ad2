"""Another workflow uses this one as a module, in a folder of its own."""

import json

import pytest
from conftest import environment
from workflow_project import Project, small_project

OUTER = """
configfile: "config/config.yaml"


module mdkd:
    snakefile:
        "{snakefile}"
    config:
        config["mdkd"]


use rule * from mdkd as mdkd_*


use rule table from mdkd as mdkd_table with:
    priority: 5


rule summary:
    default_target: True
    input:
        "results/smoke/tables/comparison.csv",
    output:
        "summary.txt",
    run:  # in a process of its own, which reads all rules again
        import os, shutil

        shutil.copy(input[0], output[0])
        with open("plan.txt", "w") as file:
            file.write(os.environ["MDKD_PLAN"])
"""


class Outer(Project):
    """A workflow with its own config.yaml; the settings of the module are in config/mdkd."""

    def __init__(self, folder, inner):
        self.folder, self.inner = folder, inner
        (folder / "config").mkdir(parents=True)
        (inner.folder / "config").rename(folder / "config" / "mdkd")
        (folder / "config" / "config.yaml").write_text("mdkd: {config_folder: config/mdkd}\n")
        self.write()

    def write(self, old="", new=""):
        text = OUTER.format(snakefile=self.inner.folder / "Snakefile")
        assert old in text
        (self.folder / "Snakefile").write_text(text.replace(old, new) if old else text + new)

    def environment(self, **variables):
        """Nothing on the path for imports: the package is found beside the Snakefile."""
        inherited = {k: v for k, v in environment().items() if k != "PYTHONPATH"}
        return inherited | variables


@pytest.fixture(scope="module")
def outer(tmp_path_factory):
    """The outer workflow after a run."""
    folder = tmp_path_factory.mktemp("outer")
    outer = Outer(folder, small_project(tmp_path_factory.mktemp("inner")))
    outer.inner.trace()
    outer.output = outer.snakemake()
    return outer


@pytest.fixture
def rewritten(outer):
    """The outer workflow; its Snakefile is put back after the test."""
    yield outer
    outer.write()


def test_the_outer_workflow_gets_a_table_and_everything_lies_in_its_folder(outer):
    table = (outer.results / "tables" / "comparison.csv").read_text()
    assert "MLD" in table
    assert (outer.folder / "summary.txt").read_text() == table
    assert len(outer.steps()) == 3  # trainings, by the code beside the Snakefile
    for name in ("results", "store", "cache", "logs"):
        assert not (outer.inner.folder / name).exists()


def test_jobs_of_the_outer_workflow_see_the_plan_file(outer):
    plan = json.loads((outer.folder / (outer.folder / "plan.txt").read_text()).read_text())
    assert plan["protocol"] == "smoke"
    assert "comparison" in plan["artefacts"]


def test_a_second_run_has_nothing_to_do(outer):
    assert "Nothing to be done" in outer.snakemake()


def test_targets_have_the_prefix_of_the_import(outer):
    jobs = outer.planned("mdkd_comparison")
    assert jobs == {"mdkd_figure": 1, "mdkd_comparison": 1, "total": 2}


def test_the_report_has_the_table(outer):
    outer.snakemake("--report", "report.html")
    report = (outer.folder / "report.html").read_text(encoding="utf-8")
    assert "comparison.html" in report


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('["mdkd"]\n', '["mdkd"]\n    prefix: "sub"\n', "use no prefix and no default storage"),
        (
            "",
            '\nmodule other:\n    snakefile: "{inner}"\n'
            '    config: config["mdkd"] | {{"seeds": [7]}}\n\nuse rule * from other as other_*\n',
            "included with two configurations; use one",
        ),
    ],
)
def test_what_a_module_cannot_do_stops_in_one_line(rewritten, old, new, message):
    rewritten.write(old, new.format(inner=rewritten.inner.folder / "Snakefile"))
    result = rewritten.run("snakemake", "-n")
    assert result.returncode == 1
    output = result.stdout + result.stderr
    assert message in output
    assert "Traceback" not in output
