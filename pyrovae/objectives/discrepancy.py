"""A likelihood with a statistical distance of the codes from the prior: WAE, SWAE, InfoVAE, Radon–Sobolev."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae._recording import recording
from pyrovae.objectives._objective import Objective, _family
from pyrovae.objectives._terms import Terms
from pyrovae.schedules import Scheduled

__all__ = ["Discrepancy"]

Weight = float | Callable[[int], float]
Distance = Callable[[Tensor, Tensor | None], Tensor]


class Discrepancy(Objective):
    """E log p(x|z) − kl · KL(q(z|x) ‖ p(z)) − weight · d²(codes, prior), in nats per datum.

    d² compares the codes of a batch, one draw of q(z|x) for each datum, with as many new draws of the prior: the
    aggregate of the guide with p(z), where the KL compares the guide of each datum. With a context both are mixed over
    the contexts of the batch. Several latents are set side by side; of several draws of each datum d² is the mean over
    sets of one draw each.

    With ``kl=0`` it is no bound on log p(x), and the guide may be a point: Wasserstein autoencoders (Tolstikhin et al.
    2018, 1711.01558), SWAE (Kolouri et al. 2018, 1804.01947), Radon–Sobolev (Turinici 2021, 1911.13135). InfoVAE (Zhao
    et al. 2017, 1706.02262) with α and λ is ``kl = 1 − α`` and ``weight = α + λ − 1``; the MMD-VAE has α = 1.

    The weight is in nats per datum: what a d² of 1 costs each datum. Papers that take the squared error |x − x̂|² for
    a cost and λ for a weight have weight = λ/2σ² here, for a Normal likelihood with scale σ. d² does not grow with the
    batch, but its noise falls with it, and so does the bias of a V-statistic and of the sliced distance: compare values
    at one batch size. Where a prior depends on a context, a code is compared with the draw of its own context as well,
    which makes U-statistics too small by terms of the order 1/n.

    A prior whose draws have no gradient, such as a mixture, is matched and not learned, unless ``kl`` is positive.

    The history has ``distortion`` (−log p(x|z)), ``kl`` (where the guide has a density), ``discrepancy`` (d², the mean
    over the batches by their sizes), and the values of ``weight`` and ``kl_weight``.

    Parameters
    ----------
    distance
        `MMD`, `SlicedWasserstein`, `Energy`, or any function of codes (n, L) and draws (n, L) that returns a scalar
        with a gradient.
    weight, kl
        Numbers from 0, or functions of the epoch, such as `schedules.linear`.
    particles, vectorize, plate
        As in every objective: draws of each datum; run the program once for all; the name of the data plate.

    Raises
    ------
    TypeError
        If the distance is no function, or a class instead of a distance.
    ValueError
        If a weight is negative, or the distance has parameters that would be trained; when the VAE is built, or before
        training: for latents without a gradient through their draws, a KL of a guide that is a point, a closed form
        against another prior than N(0, I), a distance that cannot be computed of the codes, or batches that are too
        small for it.

    Examples
    --------
    >>> from pyrovae.objectives import MMD, RBF
    >>> Discrepancy(MMD(RBF(2)), weight=10)
    Discrepancy(MMD(RBF(2)), weight=10, kl=0)
    """

    pathwise = True

    def __init__(
        self,
        distance: Distance,
        weight: Weight = 1.0,
        kl: Weight = 0.0,
        *,
        particles: int = 1,
        vectorize: bool = False,
        plate: str | None = None,
    ) -> None:
        super().__init__(particles=particles, vectorize=vectorize, plate=plate)
        if not callable(distance) or isinstance(distance, type):
            name = getattr(distance, "__name__", repr(distance))
            raise TypeError(
                "objectives.Discrepancy: distance: expected a function of codes and draws, such as objectives.MMD(), "
                "got " + (f"the class {name}: write {name}()" if isinstance(distance, type) else name)
            )
        parameters = distance.named_parameters() if isinstance(distance, nn.Module) else ()
        learned = [name for name, parameter in parameters if parameter.requires_grad]
        if learned:
            raise ValueError(
                f"objectives.Discrepancy: the parameters {', '.join(learned)} of the distance would be trained to make "
                "it small, so that it saw no difference: freeze them with .requires_grad_(False)"
            )
        self.distance = distance
        self.least = getattr(distance, "least", 1)
        self.weight = Scheduled("objectives.Discrepancy: weight", weight, least=0.0)
        self.kl_weight = Scheduled("objectives.Discrepancy: kl", kl, least=0.0)

    @property
    def label(self) -> str:
        """What it is called, with the values that the weights have now."""
        weights = f"weight = {float(self.weight.value):.3g}, kl = {float(self.kl_weight.value):.3g}"
        return f"{self._distance_name} objective ({weights})"

    def value(self, terms: Terms) -> Tensor:
        """Σ_n log p(x|z) − kl · Σ_n KL − weight · n · d²."""
        n = len(terms)
        if n < self.least:
            raise ValueError(
                f"objectives.Discrepancy: {self.distance!r} compares at least {self.least} codes, and this batch has "
                f"{n}: choose a batch_size that leaves more for the last, or unbiased=False in the distance"
            )
        if self._closed:
            self._check_normal({name: terms.pairs[0][1].nodes[name]["fn"] for name in terms.names})
        each = [self.distance(z, None if self._closed else terms.prior_codes()) for z in terms.codes()]
        squared = n * torch.stack(each).mean()
        log_lik = terms.log_lik.mean(0).sum()
        value = log_lik - self.weight.value * squared
        found = {"distortion": -log_lik, "discrepancy": squared}
        if not any(_family(terms.pairs[0][0].nodes[name]["fn"]) == "Delta" for name in terms.names):
            with torch.set_grad_enabled(self._takes_kl and torch.is_grad_enabled()):
                found["kl"] = terms.kl.mean(0).sum()
            if self._takes_kl:
                value = value - self.kl_weight.value * found["kl"]
        self.note(n, **found)
        return value

    def check(self, priors: Mapping[str, dist.Distribution], guides: Mapping[str, dist.Distribution]) -> None:
        """As `Objective.check`; and refuse what this distance or this weight of the KL cannot have."""
        super().check(priors, guides)
        guides = {n: q for n, q in guides.items() if q.batch_shape} or guides  # those of a datum
        points = [name for name, q in guides.items() if _family(q) == "Delta"]
        if points and self._takes_kl:
            raise ValueError(
                f"objectives.Discrepancy: the guide of {', '.join(map(repr, points))} is a point, whose KL is infinite,"
                f" and kl is {self.kl_weight!r}: leave kl out, or use a guide with a density, such as guides.Normal"
            )
        if self._closed:
            self._check_normal({name: priors[name] for name in guides})
        self._check_distance(guides)

    def _check_normal(self, priors: Mapping[str, dist.Distribution]) -> None:
        for name, p in priors.items():
            if not _is_standard_normal(p):
                raise ValueError(
                    f"objectives.Discrepancy: {self.distance!r} compares the codes with N(0, I) in closed form, and the"
                    f" prior of {name!r} is another, {_family(p)}: leave closed out, so that draws of the prior are "
                    "taken, or use priors.Normal as it comes, not learned"
                )

    def _check_distance(self, guides: Mapping[str, dist.Distribution]) -> None:
        """Try it on some codes, where the guides tell their shape."""
        if len({q.batch_shape for q in guides.values()}) > 1 or any(len(q.batch_shape) > 1 for q in guides.values()):
            return
        rows = [q.sample((6,)).reshape(-1, q.event_shape.numel()) for q in guides.values()]
        z = torch.cat(rows, -1).detach()
        z = z[: 6 if z.shape[-1] != 6 else 5]
        with torch.enable_grad():
            z = z.requires_grad_()
            try:
                squared = self.distance(z, z.detach().flip(0))
            except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
                raise ValueError(
                    f"objectives.Discrepancy: {self._distance_name} could not be computed of codes {tuple(z.shape)} "
                    f"and as many draws of the prior: {type(error).__name__}: {error}"
                ) from error
        if isinstance(squared, Tensor) and not bool(squared.isfinite().all()):
            raise ValueError(f"objectives.Discrepancy: {self._distance_name} of codes {tuple(z.shape)} is not finite")
        if not isinstance(squared, Tensor) or squared.dim() or not squared.requires_grad:
            came = repr(squared)
            if isinstance(squared, Tensor):
                came = f"one of shape {tuple(squared.shape)}" if squared.dim() else "one without a gradient"
            raise ValueError(
                f"objectives.Discrepancy: expected {self._distance_name} to return a tensor of shape () with a "
                f"gradient to the codes, got {came}: training would not heed it"
            )

    @property
    def _closed(self) -> bool:
        return bool(getattr(self.distance, "closed", False))

    @property
    def _takes_kl(self) -> bool:
        schedule = self.kl_weight.schedule
        return not (getattr(schedule, "kind", "") == "constant" and schedule(0) == 0)

    @property
    def _distance_name(self) -> str:
        return getattr(self.distance, "__name__", type(self.distance).__name__)

    def details(self) -> str:
        """The distance and the weights."""
        shown = repr(self.distance) if isinstance(self.distance, nn.Module) else self._distance_name
        more = f", particles={self.particles}" * (self.particles != 1)
        return f"{shown}, weight={self.weight!r}, kl={self.kl_weight!r}{more}"


def _is_standard_normal(fn: Any) -> bool:
    """A N(0, I) that stays one: nothing of it is learned."""
    while isinstance(fn, dist.Independent):
        fn = fn.base_dist
    if not isinstance(fn, dist.Normal) or fn.loc.requires_grad or fn.scale.requires_grad:
        return False
    return recording.get() or bool((fn.loc == 0).all() and (fn.scale == 1).all())  # it is asked before and after
