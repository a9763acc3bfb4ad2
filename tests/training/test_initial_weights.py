"""Initial weights from a file: their content, and not their place, belongs to a run."""

import json
from dataclasses import asdict

import pytest
import torch
from conftest import Workbench, copy_config, edit_yaml

from mdkd import keys, records, runfiles
from mdkd.config import Head
from mdkd.errors import UserError
from mdkd.models import build_network
from mdkd.plan import make_plan
from mdkd.spec import Specification

RUN = "supervised/scenes/resnet8/seed0"


def write(file, seed):
    """A file with random weights of the network."""
    torch.manual_seed(seed)
    head = Head(kind="gap")
    net = build_network("cifar:resnet8", num_labels=3, image_size=32, stem="small", head=head)
    torch.save(net.backbone.state_dict(), file)
    return file


@pytest.fixture
def of_file(bench, tmp_path):
    """A function: the workbench, with the initial weights of ResNet8 in this file."""
    config = copy_config(tmp_path / "config")

    def make(file):
        edit_yaml(config / "architectures.yaml", lambda a: a["resnet8"].update(weights=str(file)))
        return Workbench(bench.base, config)

    return make


def test_the_content_of_the_file_decides_and_not_its_place(of_file, tmp_path, caplog):
    file = write(tmp_path / "own.pth", seed=0)
    bench = of_file(file)
    first = bench.resolve(RUN)
    assert first.weights_sha256 == records.sha256(file)
    assert keys.planned(first)["weights"] == records.sha256(file)
    record = records.read_json(bench.train(RUN) / "run.json")
    assert record["initial_weights"]["source"] == str(file)

    moved = of_file(file.rename(tmp_path / "moved.pth"))
    caplog.set_level("INFO")
    moved.train(RUN)
    assert "already trained" in caplog.text

    caplog.clear()
    write(tmp_path / "moved.pth", seed=1)
    again = records.read_json(moved.train(RUN) / "run.json")
    assert "already trained" not in caplog.text
    assert again["initial_weights"]["tensors_sha256"] != record["initial_weights"]["tensors_sha256"]
    assert again["weights_sha256"] != record["weights_sha256"]


def test_a_student_of_a_network_with_other_initial_weights_is_another_run(of_file, tmp_path):
    path = "distill/scenes/resnet8--resnet20/mld/default/seed0"
    bench = of_file(write(tmp_path / "own.pth", seed=0))
    before = bench.resolve(path)
    write(tmp_path / "own.pth", seed=1)
    assert keys.key(bench.resolve(path)) != keys.key(before)


def test_a_file_that_was_changed_since_the_plan_is_refused(of_file, tmp_path):
    file = write(tmp_path / "own.pth", seed=0)
    bench = of_file(file)
    run = bench.resolve(RUN)
    write(file, seed=1)
    with pytest.raises(UserError, match=r"own\.pth': gone, or changed since .*; plan again"):
        bench.train(run)
    file.unlink()
    with pytest.raises(UserError, match=r"own\.pth': gone, or changed since .*; plan again"):
        bench.train(run)


def test_a_file_that_is_not_there_is_named_with_its_setting(of_file, tmp_path):
    config = of_file(tmp_path / "gone.pth").spec.folder
    message = r"architectures\.yaml: resnet8: weights: .*gone\.pth: no such file; give a file"
    with pytest.raises(UserError, match=message):
        make_plan(Specification(config))
    edit_yaml(config / "architectures.yaml", lambda a: a["resnet8"].pop("weights"))
    edit_yaml(config / "protocols" / "smoke.yaml", lambda p: p.update(weights="imagenett"))
    with pytest.raises(UserError, match=r"smoke\.yaml: weights: imagenett: no such file"):
        make_plan(Specification(config))


def test_a_run_file_may_leave_the_digest_to_us(of_file, tmp_path):
    planned = of_file(write(tmp_path / "own.pth", seed=0)).resolve(RUN)
    for missing in ([], ["weights_sha256"]):
        run = {key: value for key, value in asdict(planned).items() if key not in missing}
        (tmp_path / "run.json").write_text(json.dumps(run))
        assert runfiles.read(tmp_path / "run.json") == planned
    for weights in (None, "imagenet"):
        (tmp_path / "run.json").write_text(json.dumps(asdict(planned) | {"weights": weights}))
        with pytest.raises(UserError, match="weights_sha256: weights name no file; remove it"):
            runfiles.read(tmp_path / "run.json")
