"""Shared fixtures: a shrunk configuration, a cache of few images, and trainings of seconds."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
TINY = {"scenes": {"train": 48, "test": 32}}


def edit_yaml(file, change):
    """Rewrite a YAML file with what ``change`` does to its content."""
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def edit_text(file, old, new):
    """Replace one place of a file, which must be there."""
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{file}: {text.count(old)} times {old!r}"
    file.write_text(text.replace(old, new), encoding="utf-8")


def environment():
    """That of a user who has activated the environment of these tests."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def python(*arguments, cwd=ROOT):
    """Run Python in a process of its own."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment(), capture_output=True, text=True
    )


def copy_config(folder):
    """The project's configuration, set to the smoke protocol on 48 + 32 images."""
    shutil.copytree(ROOT / "config", folder)
    edit_yaml(folder / "config.yaml", lambda c: c.update(protocol="smoke", device="cpu"))
    edit_yaml(folder / "protocols" / "smoke.yaml", lambda p: p.update(datasets=TINY))
    return folder


@pytest.fixture
def config(tmp_path):
    """A folder of settings that a test may spoil."""
    return copy_config(tmp_path / "config")
