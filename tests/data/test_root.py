"""The folder that a cache was made from: other files must not give the old numbers silently."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from conftest import edit_yaml
from drawn_cache import content, decoded
from drawn_source import Options, dataset, table
from PIL import Image

from mdkd import records, registry
from mdkd.cli import main
from mdkd.data.build import build
from mdkd.data.cache import open_cache
from mdkd.data.images import UndecodableImage

pytestmark = pytest.mark.usefixtures("no_power_cut")

RUN = "supervised/mine/resnet8/seed0"
EXPERIMENT = {
    "kind": "comparison",
    "title": "Mine",
    "datasets": {"mine": {"label": "Mine", "source": "folder", "root": "a"}},
    "pairs": [{"dataset": "mine", "teacher": "resnet8x2", "student": "resnet8"}],
    "methods": ["vanilla"],
}


def draw(folder, seed):
    """Eight images with one of two labels each; the seed changes pixels only."""
    folder.mkdir(parents=True)
    drawn = np.random.default_rng(seed)
    for i in range(8):
        Image.fromarray(drawn.integers(0, 256, (20, 20, 3), np.uint8)).save(folder / f"{i}.png")
    rows = [f"{i}.png,{'train' if i < 4 else 'test'},{'cat' if i % 2 else 'dog'}" for i in range(8)]
    (folder / "labels.csv").write_text("\n".join(["file,split,labels", *rows]))


@pytest.fixture
def call(config, tmp_path, monkeypatch, capsys):
    """Call the command line; returns the status and all that it says. ``data/a`` is cached."""
    (config / "experiments" / "mine.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    edit_yaml(config / "protocols" / "smoke.yaml", lambda p: p["recipe"].update(batch_size=2))
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "data" / "a", 0)

    def call(*words):
        status = main([*words])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    assert call("cache", "mine")[0] == 0
    return call


@pytest.fixture
def folder(tmp_path):
    """That of the cache."""
    return tmp_path / "cache" / "smoke" / "mine"


def set_root(root):
    def change(experiment):
        experiment["datasets"]["mine"]["root"] = str(root)

    edit_yaml(Path("config/experiments/mine.yaml"), change)


def line(a, b, options=""):
    made = f"the cache of 'mine' was made from {a}, and its root is {b} now"
    fix = f"run `mdkd cache mine{options}` again: trainings stay valid if the files are the same"
    return f"{made}; {fix}"


def test_every_command_names_both_folders(call, tmp_path):
    a, b = tmp_path / "data" / "a", tmp_path / "data" / "b"
    draw(b, 1)
    assert "was made from" not in call("plan", "mine")[1]
    set_root("b")
    for words in (["plan", "mine"], ["plan"], ["status"], ["plan", "mine", "--json"]):
        status, said = call(*words)
        assert (status, line(a, b) in said) == (0, True), words
    for words in (["plan", "mine", "--commands"], ["cache", "mine", "--verify"], ["train", RUN]):
        status, said = call(*words)
        assert (status, line(a, b) in said) == (2, True), words
    assert not (tmp_path / "store").exists()
    said = call("doctor")[1]
    assert "fix: run `mdkd cache mine` with these settings again" in said
    assert "cache/smoke/mine is complete" not in said


def test_the_remedy_has_the_settings_of_the_call(call, tmp_path):
    a, b = tmp_path / "data" / "a", tmp_path / "my data" / "a"
    draw(b, 1)
    given = ["--set", "data_root=my data"]
    said = call("plan", "mine", "--protocol", "smoke", *given)[1]
    assert line(a, b, " --set 'data_root=my data' --protocol smoke") in said
    assert call("cache", "mine", *given)[0] == 0
    assert "was made from" not in call("plan", "mine", *given)[1]
    assert line(b, a) in call("plan", "mine")[1]


def test_if_needed_makes_the_cache_again(call, tmp_path, folder):
    before = open_cache(folder).fingerprint
    assert call("cache", "mine", "--if-needed") == (0, "")
    draw(tmp_path / "data" / "b", 1)
    set_root("b")
    status, said = call("cache", "mine", "--if-needed")
    assert status == 0
    assert f"its root is {tmp_path}/data/b now; it is made again" in said
    assert open_cache(folder).fingerprint != before
    assert call("cache", "mine", "--if-needed") == (0, "")


def test_trainings_stay_valid_if_the_files_are_the_same(call, tmp_path, folder):
    before = open_cache(folder)
    shutil.copytree("data/a", "data/copy")
    set_root("copy")
    assert call("cache", "mine")[0] == 0
    after = open_cache(folder)
    assert after.fingerprint == before.fingerprint
    assert (before.meta["root"], after.meta["root"]) == (
        f"{tmp_path}/data/a",
        f"{tmp_path}/data/copy",
    )
    status, said = call("cache", "mine", "--verify")
    assert (status, f"made from {tmp_path}/data/copy" in said) == (0, True)


@pytest.mark.parametrize("root", ["../data/./a", "link", "~/data/a", "none", "a"])
def test_the_same_folder_and_one_that_is_gone_are_no_error(call, tmp_path, monkeypatch, root):
    """The images may be deleted once the cache is made."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data" / "link").symlink_to("a")
    if root == "a":
        shutil.rmtree(tmp_path / "data" / "a")
    set_root(root)
    assert call("cache", "mine", "--if-needed") == (0, "")
    assert call("cache", "mine", "--verify")[0] == 0
    assert "was made from" not in call("plan", "mine")[1]


def test_a_link_that_leads_elsewhere_now_is_another_folder(call, tmp_path):
    """Also where the cached folder itself became a link: to other files, as far as is known."""
    a, b = tmp_path / "data" / "a", tmp_path / "data" / "b"
    draw(b, 1)
    link = tmp_path / "data" / "current"
    link.symlink_to("a")
    set_root("current")
    assert "was made from" not in call("plan", "mine")[1]
    link.unlink()
    link.symlink_to("b")
    assert line(a, b) in call("plan", "mine")[1]
    shutil.rmtree(a)
    a.symlink_to("b")
    set_root("a")
    assert line(a, b) in call("plan", "mine")[1]


def test_a_cache_of_an_earlier_version_is_accepted(call, tmp_path, folder):
    meta = records.read_json(folder / "meta.json")
    del meta["root"]
    records.write_json(folder / "meta.json", meta)
    draw(tmp_path / "data" / "b", 1)
    set_root("b")
    assert call("cache", "mine", "--if-needed") == (0, "")
    assert call("cache", "mine", "--verify")[0] == 0
    assert "was made from" not in call("plan", "mine")[1]


def test_a_cache_with_other_settings_is_not_compared(call, tmp_path, folder):
    """It is made again in any case; so is one of another format."""
    draw(tmp_path / "data" / "b", 1)
    set_root("b")
    config = tmp_path / "config" / "protocols" / "smoke.yaml"
    edit_yaml(config, lambda p: p.update(image_size=24))
    assert "was made from" not in call("plan", "mine")[1]
    meta = records.read_json(folder / "meta.json")
    records.write_json(folder / "meta.json", meta | {"format": 1})
    assert call("cache", "mine", "--if-needed")[0] == 0
    assert open_cache(folder).meta["root"] == f"{tmp_path}/data/b"


@pytest.mark.parametrize("drawn", [True, False])
def test_images_that_are_drawn_have_no_folder(monkeypatch, tmp_path, decode_log, drawn):
    source = SimpleNamespace(Options=Options, load=lambda *_: table(decode_log, 8, 4), DRAWN=drawn)
    monkeypatch.setattr(registry, "load", lambda *_: source)
    build(dataset(), tmp_path / "any", tmp_path / "cache", 1)
    meta = json.loads((tmp_path / "cache" / "meta.json").read_text())
    assert meta.get("root", "none") == ("none" if drawn else f"{tmp_path}/any")


def test_a_path_that_is_no_text_is_not_kept(monkeypatch, tmp_path, decode_log):
    source = SimpleNamespace(Options=Options, load=lambda *_: table(decode_log, 8, 4))
    monkeypatch.setattr(registry, "load", lambda *_: source)
    for name in ("bell\a", "byte\udcff"):
        build(dataset(), tmp_path / name, tmp_path / "cache", 1)
        assert "root" not in open_cache(tmp_path / "cache").meta


def test_a_build_from_another_folder_is_not_continued(monkeypatch, tmp_path, decode_log):
    """Names and labels may be the same, and pixels others."""

    def begin(root, **damage):
        drawn = table(decode_log, 150, 4, **damage)
        source = SimpleNamespace(Options=Options, load=lambda *_: drawn)
        monkeypatch.setattr(registry, "load", lambda *_: source)
        build(dataset(), tmp_path / root, tmp_path / "cache", 1)

    for root, count in (("b", 154), ("a", 154 - 96)):
        with pytest.raises(UndecodableImage):
            begin("a", damaged=(100,))
        decoded(decode_log)
        begin(root)
        assert len(decoded(decode_log)) == count
        assert "progress.npz" not in content(tmp_path / "cache")
