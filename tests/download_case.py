"""Downloads from a server of our own: what their tests share."""

import hashlib
import io
import tarfile
import zipfile

import make_datasets
import pytest
from conftest import copy_config, edit_yaml
from file_server import Server

from mdkd.cli import main
from mdkd.data import fetch
from mdkd.data.download import download
from mdkd.data.sources import voc
from mdkd.errors import UserError

TRAINVAL, TEST = "VOCtrainval_06-Nov-2007.tar", "VOCtest_06-Nov-2007.tar"

ZIPS = ("annotations_trainval2014.zip", "train2014.zip", "val2014.zip")


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetch, "WAIT_S", 0.0)
    server = Server()
    yield server
    server.close()


def tar(folder):
    """A tar of all below a folder, as bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as container:
        for path in sorted(folder.iterdir()):
            container.add(path, path.name)
    return buffer.getvalue()


def zipped(folder, part):
    """A zip of one folder and its files, as bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as container:
        for path in [folder / part, *sorted((folder / part).iterdir())]:
            container.write(path, path.relative_to(folder))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The official archives of tiny data sets: their contents by name."""
    made = tmp_path_factory.mktemp("made")
    splits = make_datasets.VOC
    for split in splits:
        make_datasets.voc(made / split, {split: splits[split]})
    make_datasets.coco(made / "coco")
    parts = {name: zipped(made / "coco", name.split("_")[0].split(".")[0]) for name in ZIPS}
    return {TRAINVAL: tar(made / "trainval"), TEST: tar(made / "test"), **parts}


class Case:
    """A configuration whose downloads come from a server, and the verb run with it."""

    def __init__(self, base, server, archives):
        self.server, self.config, self.data = server, copy_config(base / "config"), base / "data"
        self.root, self.work = self.data / "voc2007", self.data / "voc2007.download"
        server.files = dict(archives)
        self.serve("voc2007", TRAINVAL, TEST)
        self.serve("coco2014", *ZIPS)

    @property
    def file(self):
        return self.config / "downloads.yaml"

    def serve(self, dataset, *names, **changes):
        """Let the entry of a data set describe what the server has now."""
        entries = []
        for name in names:
            content = self.server.files[name]
            checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
            entry = {"url": f"{self.server.url}/pub/{name}", "size": len(content)}
            entries.append(entry | {"unpacked": 2 * len(content), "checksum": checksum} | changes)
        edit_yaml(self.file, lambda c: c[dataset].update(archives=entries))

    def verb(self, *arguments):
        options = ["--config", str(self.config), "--set", f"data_root={self.data}"]
        return main(["download", *arguments, *options])

    def download(self, mirror=None):
        download("voc2007", self.root, self.file, mirror)

    def refused(self, *parts, mirror=None):
        """The one-line error of a download that leaves nothing in place."""
        with pytest.raises(UserError) as caught:
            self.download(mirror)
        message = str(caught.value)
        assert "\n" not in message
        for part in parts:
            assert str(part) in message
        assert not self.root.exists()
        return message

    def loads(self):
        """Whether the source finds its images."""
        table = voc.load(voc.Options(), self.root, 8)
        assert table.splits["train"].ids == list(make_datasets.VOC["trainval"])
        assert table.splits["test"].ids == list(make_datasets.VOC["test"])
        table.splits["test"].image(0)
        return True


@pytest.fixture
def case(tmp_path, server, archives):
    return Case(tmp_path, server, archives)
