"""Optimisers and schedules as `fit` takes them, and their state as a run folder keeps it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "fused_adam",
    "is_plain_adam",
    "load_optimizer",
    "make_optimizer",
    "make_scheduler",
    "scheduler_state",
    "step_scheduler",
    "stepper",
]

PLAIN = {
    "amsgrad": False,
    "maximize": False,
    "fused": True,
    "differentiable": False,
    "capturable": False,
    "decoupled_weight_decay": False,
}


def make_optimizer(make: Callable[..., Any], parameters: list[Any], lr: float) -> torch.optim.Optimizer:
    """``make(parameters, lr=lr)``, of tensors or groups of them; Adam in its fused form."""
    came = f"{type(make).__module__}.{type(make).__name__}"
    if not callable(make) or came.startswith("pyro.") or getattr(make, "__module__", "").startswith("pyro."):
        raise TypeError(
            "optimizer: expected a class of torch.optim or functools.partial of one, which is called as "
            f"optimizer(parameters, lr=lr); got an instance of {came}"
        )
    tensors = [p for item in parameters for p in (item["params"] if isinstance(item, dict) else [item])]
    if make is torch.optim.Adam and all(p.is_floating_point() for p in tensors):
        return torch.optim.Adam(parameters, lr=lr, fused=True)
    try:
        optimizer: torch.optim.Optimizer = make(parameters, lr=lr)
    except ValueError as error:
        if not isinstance(parameters[0], dict):
            raise
        raise ValueError(
            f"optimizer: the objective's rate asks for a learning rate of its own, and {error}: leave rate out, or "
            "take another optimiser"
        ) from error
    return optimizer


def make_scheduler(make: Any, optimizer: torch.optim.Optimizer, epochs: int) -> Any:
    """The schedule of an optimiser: "cosine", None or the user's."""
    if make is None:
        return None
    if make == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    if not callable(make):
        raise ValueError(
            f'schedule: expected "cosine", None, or a function of an optimizer that returns a scheduler, got {make!r}'
        )
    try:
        return make(optimizer)
    except TypeError as error:
        raise TypeError(
            "schedule: expected a function of the optimizer alone, such as "
            f"lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=30); calling it raised: {error}"
        ) from error


def step_scheduler(scheduler: Any, elbo: float) -> None:
    """After an epoch."""
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        scheduler.step(-elbo)
    else:
        scheduler.step()


def scheduler_state(state: dict[str, Any]) -> dict[str, Any]:
    """A scheduler's state without the functions in it."""
    return {k: v for k, v in state.items() if isinstance(v, (int, float, str, bool, list, tuple, dict, type(None)))}


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take up a state read from a run folder, whose lists were tuples."""
    groups = [{k: tuple(v) if k == "betas" else v for k, v in group.items()} for group in state["param_groups"]]
    optimizer.load_state_dict({"state": {int(k): v for k, v in state["state"].items()}, "param_groups": groups})


def is_plain_adam(optimizer: torch.optim.Optimizer) -> bool:
    """Whether it is Adam as published, in one group, fused, without a hook."""
    hooks = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
    return (
        type(optimizer) is torch.optim.Adam
        and len(optimizer.param_groups) == 1
        and not hooks
        and all(
            optimizer.param_groups[0][name] == value
            for name, value in PLAIN.items()
            if name in optimizer.param_groups[0]
        )
    )


def stepper(optimizer: torch.optim.Optimizer, parameters: list[Tensor]) -> Callable[[list[Tensor]], None]:
    """A step of an optimiser that has taken one before, for the gradients of these of its parameters.

    Of plain Adam it is the kernel that `torch.optim.Adam` itself calls, without what surrounds it.
    """
    held = [optimizer.state.get(p) for p in parameters]

    def through(gradients: list[Tensor]) -> None:
        optimizer.zero_grad(set_to_none=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()

    if not is_plain_adam(optimizer) or not all(held):
        return through
    first, second, steps = ([h[name] for h in held if h] for name in ("exp_avg", "exp_avg_sq", "step"))
    return fused_adam(optimizer.param_groups[0], parameters, first, second, steps)


def fused_adam(
    group: Mapping[str, Any], parameters: list[Tensor], first: list[Tensor], second: list[Tensor], steps: list[Tensor]
) -> Callable[[list[Tensor]], None]:
    """A step of plain Adam with the settings that a group has then, from moments and counts of steps in place."""
    kernel = torch._fused_adam_

    def step(gradients: list[Tensor]) -> None:
        torch._foreach_add_(steps, 1)
        kernel(
            parameters,
            gradients,
            first,
            second,
            [],
            steps,
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )

    return step
