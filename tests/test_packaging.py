"""The pip and the conda route install the same things."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {
    "torch": "pytorch",
    "matplotlib": "matplotlib-base",
    "snakemake": "snakemake-minimal",
}
CONDA_ALONE = {"python", "pygments"}  # pygments comes with the pip extra snakemake[reports]


def requirement(text):
    name, bounds = re.fullmatch(r"([A-Za-z-]+)(?:\[\w+\])? ?([<>=.,\d]*)", text).groups()
    return CONDA_NAMES.get(name, name).lower(), bounds


def test_environment_yml_has_the_bounds_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["workflow"]
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    found = dict(map(requirement, conda))
    assert found.pop("python").startswith(project["requires-python"])
    assert {k: v for k, v in found.items() if k not in CONDA_ALONE} == dict(
        map(requirement, wanted)
    )


def test_the_lock_pins_every_requirement():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pinned = {line.partition("==")[0] for line in lines if "==" in line}
    extras = project["optional-dependencies"]
    for text in [*project["dependencies"], *extras["workflow"], *extras["test"]]:
        assert re.match(r"[A-Za-z-]+", text)[0].lower() in pinned
