"""`mdkd predict`: equal to the stored predictions, what it prints, and what it refuses."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from use_case import LABELS, predictions_of

from mdkd import metrics, records, store
from mdkd.cli import main
from mdkd.data.images import read_image
from mdkd.training.labelling import Picture, label


def run_file(entry):
    return str(entry.folder / store.RECORD)


def test_test_images_get_the_stored_predictions(used, pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # there is no cache and no configuration
    stored = predictions_of(used)
    files = [str(pictures / name) for name in stored.ids_N]
    assert main(["predict", run_file(used), *files, "--json", "--device", "cpu"]) == 0
    found = json.loads(capsys.readouterr().out)
    scores_NC = metrics.probabilities(stored.logits_NC)
    assert [picture["file"] for picture in found] == files
    for picture, scores_C in zip(found, scores_NC, strict=True):
        assert [picture["probabilities"][name] for name in LABELS] == scores_C.tolist()
        values = list(picture["probabilities"].values())
        assert values == sorted(values, reverse=True)
        assert picture["labels"] == [n for n, v in picture["probabilities"].items() if v >= 0.5]


def test_a_run_path_works_as_well(used, pictures, taught, tmp_path, monkeypatch, capsys):
    bench = taught.copy(tmp_path)
    monkeypatch.chdir(tmp_path)
    config = ["--config", str(bench.spec.folder), "--device", "cpu"]
    run = "supervised/scenes/resnet20/seed0"
    assert main(["predict", run, str(pictures / "1.png"), *config]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == str(pictures / "1.png")
    assert len(printed) >= 6
    assert main(["predict", "supervised/scenes/resnet8/seed7", "1.png", *config]) == 2
    assert "train it first: mdkd train supervised/scenes/resnet8/seed7" in capsys.readouterr().err


def test_predicted_labels_come_first_and_others_fill_five_lines(tmp_path):
    shares = {"a": 0.9, "b": 0.5, "c": 0.49, "d": 0.2, "e": 0.1, "f": 0.0}
    picture = Picture(tmp_path, shares)
    assert picture.labels == ["a", "b"]
    lines = picture.text().splitlines()
    assert lines[1:4] == ["  0.900  a", "  0.500  b", "  0.490  c  (below the threshold)"]
    assert len(lines) == 6
    assert len(Picture(tmp_path, dict.fromkeys("abcdefg", 0.6)).text().splitlines()) == 8


def test_attention_of_the_most_likely_label_is_drawn(used, pictures, tmp_path, capsys, monkeypatch):
    maps, file, asked = tmp_path / "maps", pictures / "4.png", []
    heat_SS = np.zeros((32, 32), np.float32)
    heat_SS[:, :16] = 1  # the left half

    def half(network, split, classes, recipe, device):
        asked.append(classes)
        return [heat_SS]

    monkeypatch.setattr("mdkd.training.gradcam.grad_cam", half)
    (picture,) = label(used, [file], "cpu", maps)
    assert asked == [[LABELS.index(next(iter(picture.probabilities)))]]
    assert picture.map == maps / "4.cam.png"
    assert str(picture.map) in picture.text()
    drawn = np.asarray(Image.open(picture.map)).astype(int)
    assert drawn.shape == (244, 448, 3)
    drawn, caption = drawn[:224], drawn[224:]
    assert np.array_equal(drawn[::7, :224:7], read_image(file, 32))
    name, value = next(iter(picture.probabilities.items()))
    expected = Image.new("RGB", (448, 20), "white")
    font = ImageFont.load_default(12)
    ImageDraw.Draw(expected).text((4, 3), f"{value:.3f}  {name}", "black", font)
    assert np.array_equal(caption, np.asarray(expected))
    added = drawn[::7, 224::7, 0] - drawn[::7, 224::7, 2]  # red where the network looks, else blue
    assert added[heat_SS > 0.9].mean() > added[heat_SS < 0.1].mean() + 50


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["none.png"], "none.png: no such file; check the path"),
        (["."], "is a folder; name pictures"),
        (["labels.csv"], "labels.csv: cannot be decoded"),
        (["1.png", "again/1.png"], "the attention of both would be in"),
    ],
)
def test_what_is_no_picture_is_one_line(used, pictures, tmp_path, capsys, names, message):
    for name in ("1.png", "labels.csv"):
        shutil.copy(pictures / name, tmp_path)
    (tmp_path / "again").mkdir()
    shutil.copy(pictures / "2.png", tmp_path / "again" / "1.png")
    files = [str(tmp_path / name) for name in names]
    output = ["--cam", "--output", str(tmp_path / "maps"), "--device", "cpu"]
    assert main(["predict", run_file(used), *files, *output]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "maps").exists()


def test_a_run_without_its_weights_is_one_line(used, pictures, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(used.folder, folder)
    (folder / store.WEIGHTS).unlink()
    record = records.read_json(folder / store.RECORD)
    records.write_json(folder / store.RECORD, record | {"left_out": [store.WEIGHTS]})
    for call in (["predict", "{}", str(pictures / "1.png")], ["export", "{}", "--to", "onnx"]):
        arguments = [word.format(folder / store.RECORD) for word in call]
        assert main(arguments) == 2
        assert "the run was imported without this file" in capsys.readouterr().err


def test_another_file_than_a_record_is_refused(capsys):
    assert main(["predict", "some/plan.json", "a.png"]) == 2
    assert "give the path of a run, or the run.json" in capsys.readouterr().err
