"""The YAML file beside the code of each method: what planning and tables need, without torch.

``mdkd/methods/<name>.yaml`` belongs to ``mdkd/methods/<name>.py``. The two are found by name, so
another package may bring its own, and no list of methods is kept anywhere.
"""

import ast
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mdkd import records, registry
from mdkd.config import ROW_KEYS, number, parse, printed
from mdkd.errors import UserError, nearest, show
from mdkd.runpath import is_writable
from mdkd.yamlfiles import read_yaml

PACKAGE = "mdkd.methods"
WEIGHTS = (0.0, 1e9)  # the range of a setting that has none of its own


@dataclass(frozen=True, kw_only=True)
class MethodFile:
    """One method as its file declares it."""

    label: str = printed()  # its name in tables and figures
    # Raise the revision when the numerics of the method change: then its runs are done again.
    revision: int = number(1)
    # own: the method replaces the binary cross-entropy of the labels, see `mdkd.methods.base`.
    supervised: Literal["bce", "own"] = "bce"
    needs: list[Literal["logits", "pooled", "maps", "embeddings"]]  # parts of both networks' Output
    settings: dict[str, Any]  # all of them, with their defaults: numbers, or one of the choices
    choices: dict[str, list[str]] = field(default_factory=dict)  # of the settings that are text
    ranges: dict[str, list[float]] = field(default_factory=dict)  # of numbers that are no weights
    # The number of labels that a data set must have at least, by the setting that needs them; a
    # weight of 0 needs none.
    labels: dict[str, int] = field(default_factory=dict)
    # Changes of settings that are tried when weights are tuned. All methods have the same number of
    # points, because a larger budget would favour a method.
    tuning: list[dict[str, Any]] = field(default_factory=list)

    def checked(self, changes: Any, where: str) -> dict[str, Any]:
        """Changes to the settings, each in the type of its default.

        A number must survive being written with six digits, because it becomes part of a path.

        Raises:
            UserError: a setting is unknown, or its value is wrong. The message begins with `where`.
        """
        if not isinstance(changes, dict):
            raise UserError(f"{where}: expected settings, found {show(changes)}")
        checked = {}
        for key, value in changes.items():
            if key not in self.settings:
                hint = nearest(key, self.settings)
                raise UserError(f"{where}: unknown setting {show(key)}; {hint}")
            checked[key] = found = self.value(key, value, f"{where}: {key}")
            if not is_writable(found):
                what = f"a {type(found).__name__} of six digits"
                raise UserError(f"{where}: {key}: {value!r} is not {what}")
        return checked

    def complete(self, settings: dict[str, Any], where: str) -> dict[str, Any]:
        """All settings of a run, each in the type of its default.

        Raises:
            UserError: a setting is missing or unknown, or its value is wrong.
        """
        for key in settings.keys() ^ self.settings.keys():
            if key in settings:
                raise UserError(
                    f"{where}: unknown setting {show(key)}; {nearest(key, self.settings)}"
                )
            raise UserError(f"{where}: setting '{key}' is missing; add it")
        return {key: self.value(key, value, f"{where}: {key}") for key, value in settings.items()}

    def value(self, key: str, value: Any, where: str) -> Any:
        """The value of a setting in the type of its default."""
        kind = type(self.settings[key])
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (isinstance(value, str) if kind is str else is_number):
            raise UserError(f"{where}: expected {kind.__name__}, found {show(value)}")
        if kind is str:
            if value not in self.choices[key]:
                hint = nearest(value, self.choices[key])
                raise UserError(f"{where}: unknown {show(value)}; {hint}")
            return value
        low, high = self.ranges.get(key, WEIGHTS)
        if not low <= value <= high:  # NaN is refused too
            raise UserError(f"{where}: {show(value)} is not in {low:g} .. {high:g}")
        if kind(value) != value:
            raise UserError(f"{where}: expected {kind.__name__}, found {value!r}")
        return kind(value)

    def labels_needed(self, settings: dict[str, Any]) -> dict[str, int]:
        """The settings that need a number of labels, and this number."""
        return {key: least for key, least in self.labels.items() if settings.get(key)}

    def unavailable(self, embeds_labels: bool) -> str | None:
        """Why the method cannot work with a pair of networks, or None if it can."""
        if "embeddings" in self.needs and not embeds_labels:
            return "needs one embedding per label (head mldecoder, queries null)"
        return None


def read(name: str) -> MethodFile:
    """The file of one method.

    Raises:
        UserError: there is no such method, or its file is missing or wrong.
    """
    file = registry.file(PACKAGE, name, ".yaml")
    method = read_file(file)
    _compare_with_code(method, file.with_suffix(".py"), name)
    return method


def read_file(file: Path) -> MethodFile:
    """The checked content of a file; it is not compared with code."""
    method = parse(MethodFile, read_yaml(file), str(file))
    for key, value in method.settings.items():
        if key in ROW_KEYS:
            what = "rows of experiments have a key of this name"
            raise UserError(f"{file}: settings: {key}: {what}; choose another name")
        if isinstance(value, str):
            choices = method.choices.get(key, [])
            if value not in choices:
                hint = nearest(value, choices) if choices else "a number is expected"
                raise UserError(f"{file}: settings: {key}: unknown {show(value)}; {hint}")
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(f"{file}: settings: {key}: expected a number, found {show(value)}")
    texts = {key for key, value in method.settings.items() if isinstance(value, str)}
    numbers = method.settings.keys() - texts
    for part, keys in (("choices", texts), ("ranges", numbers), ("labels", numbers)):
        for key in getattr(method, part):
            if key not in keys:
                raise UserError(f"{file}: {part}: no such setting '{key}'; {nearest(key, keys)}")
    for key, limits in method.ranges.items():
        if len(limits) != 2 or limits[0] > limits[1]:
            raise UserError(f"{file}: ranges: {key}: expected [lowest, highest], found {limits}")
    for key, value in method.settings.items():
        method.value(key, value, f"{file}: settings: {key}")
    points: list[dict[str, Any]] = []
    for place, changes in enumerate(method.tuning, 1):
        where = f"{file}: tuning: point {place}"
        if (point := method.checked(changes, where)) in points:
            raise UserError(f"{where} appears twice; change one of them")
        points.append(point)
    return replace(method, tuning=points)


def read_all() -> dict[str, MethodFile]:
    """The files of all methods, by name.

    Raises:
        UserError: a file is wrong, or has no code beside it.
    """
    for file in registry.files(PACKAGE, ".yaml"):
        if not (code := file.with_suffix(".py")).is_file():
            raise UserError(f"{code}: no such file; {file.name} needs it, or delete {file.name}")
    return {name: read(name) for name in registry.names(PACKAGE)}


def _compare_with_code(method: MethodFile, code: Path, name: str) -> None:
    """Check that the settings are those of the code, which is read but not imported.

    Code that declares the method in another way than with a decorator is checked when it is used.
    """
    try:
        tree = ast.parse(records.read_text(code, "write the code of the method"))
    except (SyntaxError, ValueError, RecursionError) as error:
        raise UserError(f"{code}: not valid Python ({error}); correct it") from None
    for node in tree.body:
        found = next(iter(_settings_in_code(node, name)), None)
        if found is None:
            continue
        for key in method.settings:
            if key not in found:
                hint = nearest(key, found)
                raise UserError(f"{code}: has no setting '{key}' of {name}.yaml; {hint}")
        for key in found:
            if key not in method.settings:
                hint = "add it to settings, with its default"
                raise UserError(f"{code.with_suffix('.yaml')}: lacks setting '{key}'; {hint}")


def _settings_in_code(node: ast.stmt, name: str) -> list[list[str]]:
    """The keyword-only arguments of a function or class that is decorated as this method."""
    if not isinstance(node, ast.FunctionDef | ast.ClassDef):
        return []
    decorated = any(
        isinstance(call, ast.Call)
        and [getattr(argument, "value", None) for argument in call.args] == [name]
        for call in node.decorator_list
    )
    functions = [node] if isinstance(node, ast.FunctionDef) else node.body
    return [
        [argument.arg for argument in function.args.kwonlyargs]
        for function in functions
        if decorated and isinstance(function, ast.FunctionDef)
        if function is node or function.name == "__init__"
    ]
