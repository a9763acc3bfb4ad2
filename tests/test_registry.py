"""Finding plug-ins, building methods, and errors that teach."""

import subprocess
import sys
from pathlib import Path

import pytest
from method_cases import CONFIG, STUDENT, TEACHER

from mdkd import methods, registry
from mdkd.errors import UserError
from mdkd.methods.base import method


def test_unknown_method_names_the_nearest():
    with pytest.raises(UserError, match="'mdkt'; did you mean 'mdkd'"):
        methods.get("mdkt")
    with pytest.raises(UserError, match="valid: l2d, mdkd"):
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
    with pytest.raises(UserError, match="method vanilla: unknown setting 'weight'; valid"):
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
