"""What a method is: a name, what it needs from the networks, and how to make it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

NEEDS = ("logits", "pooled", "maps", "embeddings")  # the parts of an Output


class MethodInfo(NamedTuple):
    """One method. `factory` is a loss function, or the class of a loss with trained parts."""

    name: str
    needs: tuple[str, ...]
    factory: Callable[..., Any]

    @property
    def has_parameters(self) -> bool:
        """Whether building it gives an `nn.Module`, whose parameters are to be trained."""
        return isinstance(self.factory, type)


Factory = TypeVar("Factory", bound=Callable[..., Any])
declared: dict[str, MethodInfo] = {}


def method(name: str, *, needs: Sequence[str]) -> Callable[[Factory], Factory]:
    """Declare a distillation method in the file of the same name.

    A function is called as `loss(student, teacher, target_BC, **settings)` with two `Output`s and
    the true labels in {0, 1}, and returns a dict of weighted scalar loss terms. A class is an
    `nn.Module`, built once as `Loss(student_spec, teacher_spec, **settings)` and called without
    settings; its parameters are trained with the student's and thrown away afterwards. Settings
    are keyword-only and have no default values here: those stand in config/methods.yaml.
    """
    unknown = set(needs) - set(NEEDS)
    if unknown:
        raise ValueError(f"method {name}: needs must be among {NEEDS}, got {sorted(unknown)}")

    def declare(factory: Factory) -> Factory:
        declared[name] = MethodInfo(name, tuple(needs), factory)
        return factory

    return declare
