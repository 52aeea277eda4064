"""What the objectives share: they are ELBO objects of Pyro's, and modules that may hold networks and schedules."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import ELBO
from torch import Tensor, nn

from pyrovae._modes import evaluating
from pyrovae._numbers import at_least, check_flag
from pyrovae.objectives._terms import Terms, draw_terms
from pyrovae.schedules import Scheduled

__all__ = ["Objective", "with_gradient"]


class Objective(ELBO, nn.Module):
    """An objective for ``fit(loss=…)``, for ``VAE(…, loss=…)``, or for Pyro's own `pyro.infer.SVI`.

    One of ours defines `value`: what is to be high, summed over the batch, in nats without the scale of the data
    plate, which is applied afterwards. So nothing nonlinear is done to a scaled density. ``label`` names the figure
    for people; ``whole`` says that it is not a sum over sites, so that none may stand outside the data plate;
    ``pathwise`` that it needs draws with gradients; ``least`` how many data a batch must have; ``game`` that a
    critic learns too, so that it need not rise; ``rate`` is the learning
    rate of its own networks, as a multiple of that of the run.

    Networks, parameters and schedules in it are trained, moved and checkpointed by `fit` beside the program's; they are
    not part of the program's weights.

    Parameters
    ----------
    particles
        Draws of the latents of each datum, K.
    vectorize
        Run the program once for all draws, under a plate of their own. Programs of this package that can be are.
    plate
        The name of the data plate, where it cannot be told.
    """

    particles: int
    vectorize_particles: bool
    plate: str | None
    whole: ClassVar[bool] = False
    pathwise: ClassVar[bool] = False
    least: int = 1
    game: bool = False
    rate: float = 1.0

    def __init__(self, *, particles: int = 1, vectorize: bool = False, plate: str | None = None) -> None:
        nn.Module.__init__(self)
        name, own = type(self).__name__, type(self)
        if own.value is Objective.value and own.differentiable_loss is Objective.differentiable_loss:
            raise TypeError(f"objectives.{name} does not say what is to be high: define value(terms) in a subclass")
        self.particles = at_least(f"objectives.{name}: particles", particles, 1)
        ELBO.__init__(self, num_particles=self.particles)
        self.vectorize_particles, self.plate = check_flag(f"objectives.{name}: vectorize", vectorize), plate
        self._sums: dict[str, Tensor] = {}
        self._seen = 0
        self._name = ""

    @property
    def label(self) -> str:
        """What −loss is called, per datum."""
        return f"{type(self).__name__} objective"

    def value(self, terms: Terms) -> Tensor:
        """What is to be high, a sum over the data of the batch in unscaled nats, with its gradient."""
        raise NotImplementedError

    def check(self, priors: Mapping[str, dist.Distribution], guides: Mapping[str, dist.Distribution]) -> None:
        """Refuse latents it is not defined for; called with p and q of each latent before training.

        Raises
        ------
        ValueError
            Saying what would work.
        """
        points = [name for name, q in guides.items() if self.whole and _family(q) == "Delta"]
        if points:
            raise ValueError(
                f"objectives.{type(self).__name__} weighs draws by their density, and a point has none (the guide of "
                f"{', '.join(map(repr, points))}): use a guide with a density, or objectives.Beta"
            )
        scored = [name for name, q in guides.items() if not q.has_rsample]
        if self.pathwise and scored:
            raise ValueError(
                f"objectives.{type(self).__name__} needs a gradient through each draw, and draws of "
                f"{', '.join(map(repr, scored))} ({_family(guides[scored[0]])}) have none: use a continuous guide, a "
                "relaxed one such as guides.RelaxedBernoulli, or objectives.ImportanceWeighted"
            )

    def note(self, n: int, **sums: Tensor) -> None:
        """Add to the figures of the epoch: sums over n data."""
        if torch.is_grad_enabled():
            self._seen += n
            for name, value in sums.items():
                self._sums[name] = self._sums.get(name, 0.0) + value.detach()

    def exchange_notes(self, notes: tuple[int, dict[str, Tensor]]) -> tuple[int, dict[str, Tensor]]:
        """Take these for what was noted, over how many data and the sums, and give those that it had."""
        before = self._seen, self._sums
        self._seen, self._sums = notes
        return before

    def measures(self) -> dict[str, float]:
        """Means per datum of what was noted since the last call, and the values of the schedules now."""
        found = {name: float(value) / max(1, self._seen) for name, value in self._sums.items()}
        self._sums.clear()
        self._seen = 0
        own = {name: float(m.value) for name, m in self.named_children() if isinstance(m, Scheduled)}
        return found | own

    def terms(self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any) -> Terms:
        """The draws and densities that `value` is given."""
        terms = draw_terms(
            model,
            guide,
            args,
            kwargs,
            particles=self.particles,
            vectorize=self.vectorize_particles,
            plate=self.plate,
        )
        if self.pathwise and terms.score is not None:  # under Pyro's own SVI nothing else has looked
            Objective.check(self, {}, {name: terms.pairs[0][0].nodes[name]["fn"] for name in terms.names})
        return terms

    def differentiable_loss(
        self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Tensor:
        """−(scale · `value` + the terms outside the plate), to be differentiated.

        Raises
        ------
        ValueError
            If a site stands outside the plate, and the objective is ``whole``.
        """
        terms = self.terms(model, guide, *args, **kwargs)
        if self.whole and terms.shared:
            raise ValueError(
                f"objectives.{type(self).__name__} takes a logarithm of mean weights per datum, which is no bound when "
                f"sites stand outside the data plate ({', '.join(terms.shared)}): use pyro.infer.Trace_ELBO"
            )
        return -(terms.scale * self.value(terms) + terms.outside)

    def loss(self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any) -> float:
        """Its value alone."""
        with torch.no_grad(), evaluating(self):
            return float(self.differentiable_loss(model, guide, *args, **kwargs))

    def loss_and_grads(self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any) -> float:
        """Its value; gradients are added to ``.grad``. For `pyro.infer.SVI`."""
        if any(True for _ in self.parameters()):
            self._name = self._name or f"objective_{uuid.uuid4().hex}"
            pyro.module(self._name, self)
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()
        return float(loss.detach())

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> Any:
        raise NotImplementedError  # Pyro's way to the traces, which `terms` takes the place of

    def reset_parameters(self) -> None:
        """Draw new weights of the networks it holds, for an independent restart."""
        for module in self.modules():
            if module is not self and callable(reset := getattr(module, "reset_parameters", None)):
                reset()

    def details(self) -> str:
        """Its settings, for `repr`."""
        return ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.details()})"


def with_gradient(value: Tensor, surrogate: Tensor) -> Tensor:
    """The value of one and the gradient of the other."""
    return value.detach() + surrogate - surrogate.detach()


def _family(fn: Any) -> str:
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return type(fn).__name__
