"""The published losses are those of the methods, and the check beside them finds mistakes."""

import importlib.util
import json
import re
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from method_cases import FILES
from test_methods import formula

from mdkd.outputs import Output

FOLDER = ROOT / "docs/conformance"


def module(name):
    spec = importlib.util.spec_from_file_location(f"conformance_{name}", FOLDER / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


check, write = module("check"), module("write")
PUBLISHED = json.loads((FOLDER / "losses.json").read_text())
AGAIN = "write the file again: python docs/conformance/write.py"


def as_output(network):
    return Output(network.logits, network.pooled, tuple(network.maps), network.embeddings)


def loaded(name, settings, parameters):
    loss = write.built(name, settings)
    assert parameters.keys() == dict(loss.named_parameters()).keys()
    loss.load_state_dict(parameters, strict=False)  # running means are not among them
    return loss


def ours(name):
    """The method of this package, in the form that the check asks for."""

    def function(student, teacher, targets, settings, parameters):
        loss = loaded(name, settings, parameters)
        torch.manual_seed(PUBLISHED["seed"])
        return write.terms_of(loss, as_output(student), as_output(teacher), targets)

    return function


def loops(name):
    """The formula in loops, which is another implementation."""

    def function(student, teacher, targets, settings, parameters):
        loss = loaded(name, settings, parameters)
        return formula(name, loss, as_output(student), as_output(teacher), targets)

    return function


@pytest.fixture(params=[name for name, file in FILES.items() if file.needs])
def name(request):
    if request.param not in PUBLISHED["methods"]:
        pytest.skip(f"{request.param} is not published; to change this, {AGAIN}")
    return request.param


def test_published_methods_exist():
    assert PUBLISHED["methods"].keys() <= FILES.keys(), AGAIN


def test_methods_are_published_at_their_default_settings(name):
    settings = PUBLISHED["methods"][name]["settings"]
    small = {key: value for key, value in write.SMALL.items() if key in settings}
    assert settings == FILES[name].settings | small, AGAIN


def test_the_file_is_what_the_script_writes_from_the_inputs_on():
    content = write.content()
    for key in ("seed", "targets", "student", "teacher"):
        assert content[key] == PUBLISHED[key], AGAIN
    assert json.loads(write.text(content)) == content
    assert (FOLDER / "losses.json").stat().st_size < 300_000


@pytest.mark.parametrize("implementation", [ours, loops])
def test_implementations_agree_with_the_file(name, implementation):
    assert check.differences(PUBLISHED, name, implementation(name)) == [], AGAIN


@pytest.mark.parametrize(
    "mistake",
    [
        lambda terms: {key: term * (1 + 1e-6) for key, term in terms.items()},
        lambda terms: {key: 2 * term - term.detach() for key, term in terms.items()},  # gradient
        lambda terms: {key: term * float("nan") for key, term in terms.items()},
        lambda terms: terms | {"more": next(iter(terms.values())) * 0},
        lambda terms: {f"other_{key}": term for key, term in terms.items()},
        lambda terms: 1.001 * sum(terms.values()),
    ],
    ids=["value", "gradient", "nan", "one more", "names", "sum"],
)
def test_a_wrong_implementation_is_found(name, mistake):
    right = ours(name)
    assert check.differences(PUBLISHED, name, lambda *args, **kw: mistake(right(*args, **kw)))


def test_one_number_is_compared_with_the_sum():
    right = ours("mdkd")
    assert not check.differences(PUBLISHED, "mdkd", lambda *a, **kw: sum(right(*a, **kw).values()))


def test_the_example_of_the_readme_runs_without_this_package(tmp_path):
    (example,) = re.findall(r"```python\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    half = "def half(*args, **kw):\n    return mld(*args, **kw)['mld'] / 2\n"
    (tmp_path / "mine.py").write_text(f"{example}\n\n{half}")
    for name in ("check.py", "losses.json"):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())

    def called(*arguments):
        hidden = "import sys; sys.modules['mdkd'] = None"
        code = f"{hidden}; import check; sys.exit(check.main(sys.argv[1:]))"
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
        )

    right = called("mld", "mine:mld")
    assert (right.returncode, right.stdout) == (0, "mld: terms and gradients agree\n")
    wrong = called("mld", "mine:half")
    assert wrong.returncode == 1
    assert [line.split(":")[0] for line in wrong.stdout.splitlines()] == [
        "gradient of logits",
        "sum",
    ]
    absent = called("mld", "mine:other")
    assert absent.returncode == 2
    assert "mine:other" in absent.stderr.splitlines()[-1]
