"""The total correlation of the codes: β-TCVAE and FactorVAE."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae._numbers import at_least, check_flag, positive
from pyrovae.objectives._critic import cross_entropy, logits, network, try_codes
from pyrovae.objectives._frozen import frozen
from pyrovae.objectives._objective import Objective, _family, with_gradient
from pyrovae.objectives._terms import Terms
from pyrovae.schedules import Scheduled

__all__ = ["TotalCorrelation", "aggregate"]

WHERE = "objectives.TotalCorrelation"
CRITIC = f"{WHERE}: critic"
CELLS = 2**22  # densities q(z_j|x) held at once, where there is no gradient
Weight = float | Callable[[int], float]


class TotalCorrelation(Objective):
    """β-TCVAE, E log p(x|z) − α I(z; x) − β TC(z) − γ Σ_j KL(q(z_j) ‖ p(z_j)) (Chen et al. 2018), and FactorVAE.

    TC(z) = KL(q(z) ‖ Π_j q(z_j)), q(z) the mean of q(z|x) over the N training data. With all weights 1 it is the ELBO.
    The aggregate density of a code is estimated within the batch of b, as published with the gradient of
    log 1/(N b) Σ_m q(z|x_m) (minibatch-weighted sampling), which is low on average; on request with that of
    1/N q(z|x) + (N − 1)/(N (b − 1)) Σ_others q(z|x_m), z drawn for x: minibatch-stratified sampling, averaged over
    which of the others stands for the rest, without bias as a density, and exact where the batch is the whole set. The
    value, and the figures by epoch in `fit`'s history, ``index_code_mi``, ``total_correlation``, ``dimension_kl`` and
    ``distortion``, are by the second in either case; as estimates of logarithms they are still biased, I upwards, the
    less the larger the batch.

    With a critic T it is ELBO − β TC(z), so that β = 0 is the ELBO (FactorVAE, Kim & Mnih 2018). T tells codes from
    codes of which each dimension is permuted over the batch by itself, and TC = E T(z) where T is the log density
    ratio. T lowers its own cross entropy in the same backward pass; neither gets a gradient of the other's loss. The
    history has ``distortion``, ``kl``, ``total_correlation`` and ``critic``, 2 log 2 ≈ 1.39 where it cannot
    tell; the critic's loss is not part of the value, which is no bound once TC < 0 is estimated, and need not rise.

    Parameters
    ----------
    weight
        β, a number or a function of the epoch.
    alpha, gamma
        α and γ; without a critic.
    critic
        (n, latents) → logits (n, 1), high for codes; or (n, 2), whose first is high for codes.
    stratified
        Which of the two estimates has the gradient; without a critic.
    size
        N, where no `fit` tells it: for Pyro's own SVI; without a critic.
    rate
        The critic's learning rate, as a multiple of that of the run; Pyro's own SVI sets rates by itself.
    plate
        The name of the data plate, where it cannot be told.

    Raises
    ------
    TypeError
        If the critic is no module.
    ValueError
        If a weight is negative; if critic and latents do not fit. Without a critic, unless guide and prior have one
        latent with independent dimensions; if N is unknown. If a batch has one datum.

    References
    ----------
    Chen, Li, Grosse & Duvenaud 2018, 1802.04942, equation 2 and appendix C; Kim & Mnih 2018, 1802.05983, algorithm 2,
    which permutes the codes of a second batch.

    Examples
    --------
    >>> from pyrovae.networks import MLP
    >>> TotalCorrelation(6)
    TotalCorrelation(weight=6)
    >>> TotalCorrelation(10, critic=MLP(8, (64, 64), 2), rate=0.1)
    TotalCorrelation(weight=10, critic=MLP(8 → 64 → 64 → 2, SiLU), rate=0.1)
    """

    pathwise = True
    least = 2

    def __init__(
        self,
        weight: Weight,
        *,
        alpha: Weight = 1.0,
        gamma: Weight = 1.0,
        critic: nn.Module | None = None,
        stratified: bool = False,
        size: int | None = None,
        rate: float = 1.0,
        plate: str | None = None,
    ) -> None:
        super().__init__(plate=plate)
        self.weight, self.alpha, self.gamma = (
            Scheduled(f"{WHERE}: {name}", value, least=0.0)
            for name, value in (("weight", weight), ("alpha", alpha), ("gamma", gamma))
        )
        if critic is not None and ((alpha, gamma) != (1.0, 1.0) or stratified or size is not None):
            raise ValueError(
                f"{WHERE}: alpha, gamma, stratified and size are for the estimate within the batch, and with a critic "
                "there is none: leave them, or the critic, out"
            )
        self.critic = None if critic is None else network(CRITIC, critic)
        self.game = critic is not None
        if critic is None and rate != 1:
            raise ValueError(f"{WHERE}: rate is the learning rate of a critic, and there is none: leave it out")
        self.stratified = check_flag(f"{WHERE}: stratified", stratified)
        self.size = None if size is None else at_least(f"{WHERE}: size (the number of training data)", size, 2)
        self.total = self.size
        self.rate = positive(f"{WHERE}: rate", rate)

    @property
    def label(self) -> str:
        """The published one, with its weight now."""
        weight = f"{float(self.weight.value):.3g}"
        return f"β-TCVAE objective (β = {weight})" if self.critic is None else f"FactorVAE objective (γ = {weight})"

    def adapt(self, x: Tensor, context: Tensor | None = None) -> None:
        """Take N from the training data, unless it was given."""
        if self.size is None:
            self.total = len(x)
        elif self.critic is None and self.size != len(x):
            raise ValueError(
                f"{WHERE}: size: expected the number of training data, {len(x)} here, got {self.size}: leave it out"
            )

    def check(self, priors: Mapping[str, dist.Distribution], guides: Mapping[str, dist.Distribution]) -> None:
        """Refuse latents that the decomposition, or the critic, is not for."""
        super().check(priors, guides)
        own = [name for name, q in guides.items() if q.batch_shape]  # those of a datum
        self._check(*({name: fns[name] for name in own} for fns in (priors, guides)))
        if self.critic is not None:
            try_codes(CRITIC, self.critic, guides, (1, 2))

    def _check(self, priors: Mapping[str, dist.Distribution], guides: Mapping[str, dist.Distribution]) -> None:
        points = [name for name, q in guides.items() if _family(q) == "Delta"]
        if points:
            raise ValueError(
                f"{WHERE}: the guide of {', '.join(map(repr, points))} is a point, and codes without a density have no "
                "total correlation: use a guide such as guides.Normal"
            )
        if self.critic is not None:
            return
        if len(guides) != 1:
            raise ValueError(
                f"{WHERE}: expected one latent, got {', '.join(map(repr, guides))}: make them one site, or give a "
                "critic of all of them side by side"
            )
        for role, fns in (("guide", guides), ("prior", priors)):
            for name, fn in fns.items():
                if not isinstance(fn, dist.Independent) or fn.event_dim != 1 or fn.base_dist.event_dim:
                    raise ValueError(
                        f"{WHERE}: the {role} of {name!r} ({type(fn).__name__}, event shape {tuple(fn.event_shape)}) "
                        f"is not known to have independent dimensions: use {role}s.Normal, a family with .to_event(1)"
                        f"{', or a critic' if role == 'guide' else ''}"
                    )

    def value(self, terms: Terms) -> Tensor:
        """The objective, of one draw of each datum."""
        n = len(terms)
        if n < self.least and torch.is_grad_enabled():
            raise ValueError(f"{WHERE}: the codes of a batch are compared, and this one has a single datum: give more")
        guide, model = terms.pairs[0]
        self._check(*({name: t.nodes[name]["fn"] for name in terms.names} for t in (model, guide)))
        return self._by_batch(terms) if self.critic is None else self._by_ratio(terms, self.critic)

    def _by_ratio(self, terms: Terms, critic: nn.Module) -> Tensor:
        """ELBO − β Σ_n T(z_n)."""
        codes = terms.codes()[0]
        permuted = codes.detach().gather(0, torch.rand_like(codes).argsort(0))
        with frozen(critic):
            ratio = logits(CRITIC, critic, codes, (1, 2)).sum()
        own = cross_entropy(*(logits(CRITIC, critic, z, (1, 2)) for z in (codes.detach(), permuted)))
        distortion, kl = -terms.log_lik.sum(), terms.kl.sum()
        self.note(len(terms), distortion=distortion, kl=kl, total_correlation=ratio, critic=own)
        value = -distortion - kl - self.weight.value * ratio
        return with_gradient(value, value - own)

    def _by_batch(self, terms: Terms) -> Tensor:
        """By the densities of each code given every datum of the batch."""
        n = len(terms)
        if self.total is None:
            raise ValueError(f"{WHERE}: the number of training data is not known here: give it, size=N")
        if self.size is not None and self.size < n:
            raise ValueError(f"{WHERE}: size: expected the number of training data, got {self.size}, and {n} are here")
        node = terms.pairs[0][0].nodes[terms.names[0]]
        if tuple(node["fn"].batch_shape) != (n,):
            raise ValueError(
                f"{WHERE}: expected a latent in the data plate alone, with batch shape ({n},), got "
                f"{tuple(node['fn'].batch_shape)}: make its other plates part of the event, .to_event(1)"
            )
        rest, log_q, log_p = terms.log_lik.sum(), terms.log_q[0], terms.log_prior[0]

        def parts(log_weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            joint, single = aggregate(node["fn"].base_dist, node["value"], log_weights)
            return (log_q - joint).sum(), (joint - single).sum(), (single - log_p).sum()

        def total(mi: Tensor, tc: Tensor, kl: Tensor) -> Tensor:
            return rest - self.alpha.value * mi - self.weight.value * tc - self.gamma.value * kl

        mi, tc, kl = parts(_stratified(n, self.total).to(log_q))
        self.note(n, distortion=-rest, index_code_mi=mi, total_correlation=tc, dimension_kl=kl)
        if self.stratified or not torch.is_grad_enabled():
            return total(mi, tc, kl)
        weighted = log_q.new_full((n, n), -math.log(self.total * n))
        return with_gradient(total(mi, tc, kl), total(*parts(weighted)))

    def details(self) -> str:
        """Weights and critic."""
        told = [f"weight={self.weight!r}"]
        told += [f"{n}={getattr(self, n)!r}" for n in ("alpha", "gamma") if repr(getattr(self, n)) != "1"]
        told += [f"critic={self.critic!r}"] if self.critic is not None else []
        told += ["stratified=True"] * self.stratified + [f"size={self.size}"] * (self.size is not None)
        return ", ".join(told + [f"rate={self.rate:g}"] * (self.rate != 1))


def aggregate(q: dist.TorchDistribution, z: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """log Σ_m w_im q(z_i|x_m) and Σ_j log Σ_m w_im q(z_ij|x_m), each (n,).

    Parameters
    ----------
    q
        q(z_j|x_m), batch (b, latents).
    z
        Codes (n, latents).
    log_weights
        log w, (n, b).
    """
    rows = len(z) if torch.is_grad_enabled() else max(1, CELLS // (log_weights.shape[1] * z.shape[1]))
    joint, single = [], []
    for some, weights in zip(z.split(rows), log_weights.split(rows), strict=True):
        each = q.log_prob(some.unsqueeze(1))  # (rows, b, latents)
        joint.append((weights + each.sum(-1)).logsumexp(1))
        single.append((weights.unsqueeze(-1) + each).logsumexp(1).sum(-1))
    return torch.cat(joint), torch.cat(single)


def _stratified(n: int, total: int) -> Tensor:
    """1/N for a code's own datum, (N − 1)/(N (n − 1)) for each of the others, as logarithms (n, n)."""
    if n == 1:
        return torch.zeros(1, 1)
    others = torch.full((n, n), math.log((total - 1) / (total * (n - 1))), dtype=torch.float64)
    return others.fill_diagonal_(-math.log(total))
