"""Jobs of the workflow find the same plug-ins as the plan."""

import shutil

from conftest import ROOT, edit_yaml
from workflow_project import small_project

from mdkd import records


def test_jobs_use_the_method_the_network_and_the_kind_of_a_folder(tmp_path):
    project = small_project(tmp_path)
    shutil.copytree(ROOT / "examples/plugin/mdkd_example", tmp_path / "brought")
    (tmp_path / "brought" / "kinds").mkdir()
    (tmp_path / "brought/kinds/again.yaml").write_text("outputs: [table]\noptions: {least: 2}\n")
    code = "from mdkd.reporting.kinds.comparison import table\n__all__ = ['table']\n"
    (tmp_path / "brought/kinds/again.py").write_text(code)
    edit_yaml(tmp_path / "config/config.yaml", lambda c: c.update(plugins=["brought"]))
    entry = {"net": "module:brought.networks:plain", "label": "Plain"}
    edit_yaml(tmp_path / "config/architectures.yaml", lambda a: a.update(plain=entry))

    def change(experiment):
        experiment["pairs"] = [{"dataset": "scenes", "teacher": "resnet8x2", "student": "plain"}]
        experiment.update(methods=["vanilla", "confident"], kind="again", options={"least": 1})

    edit_yaml(tmp_path / "config/experiments/comparison.yaml", change)
    project.snakemake("results/smoke/tables/comparison.csv")
    assert "Confident" in (project.results / "tables/comparison.md").read_text()
    (record,) = tmp_path.glob("store/distill/scenes/*/confident/default/seed0/*/run.json")
    assert records.read_json(record)["plugins"]["method"]["package"] == "brought"
