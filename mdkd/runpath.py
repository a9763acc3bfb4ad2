"""The path of a run: its identity, its folder, and the name that tables and people use.

    supervised/{dataset}/{arch}/seed{seed}
    supervised/{dataset}/{arch}/{variant}/seed{seed}
    distill/{dataset}/{teacher}--{arch}/{method}/{variant}/seed{seed}

``variant`` is ``default``, or a slug of what differs from the defaults: settings of the method, as
in ``bd3-0.5_bd4-0``, and keys of the recipe and the seed of the teacher, as in
``epochs-40_teacher_seed-1``. A supervised run has this folder only if something differs. This
module is the only place that knows how these texts are built.
"""

import re
from dataclasses import asdict, dataclass
from typing import Any

from mdkd.errors import UserError

NAME = r"[a-z0-9]+(?:_[a-z0-9]+)*"  # data sets, architectures, methods, experiments
SUPERVISED = "supervised/{dataset}/{arch}{level}/seed{seed}"
DISTILLED = "distill/{dataset}/{teacher}--{arch}/{method}/{variant}/seed{seed}"
OUTPUTS = "{kind}/{dataset}/{teacher}{level}/seed{seed}"  # of a teacher (mdkd/logits.py)
VARIANT = r"[A-Za-z0-9][A-Za-z0-9._-]*"
FIELDS = {  # a regular expression for each field
    **dict.fromkeys(("dataset", "arch", "teacher", "method"), NAME),
    "variant": VARIANT,
    "level": f"(?:/{VARIANT})?",  # a folder that is there only if the variant is not the default
    "seed": r"0|[1-9]\d*",
}
SUPERVISED_METHOD = "vanilla"  # the method of a run without a teacher
DEFAULT = "default"
LONGEST = 200  # characters of a folder in a path; file systems allow 255


@dataclass(frozen=True)
class RunPath:
    """The fields of a run's path; a run without a teacher is supervised."""

    dataset: str
    arch: str
    seed: int
    teacher: str | None = None
    method: str = SUPERVISED_METHOD
    variant: str = DEFAULT

    @property
    def kind(self) -> str:
        """The first folder of the path."""
        return str(self).partition("/")[0]

    def __str__(self) -> str:
        template = SUPERVISED if self.teacher is None else DISTILLED
        return template.format(**asdict(self), level=level(self.variant))

    @classmethod
    def parse(cls, text: str) -> "RunPath":
        """The inverse of ``str``.

        >>> RunPath.parse("supervised/scenes/resnet8/seed0").arch
        'resnet8'

        Raises:
            UserError: the text is not the path of a run.
        """
        for template in (SUPERVISED, DISTILLED):
            if found := re.fullmatch(_pattern(template), text):
                fields: dict[str, Any] = found.groupdict()
                if folder := fields.pop("level", ""):
                    fields["variant"] = folder.removeprefix("/")
                if longer := [part for part in text.split("/") if len(part) > LONGEST]:
                    what = f"'{longer[0][:40]}...' has more than {LONGEST} characters"
                    raise UserError(f"{text[:80]}...: {what}; use shorter names or fewer settings")
                path = cls(**fields | {"seed": int(fields["seed"])})
                if str(path) == text:
                    return path
        forms = [template.replace("{seed}", "N") for template in (SUPERVISED, DISTILLED)]
        forms = [form.replace("{level}", "[/VARIANT]") for form in forms]
        forms = [re.sub(r"{(\w+)}", lambda field: field[1].upper(), form) for form in forms]
        raise UserError(f"{text[:200]}: not a run path; write {' or '.join(forms)}")


def _pattern(template: str) -> str:
    return re.sub(r"{(\w+)}", lambda m: f"(?P<{m[1]}>{FIELDS[m[1]]})", template)


def level(variant: str) -> str:
    """The folder of a variant in a path that has such a folder only if something differs."""
    return "" if variant == DEFAULT else f"/{variant}"


def slug(changes: dict[str, Any], defaults: dict[str, Any]) -> str:
    """The variant that names what differs from the defaults.

    >>> slug({"bd4": 0.0, "bd3": 0.5, "id2": 1.0}, {"bd3": 1.0, "bd4": 1.0, "id2": 1.0})
    'bd3-0.5_bd4-0'
    """
    return written({key: v for key, v in changes.items() if v != defaults[key]})


def written(values: dict[str, Any]) -> str:
    """The variant that names these values, whatever the defaults are."""
    return "_".join(f"{key}-{_text(values[key])}" for key in sorted(values)) or DEFAULT


def is_writable(value: Any) -> bool:
    """Whether a value survives being written in a path: a number must have six digits at most."""
    if isinstance(value, list):
        return all(map(is_writable, value))
    return isinstance(value, str) or float(format(value, "g")) == value


def changes_of(variant: str, defaults: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `slug`, in the types of the defaults; what has no default is left out.

    >>> changes_of("bd3-0.5_norm-sum", {"bd3": 1.0, "norm": "paper"})
    {'bd3': 0.5, 'norm': 'sum'}
    >>> changes_of("betas-0.9-1e-05", {"betas": [0.9, 0.999]})
    {'betas': [0.9, 1e-05]}

    Raises:
        ValueError: the value of a number is not a number.
    """
    keys = "|".join(sorted(map(re.escape, defaults), key=len, reverse=True)) or "(?!)"
    found = re.findall(rf"(?:^|_)({keys})-(.+?)(?=_(?:{keys})-|$)", variant)
    return {key: _value(text, defaults[key]) for key, text in found}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "-".join(map(_text, value))
    return value if isinstance(value, str) else format(value, "g").replace("e+", "e")


def _value(text: str, default: Any) -> Any:
    """The inverse of `_text`. A number that should be an integer and is none stays as it is."""
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        return {"true": True, "false": False}.get(text, text)
    if isinstance(default, list):
        return [_value(part, default[0]) for part in re.split(r"(?<!e)-", text)]
    number = float(text)
    return int(number) if isinstance(default, int) and number.is_integer() else number
