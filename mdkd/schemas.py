"""JSON schemas of the YAML files, made from the dataclasses that read them.

Editors with a YAML language server complete keys and mark mistakes by them. `mdkd` itself does not
read them: `mdkd.config.parse` checks more, and its messages name the fix.
"""

import ast
import dataclasses
import inspect
import io
import math
import re
import textwrap
import tokenize
import types
import typing
from pathlib import Path
from typing import Any, Literal

from mdkd import records, registry
from mdkd.config import LONGEST_NAME, MISSING
from mdkd.data.download import Download
from mdkd.kinds import KINDS
from mdkd.methodfiles import MethodFile
from mdkd.rates import Rates
from mdkd.runpath import NAME
from mdkd.specfiles import ArchEntry, DatasetEntry, Entry, Experiment, Protocol, UserConfig
from mdkd.tuned import Tuned

FOLDER = "schemas"  # in the configuration folder
SOURCES = "mdkd.data.sources"
DRAFT = "http://json-schema.org/draft-07/schema#"  # the newest that editors know
Schema = dict[str, Any]


def schemas() -> dict[str, Schema]:
    """The schema of each kind of file, by the head of its name in `FOLDER`."""
    made = {
        "config": _config(),
        "protocol": _protocol(),
        "experiment": _experiment(),
        "datasets": _by_name(_dataset()),
        "architectures": _by_name(of(ArchEntry)),
        "method": of(MethodFile),
        "methods": {"type": ["object", "null"], "additionalProperties": {"type": "object"}},
        "rates": of(Rates),
        "downloads": _by_name(of(Download)),
        "tuned": of(Tuned),
    }
    return {name: {"$schema": DRAFT, **schema} for name, schema in made.items()}


def write(folder: Path) -> list[Path]:
    """Write ``{name}.schema.json`` for every kind of file, and return their paths."""
    files = []
    for name, schema in schemas().items():
        files.append(folder / f"{name}.schema.json")
        records.write_json(files[-1], schema)
    return files


def of(cls: type) -> Schema:
    """The schema of a dataclass: its keys, with types, ranges, defaults and comments."""
    hints, notes = typing.get_type_hints(cls), _comments(cls)
    properties, required = {}, []
    for f in dataclasses.fields(cls):
        schema = _typed(hints[f.name], f.metadata)
        if f.name in notes:
            schema["description"] = notes[f.name]
        if f.default is not MISSING:
            schema["default"] = f.default
        elif f.default_factory is MISSING:
            required.append(f.name)
        properties[f.name] = schema
    about = inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0]
    schema = {"type": "object", "description": " ".join(about.split())}
    return schema | {"properties": properties, "required": required, "additionalProperties": False}


def _typed(hint: Any, rules: typing.Mapping[str, Any]) -> Schema:
    """The schema of a value, as `mdkd.config.parse` converts and checks it."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return {}
    if dataclasses.is_dataclass(hint):
        return of(typing.cast(type, hint))
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [*(_typed(a, rules) for a in args if a is not types.NoneType), NULL]}
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (list, tuple):
        schema: Schema = {"type": "array", "items": _typed(args[0], rules)}
        schema |= {"uniqueItems": True} if rules.get("distinct") else {}
        return schema | ({"minItems": 1} if rules.get("some") else {})
    if origin is dict:
        return {"type": "object", "additionalProperties": _typed(args[1], rules)}
    if hint in (int, float):
        low, high = rules.get("range", (-math.inf, math.inf))
        schema = {"type": "integer" if hint is int else "number"}
        schema |= {"minimum": low} if low > -math.inf else {}
        return schema | ({"maximum": high} if high < math.inf else {})
    if hint is str:
        return {"type": "string"} | (_name(rules["pattern"]) if "pattern" in rules else {})
    return {bool: {"type": "boolean"}}[hint]


NULL: Schema = {"type": "null"}
ARRAY = {"type", "items", "uniqueItems", "minItems"}


def _name(pattern: str = NAME) -> Schema:
    unnamed = re.sub(r"\(\?P<\w+>", "(?:", pattern)  # editors do not know Python's named groups
    return {"type": "string", "pattern": f"^(?:{unnamed})$", "maxLength": LONGEST_NAME}


def _by_name(entry: Schema) -> Schema:
    """A file with one entry per name."""
    return {"type": "object", "additionalProperties": entry}


def _config() -> Schema:
    schema = of(UserConfig)
    for key in ("experiments", "seeds", "plugins"):  # one bare value is a list of one
        whole = schema["properties"][key]
        alternatives = whole.pop("anyOf", None) or [{k: whole.pop(k) for k in ARRAY & whole.keys()}]
        one = next(a["items"] for a in alternatives if "items" in a)
        whole["anyOf"] = [*alternatives, one]
    return schema


def _protocol() -> Schema:
    """A protocol that extends another one may leave out any key."""
    schema = of(Protocol)
    schema["properties"]["extends"] = _name() | {
        "description": "a protocol from which all keys are taken that are not given here"
    }
    complete = {"required": schema.pop("required")}
    return schema | {"if": {"required": ["extends"]}, "else": complete}


def _experiment() -> Schema:
    """Rows have three forms, and the options are those of the kind."""
    schema = of(Experiment)
    settings = {"type": "object", "additionalProperties": {"type": "object"}}
    short = settings | {"minProperties": 1, "maxProperties": 1, "not": {"required": ["method"]}}
    schema["properties"]["methods"]["items"] = {"anyOf": [_name(), short, of(Entry)]}
    schema["properties"]["kind"] = {"enum": list(KINDS), "description": "see kinds.py"}
    options = {name: of(kind.options) for name, kind in KINDS.items()}
    return schema | {"allOf": _options("kind", options)}


def _dataset() -> Schema:
    """An entry of ``datasets.yaml``; the options are those of its source."""
    options = {name: of(registry.load(SOURCES, name).Options) for name in registry.names(SOURCES)}
    return of(DatasetEntry) | {"allOf": _options("source", options)}


def _options(key: str, options: dict[str, Schema]) -> list[Schema]:
    """Rules that check ``options`` by the value of another key. A protocol may add what lacks."""
    return [
        {
            "if": {"properties": {key: {"const": name}}, "required": [key]},
            "then": {"properties": {"options": {**schema, "required": []}}},
        }
        for name, schema in options.items()
    ]


def _comments(cls: type) -> dict[str, str]:
    """The comment of each field: behind it, or else in the lines above it."""
    found: dict[str, str] = {}
    for owner in reversed(cls.__mro__[:-1]):
        source = textwrap.dedent(inspect.getsource(owner))
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        comments = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
        alone = {i for i, text in enumerate(source.splitlines(), 1) if text.lstrip()[:1] == "#"}
        (node,) = ast.parse(source).body
        for part in typing.cast(ast.ClassDef, node).body:
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                lines = [*range(part.lineno, (part.end_lineno or part.lineno) + 1)]
                texts = [comments[i] for i in lines if i in comments]
                above = part.lineno - 1
                while not texts and above in alone:
                    above -= 1
                texts = texts or [comments[i] for i in range(above + 1, part.lineno)]
                if texts:
                    found[part.target.id] = " ".join(texts)
    return found
