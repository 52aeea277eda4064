"""What the parts of ours share: they print themselves on one line, and hold numbers that may be learned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import biject_to, constraints

from pyrovae._calls import Call
from pyrovae._support import describe

__all__ = ["NetworkPart", "Part"]


class Part(nn.Module):
    """A prior, a likelihood or a guide.

    ``support`` is that of one datum or latent, None where only a call can tell.
    """

    support: constraints.Constraint | None = None

    @property
    def _where(self) -> str:
        """Its name in messages: with its room if it is one of ours."""
        package, *rooms = type(self).__module__.split(".")
        room = f"{rooms[0]}." if package == "pyrovae" and rooms else ""
        return f"{room}{type(self).__name__}"

    def hold(
        self,
        name: str,
        value: Any,
        constraint: constraints.Constraint = constraints.real,
        *,
        shape: tuple[int, ...] | None = None,
        learned: bool = False,
    ) -> None:
        """Keep a number or tensor for `held`; a learned one is a parameter without bounds, ``raw_<name>``.

        Raises
        ------
        TypeError
            If it is no number and no tensor, or ``learned`` no truth value.
        ValueError
            If it is not finite, outside its domain, or does not broadcast to ``shape``.
        """
        where = f"{self._where}: {name}"
        if not isinstance(learned, bool):
            raise TypeError(f"{where}: expected True or False for whether to learn it, got {learned!r}")
        try:
            if isinstance(value, bool):
                raise TypeError
            start = torch.as_tensor(value, dtype=torch.get_default_dtype()).detach().clone()
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(f"{where}: expected a number or a tensor, got {value!r}") from None
        if not (bool(torch.isfinite(start).all()) and bool(torch.as_tensor(constraint.check(start)).all())):
            raise ValueError(f"{where}: expected a finite value, {describe(constraint)}, got {value!r}")
        if shape is not None:
            try:
                start = start.expand(shape).clone()
            except RuntimeError:
                raise ValueError(f"{where}: expected one number or shape {shape}, got {tuple(start.shape)}") from None
        if not hasattr(self, "_constraints"):
            self._constraints: dict[str, constraints.Constraint] = {}
        if learned:
            self._constraints[name] = constraint
            raw = biject_to(constraint).inv(start)
            self.register_parameter(f"raw_{name}", nn.Parameter(raw))
            self.register_buffer(f"_start_{name}", raw.clone(), persistent=False)
        else:
            self.register_buffer(f"_{name}", start, persistent=False)

    def held(self, name: str) -> Tensor:
        """The value of a number that `hold` was given."""
        constraint = self._constraints.get(name)
        if constraint is None:
            value: Tensor = getattr(self, f"_{name}")
        else:
            raw = getattr(self, f"raw_{name}")
            value = raw if constraint is constraints.real else biject_to(constraint)(raw)
        return value

    def reset_parameters(self) -> None:
        """Back to the values that were given, where each restart begins."""
        with torch.no_grad():
            for name in getattr(self, "_constraints", {}):
                self.get_parameter(f"raw_{name}").copy_(self.get_buffer(f"_start_{name}"))

    def details(self) -> str:
        """What the part is made of, for its line."""
        return ", ".join(repr(child) for child in self.children())

    def __repr__(self) -> str:
        support = "" if self.support is None else f"support: {describe(self.support)}"
        return f"{type(self).__name__}({'; '.join(s for s in (self.details(), support) if s)})"


class NetworkPart(Part):
    """A part that stands on one network, and knows whether that takes a context and a mask."""

    def __init__(self, network: Callable[..., Tensor], sizes: str) -> None:
        super().__init__()
        distribution = isinstance(network, torch.distributions.Distribution)  # which can be called: it draws
        if not callable(network) or isinstance(network, type) or distribution:
            raise TypeError(
                f"{self._where}: expected a network, such as networks.MLP({sizes}), got "
                f"{'the distribution ' * distribution}{getattr(network, '__name__', type(network).__name__)}"
            )
        self.network = network
        self._call = Call(network, own=1)
        self.takes = self._call.takes

    def output(self, x: Tensor, **told: Tensor | None) -> Tensor:
        """What the network makes of x.

        Raises
        ------
        TypeError
            If it is no tensor.
        """
        out = self._call(x, **told)
        if not isinstance(out, Tensor):
            raise TypeError(f"{self._where}: expected a network that returns a tensor, got {type(out).__name__}")
        return out

    def details(self) -> str:
        """The network."""
        return repr(self.network) if isinstance(self.network, nn.Module) else getattr(self.network, "__name__", "")
