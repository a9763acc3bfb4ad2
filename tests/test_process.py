"""The program as a process: pipes, terminals, signals, and what lies around it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, TEACHER, edit_yaml, environment

MDKD = (sys.executable, "-m", "mdkd")
GOES_ON = "run the same command again: it goes on\n"


@pytest.fixture
def run(bench):
    """Run a shell command in the workbench, in which ``mdkd`` is the program."""
    shutil.copytree(bench.spec.folder, bench.base / "config")
    for file in (bench.base / "config" / "protocols").glob("*.yaml"):
        if file.stem not in ("smoke", "quick"):
            file.unlink()

    def run(command, cwd=bench.base, **variables):
        line = command.replace("mdkd", " ".join(MDKD))
        shell = ["bash", "-o", "pipefail", "-c", line]
        variables = environment() | variables
        return subprocess.run(shell, cwd=cwd, env=variables, capture_output=True, timeout=600)

    return run


def test_a_reader_that_ends_early_is_no_fault(run):
    for verb in ("plan all", "store list", "--help"):
        result = run(f"mdkd {verb} | (read -r line; echo $line)")
        assert (result.returncode, result.stderr.decode()) == (0, ""), verb
        assert result.stdout


@pytest.mark.parametrize("verb", ["plan", "store list"])
def test_an_output_that_cannot_be_written(run, verb):
    result = run(f"mdkd {verb} > /dev/full")
    assert result.returncode == 2
    (line,) = result.stderr.decode().splitlines()
    assert "error: standard output: No space left on device; free up space" in line


@pytest.mark.parametrize("streams", ["2> /dev/full", "2>&-", ">&-", "> /dev/null 2>&1"])
def test_messages_that_nobody_gets_stop_no_work(run, bench, streams):
    result = run(f"mdkd train {TEACHER} --log a.log {streams}")
    assert result.returncode == 0
    assert "already trained" in (bench.base / "a.log").read_text()


ENCODINGS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "C": {"LC_ALL": "C"},
    "C without UTF-8": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


SHOW = f"from mdkd import faults; faults.prepare_process(); faults.show({'a → b ± 1, –, 日'!a})"


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_terminal_that_is_not_utf_8(name):
    variables = environment() | ENCODINGS[name]
    result = subprocess.run([sys.executable, "-c", SHOW], env=variables, capture_output=True)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.decode("utf-8" if name == "C" else "latin-1") == {
        "latin-1": "a -> b ± 1, -, \\u65e5\n",
        "C": "a → b ± 1, –, 日\n",
    }.get(name, "a -> b +- 1, -, \\u65e5\n")


def test_a_table_on_a_terminal_of_ascii(run, bench):
    result = run("mdkd report partial comparison", PYTHONIOENCODING="ascii")
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"Scenes: ResNet8x2 -> ResNet8" in result.stdout
    page = bench.layout.results / "partial" / "tables" / "comparison.md"
    assert "ResNet8x2 → ResNet8" in page.read_text(encoding="utf-8")


def test_a_folder_whose_name_the_encoding_lacks_is_one_line(run, bench):
    edit_yaml(bench.base / "config" / "config.yaml", lambda c: c.update(store="größe"))
    result = run("mdkd store list", **ENCODINGS["C without UTF-8"])
    (line,) = result.stderr.decode().splitlines()
    assert result.returncode == 2 and "gr\\xf6\\xdfe" in line
    assert "config.yaml: store: 'gr" in line
    assert "cannot be the name of a file in the encoding ascii; set LC_ALL=C.UTF-8" in line


def test_the_working_directory_is_deleted(run, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    result = run(f"rmdir '{gone}'; mdkd plan --config x", cwd=gone)
    assert result.returncode == 2
    assert "error: the working directory has been deleted; go to" in result.stderr.decode()


FIGURE = """
from pathlib import Path
from mdkd.reporting import plots
plots.set_style()
figure, axes = plots.subplots()
axes.barh(["a → b", "$x_1$"], [1, 2])
plots.save(figure, Path("."), "figure")
"""


def test_the_users_home_and_settings_of_matplotlib_change_no_byte(tmp_path):
    def drawn(folder, *settings, **variables):
        folder.mkdir()
        (folder / "matplotlibrc").write_text("\n".join(settings))
        command, variables = [sys.executable, "-c", FIGURE], environment() | variables
        subprocess.run(command, cwd=folder, env=variables, check=True, capture_output=True)
        return {file.suffix: file.read_bytes() for file in folder.glob("figure.*")}

    settings = ["font.size: 40", "axes.facecolor: red", "savefig.dpi: 17", "svg.fonttype: none"]
    settings += ["font.family: serif", "pdf.fonttype: 42", "figure.dpi: 30", "no.such.key: 1"]
    expected = drawn(tmp_path / "a")
    assert expected.keys() == {".pdf", ".svg", ".png"}
    odd = {"MPLBACKEND": "nonsense", "HOME": "/proc/none", "TMPDIR": "/proc/none"}
    assert drawn(tmp_path / "b", *settings, **odd) == expected


# A stand-in for a slow import: the program can be stopped while it loads its modules.
SLOW = "import time\nprint('loading', flush=True)\ntime.sleep(60)\n"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
@pytest.mark.parametrize(
    ("module", "verb"),
    [("yaml", "plan"), ("torch", f"train {TEACHER}"), ("seaborn", "report labels scenes")],
)
def test_stopped_while_modules_are_loaded(run, bench, tmp_path, name, module, verb):
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / f"{module}.py").write_text(SLOW)
    path = f"{tmp_path / 'slow'}:{ROOT}"
    command = [*MDKD, *verb.split()]
    process = subprocess.Popen(
        command,
        cwd=bench.base,
        env=environment() | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "loading\n"
    process.send_signal(getattr(signal, name))
    _, errors = process.communicate(timeout=600)
    assert process.returncode == (130 if name == "SIGINT" else 143)
    assert re.fullmatch(rf"(\[.*\] )?interrupted by {name}; {GOES_ON}", errors)
    assert not list(bench.base.rglob("*.part"))


def test_a_signal_that_is_ignored_stays_ignored(run):
    """As under nohup."""
    script = "trap '' HUP; mdkd plan & sleep 0.3; kill -HUP $!; wait $!"
    result = run(script)
    assert result.returncode == 0, result.stderr


def test_a_build_of_a_cache_that_is_stopped_goes_on(run, bench):
    folder = bench.layout.cache("scenes")
    expected = (folder / "meta.json").read_bytes()
    shutil.rmtree(folder)
    options = "import time; from mdkd.data import decode; f = decode.PixelFile.fill\n"
    options += "def fill(self, *a):\n    time.sleep(0.5); return f(self, *a)\n"
    options += "decode.PixelFile.fill = fill; import sys; from mdkd import faults, cli\n"
    options += "faults.prepare_process(); sys.exit(cli.main(['cache', 'scenes', '--jobs', '1']))"
    command = [sys.executable, "-c", options]
    process = subprocess.Popen(
        command, cwd=bench.base, env=environment(), stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 600
    while not (folder / "images_test.npy").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 143 and errors.endswith(f"interrupted by SIGTERM; {GOES_ON}")
    assert not (folder / "lock").exists() and (folder / "progress.npz").exists()
    result = run("mdkd cache scenes --jobs 1")
    assert result.returncode == 0, result.stderr
    assert (folder / "meta.json").read_bytes() == expected
    assert os.listdir(folder).count("progress.npz") == 0
