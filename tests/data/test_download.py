"""Downloads of whole data sets: the verb, mirrors, disk space, what is there already."""

import errno
import json
import shutil
import subprocess

import make_datasets
import pytest
import yaml
from conftest import ROOT, edit_yaml, environment
from download_case import TEST, TRAINVAL, ZIPS

from mdkd import locks
from mdkd.data import download as downloading
from mdkd.data.download import read_downloads
from mdkd.data.sources import coco
from mdkd.errors import UserError
from mdkd.resolve import resolve_root
from mdkd.spec import Specification


def test_the_verb_brings_voc_to_where_its_source_looks(case, capfd):
    assert case.verb("voc2007") == 0
    assert case.loads()
    assert [name for name, _ in case.server.requests] == [TRAINVAL, TEST]
    assert sorted(path.name for path in case.data.iterdir()) == ["voc2007"]  # no archive stays
    record = json.loads((case.root / "download.json").read_text())
    assert [archive["name"] for archive in record["archives"]] == [TRAINVAL, TEST]
    assert all(archive["checksum"].startswith("sha256:") for archive in record["archives"])
    assert "MB/s" in capfd.readouterr().err


def test_the_verb_brings_coco(case):
    assert case.verb("coco2014") == 0
    table = coco.load(coco.Options(), case.data / "coco2014", 8)
    assert table.splits["train"].ids == ["4", "9", "30"]
    assert (case.data / "coco2014" / "val2014").is_dir()


def test_a_second_call_does_nothing_and_needs_no_network(case, capfd):
    case.download()
    case.server.close()
    before = case.server.requests[:]
    assert case.verb("voc2007") == 0
    assert case.server.requests == before
    assert "nothing to do" in capfd.readouterr().err


def test_the_query_of_a_url_is_no_part_of_the_name(case):
    edit_yaml(
        case.file,
        lambda c: [a.update(url=f"{a['url']}?download=1&a=/b") for a in c["voc2007"]["archives"]],
    )
    case.download()
    assert case.loads()
    record = json.loads((case.root / "download.json").read_text())
    assert [archive["name"] for archive in record["archives"]] == [TRAINVAL, TEST]


def test_wrong_bytes_are_removed_and_never_unpacked(case):
    content = bytearray(case.server.files[TRAINVAL])
    content[700] ^= 1
    case.server.files[TRAINVAL] = bytes(content)
    case.refused("sha256", "damaged or replaced", "--mirror")
    assert not list(case.work.rglob("*.tar*")) and not (case.work / "files").exists()


def test_an_unknown_checksum_is_said_to_be_unchecked(case, capfd):
    case.serve("voc2007", TRAINVAL, TEST, checksum=None)
    assert case.verb("voc2007") == 0
    assert capfd.readouterr().err.count("NOT CHECKED") == 2


def test_a_full_disk_is_noticed_before_the_download(case, monkeypatch):
    usage = shutil.disk_usage(case.config)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    case.refused("0.0 GB free", "data_root")
    assert not case.server.requests and not case.data.exists()


def test_a_disk_that_fills_up_is_one_line(case, monkeypatch, capsys):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(downloading, "fetch", full)
    assert case.verb("voc2007") == 2
    _, line = capsys.readouterr().err.splitlines()
    assert f"error: {case.work}: No space left on device; free up space" in line
    assert not case.root.exists()


def test_space_counts_what_is_deleted_on_the_way(case, archives, monkeypatch):
    first, second = len(archives[TRAINVAL]), len(archives[TEST])
    peak = 2 * first + max(first, second + 2 * second)
    for free, fits in ((peak - 1, False), (peak, True)):
        usage = shutil.disk_usage(case.config)._replace(free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda path, usage=usage: usage)
        if fits:
            case.download()
        else:
            case.refused("needed")


def test_a_mirror_may_be_a_folder(case, tmp_path, archives):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / TRAINVAL).write_bytes(archives[TRAINVAL])
    case.refused(mirror / TEST, "no such file", mirror=str(mirror))
    (mirror / TEST).write_bytes(archives[TEST])
    assert case.verb("voc2007", "--mirror", str(mirror)) == 0
    assert case.loads() and not case.server.requests
    assert {path.name for path in mirror.iterdir()} == {TRAINVAL, TEST}


def test_a_damaged_file_of_a_mirror_is_left_to_its_owner(case, tmp_path, archives):
    (tmp_path / TRAINVAL).write_bytes(b"?" * len(archives[TRAINVAL]))
    case.refused(tmp_path / TRAINVAL, "damaged", mirror=str(tmp_path))
    assert (tmp_path / TRAINVAL).exists()


def test_a_mirror_may_be_an_address(case, server):
    edit_yaml(case.file, lambda c: [a.update(url=gone(a)) for a in c["voc2007"]["archives"]])
    case.download(f"{server.url}/mirror/")
    assert case.loads()


def gone(archive):
    return archive["url"].replace("http://127.0.0.1", "http://gone.invalid")


def test_a_mirror_is_no_other_kind_of_address(case):
    case.refused("ftp://", mirror="ftp://127.0.0.1/pub")


def test_archives_are_kept_if_asked_for(case, archives):
    edit_yaml(case.file, lambda c: c["voc2007"].update(keep_archives=True))
    case.download()
    assert (case.work / TEST).read_bytes() == archives[TEST]
    shutil.rmtree(case.root)
    case.download()
    assert len(case.server.requests) == 2 and case.loads()


def test_an_interruption_is_one_line(case, monkeypatch, capsys):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(downloading, "fetch", stop)
    assert case.verb("voc2007") == 130
    line = "[download voc2007] interrupted by SIGINT; run the same command again: it goes on\n"
    assert capsys.readouterr().err.endswith(line)


def test_files_of_others_are_never_touched(case):
    make_datasets.voc(case.root)
    with pytest.raises(UserError, match="not downloaded by this program"):
        case.download()
    assert case.loads() and not case.server.requests


def test_an_empty_folder_or_a_link_to_one_is_filled(case, tmp_path):
    (tmp_path / "disk").mkdir()
    case.data.mkdir()
    case.root.symlink_to(tmp_path / "disk")
    case.download()
    assert case.root.is_symlink() and case.loads()


def test_files_lost_later_are_noticed(case):
    case.download()
    (case.root / "VOCdevkit/VOC2007/JPEGImages/000001.jpg").unlink()
    with pytest.raises(UserError, match="1 files are missing"):
        case.download()


@pytest.mark.parametrize("text", ["[]", "{}", '{"archives": 3, "files": 1}', "[", "\0", "null"])
@pytest.mark.parametrize("where", ["root", "work/files"])
def test_records_of_others_are_one_line(case, text, where):
    folder = case.root if where == "root" else case.work / "files"
    folder.mkdir(parents=True)
    (folder / "download.json").write_text(text)
    with pytest.raises(UserError) as caught:
        case.download()
    message = str(caught.value)
    assert message.startswith(f"{folder / 'download.json'}: ")
    assert "run the command again" in message
    assert ("delete it" in message) == (where != "root")
    assert "\n" not in message and not case.server.requests


def test_other_archives_are_not_taken_for_the_same(case):
    case.download()
    case.serve("voc2007", TRAINVAL)
    with pytest.raises(UserError, match="other archives"):
        case.download()


def test_two_downloads_of_one_data_set_do_not_mix(case):
    case.work.mkdir(parents=True)
    with locks.held(case.work / "lock", "busy"):
        case.refused("another process")


def test_unknown_data_sets_get_a_hint(case, capfd):
    assert case.verb("voc207") == 2
    assert "did you mean 'voc2007'?" in capfd.readouterr().err
    assert case.verb("scenes") == 2
    assert "no download for scenes" in capfd.readouterr().err


def test_nuswide_says_what_to_do(case, capfd):
    assert case.verb("nuswide") == 2
    lines = capfd.readouterr().err.splitlines()
    assert "error: nuswide cannot be downloaded automatically" in lines[-1]
    assert any(f"{case.data}/nuswide/ImageList/TrainImagelist.txt" in line for line in lines)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["voc2007"]["archives"][0].pop("checksum"), "'checksum' is missing"),
        (lambda c: c["voc2007"]["archives"][0].update(checksum="sha1:00"), "write md5:HEX"),
        (lambda c: c["voc2007"]["archives"][0].update(url="ftp://a/b.tar"), "not the http"),
        (lambda c: c["voc2007"]["archives"][0].update(url="http://a/b/"), "not the http"),
        (lambda c: c["voc2007"]["archives"][0].update(url="http://a/?b=c.zip"), "not the http"),
        (lambda c: c["voc2007"]["archives"][0].update(url="http://a/b/.."), "not the http"),
        (lambda c: c["voc2007"]["archives"][0].update(size=0), "must be positive"),
        (lambda c: c["voc2007"].update(keep_archive=True), "did you mean 'keep_archives'?"),
        (lambda c: c["nuswide"].clear(), "either archives or instructions"),
    ],
)
def test_mistakes_in_the_file_are_found(config, change, message):
    edit_yaml(config / "downloads.yaml", change)
    with pytest.raises(UserError, match=message):
        read_downloads(config / "downloads.yaml")


def test_the_official_archives():
    entries = read_downloads(ROOT / "config" / "downloads.yaml")
    spec = Specification(ROOT / "config")
    official = {"voc2007": [TRAINVAL, TEST], "coco2014": list(ZIPS), "nuswide": []}
    for name, archives in official.items():
        assert [archive.name for archive in entries[name].archives] == archives
        assert all(archive.checksum for archive in entries[name].archives)
        assert resolve_root(spec, name).name == name


def test_the_workflow_downloads_on_request_alone(case, tmp_path):
    for part in ("Snakefile", "workflow", "profiles", "environment.yml"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, tmp_path / part)
    command = ["snakemake", "--cores", "1", "download_voc2007", "--config", "data_root=my data"]
    options = {"cwd": tmp_path, "env": environment(), "capture_output": True, "text": True}
    result = subprocess.run(command, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    case.root = tmp_path / "my data" / "voc2007"
    assert case.loads()
    assert len(case.server.requests) == 2
    (file,) = (tmp_path / "results/smoke/plans").iterdir()
    plan = yaml.safe_load(file.read_text())
    assert "voc2007" not in plan["datasets"]  # asked for by name, used by no experiment
