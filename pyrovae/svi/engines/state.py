"""The tensors that a program and its objective hold, and what else of them a recording would take as given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyro
from torch import Tensor, nn

from pyrovae._modules import referred
from pyrovae.svi.loss import Loss

__all__ = ["State", "fingerprint"]

PLAIN = (bool, int, float, str, type(None))


class State:
    """Parameters and buffers by the dicts that hold them: those of modules, and Pyro's store.

    ``tensors`` are the distinct ones, in a fixed order.
    """

    def __init__(self, loss: Loss) -> None:
        held: list[dict[str, Any]] = [d for module in _modules(loss) for d in (module._parameters, module._buffers)]
        held.append(pyro.get_param_store()._params)
        self.places = [(d, name, value) for d in held for name, value in d.items() if value is not None]
        self.tensors = list({id(value): value for *_, value in self.places}.values())

    @contextmanager
    def replaced(self, tensors: Sequence[Tensor]) -> Iterator[None]:
        """A block in which others stand in their places."""
        by = {id(old): new for old, new in zip(self.tensors, tensors, strict=True)}
        try:
            for held, name, value in self.places:
                held[name] = by[id(value)]
            yield
        finally:
            for held, name, value in self.places:
                held[name] = value

    def reassigned(self, tensors: Sequence[Tensor]) -> dict[int, Tensor]:
        """Inside of `replaced`: what the program has put in the place of these, by their number."""
        number = {id(value): i for i, value in enumerate(self.tensors)}
        return {
            number[id(value)]: held[name]
            for held, name, value in self.places
            if held.get(name) is not tensors[number[id(value)]]
        }


def fingerprint(loss: Loss) -> tuple[Any, ...]:
    """Equal as long as a recording stands: modes, which tensors there are and have gradients, and plain numbers.

    The numbers are attributes of modules, and what the functions of a program refer to by name.
    """
    found: list[Any] = []
    for module in _modules(loss):
        found.append(tuple((k, v) for k, v in vars(module).items() if isinstance(v, PLAIN)))
        for held in (module._parameters, module._buffers):
            found += [(id(t), t.requires_grad) for t in held.values() if t is not None]
    found += [(id(t), t.requires_grad) for t in pyro.get_param_store()._params.values()]
    for function in _functions(loss):
        for name, value in referred(function):
            if isinstance(value, PLAIN):
                found.append((name, value))
            elif isinstance(value, Tensor):
                found.append((name, id(value), value._version, value.requires_grad))
    return tuple(found)


def _modules(loss: Loss) -> list[nn.Module]:
    return [*loss.program.modules(), *loss.modules]


def _functions(loss: Loss) -> list[Callable[..., Any]]:
    """The functions of the user's that a program is made of."""
    program = loss.program
    return [*getattr(program, "_functions", ()), *getattr(program, "_three", ())]
