"""The optimizers of trainings: torch's kernels for many tensors, the same on CPUs and GPUs.

torch computes the steps. Its classes in `torch.optim` give the same bits, but creating an object of
one of them imports torch's compiler: 1.5 s of every job.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from mdkd.config import Recipe

BETA2 = 0.999
EPSILON = 1e-8


class Optimizer(ABC):
    """What all optimizers have in common.

    Matrices and filters decay; biases and the parameters of norms do not.

    Attributes:
        state: lists of tensors, one per parameter, by name: all that a checkpoint needs.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], weight_decay: float):
        self.parameters: list[Tensor] = [p for p in parameters if p.requires_grad]
        self.decays = [weight_decay if p.ndim > 1 else 0.0 for p in self.parameters]
        self.state: dict[str, list[Tensor]] = {}

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, lr: float, momentum: float) -> None:
        """Change all parameters that have a gradient.

        Args:
            lr: the learning rate of this step.
            momentum: how much of the mean or sum of the gradients is kept, in 0 .. 1.
        """
        for decay in dict.fromkeys(self.decays):
            chosen = [
                i
                for i, p in enumerate(self.parameters)
                if p.grad is not None and self.decays[i] == decay
            ]
            parameters = [self.parameters[i] for i in chosen]
            gradients: list[Tensor] = [p.grad for p in parameters]  # type: ignore[misc]
            state = {name: [tensors[i] for i in chosen] for name, tensors in self.state.items()}
            self._change(parameters, gradients, state, lr, momentum, decay)

    @abstractmethod
    def _change(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        state: dict[str, list[Tensor]],
        lr: float,
        momentum: float,
        decay: float,
    ) -> None:
        """Change parameters that have the same weight decay, and their state."""

    def state_dict(self) -> dict[str, Any]:
        """All that a checkpoint needs, in the order of the parameters."""
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state.

        Raises:
            KeyError, ValueError, RuntimeError: the state belongs to other parameters.
        """
        for name, ours in self.state.items():
            for tensor, saved in zip(ours, state[name], strict=True):
                if tensor.shape != saved.shape:
                    raise ValueError(f"{name}: {tuple(saved.shape)} for {tuple(tensor.shape)}")
                tensor.copy_(saved)


class Adam(Optimizer):
    """Adam (Kingma and Ba, ICLR 2015) with weight decay as an L2 term of the gradient.

    Its momentum is beta1.

    Args:
        decoupled: AdamW (Loshchilov and Hutter, ICLR 2019): the decay is no part of the gradient;
            each step takes the fraction `lr` x `weight_decay` away from the weights.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        weight_decay: float,
        beta2: float = BETA2,
        decoupled: bool = False,
    ):
        super().__init__(parameters, weight_decay)
        self.beta2, self.decoupled = beta2, decoupled
        self.state = {
            "means": [torch.zeros_like(p) for p in self.parameters],  # of gradients
            "squares": [torch.zeros_like(p) for p in self.parameters],  # means of their squares
            "steps": [torch.zeros((), device=p.device) for p in self.parameters],
        }

    def _change(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        state: dict[str, list[Tensor]],
        lr: float,
        momentum: float,
        decay: float,
    ) -> None:
        adam(
            parameters,
            gradients,
            state["means"],
            state["squares"],
            [],
            state["steps"],
            fused=True,
            decoupled_weight_decay=self.decoupled,
            amsgrad=False,
            maximize=False,
            lr=lr,
            beta1=momentum,
            beta2=self.beta2,
            weight_decay=decay,
            eps=EPSILON,
        )


class SGD(Optimizer):
    """Stochastic gradient descent, with weight decay as an L2 term of the gradient.

    Args:
        nesterov: Nesterov's momentum (Sutskever et al., ICML 2013) in place of the plain one.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], weight_decay: float, nesterov: bool = False
    ):
        super().__init__(parameters, weight_decay)
        self.nesterov = nesterov
        self.state = {"sums": [torch.zeros_like(p) for p in self.parameters]}  # of gradients

    def _change(
        self,
        parameters: list[Tensor],
        gradients: list[Tensor],
        state: dict[str, list[Tensor]],
        lr: float,
        momentum: float,
        decay: float,
    ) -> None:
        sgd(
            parameters,
            gradients,
            state["sums"],  # type: ignore[arg-type]
            foreach=True,  # the fused kernel has no form for shapes alone, see tests/waiting.py
            weight_decay=decay,
            momentum=momentum,
            lr=lr,
            dampening=0.0,
            nesterov=self.nesterov,
            maximize=False,
        )


def new_optimizer(recipe: Recipe, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimizer that a recipe names, with its settings."""
    if recipe.optimizer == "sgd":
        return SGD(parameters, recipe.weight_decay, recipe.nesterov)
    decoupled = recipe.optimizer == "adamw"
    return Adam(parameters, recipe.weight_decay, recipe.betas[1], decoupled)
