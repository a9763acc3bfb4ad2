"""A test double of conda, and a small channel for it. No test has a real conda.

The double answers what Snakemake asks of conda. It solves and installs with py-rattler, from
channels of empty packages: one for each name in environment.yml. The package ``python`` has a
program: it notes its call, then calls the Python of the tests. So a test sees that Snakemake
creates the environment, activates it, and runs each job in it, and on which machine. It does not
see whether the real channels have the packages.

    conda_double.py FOLDER ARGUMENTS...     FOLDER: where `install` has put everything

Only this script imports py-rattler, never the process of the tests: its threads may still use
Python objects while Python ends, and the process then crashes. So the script ends at once.
"""

import asyncio
import io
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import NamedTuple

import yaml

BIOCONDA = ("snakemake",)  # what packages start with that are not in conda-forge
ANSWERS = {  # the first words of a call, and the answer
    "--version": "conda 24.7.1",  # the oldest that Snakemake accepts
    "config --get channel_priority --json": json.dumps({"get": {"channel_priority": "strict"}}),
    "clean -y --tarballs": "",
}


def install(folder, environment_file):
    """Make ``folder/bin/conda``, what it activates, and its channels; returns ``folder/bin``."""
    program = folder / "bin" / "conda"
    program.parent.mkdir(parents=True)
    words = shlex.join([sys.executable, __file__, str(folder)])
    program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    program.chmod(0o755)
    activate = 'export CONDA_PREFIX="$1"\nexport PATH="$1/bin:$PATH"\n'
    (folder / "bin" / "activate").write_text(activate)
    subprocess.run([program, "make-channels", environment_file], check=True)
    return program.parent


class Job(NamedTuple):
    """A call of ``python -m mdkd`` in an environment."""

    host: str
    prefix: str  # of the environment
    verb: str  # the two words after mdkd


def calls(folder, program):
    """The calls of ``conda`` or ``python`` so far: the host and the words of each."""
    file = folder / f"{program}.txt"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(host, words) for host, *words in map(shlex.split, lines)]


def created(folder):
    """The environments that were created: the host and the prefix of each."""
    found = [
        (host, words) for host, words in calls(folder, "conda") if words[:2] == ["env", "create"]
    ]
    return [(host, words[words.index("--prefix") + 1]) for host, words in found]


def jobs(folder):
    """All jobs so far that ran in an environment."""
    return [
        Job(host, prefix, " ".join(words[2:4]))
        for host, (prefix, *words) in calls(folder, "python")
        if words[:2] == ["-m", "mdkd"]
    ]


def _make_channels(folder, file):
    """Write a package for each dependency of an environment file, into the channel that has it."""
    from rattler.index import index_fs

    for text in yaml.safe_load(Path(file).read_text())["dependencies"]:
        name, version = re.match(r"([\w-]+) ?(?:>=([\d.]+))?", text).groups()
        place = "bioconda" if name.startswith(BIOCONDA) else "conda-forge"
        payload = {"bin/python": _python(folder)} if name == "python" else {}
        _package(folder / "channels" / place / "noarch", name, version or "1.0", payload)
    for channel in ("bioconda", "conda-forge"):
        asyncio.run(index_fs(folder / "channels" / channel))


def _python(folder):
    """A program that notes its environment and its arguments, and calls the Python of the tests."""
    note = """call=$(printf "'%s' " "$(hostname)" "$CONDA_PREFIX" "$@")"""
    log = shlex.quote(str(folder / "python.txt"))
    write = f'echo "$call" >> {log}'  # all at once, because jobs run at the same time
    return f'#!/bin/sh\n{note}\n{write}\nexec {shlex.quote(sys.executable)} "$@"\n'


def _package(folder, name, version, payload):
    """Write a package in conda's first format: a tar file with three lists and the payload."""
    folder.mkdir(parents=True, exist_ok=True)
    index = {"name": name, "version": version, "build": "0", "build_number": 0, "depends": []}
    paths = [{"_path": path, "path_type": "hardlink"} for path in payload]
    files = {
        "info/index.json": json.dumps(index | {"subdir": "noarch", "noarch": "generic"}),
        "info/paths.json": json.dumps({"paths": paths, "paths_version": 1}),
        "info/files": "".join(f"{path}\n" for path in payload),
        **payload,
    }
    with tarfile.open(folder / f"{name}-{version}-0.tar.bz2", "w:bz2") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(text.encode()), 0o755 if path.startswith("bin/") else 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))


def _create(folder, file, prefix):
    """Solve and install an environment file, from the channels that it names."""
    import rattler

    content = yaml.safe_load(Path(file).read_text())
    assert content["channels"].pop() == "nodefaults"
    channels = [f"file://{folder}/channels/{name}" for name in content["channels"]]

    async def solve_and_install():
        solution = await rattler.solve(channels, content["dependencies"], platforms=["noarch"])
        cache = Path(folder) / "packages"
        await rattler.install(solution, prefix, cache_dir=cache, show_progress=False)

    asyncio.run(solve_and_install())


def main(folder, *words):
    with (Path(folder) / "conda.txt").open("a") as log:
        log.write(shlex.join([socket.gethostname(), *words]) + "\n")
    text = " ".join(words)
    if words[0] == "make-channels":
        _make_channels(Path(folder), words[1])
    elif text == "info --json":
        print(json.dumps({"conda_prefix": folder, "platform": "linux-64"}))
    elif words[:2] == ("env", "create"):
        _create(folder, *(words[words.index(option) + 1] for option in ("--file", "--prefix")))
    elif text in ANSWERS:
        print(ANSWERS[text])
    else:
        sys.exit(f"this double of conda does not know: conda {text}")


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)
