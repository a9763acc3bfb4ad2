"""`mdkd store`: list, verify and prune."""

import shutil

import pytest
from conftest import TEACHER, edit_yaml
from store_case import finish, listing, rewrite
from trainings import MLD, REVIEW, STUDENT, tamper

from mdkd import logits, records, store
from mdkd.aside import move_aside
from mdkd.training.teacher import store_logits


def place(bench, path):
    return bench.entry(path).folder.relative_to(bench.layout.store).as_posix()


def empty(bench):
    shutil.rmtree(bench.layout.store)


def test_the_list_says_what_there_is_and_who_uses_it(kept, keep):
    finish(kept, STUDENT)
    finish(kept, REVIEW)
    begun = kept.entry(MLD).folder
    begun.mkdir(parents=True)
    (begun / "checkpoint.pt").write_bytes(bytes(2_000_000))
    status, text = keep("list")
    lines, users = text.splitlines()[:-1:2], text.splitlines()[1:-1:2]
    lines = {line.split("days")[1].split()[0]: line for line in lines}
    users = dict(zip(lines, users, strict=True))
    assert status == 0
    assert lines.keys() == {place(kept, path) for path in (TEACHER, STUDENT, REVIEW, MLD)}
    assert lines[place(kept, STUDENT)].startswith("finished")
    assert users[place(kept, STUDENT)] == "    used by smoke: comparison"
    assert users[place(kept, TEACHER)] == "    used by smoke: comparison"
    assert users[place(kept, REVIEW)] == "    used by no artefact of any protocol"
    assert lines[place(kept, MLD)].startswith("unfinished       2.0 MB    0.0 days")
    assert text.splitlines()[-1].startswith("4 entries, ")
    with kept.entry(MLD).held():
        assert f"running          2.0 MB    0.0 days  {place(kept, MLD)}" in keep("list")[1]


def test_an_empty_store_has_a_list(kept, keep):
    empty(kept)
    assert keep("list") == (0, "0 entries, 0.00 GB\n")
    assert keep("verify") == (0, "0 finished entries are intact\n")


@pytest.mark.parametrize("name", [*store.DIGESTS, "metrics.json"])
def test_verify_finds_a_changed_byte(kept, keep, name):
    finish(kept, STUDENT)
    assert keep("verify") == (0, "2 finished entries are intact\n")
    file = kept.entry(STUDENT).folder / name
    if name == "metrics.json":
        metrics = records.read_json(file)["metrics"]
        rewrite(file, metrics=metrics | {"mAP": metrics["mAP"] + 1e-12})
    else:
        tamper(file)
    status, text = keep("verify")
    assert status == 2
    assert text.count("\n") == 2
    assert "1 of 2 entries are damaged:\n" in text
    assert f"{place(kept, STUDENT)}/{name}: " in text


def test_verify_reports_every_kind_of_damage(kept, keep):
    """It stops at no entry: a record that is cut, and metrics that are no JSON."""
    finish(kept, STUDENT)
    finish(kept, MLD)
    cut = kept.entry(STUDENT).folder / "run.json"
    cut.write_bytes(cut.read_bytes()[:50])
    (kept.entry(MLD).folder / "metrics.json").write_bytes(b"{")
    status, text = keep("verify")
    assert status == 2
    first, *lines = text.splitlines()
    assert first.endswith("2 of 3 entries are damaged:")
    where = f"{place(kept, STUDENT)}/run.json: not valid JSON"
    assert [where in line for line in lines].count(True) == 1
    assert len(lines) == 2


def test_verify_finds_metrics_without_content_and_accepts_an_older_revision(kept, keep):
    finish(kept, STUDENT)
    file = kept.entry(STUDENT).folder / "metrics.json"
    file.write_text("{}")
    assert "not the metrics of its predictions" in keep("verify")[1]
    file.write_text('{"revision": 0}')  # it is computed again when it is next needed
    assert keep("verify")[0] == 0


def test_prune_says_how_much_first_and_deletes_only_with_yes(kept, keep):
    for path in (STUDENT, MLD, REVIEW):
        finish(kept, path)
    before = listing(kept.layout.store)
    status, text = keep("prune")
    assert status == 0
    assert text.splitlines()[0].endswith(place(kept, REVIEW))
    assert text.splitlines()[1].startswith(
        "1 entries, 0.00 GB, are not needed by the plan of any protocol; "
    )
    assert listing(kept.layout.store) == before
    status, text = keep("prune", "--yes")
    assert (status, text) == (0, "deleted 1 entries, 0.00 GB\n")
    gone = before.keys() - listing(kept.layout.store).keys()
    assert gone == {name for name in before if name.startswith(place(kept, REVIEW))}


@pytest.mark.parametrize("kind", ["logits", "pooled"])
def test_outputs_are_listed_and_go_first_when_no_run_waits_for_them(kept, keep, kind):
    store_logits(kept.resolve(MLD), kept.layout, kind, "cpu")
    stored = logits.entry(kept.resolve(MLD), kept.layout, kind).folder
    assert stored.relative_to(kept.layout.store).parts[0] == kind
    lines = keep("list")[1].splitlines()
    where = next(i for i, line in enumerate(lines) if line.endswith(stored.name))
    assert lines[where].startswith(f"{kind} ")
    assert lines[where + 1].strip() == "for runs that are left to train"
    assert "0 entries" in keep("prune")[1]
    finish(kept, MLD)  # the only one that could read them
    finish(kept, REVIEW)  # not planned
    first, second, *_ = keep("prune")[1].splitlines()
    assert first.endswith(stored.name)
    assert second.endswith(place(kept, REVIEW))
    assert keep("prune", "--yes")[1].startswith("deleted 2 entries")
    assert not stored.exists()
    assert keep("verify")[0] == 0


def test_prune_keeps_what_another_protocol_plans(kept, keep):
    config = kept.base / "config"
    finish(kept, STUDENT)
    edit_yaml(config / "config.yaml", lambda c: c.update(protocol="quick"))
    assert "0 entries" in keep("prune")[1]
    (config / "protocols" / "smoke.yaml").unlink()
    assert "2 entries" in keep("prune")[1]


def test_prune_keeps_an_entry_that_a_process_holds(kept, keep):
    finish(kept, REVIEW)
    with kept.entry(REVIEW).held():
        assert keep("prune", "--yes") == (0, "deleted 0 entries, 0.00 GB\n")
        assert kept.entry(REVIEW).finished
    assert keep("prune", "--yes")[1].startswith("deleted 1 entries")


def test_prune_counts_what_it_has_deleted(kept, keep, monkeypatch):
    """A process may begin to use an entry while others are being deleted."""
    finish(kept, STUDENT)
    entry = kept.entry(STUDENT)
    first, second = (entry.folder.with_name(f"{entry.folder.name}.{name}") for name in "ab")
    for folder in (first, second):
        shutil.copytree(entry.folder, folder)
    with store.Entry(second).held():
        monkeypatch.setattr(store.Entry, "running", False)  # as it was a moment before
        text = keep("prune", "--yes")[1]
    assert text.startswith("deleted 1 entries, ")
    assert second.exists() and not first.exists()


def test_prune_finds_runs_that_were_moved_aside_and_half_copied_ones(kept, keep):
    finish(kept, STUDENT)
    move_aside(kept.entry(STUDENT))
    finish(kept, MLD)
    half = kept.entry(MLD).folder.with_name("0123456789abcdef")
    half.mkdir()
    (half / "model.pt").touch()
    assert keep("prune", "--yes")[1].startswith("deleted 2 entries")
    assert not half.exists()
