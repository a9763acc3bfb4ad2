"""How a distillation method is declared, and how the training loop calls it."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from torch import Tensor, nn

from mdkd import methodfiles
from mdkd.errors import UserError
from mdkd.outputs import Output


class MethodInfo(NamedTuple):
    """One method. `factory` is a loss function, or the class of a loss with trained parts."""

    name: str
    needs: tuple[str, ...]  # from the method's YAML file
    factory: Callable[..., Any]
    labels_on_host: bool  # whether it gets the true labels in the host's memory

    @property
    def has_parameters(self) -> bool:
        """Whether the method has parameters that are trained together with the student's."""
        return isinstance(self.factory, type)

    def defaults(self) -> dict[str, Any]:
        """All settings with their default values, from the method's YAML file.

        >>> from mdkd import methods
        >>> methods.get("l2d").defaults()
        {'mld': 10.0, 'cd': 100.0, 'id': 1000.0}
        """
        return dict(methodfiles.read(self.name).settings)


Factory = TypeVar("Factory", bound=Callable[..., Any])
declared: dict[str, tuple[Callable[..., Any], bool]] = {}  # with `labels_on_host`


def method(name: str, *, labels_on_host: bool = False) -> Callable[[Factory], Factory]:
    """Declare a distillation method in the file of the same name.

    A function is called as `loss(student, teacher, target_BC, **settings)` with two `Output`s and
    the true labels in {0, 1}. It returns a dict of weighted scalar loss terms. A class is an
    `nn.Module`: it is built once as `Loss(student_spec, teacher_spec, **settings)` and then called
    without settings. Its parameters are trained with the student's and discarded afterwards.

    A method with `supervised: own` in its YAML file replaces the binary cross-entropy, which the
    training loop otherwise adds. It returns one more term named `supervised`: the loss of each
    image and label, [B, C], not reduced and without a weight. The loop leaves out ignored labels
    and reduces it in the same way as the binary cross-entropy.

    Nothing in a method may wait for an accelerator. It must not read a value of a tensor there: no
    `item`, no `nonzero`, no mask as an index. A method that must list the true labels declares
    `labels_on_host`. It then gets `target_BC` in the host's memory, and lists there. What it makes
    on the host goes to the device with `common.to_device`.

    Settings are keyword-only and have no default values in code. The defaults are in the YAML file
    of the same name, with the parts of an `Output` that the method needs.
    """

    def declare(factory: Factory) -> Factory:
        other = declared[name][0].__module__ if name in declared else factory.__module__
        if other != factory.__module__:
            raise UserError(f"{factory.__module__}: method '{name}' is that of {other}; rename it")
        declared[name] = factory, labels_on_host
        return factory

    return declare


class FunctionLoss(nn.Module):
    """A loss function with its settings, as a module without parameters."""

    def __init__(self, function: Callable[..., dict[str, Tensor]], settings: dict[str, Any]):
        super().__init__()
        self.function, self.settings = function, settings

    def forward(
        self, student: Output, teacher: Output | None, target_BC: Tensor
    ) -> dict[str, Tensor]:
        return self.function(student, teacher, target_BC, **self.settings)
