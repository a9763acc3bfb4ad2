"""What a plan costs, by hand; `reporting/test_plan_listing.py` tests how it is printed."""

from dataclasses import replace

import pytest
from cache_case import cache_meta
from conftest import edit_yaml, python
from cost_case import (
    CACHE_BYTES,
    HEAD,
    MLD_S,
    STUDENT_BYTES,
    STUDENT_S,
    TEACHER,
    TEACHER_BYTES,
    TEACHER_S,
    distilled,
    estimator,
    notes,
    planned,
    record,
    seconds,
    two_experiments,
    without,
)

from mdkd import logits, records
from mdkd.config import Dataset, Head, Method
from mdkd.costs import costs, head_parameters
from mdkd.reporting.plan_listing import overview


@pytest.fixture
def config(config):
    return two_experiments(config)


@pytest.fixture
def plan_and_results(config, tmp_path):
    return planned(config, tmp_path)


def test_runs_hours_and_bytes_of_a_plan_before_anything_is_made(plan_and_results):
    small, wide = costs(estimator(*plan_and_results))
    assert (small.cells, len(small.runs), len(small.own)) == (4, 7, 7)
    assert (wide.cells, len(wide.runs), len(wide.own)) == (3, 5, 2)
    expected = TEACHER_S + 2 * STUDENT_S + 2 * MLD_S + 2 * 3 * MLD_S
    assert 3600 * small.hours == pytest.approx(expected)
    assert 3600 * wide.hours == pytest.approx(2 * MLD_S)
    assert small.disk == TEACHER_BYTES + 6 * STUDENT_BYTES + CACHE_BYTES
    assert wide.disk == 2 * STUDENT_BYTES


def test_a_teacher_is_counted_even_if_no_row_shows_it(plan_and_results):
    plan, results = plan_and_results
    artefacts = {"wide": replace(plan.artefacts["wide"], rows=plan.artefacts["wide"].rows[1:])}
    (wide,) = costs(estimator(replace(plan, artefacts=artefacts), results))
    assert len(wide.runs) == 5
    assert 3600 * wide.hours == pytest.approx(TEACHER_S + 4 * MLD_S)


STORING_S = 96 / (2 * 50)  # the teacher's part of MLD_S, once per seed


def test_stored_logits_are_paid_once_by_the_first_artefact_that_reads_them(config, tmp_path):
    plan, results = planned(config, tmp_path, stored_logits="auto")
    small, wide = costs(estimator(plan, results))
    read_s = MLD_S - STORING_S
    expected = TEACHER_S + 2 * STUDENT_S + 2 * (read_s + STORING_S) + 2 * 3 * MLD_S
    assert 3600 * small.hours == pytest.approx(expected)
    assert 3600 * wide.hours == pytest.approx(2 * read_s)
    logits_bytes = 2 * 96 * 20 * 4
    assert small.disk == TEACHER_BYTES + 6 * STUDENT_BYTES + CACHE_BYTES + logits_bytes
    text = notes(overview(plan, results, config / "rates.yaml"))
    saved = "they save 3.8 s, cost 1.9 s and need 15 kB"
    assert f"Stored logits of 2 pairs of teacher and seed serve 4 runs: {saved}." in text
    run = plan.runs[distilled("mld", 0)]
    facts = {"cache": "a", "teacher": "b", "epochs": [], "labels": 20, "images_per_s": 1.0}
    file = logits.entry(run, results).folder / "logits.json"
    records.write_json(file, facts | {"by_label": False})
    (small, _) = costs(estimator(plan, results))
    assert 3600 * small.hours == pytest.approx(expected - STORING_S)


def test_logits_are_not_stored_for_a_single_run(config, tmp_path):
    plan, results = planned(config, tmp_path, stored_logits="auto")
    record(results, distilled("mdkd", 0))
    assert list(estimator(plan, results).stores) == ["logits/scenes/resnet8x2/seed1"]


def test_a_run_that_read_logits_tells_the_speed_of_its_teacher_too(config, tmp_path):
    plan, results = planned(config, tmp_path, stored_logits="auto")
    record(results, distilled("mld", 0), images_per_s=10.0)
    file = results.run(distilled("mld", 0)) / "run.json"
    records.write_json(file, records.read_json(file) | {"stored_logits_images_per_s": 40.0})
    assert seconds(plan, results, distilled("mld", 1)) == pytest.approx(96 / 10)  # reads, too
    assert seconds(plan, results, distilled("mdkd", 0)) == pytest.approx(96 / 10 + 96 / 40)
    found = estimator(plan, results).logits_hours(plan.runs[distilled("mld", 1)])
    assert 3600 * found == pytest.approx(96 / 40)


POOLED = [f"pooled/scenes/resnet8x2/seed{seed}" for seed in (0, 1)]
LOGITS = [name.replace("pooled", "logits") for name in POOLED]
POOLED_BYTES = 96 * 20 * 4  # of a seed: images, channels of the teacher, float32


def with_pooled(config, tmp_path, **settings):
    """A plan of three methods; one of them needs pooled vectors."""
    for name, methods in (("small", ["mld", "mse", "pkt"]), ("wide", ["mld"])):
        file = config / "experiments" / f"{name}.yaml"
        edit_yaml(file, lambda e, methods=methods: e.update(methods=methods))
    return planned(config, tmp_path, stored_logits="auto", **settings)


def complete(plan, results, kind, seed):
    """Outputs of a teacher that are stored."""
    entry = logits.entry(plan.runs[distilled("mld", seed)], results, kind)
    facts = {"cache": "a", "teacher": "b", "epochs": [], "labels": 20, "images_per_s": 1.0}
    records.write_json(entry.folder / "logits.json", facts | {"by_label": False})


def test_pooled_vectors_are_stored_with_the_logits_if_a_run_needs_them(config, tmp_path):
    plan, results = with_pooled(config, tmp_path)
    everything = {
        name: [distilled(method, seed) for method in ("mld", "mse", "pkt")]
        for seed, name in enumerate(POOLED)
    }
    assert estimator(plan, results).stores == everything
    small, _ = costs(estimator(plan, results))
    read_s = MLD_S - STORING_S
    assert 3600 * small.hours == pytest.approx(TEACHER_S + 2 * (3 * read_s + STORING_S))
    outputs = 2 * (POOLED_BYTES + 96 * 20 * 4)  # and the logits of 20 labels
    assert small.disk == TEACHER_BYTES + 6 * STUDENT_BYTES + CACHE_BYTES + outputs
    text = notes(overview(plan, results, config / "rates.yaml"))
    served = "2 pairs of teacher and seed, 2 of them with pooled vectors, serve 6 runs: they save"
    assert f"Stored logits of {served} 5.8 s, cost 1.9 s and need 31 kB." in text
    record(results, distilled("pkt", 0))  # the only run of this seed that needs them
    assert list(estimator(plan, results).stores) == [POOLED[1], LOGITS[0]]


@pytest.mark.parametrize(
    ("gigabytes", "stores"),
    [(1.01 * POOLED_BYTES / 1e9, POOLED), (0.99 * POOLED_BYTES / 1e9, LOGITS), (0, LOGITS)],
)
def test_pooled_vectors_have_a_limit(config, tmp_path, gigabytes, stores):
    plan, results = with_pooled(config, tmp_path, stored_pooled_gb=gigabytes)
    assert list(estimator(plan, results).stores) == stores


def test_pooled_vectors_of_unknown_size_are_not_stored(config, tmp_path):
    plan, results = with_pooled(config, tmp_path)
    rates = without("sizes", "cifar:resnet8x2")
    assert list(estimator(plan, results, rates).stores) == LOGITS


def test_what_is_stored_already_is_read_first(config, tmp_path):
    plan, results = with_pooled(config, tmp_path, seeds=[0])
    complete(plan, results, "logits", 0)
    assert estimator(plan, results).stores == {
        LOGITS[0]: [distilled("mld", 0), distilled("mse", 0)]
    }  # one run alone needs more
    complete(plan, results, "pooled", 0)
    (results.store / LOGITS[0]).rename(tmp_path / "gone")
    record(results, distilled("pkt", 0))
    found = estimator(plan, results)
    assert found.stores == {POOLED[0]: [distilled("mld", 0), distilled("mse", 0)]}
    assert found.logits_hours(plan.runs[distilled("mld", 0)], "pooled") == 0


def test_only_full_batches_are_trained(config, tmp_path):
    edit_yaml(config / "protocols" / "smoke.yaml", lambda p: p["recipe"].update(batch_size=20))
    assert seconds(*planned(config, tmp_path), TEACHER) == pytest.approx(2 * 40 / 50)


def test_measured_beats_tabulated(plan_and_results):
    plan, results = plan_and_results
    before = seconds(plan, results, distilled("mld", 1))
    assert before == pytest.approx(MLD_S)
    record(results, distilled("mld", 0), images_per_s=10.0)
    assert seconds(plan, results, distilled("mld", 1)) == pytest.approx(9.6)
    # the same networks under another method, and under one that takes three times as long
    assert seconds(plan, results, distilled("mdkd", 0)) == pytest.approx(9.6)
    assert seconds(plan, results, distilled("reviewkd", 0)) == pytest.approx(3 * 9.6)
    # a run of the method itself comes before those of others
    record(results, distilled("reviewkd", 1), images_per_s=4.0)
    assert seconds(plan, results, distilled("reviewkd", 0)) == pytest.approx(24.0)
    assert seconds(plan, results, TEACHER) == pytest.approx(TEACHER_S)


def test_of_several_measured_runs_the_median_counts(plan_and_results):
    plan, results = plan_and_results
    for method, speed in (("mld", 10.0), ("mdkd", 20.0)):
        record(results, distilled(method, 0), images_per_s=speed)
    record(results, distilled("reviewkd", 0), images_per_s=1.0)  # 1/3 s without its factor
    assert estimator(plan, results).measured["cifar:resnet8", "cifar:resnet8x2"] == (
        pytest.approx([1 / 10, 1 / 3, 1 / 20])
    )
    other = replace(plan.runs[distilled("mld", 1)], method=Method(name="pkt", revision=1))
    assert estimator(plan, results).pace(other).seconds == pytest.approx(1 / 10)


def test_a_measured_net_is_put_together_with_a_tabulated_one(plan_and_results):
    plan, results = plan_and_results
    record(results, TEACHER, images_per_s=25.0)
    assert seconds(plan, results, distilled("mld", 0)) == pytest.approx(96 * (1 / 200 + 1 / 50))
    pace = estimator(plan, results).pace(plan.runs[distilled("mld", 0)])
    assert pace.origin == "tabulated"  # of the student; the guessed speed is not needed any more


def test_runs_on_another_kind_of_device_tell_nothing(config, tmp_path):
    plan, results = planned(config, tmp_path, device="cpu")
    record(results, distilled("mld", 0), device="Big GPU")
    assert seconds(plan, results, distilled("mld", 1)) == pytest.approx(MLD_S)


def test_hours_are_those_of_the_device_that_is_meant(config, tmp_path):
    assert not estimator(*planned(config, tmp_path, device="auto")).on_gpu
    plan, results = planned(config, tmp_path, device="cuda")
    text = overview(plan, results, config / "rates.yaml")
    assert "GPU time" in text
    assert "tabulated in" in notes(text)
    assert "for Big GPU at 32 px." in notes(text)
    plan, results = planned(config, tmp_path, device="auto")
    record(results, distilled("mld", 0), device="Big GPU", images_per_s=96.0)
    assert estimator(plan, results).on_gpu  # where runs were made
    assert seconds(plan, results, distilled("mld", 1)) == pytest.approx(1)
    assert "measured here on Big GPU." in notes(overview(plan, results, config / "rates.yaml"))
    edit_yaml(config / "protocols" / "smoke.yaml", lambda p: p.update(image_size=128))
    assert estimator(*planned(config, tmp_path / "new", device="auto")).on_gpu


def test_other_image_sizes_are_scaled_by_pixels(config, tmp_path):
    edit_yaml(config / "protocols" / "smoke.yaml", lambda p: p.update(image_size=64))
    plan, results = planned(config, tmp_path)
    assert seconds(plan, results, distilled("mld", 0)) == pytest.approx(4 * MLD_S)
    assert "at 32 px, scaled to 64 px by pixels" in notes(
        overview(plan, results, config / "rates.yaml")
    )


def dataset(val=0.0, **options):
    return Dataset(name="scenes", source="scenes", image_size=32, options=options, val=val)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (dataset(train=48, test=32), {"train": 48, "val": 0, "test": 32}),
        (
            dataset(train="train2014", test="val2014", train_images=100, test_images=7, val=0.1),
            {"train": 90, "val": 10, "test": 7},
        ),
        (dataset(train="train2014", test="val2014", train_images=100, test_images=None), None),
        (dataset(train="trainval", test="test"), None),
        (dataset(), None),
    ],
)
def test_images_that_the_options_announce(plan_and_results, given, expected):
    assert estimator(*plan_and_results).images(given) == expected


def test_images_and_labels_of_the_cache_come_first(plan_and_results):
    plan, results = plan_and_results
    meta = cache_meta(plan.datasets["scenes"], ["a", "b"], train=32, val=3, test=5)
    file = results.cache("scenes") / "meta.json"
    records.write_json(file, meta)
    found = estimator(plan, results)
    assert found.images(plan.datasets["scenes"]) == {"train": 32, "val": 3, "test": 5}
    assert found.cache(plan.datasets["scenes"]) == 40 * 32 * 32 * 3
    head = HEAD + 11 * 32 - 33 * 18
    assert found.disk(plan.runs[distilled("mld", 0)]) == 4 * (1000 + head) + 4 * (5 + 3) * 2
    assert seconds(plan, results, TEACHER) == pytest.approx(64 / 50)
    meta["dataset"]["image_size"] = 64  # made under other settings
    records.write_json(file, meta)
    assert estimator(plan, results).images(plan.datasets["scenes"])["train"] == 48


@pytest.mark.parametrize(
    "head",
    [
        Head(kind="gap"),
        Head(kind="mldecoder", width=32, heads=2, feedforward=48),
        Head(kind="mldecoder", width=32, heads=2, feedforward=48, queries=5),
    ],
)
def test_parameters_of_heads(head):
    from mdkd.models.heads import build_head

    module = build_head(head, map_dim=7, pooled_dim=7, num_labels=10)
    assert head_parameters(head, 7, 10) == sum(p.numel() for p in module.parameters())


def test_memory_of_a_training_without_a_gpu(plan_and_results):
    """By hand: the process, 16 bytes a trained parameter, 4 a frozen one, the activations."""
    plan, results = plan_and_results
    head, head_of_teacher = HEAD + 11 * 32, HEAD + 21 * 32
    images = 16 * (32 / 224) ** 2
    maps = 1e6 * images * 4  # behind the stem `small`, which halves the image only once
    student = 1.2e9 + 16 * (1000 + head) + maps * 0.5
    teacher = 4 * (2000 + head_of_teacher) + 0.3 * maps * 2.0
    found = estimator(plan, results)
    assert found.memory(plan.runs[distilled("mld", 0)]) == round(1.25 * (student + teacher))
    assert found.memory(plan.runs["supervised/scenes/resnet8/seed0"]) == round(1.25 * student)
    sizes = without("sizes", "cifar:resnet8x2")
    assert estimator(plan, results, sizes).memory(plan.runs[distilled("mld", 0)]) is None


def test_minutes_of_jobs(config, plan_and_results):
    plan, results = plan_and_results
    found = estimator(plan, results)
    assert found.minutes(plan.runs[TEACHER]) == 30  # and 3 x 1.9 s
    assert found.cache_minutes(plan.datasets["scenes"]) == 30
    long = replace(plan.runs[TEACHER].recipe, epochs=20000)
    hours = 48 * 20000 / 50 / 3600
    run = replace(plan.runs[TEACHER], recipe=long)
    assert found.minutes(run) == 30 + round(3 * 60 * hours)
    unknown = replace(plan.datasets["scenes"], options={})
    assert found.cache_minutes(unknown) == found.minutes(replace(run, dataset=unknown)) == 1440


def test_no_torch_is_loaded():
    result = python("-c", "import sys, mdkd.costs; print('torch' in sys.modules)")
    assert result.stdout == "False\n", result.stderr
