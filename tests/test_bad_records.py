"""Bad records, metrics, histories and predictions: one line with file and fix; the rest works."""

import json
import pickle

import numpy as np
import pytest
from cache_case import cache_meta
from conftest import edit_yaml
from reporting_cases import path_of, planned, predict, random_predictions

from mdkd import neighbours, precheck, records, store
from mdkd.attention import Maps
from mdkd.cli import main
from mdkd.data.cache import is_complete, read_meta
from mdkd.errors import UserError
from mdkd.joblog import last_message
from mdkd.plan import make_plan
from mdkd.spec import Specification

RUN, OTHER = path_of("vanilla", 0), path_of("vanilla", 1)
NAN = float("nan")


@pytest.fixture
def results(tmp_path):
    """Two runs that are done."""
    found = planned(tmp_path, [RUN, OTHER])
    for seed, path in enumerate((RUN, OTHER)):
        predict(found, path, *random_predictions(seed))
        line = {"epoch": 1, "losses": {"bce": 0.5}, "gradient_ratios": {}, "images_per_s": 9.0}
        (found.run(path) / "history.jsonl").write_text(json.dumps(line) + "\n")
    return found


def spoil(file, change):
    """Rewrite a file: with these bytes, or with a change of its JSON content."""
    if isinstance(change, bytes):
        file.write_bytes(change)
    else:
        content = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps(change(content)))


def put(**values):
    return lambda content: content | values


def without(key):
    return lambda content: {k: v for k, v in content.items() if k != key}


BYTES = {
    "empty": (b"", "not valid JSON"),
    "truncated": (b'{"run": {', "not valid JSON"),
    "list": (b"[]", "keys and values are expected"),
    "text": (b'"text"', "keys and values are expected"),
    "null": (b"null", "keys and values are expected"),
    "zeros": (bytes(200), "not valid JSON"),
    "latin-1": ('{"a": "größe"}'.encode("latin-1"), "not UTF-8 text"),
    "NaN": (b'{"a": NaN}', "NaN is no number"),
    "twice": (b'{"a": 1, "a": 2}', "key 'a' appears twice"),
    "deep": (b'{"a":' * 100_000, "nested too deep"),
    "pickle": (pickle.dumps({"run": 1}), "not UTF-8 text"),
}
RECORDS = {
    **BYTES,
    "nothing": (lambda c: {}, "key 'run' is missing"),
    "lacking run": (without("run"), "key 'run' is missing"),
    "lacking plan": (without("planned"), "key 'planned' is missing"),
    "lacking classes": (without("classes"), "key 'classes' is missing"),
    "lacking digest": (without("weights_sha256"), "key 'weights_sha256' is missing"),
    "run is a list": (put(run=[1]), "run: expected keys and values"),
    "run of another shape": (lambda c: c | {"run": c["run"] | {"x": 1}}, "run: unknown key 'x'"),
    "plan is a list": (put(planned=[]), "planned: expected keys and values"),
    "deep plan": (put(planned={"a": json.loads("[" * 60 + "]" * 60)}), "nested deeper than 50"),
    "cache is null": (put(cache=None), "cache: expected text"),
    "digest above": (put(weights_sha256="../../x"), "weights_sha256: '../../x'"),
    "digest is a number": (put(predictions_sha256=7), "predictions_sha256: expected text"),
    "class is null": (put(classes=["a", None]), "classes[1]: expected text"),
    "classes twice": (put(classes=["a", "a"]), "classes: 'a' appears twice"),
    "half a surrogate": (put(classes=["\ud800"]), "classes[0]", "remove"),
    "no speed": (put(images_per_s=0), "images_per_s: 0.0 is below"),
    "time is text": (put(wall_s="1"), "wall_s: expected a number"),
    "negative memory": (put(peak_memory_bytes=-1), "peak_memory_bytes: -1 is below 0"),
    "parameters": (put(parameters={"backbone": 1, "head": 1}), "parameters: key 'connectors'"),
    "environment": (put(environment={}), "environment: key 'device' is missing"),
    "dropped": (put(dropped={"train": {"missing": -1}}), "dropped: train: missing: -1 is below 0"),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_damaged_record_is_named_and_the_others_are_used(results, name):
    change, *fragments = RECORDS[name]
    file = results.run(RUN) / "run.json"
    spoil(file, change)
    assert [results.state(path) for path in (RUN, OTHER)] == ["damaged", "done"]
    (line,) = store.damage(results.runs, results)
    assert line.startswith(f"{file}: ")
    assert line.endswith(f"restore it from a copy, or delete {file.parent} and train the run again")
    assert [part for part in fragments if part not in line] == [], line
    assert (results.scores(RUN), results.predictions(RUN), results.history(RUN)) == (None,) * 3
    assert results.scores(OTHER)["metrics"]["mAP"] > 0
    finished = store.publish_all(results.runs, results, withdraw=True)
    assert len(finished) == 1
    assert neighbours.differences(results.runs[RUN], results) == []


METRICS = {
    **BYTES,
    "metric is text": (lambda c: c | {"metrics": c["metrics"] | {"mAP": "high"}}, "metrics: mAP"),
    "no labels": (without("average_precision"), "key 'average_precision' is missing"),
    "list of labels": (put(average_precision=[1]), "average_precision: expected keys"),
    "labels": (put(labels_without_positives=[1]), "labels_without_positives[0]: expected text"),
}


@pytest.mark.parametrize("name", METRICS)
def test_damaged_metrics_are_named_with_the_fix(results, name):
    change, *fragments = METRICS[name]
    file = results.run(RUN) / "metrics.json"
    spoil(file, change)
    with pytest.raises(UserError) as caught:
        results.scores(RUN)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert message.endswith("delete it; it is then computed again from the predictions")
    assert [part for part in fragments if part not in message] == [], message
    file.unlink()
    assert results.scores(RUN)["metrics"]["mAP"] > 0


@pytest.mark.parametrize(
    "change",
    [lambda c: {}, put(metrics=[]), put(metrics=None), put(revision="1")],
    ids=["nothing", "list", "null", "revision"],
)
def test_metrics_that_are_not_current_are_computed_again(results, change):
    spoil(results.run(RUN) / "metrics.json", change)
    assert results.scores(RUN)["metrics"]["mAP"] > 0


LINE = {"epoch": 2, "losses": {}, "gradient_ratios": {}, "images_per_s": 1.0}
HISTORIES = {
    "no JSON": (b"{", "line 1: not valid JSON"),
    "list": (b"[]\n", "line 1: keys and values are expected"),
    "blank line": (b"\n", "line 1: not valid JSON"),
    "no loss": (json.dumps({**LINE, "losses": 1}).encode(), "losses: expected keys and values"),
    "text": (json.dumps({**LINE, "epoch": "2"}).encode(), "epoch: expected an integer"),
    "no speed": (json.dumps({**LINE, "images_per_s": 0}).encode(), "images_per_s: 0.0 is below"),
    "lacking": (b'{"epoch": 1}', "key 'losses' is missing"),
    "NaN": (json.dumps({**LINE, "images_per_s": NAN}).encode(), "NaN is no number"),
    "latin-1": (b"\xe9", "not UTF-8 text"),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_a_damaged_history_names_the_line(results, name):
    content, *fragments = HISTORIES[name]
    file = results.run(RUN) / "history.jsonl"
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        results.history(RUN)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert message.endswith(f"delete {file.parent} and train the run again")
    assert [part for part in fragments if part not in message] == [], message


def other_arrays(**arrays):
    """A change of the arrays in a file; None removes one."""

    def change(file):
        with np.load(file) as content:
            changed = dict(content) | arrays
        np.savez(file, **{name: value for name, value in changed.items() if value is not None})

    return change


def write(content):
    return lambda file: file.write_bytes(content)


def cut(file):
    file.write_bytes(file.read_bytes()[:300])


class Code:
    """A pickle of this runs code when it is read."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('code was run')",))


ONE = np.zeros((60, 5), np.float32)
PREDICTIONS = {
    "empty": (write(b""), "not readable as predictions"),
    "truncated": (cut, "not readable as predictions"),
    "web page": (write(b"<html>"), "not readable as predictions"),
    "pickle": (write(pickle.dumps(Code())), "not readable as predictions"),
    "objects": (other_arrays(ids=np.array([Code()] * 60, object)), "not readable as predictions"),
    "no logits": (other_arrays(logits_NC=None), "logits_NC: missing"),
    "no targets": (other_arrays(targets_NC=None), "targets_NC: missing"),
    "no ids": (other_arrays(ids=None), "ids_N: missing"),
    "text": (other_arrays(logits_NC=np.full((60, 5), "x")), "logits_NC: missing, or of another"),
    "integers": (other_arrays(logits_NC=np.zeros((60, 5), int)), "logits_NC: missing, or of"),
    "fewer labels": (other_arrays(logits_NC=ONE[:, :4]), "expected [images, 5]"),
    "fewer images": (other_arrays(logits_NC=ONE[:9]), "expected [images, 5]"),
    "no images": (other_arrays(logits_NC=ONE[:0], targets_NC=ONE[:0].astype(int)), "arrays (0, 5)"),
    "one axis": (other_arrays(logits_NC=ONE[0]), "expected [images, 5]"),
    "fewer ids": (other_arrays(ids=np.array(["a"])), "ids: (1,), expected (60,)"),
    "mask": (other_arrays(ignored_NC=ONE[:9].astype(bool)), "expected [images, 5]"),
    "logits of NaN": (other_arrays(logits_NC=ONE + np.float32(NAN)), "a logit is not finite"),
    "targets of 2": (other_arrays(targets_NC=ONE.astype(np.uint8) + 2), "a target is not 0 or 1"),
}


@pytest.mark.parametrize("name", PREDICTIONS)
def test_foreign_predictions_under_a_right_digest_are_refused(results, name):
    change, fragment = PREDICTIONS[name]
    file = results.run(RUN) / "predictions.npz"
    change(file)
    spoil(results.run(RUN) / "run.json", put(predictions_sha256=records.sha256(file)))
    for reading in (results.predictions, results.scores):
        with pytest.raises(UserError) as caught:
            reading(RUN)
        message = str(caught.value)
        assert message.startswith(f"{file}: ")
        assert fragment in message
        assert message.endswith(f"delete {file.parent} and train the run again")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", pickle.dumps(Code())])
def test_damaged_attention_maps_are_refused(tmp_path, content):
    file = tmp_path / "maps.npz"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"maps\.npz: not readable as attention maps .*; delete it"):
        Maps.load(file)
    np.savez(file, basis="x")
    with pytest.raises(UserError, match=r"maps\.npz: not readable as attention maps"):
        Maps.load(file)


METAS = {  # tests/data/test_bad_caches.py has more, for the same reader
    **BYTES,
    "nothing": (b"{}", "cache format null, expected 2"),
    "another format": (b'{"format": 1}', "cache format 1, expected 2"),
    "no data set": (b'{"format": 2}', "key 'dataset' is missing"),
}


@pytest.mark.parametrize("name", METAS)
def test_a_damaged_record_of_a_cache_is_named(results, name):
    content, fragment = METAS[name]
    file = results.cache("scenes") / "meta.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_meta(results.runs[RUN].dataset, results)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert fragment in message
    assert message.endswith("then run `mdkd cache scenes --protocol smoke`")
    if name == "another format":
        assert not is_complete(results.runs[RUN].dataset, file.parent, file.parent)
    elif name != "nothing":
        with pytest.raises(UserError, match=r"meta\.json: "):
            is_complete(results.runs[RUN].dataset, file.parent, file.parent)


@pytest.mark.parametrize("content", [b"", b"[]", b"[" * 100_000, b"\xff", b'{"entry": 1}'])
def test_a_damaged_published_file_is_written_again(results, content):
    file = results.published(RUN, results.run(RUN).name)
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    assert len(store.publish_all(results.runs, results, withdraw=True)) == 2
    assert records.read_json(file)["entry"] == str(results.run(RUN))


@pytest.fixture
def project(config, results, tmp_path, monkeypatch):
    """A folder with the store of `results`, whose plan has its two runs."""
    monkeypatch.chdir(tmp_path)
    pair = {"dataset": "scenes", "teacher": "resnet20", "student": "resnet8"}
    edit_yaml(
        config / "experiments/comparison.yaml",
        lambda e: e.update(pairs=[pair], methods=["vanilla", "mdkd"]),
    )
    edit_yaml(config / "config.yaml", lambda c: c.update(seeds=[0, 1]))
    for file in (config / "protocols").glob("*.yaml"):
        if file.stem not in ("smoke", "quick"):
            file.unlink()
    return results


def test_plans_and_lists_go_on_beside_a_damaged_record(project, capsys):
    file = project.run(RUN) / "run.json"
    file.write_bytes(b"{")
    for command in (["plan"], ["plan", "all"], ["store", "list"], ["store", "prune"]):
        assert main(command) == 0, command
    printed = capsys.readouterr()
    assert printed.err.count(f"damaged: {file.relative_to(file.parents[6])}: not valid") == 2
    assert f"damaged        {RUN}" in printed.out
    assert f"done           {OTHER}" in printed.out
    assert main(["store", "verify"]) == 2
    first, *lines = capsys.readouterr().err.splitlines()
    assert first.endswith("2 of 2 entries are damaged:")  # the other has neither weights nor a log
    assert len(lines) == 2
    assert main(["score", RUN]) == 2
    assert "run.json: not valid JSON" in capsys.readouterr().err


def test_what_a_method_needs_is_known_from_the_cache(project, config, capsys):
    plan = make_plan(Specification(config))
    meta = cache_meta(plan.datasets["scenes"], ["a", "b", "c"], train=9, test=9)
    records.write_json(plan.layout().cache("scenes") / "meta.json", meta)
    with pytest.raises(UserError) as caught:
        precheck.check(plan, ["comparison"], plan.layout())
    batch, labels = sorted(caught.value.args, reverse=True)
    assert batch == (
        "experiment comparison: protocol smoke: recipe: batch_size 16 exceeds the 9 training "
        "images of data set 'scenes'; lower it to 9 or less"
    )
    assert labels.startswith(
        "experiment comparison: method mdkd: bd4, id4 need 4 labels, but data set 'scenes' has 3; "
        "set bd4, id4 to 0 in config/methods.yaml or in the experiment"
    )
    assert main(["plan"]) == 0
    assert capsys.readouterr().err.count("cannot be trained: experiment comparison: ") == 2
    edit_yaml(config / "methods.yaml", lambda m: m.update(mdkd={"bd4": 0, "id4": 0}))
    with pytest.raises(UserError) as caught:
        precheck.check(make_plan(Specification(config)), ["comparison"], plan.layout())
    assert caught.value.args == (batch,)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_split_without_positive_images_is_known_from_the_cache(project, config, split):
    plan = make_plan(Specification(config))
    meta = cache_meta(plan.datasets["scenes"], ["a", "b", "c", "d"], train=48, val=9, test=9)
    meta["splits"][split]["images_per_label"] = [0, 0, 0, 0]
    records.write_json(plan.layout().cache("scenes") / "meta.json", meta)
    with pytest.raises(UserError) as caught:
        precheck.check(plan, ["comparison"], plan.layout())
    (line,) = caught.value.args
    what = f"no label has a positive {split} image; use a larger {split} split"
    assert line == f"experiment comparison: data set 'scenes': {what}"


def test_what_a_method_needs_is_known_before_a_cache_is_made(config, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    edit_yaml(config / "protocols/smoke.yaml", lambda p: p["recipe"].update(batch_size=49))
    edit_yaml(config / "protocols/smoke.yaml", lambda p: p["head"].update(queries=21))
    assert main(["cache", "scenes", "--log", "cache.log"]) == 2
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == 2
    assert "batch_size 49 exceeds the 48 training images" in printed[0]
    assert "head: queries 21 exceed the 20 labels" in printed[1]
    assert not (tmp_path / "cache").exists()
    told = last_message(tmp_path / "cache.log").splitlines()
    assert [line in text for line, text in zip(told, printed, strict=True)] == [True, True]
