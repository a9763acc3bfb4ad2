"""Fixtures and helpers of the tests that build caches of drawn images (see drawn_source.py)."""

import os
from collections import Counter
from dataclasses import replace

import drawn_source
import pytest
from drawn_source import dataset

from mdkd.data import decode
from mdkd.data.build import build
from mdkd.data.cache import open_cache


@pytest.fixture
def no_power_cut(monkeypatch):
    """Tests need not wait until the disk has everything."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture
def decode_log(tmp_path):
    return tmp_path / "decoded.txt"


def decoded(decode_log):
    """How often each image was decoded since the last call."""
    lines = decode_log.read_text().splitlines() if decode_log.exists() else []
    decode_log.unlink(missing_ok=True)
    return Counter(lines)


@pytest.fixture
def make_cache(tmp_path):
    """Build and open a cache of a drawn table."""
    undo = []

    def make_cache(table, name="cache", jobs=1, **settings):
        undo.append(drawn_source.offer(table))
        build(dataset(**settings), tmp_path, tmp_path / name, jobs)
        return open_cache(tmp_path / name)

    yield make_cache
    for step in reversed(undo):
        step()


@pytest.fixture
def many_processes(monkeypatch):
    """Processes for the smallest of caches."""
    monkeypatch.setattr(decode, "IMAGES_PER_PROCESS", 1)
    monkeypatch.setattr(decode, "IMAGES_PER_TASK", 5)


def swapped(drawn, **changes):
    """The table with another training split."""
    split = drawn.splits["train"]
    return replace(drawn, splits=drawn.splits | {"train": replace(split, **changes)})


def content(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}
