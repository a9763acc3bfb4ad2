"""The YAML file beside the code of each method: what planning and tables need, without torch.

``mdkd/methods/<name>.yaml`` belongs to ``mdkd/methods/<name>.py``. The two are found by name, so
another package may bring its own, and no list of methods is kept anywhere.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from mdkd import registry
from mdkd.config import number, parse, printed, read_yaml
from mdkd.errors import UserError, nearest

PACKAGE = "mdkd.methods"


@dataclass(frozen=True, kw_only=True)
class MethodFile:
    """One method as its file declares it."""

    label: str = printed()  # its name in tables and figures
    # Raise the revision when the numerics of the method change: then its runs are done again.
    revision: int = number(1)
    needs: list[Literal["logits", "pooled", "maps", "embeddings"]]  # parts of both networks' Output
    settings: dict[str, Any]  # all of them, with their defaults: numbers, or one of the choices
    choices: dict[str, list[str]] = field(default_factory=dict)  # of the settings that are text

    def checked(self, changes: Any, where: str) -> dict[str, Any]:
        """Changes to the settings, each in the type of its default.

        A number must survive being written with six digits, because it becomes part of a path.

        Raises:
            UserError: a setting is unknown, or its value is wrong. The message begins with `where`.
        """
        if not isinstance(changes, dict):
            raise UserError(f"{where}: expected settings, found {changes!r}")
        checked = {}
        for key, value in changes.items():
            if key not in self.settings:
                raise UserError(f"{where}: unknown setting '{key}'; {nearest(key, self.settings)}")
            kind = type(self.settings[key])
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (isinstance(value, str) if kind is str else is_number):
                raise UserError(f"{where}: {key}: expected {kind.__name__}, found {value!r}")
            if kind is str and value not in self.choices[key]:
                hint = nearest(value, self.choices[key])
                raise UserError(f"{where}: {key}: unknown {value!r}; {hint}")
            if is_number and (kind(value) != value or float(format(value, "g")) != value):
                what = f"a {kind.__name__} of six digits"
                raise UserError(f"{where}: {key}: {value!r} is not {what}")
            checked[key] = kind(value)
        return checked

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
    method = parse(MethodFile, read_yaml(file), str(file))
    for key, value in method.settings.items():
        if isinstance(value, str):
            choices = method.choices.get(key, [])
            if value not in choices:
                hint = nearest(value, choices) if choices else "a number is expected"
                raise UserError(f"{file}: settings: {key}: unknown {value!r}; {hint}")
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(f"{file}: settings: {key}: expected a number, found {value!r}")
    return method


def read_all() -> dict[str, MethodFile]:
    """The files of all methods, by name."""
    return {name: read(name) for name in registry.names(PACKAGE)}
