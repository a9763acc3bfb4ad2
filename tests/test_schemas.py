"""The JSON schemas for editors: as the dataclasses are, and true of every YAML file."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import jsonschema
import pytest
from conftest import ROOT

from mdkd import schemas
from mdkd.cli import main
from mdkd.config import SOME, named, number
from mdkd.yamlfiles import read_yaml

FOLDERS = {"protocols": "protocol", "experiments": "experiment", "tuned": "tuned"}
FILES = [*(ROOT / "config").rglob("*.yaml"), *(ROOT / "mdkd" / "methods").glob("*.yaml")]


def schema_of(file):
    """The committed schema that belongs to a file, by its place."""
    name = FOLDERS.get(file.parent.name, file.stem)
    name = "method" if file.parent == ROOT / "mdkd" / "methods" else name
    return ROOT / "config" / "schemas" / f"{name}.schema.json"


def problems(schema, content):
    return [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(content)]


def test_the_committed_schemas_are_those_of_the_dataclasses(tmp_path, capsys):
    assert main(["schema", str(tmp_path)]) == 0
    there = ROOT / "config" / "schemas"
    made = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert made == {file.name: file.read_text() for file in there.iterdir()}, "run `mdkd schema`"
    assert len(capsys.readouterr().out.splitlines()) == len(made) == 10
    for text in made.values():
        jsonschema.Draft7Validator.check_schema(json.loads(text))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_every_file_agrees_with_its_schema_and_names_it(file):
    schema = schema_of(file)
    assert problems(json.loads(schema.read_text()), read_yaml(file)) == []
    if file.parent.name != "tuned":  # `mdkd tune` writes these
        head, _, path = file.read_text(encoding="utf-8").partition("\n")[0].partition("=")
        assert head == "# yaml-language-server: $schema"
        assert (file.parent / path).resolve() == schema


TABLE1 = read_yaml(ROOT / "config/experiments/table1.yaml")
QUICK = read_yaml(ROOT / "config/protocols/quick.yaml")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config", {"protocol": "quick", "sedes": [0]}),
        ("config", {"seeds": [0]}),
        ("config", {"protocol": "quick", "seeds": [-1]}),
        ("config", {"protocol": "quick", "device": "gpu"}),
        ("config", {"protocol": "Quick"}),
        ("protocol", {"seeds": [0]}),
        ("protocol", QUICK | {"recipe": QUICK["recipe"] | {"epochs": 2.5}}),
        ("experiment", TABLE1 | {"kind": "comparisons"}),
        ("experiment", TABLE1 | {"options": {"mark": True}}),
        ("experiment", TABLE1 | {"methods": [{"method": "mdkd", "sets": {}}]}),
        ("experiment", TABLE1 | {"methods": [{"mdkd": {}, "mld": {}}]}),
        ("experiment", TABLE1 | {"metrics": ["mAP", "mAP"]}),
        ("datasets", {"mine": {"label": "Mine", "source": "voc", "options": {"lables": 3}}}),
        ("architectures", {"mine": {"label": "Mine"}}),
        ("method", {"label": "Mine", "needs": ["logit"], "settings": {}}),
    ],
)
def test_a_mistake_is_found(name, content):
    assert problems(schemas.schemas()[name], content)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config", {"protocol": "quick", "seeds": 3, "experiments": "table1", "plugins": "mine"}),
        ("protocol", {"extends": "quick"}),
        ("experiment", TABLE1 | {"options": {"marks": True}}),
        ("experiment", TABLE1 | {"methods": ["mld", {"mdkd": {"bd2": 1}}, {"method": "pkt"}]}),
    ],
)
def test_other_forms_are_valid(name, content):
    assert problems(schemas.schemas()[name], content) == []


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part.

    More about it.
    """

    size: int = number(1, 9)  # in pixels


@dataclass(frozen=True, kw_only=True)
class Whole:
    name: str = named()
    # Two lines
    # above it.
    parts: list[Part] = field(metadata=SOME)
    kind: Literal["a", "b"] | None = None
    rates: dict[str, float] = field(default_factory=dict, metadata={"range": (0, 2)})
    free: Any = None


def test_the_schema_of_a_dataclass():
    part = {
        "type": "object",
        "description": "One part.",
        "properties": {
            "size": {"type": "integer", "minimum": 1, "maximum": 9, "description": "in pixels"}
        },
        "required": ["size"],
        "additionalProperties": False,
    }
    found = schemas.of(Whole)
    assert found["required"] == ["name", "parts"]
    assert found["additionalProperties"] is False
    properties = found["properties"]
    assert properties["name"]["type"] == "string"
    assert properties["name"]["maxLength"] == 100
    assert properties["parts"] == {
        "type": "array",
        "items": part,
        "uniqueItems": True,
        "minItems": 1,
        "description": "Two lines above it.",
    }
    assert properties["kind"] == {
        "anyOf": [{"enum": ["a", "b"]}, {"type": "null"}],
        "default": None,
    }
    rates = {"type": "number", "minimum": 0, "maximum": 2}
    assert properties["rates"] == {"type": "object", "additionalProperties": rates}
    assert properties["free"] == {"default": None}
