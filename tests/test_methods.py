"""Every method against its formula in loops, and one contract that holds for all of them."""

import math
import subprocess
import sys
from pathlib import Path

import oracles
import pytest
import torch
import yaml
from torch.utils._python_dispatch import TorchDispatchMode

from mdkd import methods, registry
from mdkd.dependencies import batch_loss, instance_loss
from mdkd.errors import UserError
from mdkd.methods.base import method
from mdkd.methods.reviewkd import hierarchical_context
from mdkd.outputs import Output, Spec

CONFIG = yaml.safe_load(
    (Path(__file__).parents[1] / "config" / "methods.yaml").read_text(encoding="utf-8")
)
NAMES = methods.names()
LABELS = 7
STUDENT = Spec(LABELS, 6, (4, 5, 6), (16, 8, 4), 5)
TEACHER = Spec(LABELS, 9, (3, 5, 7, 8), (8, 8, 4, 2), 6)
# The fusion blocks stand between student and teacher, so equal networks do not give zero.
NOT_MINIMAL_AT_EQUALITY = {"reviewkd"}
# Its list of pairs depends on the labels; documented in the method.
MAY_READ_LABELS_ON_THE_HOST = {"l2d"}


def output(spec, num_images, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(num_images, *shape, generator=generator, dtype=torch.float64).to(dtype)

    maps = zip(spec.map_channels, spec.map_sizes, strict=True)
    return Output(
        2 * normal(LABELS),
        normal(spec.pooled_dim).relu() + 0.1 * normal(spec.pooled_dim),
        tuple(normal(channels, size, size) for channels, size in maps),
        normal(LABELS, spec.embedding_dim),
    )


def targets(num_images):
    """0, 1, all, 2 and 3 positives, and so on again."""
    rows = torch.zeros(num_images, LABELS)
    for i, positives in enumerate([0, 1, LABELS, 2, 3] * num_images):
        if i < num_images:
            rows[i, torch.arange(positives) * (i + 2) % LABELS] = 1
    return rows


def over(output, change):
    """The same output with `change` applied to each of its tensors."""
    return Output(
        change(output.logits_BC),
        change(output.pooled_BD),
        tuple(change(x) for x in output.maps),
        change(output.embeddings_BCE),
    )


def leaves(output):
    return [output.logits_BC, output.pooled_BD, *output.maps, output.embeddings_BCE]


def make(name, student_spec=STUDENT, teacher_spec=TEACHER, dtype=torch.float64, **changes):
    torch.manual_seed(0)
    loss = methods.build(name, student_spec, teacher_spec, {**CONFIG[name]["settings"], **changes})
    return loss.to(dtype) if isinstance(loss, torch.nn.Module) else loss


def total(terms):
    return sum(terms.values(), torch.zeros(()))


def gradients(terms, output):
    """Gradients with respect to the tensors of an output that the terms depend on."""
    if not terms:
        return []
    found = torch.autograd.grad(total(terms), leaves(output), allow_unused=True)
    return [gradient for gradient in found if gradient is not None]


def trainable(output):
    return over(output, lambda x: x.detach().clone().requires_grad_())


def formula(name, student, teacher, target):
    """The terms of a method at its default weights, by loops."""
    weight = CONFIG[name]["settings"]
    logits = student.logits_BC, teacher.logits_BC
    pooled = student.pooled_BD, teacher.pooled_BD
    embeddings = student.embeddings_BCE, teacher.embeddings_BCE
    if name == "vanilla":
        return {}
    if name == "mse":
        return {"mse": weight["weight"] * oracles.mse(*logits)}
    if name == "ps":
        return {"ps": weight["weight"] * oracles.ps(*logits, target)}
    if name == "pkt":
        return {"pkt": weight["weight"] * len(target) / 64 * oracles.pkt(*pooled)}
    if name == "rkd":
        return {
            "distance": weight["distance"] * oracles.rkd_distance(*pooled),
            "angle": weight["angle"] * oracles.rkd_angle(*pooled),
        }
    terms = {"mld": weight["mld"] * oracles.mld(*logits)}
    if name == "l2d":
        terms["cd"] = weight["cd"] * oracles.led_class_aware(*embeddings, target)
        terms["id"] = weight["id"] * oracles.led_instance_aware(*embeddings, target)
    if name == "mdkd":
        p, q = (z.sigmoid() for z in logits)
        for n in (2, 3, 4):
            terms[f"bd{n}"] = weight[f"bd{n}"] * oracles.dependency_loss(p, q, n, "batch")
            terms[f"id{n}"] = weight[f"id{n}"] * oracles.dependency_loss(p, q, n, "instance")
    return terms


def assert_same(terms, expected, student):
    assert set(terms) == set(expected)
    for key, value in expected.items():
        assert value > 0
        torch.testing.assert_close(terms[key], value, rtol=1e-10, atol=1e-12)
        ours, theirs = (
            torch.autograd.grad(x, leaves(student), retain_graph=True, allow_unused=True)
            for x in (terms[key], value)
        )
        torch.testing.assert_close(*map(filled, (ours, theirs)), rtol=1e-8, atol=1e-11)


def filled(found):
    """Autograd's None means zero."""
    return [torch.zeros(()) if x is None or not x.any() else x for x in found]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "reviewkd"])
def test_equals_loops_in_value_and_gradient(name):
    student, teacher, target = trainable(output(STUDENT, 6, 1)), output(TEACHER, 6, 2), targets(6)
    terms = make(name)(student, teacher, target)
    assert_same(terms, formula(name, student, teacher, target), student)


@pytest.mark.parametrize("pairs", ["three levels", "no common size"])
def test_reviewkd_equals_its_formula(pairs):
    spec = TEACHER if pairs == "three levels" else TEACHER._replace(map_sizes=(9, 7, 6, 2))
    student, teacher = trainable(output(STUDENT, 4, 1)), output(spec, 4, 2)
    loss = make("reviewkd", teacher_spec=spec, mid_channels=3)
    students = [student.pooled_BD[:, :, None, None], student.maps[2], student.maps[1]]
    teachers = [teacher.pooled_BD[:, :, None, None], teacher.maps[2], teacher.maps[1]]
    if pairs == "no common size":
        students, teachers = students[:1], teachers[:1]
    assert len(loss.blocks) == len(students)
    expected = {"reviewkd": oracles.review(loss, students, teachers)}
    assert_same(loss(student, teacher, targets(4)), expected, student)


def test_reviewkd_trains_every_parameter_it_has():
    loss = make("reviewkd")
    total(loss(output(STUDENT, 4, 1), output(TEACHER, 4, 2), targets(4))).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in loss.parameters())


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_hierarchical_context(size):
    x, y = torch.randn(2, 3, 5, size, size, dtype=torch.float64)
    torch.testing.assert_close(hierarchical_context(x, y), oracles.hierarchical_context(x, y))
    assert hierarchical_context(x, x) == 0


def test_rkd_can_relate_logits():
    student, teacher = output(STUDENT, 5, 1), output(TEACHER, 5, 2)
    terms = make("rkd", input="logits")(student, teacher, targets(5))
    expected = oracles.rkd_distance(student.logits_BC, teacher.logits_BC)
    torch.testing.assert_close(terms["distance"], 25 * expected)
    with pytest.raises(UserError, match="input must be"):
        make("rkd", input="maps")(student, teacher, targets(5))


def test_ps_of_an_image_that_has_all_labels_is_exactly_nothing():
    student, teacher = trainable(output(STUDENT, 3, 1)), output(TEACHER, 3, 2)
    for target in (torch.ones(3, LABELS), torch.zeros(3, LABELS)):
        terms = make("ps")(student, teacher, target)
        assert terms["ps"] == 0
        assert all((g == 0).all() for g in gradients(terms, student))


def test_label_embeddings_in_twos_cost_exactly_nothing():
    student, teacher = trainable(output(STUDENT, 2, 1)), output(TEACHER, 2, 2)
    target = torch.zeros(2, LABELS)
    target[:, [1, 4]] = 1
    terms = make("l2d", mld=0)(student, teacher, target)
    assert terms["cd"] == 0 and terms["id"] == 0
    assert all((g == 0).all() for g in gradients(terms, student))


def test_pkt_weight_means_the_same_at_any_batch_size():
    student, teacher = output(STUDENT, 6, 1), output(TEACHER, 6, 2)
    student_twice, teacher_twice = (
        over(x, lambda t: torch.cat((t, t))) for x in (student, teacher)
    )
    once = make("pkt")(student, teacher, None)["pkt"]
    torch.testing.assert_close(
        make("pkt")(student_twice, teacher_twice, None)["pkt"], once, rtol=1e-5, atol=0
    )
    raw = oracles.pkt(student.pooled_BD, teacher.pooled_BD)
    raw_twice = oracles.pkt(student_twice.pooled_BD, teacher_twice.pooled_BD)
    torch.testing.assert_close(raw_twice, raw / 2, rtol=1e-5, atol=0)


def test_mdkd_terms_are_the_dependency_losses():
    student, teacher = output(STUDENT, 5, 1), output(TEACHER, 5, 2)
    orders = range(2, 7)
    weights = {f"{level}{n}": 10.0 * n for level in ("bd", "id") for n in orders}
    terms = make("mdkd", mld=0, **weights)(student, teacher, None)
    p, q = student.logits_BC.sigmoid(), teacher.logits_BC.sigmoid()
    for n in orders:
        torch.testing.assert_close(terms[f"bd{n}"], 10.0 * n * batch_loss(p, q, n))
        torch.testing.assert_close(terms[f"id{n}"], 10.0 * n * instance_loss(p, q, n))
    sums = make("mdkd", mld=0, norm="sum", **weights)(student, teacher, None)
    for key, value in terms.items():
        sequences = math.perm(LABELS, int(key[-1])) / 2
        torch.testing.assert_close(sums[key], value * sequences, rtol=1e-12, atol=0)


def test_mdkd_takes_any_choice_of_levels():
    student, teacher = trainable(output(STUDENT, 5, 1)), output(TEACHER, 5, 2)
    everything = make("mdkd")(student, teacher, None)
    none = {key: 0 for key in everything}
    for chosen in (["bd2"], ["id3"], ["bd4", "id2"]):
        terms = make("mdkd", **(none | {key: 1 for key in chosen}))(student, teacher, None)
        assert_same(terms, {key: everything[key] for key in chosen}, student)


# The contract: what every method promises.


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def test_code_and_configuration_agree(name):
    info = methods.get(name)
    assert info.name == name
    assert list(info.needs) == CONFIG[name]["needs"]
    assert list(methods.settings_of(info)) == list(CONFIG[name]["settings"])
    assert set(CONFIG[name]) == {"label", "revision", "needs", "settings"}


def test_configuration_lists_exactly_the_files():
    assert sorted(CONFIG) == NAMES


def test_reads_only_what_it_needs(name):
    info = methods.get(name)
    fields = {
        "logits": "logits_BC",
        "pooled": "pooled_BD",
        "maps": "maps",
        "embeddings": "embeddings_BCE",
    }
    hidden = {field: None for need, field in fields.items() if need not in info.needs}
    student, teacher = output(STUDENT, 5, 1), output(TEACHER, 5, 2)
    loss = make(name)
    seen = loss(student._replace(**hidden), teacher._replace(**hidden), targets(5))
    torch.testing.assert_close(seen, loss(student, teacher, targets(5)))


def test_terms_are_finite_scalars_with_gradients_for_the_student_alone(name):
    student, teacher = trainable(output(STUDENT, 5, 1)), trainable(output(TEACHER, 5, 2))
    terms = make(name)(student, teacher, targets(5))
    assert all(term.ndim == 0 and term.isfinite() for term in terms.values())
    if name == "vanilla":
        assert terms == {}
        return
    total(terms).backward()
    received = [x.grad for x in leaves(student) if x.grad is not None]
    assert received and all(g.isfinite().all() for g in received)
    assert max(g.abs().max() for g in received) > 0
    assert all(x.grad is None for x in leaves(teacher))


def test_minimal_when_the_student_is_the_teacher(name):
    if name in NOT_MINIMAL_AT_EQUALITY:
        pytest.skip("trained parts stand between student and teacher")
    student = trainable(output(STUDENT, 5, 1))
    terms = make(name, teacher_spec=STUDENT)(student, student, targets(5))
    assert all(abs(term) < 1e-12 for term in terms.values())
    assert all(g.abs().max() < 1e-7 for g in gradients(terms, student))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_finite_at_extreme_logits(name, dtype):
    generator = torch.Generator().manual_seed(3)
    student, teacher = output(STUDENT, 6, 1, dtype), output(TEACHER, 6, 2, dtype)
    signs = torch.randint(0, 2, (2, 6, LABELS), generator=generator) * 2 - 1
    signs[:, 0] = torch.tensor([[1], [-1]])  # one image on which they disagree throughout
    student = trainable(student._replace(logits_BC=100 * signs[0].to(dtype)))
    teacher = teacher._replace(logits_BC=100 * signs[1].to(dtype))
    terms = make(name, dtype=torch.float32)(student, teacher, targets(6))
    assert all(t.dtype == torch.float32 and t.isfinite() for t in terms.values())
    assert all(g.isfinite().all() for g in gradients(terms, student))


def test_finite_for_equal_images_and_for_features_of_zero(name):
    for change in (torch.zeros_like, lambda x: x[:1].expand_as(x).clone()):
        student = trainable(over(output(STUDENT, 5, 1, torch.float32), change))
        teacher = output(TEACHER, 5, 2, torch.float32)
        terms = make(name, dtype=torch.float32)(student, teacher, targets(5))
        assert all(t.isfinite() for t in terms.values())
        # A kernel of exact zeros has steep sides, but no infinite ones.
        assert all(g.isfinite().all() and g.abs().max() < 1e8 for g in gradients(terms, student))


def test_order_of_the_batch_does_not_matter(name):
    student, teacher, target = output(STUDENT, 6, 1), output(TEACHER, 6, 2), targets(6)
    shuffled = torch.tensor([3, 0, 5, 1, 4, 2])
    expected = make(name)(student, teacher, target)
    terms = make(name)(
        over(student, lambda x: x[shuffled]), over(teacher, lambda x: x[shuffled]), target[shuffled]
    )
    torch.testing.assert_close(terms, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("positives", [0, 1, 3, LABELS])
def test_a_batch_of_one_image(name, positives):
    student, teacher = trainable(output(STUDENT, 1, 1)), output(TEACHER, 1, 2)
    target = (torch.arange(LABELS) < positives).float().unsqueeze(0)
    terms = make(name)(student, teacher, target)
    assert all(t.isfinite() for t in terms.values())
    assert all(g.isfinite().all() for g in gradients(terms, student))


def test_types_of_targets_do_not_matter(name):
    student, teacher, loss = output(STUDENT, 5, 1), output(TEACHER, 5, 2), make(name)
    expected = loss(student, teacher, targets(5))
    for dtype in (torch.bool, torch.uint8, torch.bfloat16):
        torch.testing.assert_close(loss(student, teacher, targets(5).to(dtype)), expected)


def test_low_precision_inputs_give_float32_losses(name):
    student = trainable(output(STUDENT, 5, 1, torch.bfloat16))
    teacher = output(TEACHER, 5, 2, torch.bfloat16)
    loss = make(name, dtype=torch.float32)
    terms = loss(student, teacher, targets(5))
    wide = loss(over(student, torch.Tensor.float), over(teacher, torch.Tensor.float), targets(5))
    assert all(t.dtype == torch.float32 for t in terms.values())
    torch.testing.assert_close(terms, wide)
    assert all(g.isfinite().all() for g in gradients(terms, student))


def test_autocast_does_not_reach_the_losses(name):
    student = trainable(output(STUDENT, 5, 1, torch.float32))
    teacher = output(TEACHER, 5, 2, torch.float32)
    loss = make(name, dtype=torch.float32)
    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            terms = loss(student, teacher, targets(5))
        results.append((terms, gradients(terms, student)))
    # The fusion blocks of ReviewKD are layers and may follow autocast.
    tolerance = {"rtol": 0.1, "atol": 0.1} if name == "reviewkd" else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(*results, **tolerance)
    assert all(t.dtype == torch.float32 for t in results[1][0].values())


def test_weights_multiply_and_a_weight_of_zero_drops_its_term(name):
    sizes = {"mid_channels"}
    weights = {
        key: value
        for key, value in CONFIG[name]["settings"].items()
        if not isinstance(value, str) and key not in sizes
    }
    student, teacher = output(STUDENT, 5, 1), output(TEACHER, 5, 2)
    terms = make(name)(student, teacher, targets(5))
    assert len(terms) == sum(value != 0 for value in weights.values())
    doubled = make(name, **{k: 2 * v for k, v in weights.items()})(student, teacher, targets(5))
    torch.testing.assert_close(doubled, {key: 2 * term for key, term in terms.items()})
    assert make(name, **dict.fromkeys(weights, 0))(student, teacher, targets(5)) == {}


class NoWaiting(TorchDispatchMode):
    """Fails on what makes the host wait for an accelerator: reading a value or a count."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        called = func.overloadpacket.__name__.strip("_")
        assert called not in {name.strip("_") for name in self.WAITS}, called
        if called.startswith("index"):
            indices = args[1] if isinstance(args[1], (list, tuple)) else [args[1]]
            assert all(i is None or getattr(i, "dtype", None) != torch.bool for i in indices)
        return func(*args, **(kwargs or {}))


def test_the_training_step_waits_for_nothing(name):
    if name in MAY_READ_LABELS_ON_THE_HOST:
        pytest.skip("lists its pairs on the host, as documented")
    student, teacher = trainable(output(STUDENT, 5, 1)), output(TEACHER, 5, 2)
    loss, target = make(name), targets(5)
    with NoWaiting():
        terms = loss(student, teacher, target)
        gradients(terms, student)


def test_the_watch_itself_works():
    x = torch.ones(3)
    for wait in (x.sum().item, x.nonzero, lambda: x[x > 0], lambda: bool(x.sum() > 0)):
        with pytest.raises(AssertionError), NoWaiting():
            wait()


# Building, and errors that teach.


def test_unknown_method_names_the_nearest():
    with pytest.raises(UserError, match="'mdkt'; did you mean 'mdkd'"):
        methods.get("mdkt")
    with pytest.raises(UserError, match="choose from: l2d, mdkd"):
        methods.get("zzzzzzzz")
    with pytest.raises(UserError, match="'common'"):
        methods.get("common")


def test_settings_must_match_exactly():
    settings = CONFIG["mdkd"]["settings"]
    with pytest.raises(UserError, match="method mdkd: unknown setting 'bd_2'; did you mean 'bd2'"):
        methods.build("mdkd", STUDENT, TEACHER, {**settings, "bd_2": 1})
    with pytest.raises(UserError, match="method mdkd: setting 'norm' is missing"):
        methods.build("mdkd", STUDENT, TEACHER, {k: settings[k] for k in settings if k != "norm"})
    with pytest.raises(UserError, match="method reviewkd: unknown setting 'mid_channel'; did you"):
        methods.build("reviewkd", STUDENT, TEACHER, {"weight": 1.0, "mid_channel": 8})
    with pytest.raises(UserError, match="method vanilla: unknown setting 'weight'; choose from"):
        methods.build("vanilla", STUDENT, TEACHER, {"weight": 1})


@pytest.mark.parametrize("side", [0, 1])
def test_embeddings_are_asked_for_by_name(side):
    specs = [STUDENT, TEACHER]
    specs[side] = specs[side]._replace(embedding_dim=None)
    reason = "method l2d needs label embeddings; head gap makes none: use head mldecoder"
    assert methods.unavailable(methods.get("l2d"), *specs) == reason
    assert methods.unavailable(methods.get("l2d"), STUDENT, TEACHER) is None
    assert methods.unavailable(methods.get("mdkd"), *specs) is None
    with pytest.raises(UserError, match=reason):
        methods.build("l2d", *specs, CONFIG["l2d"]["settings"])


def test_a_method_can_only_need_parts_of_an_output():
    with pytest.raises(ValueError, match="needs must be among"):
        method("odd", needs=("gradients",))


def test_discovery_imports_no_torch_and_no_plugin():
    code = (
        "import sys; from mdkd import registry; found = registry.names('mdkd.methods'); "
        "assert 'mdkd' in found and 'base' not in found, found; "
        "assert 'torch' not in sys.modules and 'mdkd.methods' not in sys.modules"
    )
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_registry_finds_files_in_a_package(tmp_path, monkeypatch):
    package = tmp_path / "fleet_of_tests"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "sloop.py").write_text("SAILS = 2")
    (package / "wreck.py").write_text("raise RuntimeError('imported for nothing')")
    (package / "base.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert registry.names("fleet_of_tests") == ["sloop", "wreck"]
    assert registry.load("fleet_of_tests", "sloop").SAILS == 2
    with pytest.raises(UserError, match="did you mean 'sloop'"):
        registry.load("fleet_of_tests", "slop")
