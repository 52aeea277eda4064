"""What an epoch changes, so that it can be taken back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import pyro.util
import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors

from pyrovae.svi.engines.state import overlaps, put
from pyrovae.svi.engines.surroundings import Surroundings

__all__ = ["Snapshot", "finite_values", "held_by"]

SMALL = 1 << 16  # elements of a tensor up to which it costs less to copy it beside others than to call a kernel for it


class Snapshot:
    """Copies of the weights of a program and of its objective, of an optimiser's state and of the random state.

    And of the Python that they refer to, such as counters, as it was found.
    """

    def __init__(self, surroundings: Surroundings, optimizer: torch.optim.Optimizer | None = None) -> None:
        self.surroundings = surroundings
        tensors = {id(value): value for *_, value in self.surroundings.places}
        states = [] if optimizer is None else [s for s in optimizer.state.values() if isinstance(s, dict)]
        self.numbers = [(s, {k: v for k, v in s.items() if not isinstance(v, (Tensor, list, dict))}) for s in states]
        self.trained = [(t, t.requires_grad) for t in tensors.values() if t.is_leaf and t.is_floating_point()]
        with torch.no_grad():
            moments = () if optimizer is None else held_by(optimizer)
            groups = _by_kind((*tensors.values(), *moments))
            self.pairs = [(group, _joined(group)) for group in groups]
        self.optimizer = optimizer if optimizer is not None and not optimizer.state else None
        self.random_state: Any = pyro.util.get_rng_state()
        self.cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None

    def restore(self) -> None:
        """Put everything back, in place."""
        self.surroundings.restore()
        for place in self.surroundings.places:  # a program may have put others there
            put(*place)
        with torch.no_grad():
            for group, kept in self.pairs:
                for tensor, part in zip(group, kept.split([t.numel() for t in group]), strict=True):
                    if not overlaps(tensor):  # nor has anything else been able to write to it
                        tensor.copy_(part.view(tensor.shape))
        for tensor, trained in self.trained:
            tensor.requires_grad_(trained)
        for state, numbers in self.numbers:
            state.update(numbers)
        if self.optimizer is not None:  # it had taken no step
            self.optimizer.state.clear()
        pyro.util.set_rng_state(self.random_state)
        if self.cuda is not None:
            torch.cuda.set_rng_state_all(self.cuda)


def held_by(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The tensors of an optimiser's state."""
    states = [state for state in optimizer.state.values() if isinstance(state, dict)]
    return [value for state in states for value in state.values() if isinstance(value, Tensor)]


def finite_values(losses: Sequence[Any], tensors: Sequence[Tensor]) -> list[float] | None:
    """The losses, numbers or tensors of some, as numbers; None if one, or one of these tensors, is not finite."""
    found = [loss.reshape(-1) for loss in losses if isinstance(loss, Tensor)]
    numbers = iter(torch.cat(found).double().tolist() if found else [])
    values = [v for loss in losses for v in (islice(numbers, loss.numel()) if isinstance(loss, Tensor) else (loss,))]
    with torch.no_grad():
        small = [_joined(group) for group in _by_kind(t for t in tensors if t.numel() <= SMALL)]
        norms = torch._foreach_norm([*small, *(t for t in tensors if t.numel() > SMALL)]) if tensors else ()
    norm = float(norms[0] if len(norms) == 1 else torch.stack(norms).sum()) if norms else 0.0
    return values if math.isfinite(norm) and all(map(math.isfinite, values)) else None


def _by_kind(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """Those of one type on one device together."""
    groups: dict[Any, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.dtype, tensor.get_device()), []).append(tensor)
    return list(groups.values())


def _joined(tensors: list[Tensor]) -> Tensor:
    """A copy of all their elements, one tensor's after another's."""
    joined: Tensor = _flatten_dense_tensors(tensors) if len(tensors) > 1 else tensors[0].flatten().clone()
    return joined
