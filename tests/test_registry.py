"""Finding plug-ins, building methods, and errors that teach."""

import subprocess
import sys
from pathlib import Path

import pytest
from method_cases import FILES, NAMES, STUDENT, TEACHER

from mdkd import methods, registry
from mdkd.errors import UserError


def test_unknown_method_names_the_nearest():
    with pytest.raises(UserError, match="'mdkd_permutde'; did you mean 'mdkd_permuted'"):
        methods.get("mdkd_permutde")
    with pytest.raises(UserError, match=f"valid: {', '.join(NAMES)}$"):
        methods.get("00000000")
    with pytest.raises(UserError, match="'common'"):
        methods.get("common")


def test_settings_must_match_exactly():
    settings = FILES["mdkd"].settings
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
    with pytest.raises(UserError, match="method l2d: needs one embedding per label"):
        methods.build("l2d", *specs, FILES["l2d"].settings)
    for name in NAMES:
        if "embeddings" not in methods.get(name).needs:
            methods.build(name, *specs, FILES[name].settings)


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
