"""Pyro's ELBO objects as a loss per datum: the plate's scale, and gradients of those that are not differentiable."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro.infer import (
    ELBO,
    RenyiELBO,
    ReweightedWakeSleep,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    TraceTailAdaptive_ELBO,
    TraceTMC_ELBO,
)
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from pyrovae._labels import without_numbers
from pyrovae.program import Batch, Program
from pyrovae.structure import Structure
from pyrovae.svi.precision import products_in

__all__ = ["Loss", "default_elbo", "modules_of_loss", "quiet"]


class Loss:
    """An ELBO object's negative bound of a batch, in nats per datum.

    With b of N data, the bound of the whole set is N/b Σ_batch (local terms) + (terms outside the plate). Divided by
    N, the local terms have weight 1/b and the others 1/N: so the densities inside the plate are left unscaled, those
    outside are multiplied by b/N, and the sum is divided by b. The local densities are never scaled before an
    estimator takes a logsumexp of them (as `pyro.infer.RenyiELBO` does), which would not be a bound of anything.

    Parameters
    ----------
    elbo
        Any `pyro.infer.ELBO`.
    total
        N, the number of data of the whole set.
    precision
        Of the products where gradients are taken; `value` is in float32.
    """

    def __init__(
        self, elbo: ELBO, program: Program, structure: Structure, total: int, precision: str = "float32"
    ) -> None:
        self.elbo, self.program, self.structure, self.total = elbo, program, structure, total
        self.precision = precision
        if hasattr(elbo, "default"):  # an objective that stands on an estimator of Pyro's
            elbo.default = default_elbo(structure)
        estimator = getattr(elbo, "estimator", elbo)
        if structure.outside and (isinstance(elbo, RenyiELBO) or getattr(elbo, "whole", False)):
            raise ValueError(
                f"{type(elbo).__name__} takes a logarithm of mean weights per datum, which is no bound when sites "
                f"stand outside the data plate ({', '.join(s.name for s in structure.outside)}): use Trace_ELBO"
            )
        if structure.enumerated and not isinstance(estimator, TraceEnum_ELBO):
            raise ValueError(
                f"{type(elbo).__name__} does not sum over the sites {', '.join(structure.enumerated)}, which are "
                "enumerated and have no guide: use pyro.infer.TraceEnum_ELBO, or give the guide a site for them"
            )
        if structure.summed and not isinstance(estimator, (TraceEnum_ELBO, TraceTMC_ELBO)):
            raise ValueError(
                f"{type(elbo).__name__} does not sum over the sites {', '.join(structure.summed)}, which the guide "
                "enumerates: use pyro.infer.TraceEnum_ELBO, or let the guide draw them (estimator='score')"
            )
        if structure.baselines and not isinstance(estimator, TraceGraph_ELBO):
            raise ValueError(
                f"{type(elbo).__name__} makes no use of the baselines of the sites {', '.join(structure.baselines)}: "
                "use pyro.infer.TraceGraph_ELBO, or leave the baselines out"
            )
        if structure.scored and isinstance(estimator, TraceMeanField_ELBO):
            raise ValueError(
                f"{type(elbo).__name__} leaves out the score function, and draws of the sites "
                f"{', '.join(structure.scored)} have no other gradient: use pyro.infer.Trace_ELBO or TraceGraph_ELBO"
            )
        if isinstance(estimator, TraceTailAdaptive_ELBO):
            raise ValueError(
                "TraceTailAdaptive_ELBO reports an infinite loss by design, so that a run could be neither checked nor "
                "stopped: use pyro.infer.RenyiELBO(alpha=…), another objective between mass covering and mode seeking"
            )
        self.recorded = type(elbo).__name__.startswith("Jit")
        tuples = isinstance(elbo, ReweightedWakeSleep)
        self.differentiable = hasattr(elbo, "differentiable_loss") and not (self.recorded or tuples)
        self.model = program.model
        self.guide = program.guide if self.differentiable else _with_params(program)

    @property
    def label(self) -> str:
        """What −loss is called."""
        own = getattr(self.elbo, "label", None)
        if own is not None:
            return str(own)
        if self.structure.points:  # whose density Pyro counts as 1
            return "log p(x, z)"
        return "Rényi bound" if isinstance(self.elbo, RenyiELBO) else "ELBO"

    @property
    def name(self) -> str:
        """The label without its numbers, which may change while it trains."""
        return without_numbers(self.label)

    @property
    def least(self) -> int:
        """How many data a batch must have."""
        return int(getattr(self.elbo, "least", 1))

    @property
    def modules(self) -> list[nn.Module]:
        """Networks and schedules that the objective holds, none of the program's."""
        return modules_of_loss(self.elbo)

    def named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Those of the objective's networks."""
        return [(f"loss.{n}", p) for n, p in self.elbo.named_parameters()] if self.modules else []

    def parameters(self) -> list[Tensor]:
        """All that is trained: the program's parameters and the objective's."""
        own = [p for _, p in self.named_parameters()]
        return [p for p in (*self.program.parameters(), *own) if p.requires_grad]

    def groups(self, lr: float) -> list[Any]:
        """`parameters` for an optimiser; in two groups where the objective's own have another learning rate."""
        own, rate = [p for _, p in self.named_parameters() if p.requires_grad], getattr(self.elbo, "rate", 1.0)
        if rate == 1 or not own:
            return self.parameters()
        known = {id(p) for p in own}
        return [
            {"params": [p for p in self.parameters() if id(p) not in known], "lr": lr},
            {"params": own, "lr": rate * lr},
        ]

    def gradients(self, batch: Batch) -> Tensor:
        """The loss of a batch, detached; its gradients are added to the parameters' ``.grad``."""
        size = len(batch)
        if not self.parameters():  # all that it learns is in closed form, and TraceEnum_ELBO would raise
            return torch.tensor(self.value(batch), dtype=torch.float64)
        if self.differentiable:
            with products_in(self.precision):
                loss = self._differentiable_value(batch)
                if loss.requires_grad:
                    loss.backward()
            return loss.detach()
        with self._weights(size), products_in(self.precision):
            value = _first(self.elbo.loss_and_grads(self.model, self.guide, *batch.args))
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad /= size
        return torch.tensor(float(value) / size)

    def slope(self, batch: Batch, at: list[Tensor]) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        """The loss of a batch, of an estimator that has one to be differentiated, and its gradients, None for none."""
        with products_in(self.precision):
            loss = self._differentiable_value(batch)
            return loss.detach(), torch.autograd.grad(loss, at, allow_unused=True)

    def _differentiable_value(self, batch: Batch) -> Tensor:
        with self._weights(len(batch)):
            loss = self.elbo.differentiable_loss(self.model, self.guide, *batch.args)
            return torch.as_tensor(loss) / len(batch)

    @contextmanager
    def noting(self) -> Iterator[Callable[[], tuple[int, dict[str, Any]]]]:
        """A block whose notes the objective keeps apart, and a function that tells them: how many data, and sums."""
        exchange = getattr(self.elbo, "exchange_notes", lambda notes: notes)
        before = exchange((0, {}))
        try:
            yield lambda: exchange((0, {}))
        finally:
            exchange(before)

    def value(self, batch: Batch) -> float:
        """The loss of a batch without gradient."""
        size = len(batch)
        with self._weights(size), torch.no_grad():
            return float(_first(self.elbo.loss(self.model, self.program.guide, *batch.args))) / size

    @contextmanager
    def _weights(self, size: int) -> Iterator[None]:
        own = self.structure.full_size
        if own is None and not self.structure.outside:
            yield
        else:
            with _Reweight(self.structure.plate, 1.0 if own is None else size / own, size / self.total):
                yield


class _Reweight(Messenger):
    """Multiply the scale of the sites inside the data plate and of those outside it."""

    def __init__(self, plate: str, inside: float, outside: float) -> None:
        super().__init__()
        self.plate, self.inside, self.outside = plate, inside, outside

    def _pyro_post_sample(self, msg: Any) -> None:
        inside = any(frame.name == self.plate for frame in msg["cond_indep_stack"])
        msg["scale"] = msg["scale"] * (self.inside if inside else self.outside)


def default_elbo(structure: Structure) -> ELBO:
    """The plainest estimator that does what the program asks for: sum over sites, or use its baselines."""
    if structure.enumerated or structure.summed:
        return TraceEnum_ELBO(max_plate_nesting=structure.nesting)
    return TraceGraph_ELBO() if structure.baselines else Trace_ELBO()


def modules_of_loss(elbo: Any) -> list[nn.Module]:
    """The modules of an objective that is one; none of Pyro's."""
    return list(elbo.modules()) if isinstance(elbo, nn.Module) else []


@contextmanager
def quiet() -> Iterator[None]:
    """A block without Pyro's validation and its warnings of non-finite losses, which the loop answers with an error."""
    with pyro.validation_enabled(False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Encountered (NaN|\\+?inf)", category=UserWarning)
        yield


def _first(loss: Any) -> Any:
    """The bound, of the estimators that report one loss for the model and one for the guide (wake and sleep)."""
    return loss[0] if isinstance(loss, tuple) else loss


def _with_params(program: Program) -> Callable[..., Any]:
    """The guide with parameter statements, without which ``loss_and_grads`` and the Jit losses find no parameters."""

    def guide(*args: Any) -> Any:
        for name, parameter in program.named_parameters():
            if parameter.requires_grad and isinstance(parameter, nn.Parameter):
                pyro.param(f"declared.{name}", parameter)
        return program.guide(*args)

    return guide
