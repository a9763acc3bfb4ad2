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
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + extras["benchmark"] + extras["slurm"]
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    found = dict(map(requirement, conda))
    assert found.pop("python").startswith(project["requires-python"])
    assert {k: v for k, v in found.items() if k not in CONDA_ALONE} == dict(
        map(requirement, wanted)
    )


def test_the_channels_of_conda_are_in_the_order_that_bioconda_needs():
    """conda-forge has all but Snakemake and its plugins, which only bioconda has."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge", "bioconda", "nodefaults"]


def test_the_lock_pins_every_requirement():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pinned = {line.partition("==")[0] for line in lines if "==" in line}
    extras = project["optional-dependencies"]
    for text in [*project["dependencies"], *(text for extra in extras.values() for text in extra)]:
        assert re.match(r"[A-Za-z-]+", text)[0].lower() in pinned
