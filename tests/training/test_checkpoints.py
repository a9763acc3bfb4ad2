"""Teachers that were trained elsewhere: loaded, scored, named in tables, and refused if wrong."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
import torchvision
from conftest import TEACHER, Workbench, copy_config, edit_yaml

from mdkd import keys, records, store
from mdkd.config import Head
from mdkd.data.cache import open_planned
from mdkd.data.loader import Loader
from mdkd.errors import UserError
from mdkd.models import build_network
from mdkd.models.whole import load_whole
from mdkd.plan import make_plan
from mdkd.score import read_predictions
from mdkd.spec import Specification

LABELS = 20  # of scenes
IMAGE_SIZE = 32
ELSEWHERE = "supervised/scenes/elsewhere/seed0"
STUDENT = "distill/scenes/elsewhere--resnet8/{}/default/seed0"


@pytest.fixture
def elsewhere(taught, tmp_path):
    """A function: a workbench whose entry `elsewhere` is a network with this checkpoint."""
    bench = taught.copy(tmp_path / "bench")
    config = copy_config(tmp_path / "config")
    pairs = [{"dataset": "scenes", "teacher": "elsewhere", "student": "resnet8"}]
    edit_yaml(config / "experiments" / "comparison.yaml", lambda e: e.update(pairs=pairs))

    def make(net, checkpoint):
        entry = {"net": net, "label": "Elsewhere", "checkpoint": str(checkpoint)}
        edit_yaml(config / "architectures.yaml", lambda a: a.update(elsewhere=entry))
        return Workbench(bench.base, config)

    return make


def timm_model(**options):
    torch.manual_seed(0)
    return timm.create_model("resnet18", num_classes=LABELS, **options).eval()


def images_of(bench):
    """All test images, as the protocol shows them to networks."""
    run = bench.resolve(TEACHER)
    cache = open_planned(run.dataset, bench.layout.cache("scenes"))
    batches = Loader(cache.splits["test"], run.recipe, 0, torch.device("cpu")).test()
    return torch.cat([batch.images_BCHW for batch in batches])


def predictions(folder):
    return read_predictions(folder / store.PREDICTIONS, LABELS).logits_NC


@pytest.mark.parametrize("wrapped", ["bare", "state_dict", "module"])
def test_a_state_dict_of_timm_predicts_what_timm_predicts(elsewhere, tmp_path, wrapped):
    model, file = timm_model(), tmp_path / "trained.pth"
    state = model.state_dict()
    if wrapped == "module":
        state = {f"module.{name}": value for name, value in state.items()}
    torch.save({"state_dict": state, "epoch": 3} if wrapped == "state_dict" else state, file)
    bench = elsewhere("resnet18", file)
    folder = bench.train(ELSEWHERE)
    with torch.no_grad():
        expected = model(images_of(bench)).numpy()
    np.testing.assert_allclose(predictions(folder), expected, rtol=1e-4, atol=1e-5)
    record = records.read_json(folder / "run.json")
    checkpoint = {"file": str(file), "sha256": records.sha256(file)}
    assert record["run"]["checkpoint"] == checkpoint
    assert record["planned"]["checkpoint"] == checkpoint["sha256"]
    assert record["run"]["head"]["kind"] == "gap" and record["images_per_s"] is None
    assert (folder / "history.jsonl").read_text() == "" and (folder / "metrics.json").exists()


def test_a_file_of_torchvision_and_of_plain_networks_load_too(tmp_path):
    torch.manual_seed(0)
    images = torch.randn(2, 3, IMAGE_SIZE, IMAGE_SIZE)
    model = torchvision.models.mobilenet_v2(num_classes=3).eval()
    torch.save(model.state_dict(), tmp_path / "tv.pth")
    network = gap_network("tv:mobilenet_v2", 3)
    load_whole(network, tmp_path / "tv.pth")
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(images).logits_BC, model(images))
    source = gap_network("cifar:resnet8", 3)
    state = source.backbone.state_dict() | {"last.weight": source.head.linear.weight.data}
    torch.save(state, tmp_path / "plain.pth")  # its classifier has no bias
    network = gap_network("cifar:resnet8", 3)
    load_whole(network, tmp_path / "plain.pth")
    with torch.no_grad():
        expected = source.eval()(images).pooled_BD @ source.head.linear.weight.T
        torch.testing.assert_close(network.eval()(images).logits_BC, expected)


def gap_network(net, labels):
    head = Head(kind="gap")
    return build_network(net, num_labels=labels, image_size=IMAGE_SIZE, stem="small", head=head)


@pytest.mark.parametrize("named", ["folder", "run.json", "model.pt"])
def test_a_run_of_another_store_keeps_its_predictions_and_its_head(
    elsewhere, taught, tmp_path, named
):
    (other,) = (taught.base / "store" / TEACHER).iterdir()
    copy = shutil.copytree(other, tmp_path / "other" / "anything")
    bench = elsewhere("cifar:resnet20", copy if named == "folder" else copy / named)
    run = bench.resolve(ELSEWHERE)
    assert run.head.kind == "mldecoder" and run.checkpoint.file == str(copy / "model.pt")
    folder = bench.train(ELSEWHERE)
    np.testing.assert_array_equal(predictions(folder), predictions(other))


def test_students_learn_from_it_by_logits_and_by_maps(elsewhere, tmp_path):
    torch.save(timm_model().state_dict(), tmp_path / "trained.pth")
    bench = elsewhere("resnet18", tmp_path / "trained.pth")
    bench.train(ELSEWHERE)
    for method in ("mld", "reviewkd", "pkt"):
        record = records.read_json(bench.train(STUDENT.format(method)) / "run.json")
        assert record["teacher"] == bench.entry(ELSEWHERE).record()["weights_sha256"]
        assert all(value > 0 for value in record["final_epoch"]["losses"].values())


def test_the_plan_names_the_source_and_what_such_a_teacher_cannot_teach(elsewhere, tmp_path):
    file = tmp_path / "trained.pth"
    torch.save(timm_model().state_dict(), file)
    plan = make_plan(elsewhere("resnet18", file).spec)
    artefact = plan.artefacts["comparison"]
    digest = records.sha256(file)[:16]
    note = f"Teachers that were trained elsewhere: Elsewhere: {file} (SHA-256 {digest})."
    assert note in artefact.notes
    (row,) = (row for row in artefact.rows if row.label == "L2D")
    reason = "the teacher has a linear classifier and no embedding per label"
    assert row.cells[0].unavailable == reason
    assert plan.runs[ELSEWHERE].weights is None


def test_the_key_follows_the_content_of_the_file_and_nothing_else(elsewhere, tmp_path):
    file, moved = tmp_path / "trained.pth", tmp_path / "moved.pth"
    torch.save(timm_model().state_dict(), file)
    run = elsewhere("resnet18", file).resolve(ELSEWHERE)
    shutil.copy(file, moved)
    assert keys.key(elsewhere("resnet18", moved).resolve(ELSEWHERE)) == keys.key(run)
    longer = replace(run, recipe=replace(run.recipe, epochs=99, lr=1.0))
    assert keys.key(longer) == keys.key(run)
    state = timm_model().state_dict()
    state["fc.bias"] += 1
    torch.save(state, file)
    changed = elsewhere("resnet18", file)
    assert keys.key(changed.resolve(ELSEWHERE)) != keys.key(run)
    student = STUDENT.format("mld")
    other = elsewhere("resnet18", moved).resolve(student)
    assert keys.key(changed.resolve(student)) != keys.key(other)


def change(state, **changes):
    return {name: value for name, value in (state | changes).items() if value is not None}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda s: change(s, **{"fc.weight": torch.zeros(7, 512), "fc.bias": torch.zeros(7)}),
            r"the classifier 'fc' has weights \[7, 512\], but the data set has 20 labels",
        ),
        (
            lambda s: change(s, **{"fc.weight": None, "fc.bias": None}),
            r"one linear classifier is expected \(a weight and a bias\), found nothing",
        ),
        (
            lambda s: change(s, more=torch.zeros(1)),
            r"expected .*, found fc\.bias, fc\.weight, more",
        ),
        (lambda s: change(s, **{"conv1.weight": None}), r"lacks 1 tensors: backbone\.model\.conv1"),
        (
            lambda s: change(s, **{"conv1.weight": torch.zeros(64, 3, 3, 3)}),
            r"has other sizes of 1 tensors: backbone\.model\.conv1\.weight",
        ),
        (
            lambda s: change(s, **{"fc.bias": torch.full((20,), torch.nan)}),
            r"has values that are not finite in 1 tensors: head\.linear\.bias",
        ),
        (lambda s: [1, 2], "a state dict of tensors is expected; save `model.state_dict"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(elsewhere, tmp_path, spoil, message):
    file = tmp_path / "trained.pth"
    torch.save(spoil(timm_model().state_dict()), file)
    bench = elsewhere("resnet18", file)
    with pytest.raises(UserError, match=f"^checkpoint '{file}'.*{message}") as caught:
        bench.train(ELSEWHERE)
    assert "\n" not in str(caught.value)
    assert (bench.entry(ELSEWHERE).folder / "failed.json").exists()


def test_a_file_that_changes_after_planning_is_refused(elsewhere, tmp_path):
    file = tmp_path / "trained.pth"
    torch.save(timm_model().state_dict(), file)
    bench = elsewhere("resnet18", file)
    run = bench.resolve(ELSEWHERE)
    file.write_bytes(b"")
    with pytest.raises(UserError, match="gone, or changed since the plan was made; plan again"):
        bench.train(run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["classes"].reverse(), "has them in another order; give the data set the same"),
        (lambda r: r["classes"].__setitem__(0, "zebra"), "has 20; only one of them has zebra, "),
        (lambda r: r["run"].update(net="cifar:resnet14"), "net is 'cifar:resnet14', expected"),
        (lambda r: r["run"]["recipe"].update(normalisation="none"), "normalisation is 'none', exp"),
        (lambda r: r.update(weights_sha256="ab"), "weights_sha256 is 'ab', expected"),
    ],
)
def test_a_run_with_other_labels_or_another_network_is_refused(
    elsewhere, taught, tmp_path, change, message
):
    (other,) = (taught.base / "store" / TEACHER).iterdir()
    copy = shutil.copytree(other, tmp_path / "other")
    record = records.read_json(copy / "run.json")
    change(record)
    records.write_json(copy / "run.json", record)
    with pytest.raises(UserError, match=message):
        elsewhere("cifar:resnet20", copy).train(ELSEWHERE)


def test_mistakes_are_found_when_planning(elsewhere, tmp_path):
    with pytest.raises(
        UserError, match=r"architectures\.yaml: elsewhere: checkpoint: .*no such file"
    ):
        make_plan(elsewhere("resnet18", tmp_path / "gone.pth").spec)
    file = tmp_path / "trained.pth"
    torch.save(timm_model().state_dict(), file)
    bench = elsewhere("resnet18", file)
    with pytest.raises(UserError, match="'elsewhere' has a checkpoint, so it is not trained"):
        bench.resolve("distill/scenes/resnet20--elsewhere/mld/default/seed0")
    pairs = [{"dataset": "scenes", "teacher": "resnet20", "student": "elsewhere"}]
    experiment = bench.spec.folder / "experiments" / "comparison.yaml"
    edit_yaml(experiment, lambda e: e.update(pairs=pairs))
    with pytest.raises(UserError, match="student: 'elsewhere' has a checkpoint; add an entry"):
        Specification(bench.spec.folder)
