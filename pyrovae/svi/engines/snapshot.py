"""What an epoch changes, so that it can be taken back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from typing import Any

import pyro.util
import torch
from torch import Tensor

from pyrovae.svi.engines.state import put
from pyrovae.svi.engines.surroundings import Surroundings

__all__ = ["Snapshot", "finite_values"]


class Snapshot:
    """Copies of the weights of a program and of its objective, of the optimiser's state and of the random state.

    And of the Python that they refer to, such as counters, as it was found.
    """

    def __init__(self, surroundings: Surroundings, optimizer: torch.optim.Optimizer) -> None:
        self.surroundings = surroundings
        tensors = {id(value): value for *_, value in self.surroundings.places}
        states = [state for state in optimizer.state.values() if isinstance(state, dict)]
        held = [value for state in states for value in state.values() if isinstance(value, Tensor)]
        self.numbers = [(s, {k: v for k, v in s.items() if not isinstance(v, (Tensor, list, dict))}) for s in states]
        with torch.no_grad():
            self.pairs = [(t, t.detach().clone()) for t in (*tensors.values(), *held)]
        self.optimizer = optimizer if not optimizer.state else None
        self.random_state: Any = pyro.util.get_rng_state()
        self.cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None

    def restore(self) -> None:
        """Put everything back, in place."""
        self.surroundings.restore()
        for place in self.surroundings.places:  # a program may have put others there
            put(*place)
        with torch.no_grad():
            for tensor, kept in self.pairs:
                tensor.copy_(kept)
        for state, numbers in self.numbers:
            state.update(numbers)
        if self.optimizer is not None:  # it had taken no step
            self.optimizer.state.clear()
        pyro.util.set_rng_state(self.random_state)
        if self.cuda is not None:
            torch.cuda.set_rng_state_all(self.cuda)


def finite_values(losses: Sequence[Any], tensors: Sequence[Tensor]) -> list[float] | None:
    """The losses, numbers or tensors of some, as numbers; None if one, or one of these tensors, is not finite."""
    found = [loss.reshape(-1) for loss in losses if isinstance(loss, Tensor)]
    numbers = iter(torch.cat(found).double().tolist() if found else [])
    values = [v for loss in losses for v in (islice(numbers, loss.numel()) if isinstance(loss, Tensor) else (loss,))]
    with torch.no_grad():
        norms = torch.stack(torch._foreach_norm(list(tensors))).sum() if tensors else 0.0
    return values if math.isfinite(float(norms)) and all(map(math.isfinite, values)) else None
