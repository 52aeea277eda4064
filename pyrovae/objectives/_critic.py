"""What objectives with a critic share: its logits, its own loss, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from pyrovae._modes import evaluating

__all__ = ["cross_entropy", "logits", "network", "try_codes"]


def network(where: str, module: Any) -> nn.Module:
    """A module with parameters to train.

    Raises
    ------
    TypeError
        If it is no module, so that its parameters cannot be found.
    ValueError
        If nothing in it can be trained.
    """
    if not isinstance(module, nn.Module):
        came = "the class " + module.__name__ if isinstance(module, type) else type(module).__name__
        raise TypeError(f"{where}: expected a torch.nn.Module, such as networks.MLP(…), got {came}")
    if not any(p.requires_grad for p in module.parameters()):
        raise ValueError(
            f"{where}: expected a network that can be trained, and {type(module).__name__} has no parameter that "
            "requires a gradient: use .requires_grad_(True)"
        )
    return module


def logits(where: str, critic: nn.Module, x: Tensor, outputs: tuple[int, ...] = (1,)) -> Tensor:
    """The critic's log odds (n,) of inputs (n, …); of two outputs, the first less the second.

    Raises
    ------
    ValueError
        If its output has another shape.
    """
    out = critic(x)
    wanted = " or ".join(str((len(x), k)) for k in outputs)
    if not isinstance(out, Tensor) or out.dim() != 2 or len(out) != len(x) or out.shape[1] not in outputs:
        came = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise ValueError(
            f"{where}: given shape {tuple(x.shape)}, expected logits of shape {wanted}, got {came}: "
            f"change its last layer to {' or '.join(map(str, outputs))} output{'s' * (outputs != (1,))}"
        )
    return out[:, 0] if out.shape[1] == 1 else out[:, 0] - out[:, 1]


def cross_entropy(true: Tensor, *false: Tensor) -> Tensor:
    """−Σ log σ(true) − Σ log(1 − σ(false)), of logits."""
    return softplus(-true).sum() + sum(softplus(f).sum() for f in false)


def try_codes(
    where: str, critic: nn.Module, guides: Mapping[str, dist.TorchDistribution], outputs: tuple[int, ...] = (1,)
) -> None:
    """Run the critic on draws of the latents (n, L), if they stand in the data plate alone.

    Raises
    ------
    ValueError
        If it does not run, or not with logits.
    """
    shapes = {tuple(q.batch_shape) for q in guides.values()} - {()}
    if len(shapes) != 1 or len(rows := shapes.pop()) != 1:
        return
    draws = [q.sample().reshape(*rows, -1) for q in guides.values() if q.batch_shape]
    codes = torch.cat(draws, -1)
    with torch.no_grad(), evaluating(critic):
        try:
            logits(where, critic, codes, outputs)
        except (RuntimeError, TypeError, IndexError, ValueError) as error:
            if str(error).startswith(where):
                raise
            raise ValueError(
                f"{where}: given codes of shape {tuple(codes.shape)} and type {codes.dtype}, it raised "
                f"{type(error).__name__}: {error}. It must take the {codes.shape[1]} latents, in the program's type"
            ) from error
