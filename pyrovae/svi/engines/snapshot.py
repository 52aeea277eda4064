"""What an epoch changes, so that it can be taken back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pyrovae.program import Program
from pyrovae.svi.loss import Loss

__all__ = ["Snapshot", "finite_values"]


class Snapshot:
    """Copies of the weights of a program and of its objective, of the optimiser's state and of the random state."""

    def __init__(self, program: Program, loss: Loss, optimizer: torch.optim.Optimizer) -> None:
        own = [t for module in loss.modules[:1] for t in module.state_dict(keep_vars=True).values()]
        held = [t for state in optimizer.state.values() for t in state.values() if isinstance(t, Tensor)]
        with torch.no_grad():
            self.pairs = [(t, t.detach().clone()) for t in (*program.weights().values(), *own, *held)]
        self.optimizer = optimizer if not optimizer.state else None
        self.random_state = torch.get_rng_state()

    def restore(self) -> None:
        """Put everything back, in place."""
        with torch.no_grad():
            for tensor, kept in self.pairs:
                tensor.copy_(kept)
        if self.optimizer is not None:  # it had taken no step
            self.optimizer.state.clear()
        torch.set_rng_state(self.random_state)


def finite_values(losses: Sequence[Any], parameters: Sequence[Tensor]) -> list[float] | None:
    """The losses as numbers; None if one of them, or a parameter after them, is not finite."""
    tensors = [loss for loss in losses if isinstance(loss, Tensor)]
    numbers = iter(torch.stack([t.double() for t in tensors]).tolist() if tensors else [])
    values = [next(numbers) if isinstance(loss, Tensor) else loss for loss in losses]
    with torch.no_grad():
        norm = float(torch.nn.utils.get_total_norm(list(parameters)))
    return values if math.isfinite(norm) and all(map(math.isfinite, values)) else None
