"""The tutorials of the documentation, followed to the letter on tiny data.

Files are written and commands are run as the pages show them. Only places of files are replaced,
and the key of a run.
"""

import os
import shutil

import make_datasets
import pytest
import timm
import torch
import yaml
from conftest import ROOT, edit_yaml
from pages import blocks
from workflow_project import small_project

BRING, USE = "docs/bring-your-own.md", "docs/use.md"
PLUGINS, EXPERIMENT, KIND, NETWORK, CHECKPOINT = blocks(BRING, "yaml")
WITH_PLUGIN, OWN_DATA = blocks(BRING, "sh")
PREDICT, EXPORT, ONNX = blocks(USE, "sh")
IN_PYTHON, IN_TIMM, IN_ONNXRUNTIME = blocks(USE, "python")


def shell(project, script, folder=None):
    """Run lines of a page as its reader would; returns what they print."""
    result = project.run("bash", "-ec", f"cd '{folder or project.folder}'\n{script}")
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def compared(project, name):
    """The first cells of the lines of a table: the names of its rows."""
    text = (project.results / "tables" / f"{name}.md").read_text(encoding="utf-8")
    return [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]


def experiment(project, name, **changes):
    """Write the experiment of the page under another name."""
    file = project.folder / "config" / "experiments" / f"{name}.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(EXPERIMENT) | changes))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project beside a plug-in with the method of CONTRIBUTING.md; the plug-in has been named."""
    project = small_project(tmp_path_factory.mktemp("tutorials"))
    few = project.folder / "config/protocols/smoke.yaml"
    edit_yaml(few, lambda p: p["recipe"].update(batch_size=2))  # photographs have two images
    plugin = project.folder / "my_plugin"
    for folder in ("methods", "sources", "kinds"):
        (plugin / folder).mkdir(parents=True)
    (code,), (settings,) = (blocks("CONTRIBUTING.md", language) for language in ("python", "yaml"))
    (plugin / "methods/mine.py").write_text(code)
    (plugin / "methods/mine.yaml").write_text(settings)
    shutil.copy(ROOT / "mdkd/data/sources/folder.py", plugin / "sources/tables.py")
    (plugin / "kinds/gain.yaml").write_text(KIND)
    names = "from mdkd.reporting.kinds.comparison import figure, table\n"
    (plugin / "kinds/gain.py").write_text(names + "__all__ = ['figure', 'table']\n")
    shell(project, WITH_PLUGIN)
    named = yaml.safe_load(PLUGINS.replace("/where/it/is/my_plugin", str(plugin)))
    edit_yaml(project.folder / "config/config.yaml", lambda c: c.update(named))
    return project


@pytest.fixture(scope="module")
def trained(project):
    """The folder of the run that the page about the use of networks names."""
    shell(project, "mdkd train distill/scenes/resnet8x2--resnet8/mdkd/default/seed0")
    return project


def test_a_method_of_a_plugin_is_in_the_table(project):
    experiment(project, "try_mine")
    output = shell(project, "snakemake --cores all try_mine")
    assert compared(project, "try_mine")[-3:] == ["Student", "MLD", "Mine"]
    table = project.results / "tables" / "try_mine.md"
    assert table.read_text(encoding="utf-8").strip() in output
    for file in ("tables/try_mine.tex", "figures/try_mine.pdf", "report_try_mine.html"):
        assert f" results/smoke/{file}\n" in output


def test_a_kind_and_a_source_of_a_plugin(project, tmp_path):
    make_datasets.folder(tmp_path / "photos")
    data = {"label": "Photos", "source": "tables", "root": str(tmp_path / "photos")}
    pair = {"dataset": "photos", "teacher": "resnet8x2", "student": "resnet8"}
    experiment(project, "gained", kind="gain", datasets={"photos": data}, pairs=[pair])
    shell(project, "snakemake --cores all gained")
    assert compared(project, "gained")[-1] == "Mine"
    assert (project.results / "figures" / "gained.pdf").exists()


def test_a_network_of_a_plugin_is_a_student(project):
    example = str(ROOT / "examples" / "plugin" / "mdkd_example")
    edit_yaml(project.folder / "config/config.yaml", lambda c: c["plugins"].append(example))
    file = project.folder / "config/architectures.yaml"
    edit_yaml(file, lambda a: a.update(yaml.safe_load(NETWORK)))
    pair = {"dataset": "scenes", "teacher": "resnet8x2", "student": "plain"}
    experiment(project, "with_plain", pairs=[pair])
    shell(project, "snakemake --cores all with_plain")
    assert "ResNet8x2 → Plain" in (project.results / "tables/with_plain.md").read_text()


@pytest.fixture(scope="module")
def taught(project, tmp_path_factory):
    """A project in which students have been trained by a network of timm."""
    file = tmp_path_factory.mktemp("elsewhere") / "resnet34.pth"
    torch.save(timm.create_model("resnet34", num_classes=20).state_dict(), file)
    entry = yaml.safe_load(CHECKPOINT.replace("/where/it/is/resnet34.pth", str(file)))
    edit_yaml(project.folder / "config/architectures.yaml", lambda a: a.update(entry))
    (name,) = entry
    pair = {"dataset": "scenes", "teacher": name, "student": "resnet8"}
    experiment(project, "from_timm", pairs=[pair])
    shell(project, "snakemake --cores all from_timm")
    return project


def test_a_checkpoint_of_timm_is_the_teacher(taught):
    text = (taught.results / "tables/from_timm.md").read_text(encoding="utf-8")
    assert "My ResNet-34 → ResNet8" in text
    assert "resnet34.pth" in text


def test_photographs_with_a_csv_file(project, tmp_path):
    make_datasets.folder(tmp_path / "my-photos")
    shutil.copy(ROOT / "config/experiments/csv.yaml", project.folder / "config/experiments")
    shell(
        project,
        OWN_DATA.replace("/where/my-photos/lies", str(tmp_path)).replace(
            "/where/your/data/is", str(tmp_path)
        ),
    )
    assert "My photos" in (project.results / "tables/csv.md").read_text(encoding="utf-8")


def test_pictures_are_labelled(trained, tmp_path):
    for seed, name in enumerate(("a.jpg", "b.png", "photos/c.jpg")):
        make_datasets.photo(tmp_path / name, seed)
    (key,) = os.listdir(trained.folder / "store/supervised/scenes/resnet8/seed0")
    os.symlink(trained.folder / "store", tmp_path / "store")
    os.symlink(trained.folder / "config", tmp_path / "config")
    shell(trained, PREDICT.replace("KEY", key), tmp_path)
    assert (tmp_path / "labels.json").stat().st_size
    assert len(list((tmp_path / "cam").glob("*.png"))) == 1


def test_exported_weights_are_used_without_the_benchmark(trained, tmp_path):
    os.symlink(trained.folder / "store", tmp_path / "store")
    os.symlink(trained.folder / "config", tmp_path / "config")
    shell(trained, EXPORT, tmp_path)
    folder = tmp_path / "my-network"
    make_datasets.photo(folder / "photo.jpg")
    shell(trained, f"python <<'END'\n{IN_PYTHON}\nEND", folder)


def test_an_exported_backbone_loads_into_timm(taught, tmp_path):
    run = "supervised/scenes/my_resnet34/seed0"
    shell(taught, f"mdkd export {run} --to state-dict --output '{tmp_path}/out'")
    shell(taught, f"python <<'END'\n{IN_TIMM}\nEND", tmp_path / "out")


def test_an_onnx_file_labels_a_photograph(trained, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    os.symlink(trained.folder / "store", tmp_path / "store")
    os.symlink(trained.folder / "config", tmp_path / "config")
    (_, export) = ONNX.strip().splitlines()  # the first line installs
    shell(trained, export, tmp_path)
    (folder,) = tmp_path.glob("exported/**/onnx")
    make_datasets.photo(folder / "photo.jpg")
    shell(trained, f"python <<'END'\n{IN_ONNXRUNTIME}\nEND", folder)
