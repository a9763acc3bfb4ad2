"""What scripts and people rely on: docs/commands.md, JSON, exit statuses, completion, messages."""

import argparse
import json
import logging
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, TEACHER, edit_yaml
from store_case import finish
from test_docs import table_of

from mdkd import cli, completion, faults
from mdkd.arguments import parser
from mdkd.cli import main
from mdkd.doctor import examination
from mdkd.doctor.check import Check

COMMANDS = "docs/commands.md"
EVERYWHERE = {"--help", "--config", "--protocol", "--set", "--plan", "--log", "--debug"}


def leaves(parser, words=()):
    """Every complete command with its own options: verb, kind or choice."""
    below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    for action in below:
        for name, sub in action.choices.items():
            yield from leaves(sub, (*words, name))
    if below or not words:
        return
    options = {o for a in parser._actions for o in a.option_strings if o.startswith("--")}
    chosen = next((a.choices for a in parser._actions if a.dest == "kind" and a.choices), [None])
    for choice in chosen:
        yield (*words, choice) if choice else words, options - EVERYWHERE


def items_of_the_page():
    """The verbs that each item of the lists explains, with the text of the item."""
    text = (ROOT / COMMANDS).read_text(encoding="utf-8")
    for item in re.findall(r"^- (`mdkd .*?)(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL):
        yield re.findall(r"`mdkd ([a-z]+(?: [a-z]+)?)[^`]*`[:,]", item), item


def test_every_verb_and_option_is_explained():
    expected = {" ".join(words): options for words, options in leaves(parser())}
    found = {}
    for verbs, item in items_of_the_page():
        for verb in verbs:
            named = set(re.findall(r"`(--[a-z-]+)", item))
            found[verb] = found.get(verb, set()) | (named & expected.get(verb, set()))
            assert named <= set().union(*expected.values()), item
    assert found == expected


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("plan", "artefacts"),
        ("plan comparison", "runs"),
        ("status", "runs"),
        ("list methods", "methods"),
        ("list networks", "networks"),
        ("list datasets", "datasets"),
        ("list experiments", "experiments"),
        ("list runs", "runs"),
        (f"compare {TEACHER} {TEACHER}", "comparisons"),
        ("store list", "entries"),
        ("doctor", "checks"),
    ],
)
def test_json_has_the_documented_keys(kept, capsys, monkeypatch, command, part):
    checks = [Check("disk", "warning", "little", "free some"), Check("Python", "ok", "3.11")]
    monkeypatch.setattr(examination, "examine", lambda *_: iter(checks))
    assert main([*command.split(), "--json"]) == 0
    shown = capsys.readouterr()
    (line,) = shown.out.splitlines()  # one line, and nothing else
    found, documented = json.loads(line), dict(table_of(COMMANDS, "Command", "Keys"))
    name = re.sub(" comparison", " ARTEFACT", re.sub(f"{TEACHER} {TEACHER}", "A B", command))
    parts = {f"mdkd {name}`: {part}": found[part][0]}
    if command.startswith("list"):
        parts = {f"mdkd {name}": found[part][0]}
        assert found.keys() == {part}
    elif command.startswith("compare"):
        parts[f"mdkd {name}`: metrics"] = found[part][0]["metrics"][0]
    else:
        parts[f"mdkd {name}"] = found
    documented = {key.strip("`"): set(re.findall(r"\w+", keys)) for key, keys in documented.items()}
    for key, content in parts.items():
        assert content.keys() == documented[key], key


def test_json_says_what_the_text_says(kept, capsys, monkeypatch):
    student = finish(kept, "supervised/scenes/resnet8/seed0").path

    def said(words):
        assert main([*words.split(), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    runs = {run["name"]: run for run in said("list runs")["runs"]}
    assert {path: run["state"] for path, run in runs.items()} == {
        TEACHER: "done",
        student: "done",
        "distill/scenes/resnet20--resnet8/mld/default/seed0": "to do",
    }
    metrics = json.loads((kept.entry(TEACHER).folder / "metrics.json").read_text())["metrics"]
    assert runs[student]["mAP"] == metrics["mAP"]
    assert said("status")["counts"] == {"done": 2, "running": 0, "failed": 0, "waiting": 1}
    (artefact,) = said("plan")["artefacts"]
    assert (artefact["runs"], artefact["done"], said("plan")["left"]) == (3, 2, 1)
    entries = {e["path"].rpartition("/")[0]: e for e in said("store list")["entries"]}
    files = [f for f in kept.entry(student).folder.rglob("*") if f.is_file()]
    assert entries[student]["bytes"] == sum(f.stat().st_size for f in files)
    assert entries[student]["used_by"]["smoke"] == ["comparison"]


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("methods", r"mld +MLD +needs logits +mdkd/methods/mld.py"),
        ("methods", r"vanilla +.+ needs nothing +mdkd/methods/vanilla.py"),
        ("networks", r"resnet8 +ResNet8 +needs nothing +config/architectures.yaml"),
        ("datasets", r"scenes +Scenes +needs nothing, cached +config/datasets.yaml, .*/scenes.py"),
        ("datasets", r"voc2007 +VOC2007 +needs data/voc2007 \(no such folder\) .*/voc.py"),
        ("experiments", r"comparison +.* needs scenes, 3 runs +config/experiments/comparison.yaml"),
        ("runs", rf"{TEACHER} +done, mAP \d+\.\d\d +needs scenes +store/{TEACHER}/[0-9a-f]+"),
        ("runs", rf"distill/scenes/resnet20--resnet8/mld/default/seed0 +to do +needs {TEACHER}"),
    ],
)
def test_lists_name_source_and_needs(kept, capsys, kind, line):
    assert main(["list", kind]) == 0
    assert re.search(rf"^{line}$", capsys.readouterr().out, re.MULTILINE)


def test_a_folder_without_settings_is_told_where_the_commands_work(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for command in (["list", "methods"], ["plan"], ["train", TEACHER]):
        assert main(command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert (
            "error: config: no such folder; this command needs settings: call it in a clone" in line
        )


def test_lists_name_what_was_trained_elsewhere(kept, capsys):
    file = kept.entry(TEACHER).folder / "model.pt"
    entry = {"net": "cifar:resnet20", "label": "Mine", "checkpoint": str(file)}
    edit_yaml(Path("config/architectures.yaml"), lambda a: a.update(elsewhere=entry))
    pairs = [{"dataset": "scenes", "teacher": "elsewhere", "student": "resnet8"}]
    edit_yaml(Path("config/experiments/comparison.yaml"), lambda e: e.update(pairs=pairs))
    assert main(["list", "networks"]) == 0
    shown = capsys.readouterr().out
    assert re.search(rf"^elsewhere +Mine +needs nothing, checkpoint: {file} ", shown, re.MULTILINE)
    assert main(["plan", "comparison"]) == 0
    shown = capsys.readouterr().out
    assert re.search(
        rf"/elsewhere/seed0  \(scored, not trained: {file}; comparison\)$", shown, re.M
    )
    assert "(2 epochs of scenes; comparison)" in shown
    assert main(["plan", "comparison", "--json"]) == 0
    epochs = {run["path"]: run["epochs"] for run in json.loads(capsys.readouterr().out)["runs"]}
    assert epochs.pop("supervised/scenes/elsewhere/seed0") == 0
    assert set(epochs.values()) == {2}


def ends(exception):
    def verb(args):
        raise exception

    return verb


def test_the_exit_statuses_are_the_documented_ones(kept, capsys, monkeypatch):
    statuses = {}
    statuses["done"] = main(["list", "methods"])
    monkeypatch.setitem(cli.VERBS, "list", ends(faults.ReaderGone()))
    statuses["reader gone"] = main(["list", "methods"])
    monkeypatch.setitem(cli.VERBS, "list", ends(KeyError("x")))
    statuses["fault"] = main(["list", "methods"])
    for verdict in ("problem", "warning"):
        check = Check("disk", verdict, "little", "free some")
        monkeypatch.setattr(examination, "examine", lambda *_, check=check: iter([check]))
        statuses[verdict] = main(["doctor"])
    statuses["mistake"] = main(["plan", "nonsense"])
    with pytest.raises(SystemExit) as stopped:
        main(["nonsense"])
    statuses["call"] = stopped.value.code
    monkeypatch.setitem(cli.VERBS, "list", ends(OSError(28, "No space left on device", "x")))
    statuses["disk"] = main(["list", "methods"])
    monkeypatch.setitem(cli.VERBS, "list", ends(KeyboardInterrupt()))
    statuses["Ctrl-C"] = main(["list", "methods"])
    monkeypatch.setattr(faults, "received", [signal.SIGTERM])
    statuses["signal"] = main(["list", "methods"])
    assert statuses == {
        **{"done": 0, "reader gone": 0, "warning": 0, "fault": 1, "problem": 1},
        **{"mistake": 2, "call": 2, "disk": 2, "Ctrl-C": 130, "signal": 143},
    }
    rows = table_of(COMMANDS, "Status", "Meaning")
    assert {int(status) for status, _ in rows} == set(statuses.values())
    assert {int(s) for s in re.findall(r"^(\d+) ", faults.__doc__, re.M)} == set(statuses.values())


def test_under_a_workflow_the_terminal_has_no_line_per_epoch(kept, capsys):
    student = "supervised/scenes/resnet8/seed0"
    epochs = kept.resolve(student).recipe.epochs
    for words, on_terminal in (([], epochs), (["--log", "job.log"], 0)):
        run = ["train", student.replace("seed0", f"seed{len(words)}"), *words]
        assert main(run) == 0
        said = capsys.readouterr().err
        assert len(re.findall(r"epoch \d+/\d+ ", said)) == on_terminal
        assert "training on cpu" in said and "results are in" in said
    in_log = (kept.base / "job.log").read_text()
    assert len(re.findall(r"epoch \d+/\d+ ", in_log)) == epochs


def test_messages_of_detail_are_between_debug_and_info():
    assert logging.DEBUG < faults.DETAIL < logging.INFO


def completed(folder, *words):
    """What bash offers for the last word."""
    line = " ".join(f"'{word}'" for word in words)
    code = f"source ./script; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _shtab_mdkd; "
    command = ["bash", "-c", code + 'printf "%s\\n" "${COMPREPLY[@]}"']
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert result.stderr == ""
    return result.stdout.split()


def test_bash_completes_verbs_options_and_names(kept):
    pytest.importorskip("shtab")
    (kept.base / "script").write_text(completion.script(parser(), "bash"))
    assert completed(kept.base, "mdkd", "st") == ["store", "status"]
    assert completed(kept.base, "mdkd", "list", "") == list(main_kinds())
    assert completed(kept.base, "mdkd", "status", "--wa") == ["--watch"]
    assert completed(kept.base, "mdkd", "train", "super") == [TEACHER]
    assert completed(kept.base, "mdkd", "curves", "comp") == ["comparison"]
    assert completed(kept.base, "mdkd", "cache", "scenes_") == ["scenes_val"]


def main_kinds():
    return ("methods", "networks", "datasets", "experiments", "runs")


def test_zsh_gets_a_script_too():
    pytest.importorskip("shtab")
    script = completion.script(parser(), "zsh")
    assert script.startswith("#compdef mdkd")
    for function in {"_mdkd_" + "_or_".join(known) for known in completion.TARGETS.values()}:
        assert f"{function}()" in script and script.count(function) > 1


def test_what_completion_knows_of_verbs_is_still_there():
    commands = {" ".join(words) for words, _ in leaves(parser())}
    assert completion.TARGETS.keys() <= commands


def test_without_shtab_there_is_one_clear_line(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "shtab is not installed" in line and "run `pip install 'mdkd[completion]'`" in line
