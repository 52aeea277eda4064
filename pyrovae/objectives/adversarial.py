"""A critic of the codes: adversarial autoencoders and WAE-GAN."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyro.distributions as dist
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from pyrovae._numbers import positive
from pyrovae.objectives._critic import cross_entropy, logits, network, try_codes
from pyrovae.objectives._frozen import frozen
from pyrovae.objectives._objective import Objective, _family, with_gradient
from pyrovae.objectives._terms import Terms
from pyrovae.schedules import Scheduled

__all__ = ["Adversarial"]

WHERE = "objectives.Adversarial"
Weight = float | Callable[[int], float]


class Adversarial(Objective):
    """E log p(x|z) + λ E log σ(T(z)), T a critic that learns to tell draws of the prior from codes (WAE-GAN).

    The critic lowers its own cross entropy, −log σ(T(z̃)) − log(1 − σ(T(z))) with z̃ ~ p(z), in the same backward pass;
    neither it nor the encoder gets a gradient of the other's loss. The encoder's reward is the non-saturating one.

    The value is no bound on log p(x), and as the critic learns too, it need not rise: look at ``distortion`` and at
    ``critic``, by epoch in `fit`'s history, nats per datum. A critic that cannot tell them apart has 2 log 2 ≈ 1.39,
    one that can has 0. The critic's loss is not part of the value.

    Parameters
    ----------
    critic
        (n, latents) → logits (n, 1), high where it takes z for a draw of the prior. Several latents are side by side.
    weight
        λ, a number or a function of the epoch.
    kl
        The weight of −KL(q(z|x) ‖ p(z)) beside it, a number or a function of the epoch.
    rate
        The critic's learning rate, as a multiple of that of the run; Pyro's own SVI sets rates by itself.
    plate
        The name of the data plate, where it cannot be told.

    Raises
    ------
    TypeError
        If the critic is no module.
    ValueError
        If it has nothing to train, or its logits have another shape; if a weight is negative, or a KL is asked of a
        guide that is a point; if draws of the guide have no gradient.

    References
    ----------
    Tolstikhin, Bousquet, Gelly & Schölkopf 2018, 1711.01558, algorithm 1; Makhzani, Shlens, Jaitly, Goodfellow & Frey
    2015, 1511.05644.

    Examples
    --------
    >>> from pyrovae.networks import MLP
    >>> Adversarial(MLP(8, (64,), 1), weight=10)
    Adversarial(MLP(8 → 64 → 1, SiLU), weight=10)
    """

    pathwise = True
    game = True

    def __init__(
        self,
        critic: nn.Module,
        *,
        weight: Weight = 1.0,
        kl: Weight = 0.0,
        rate: float = 1.0,
        plate: str | None = None,
    ) -> None:
        super().__init__(plate=plate)
        self.critic = network(f"{WHERE}: critic", critic)
        self.weight = Scheduled(f"{WHERE}: weight", weight, least=0.0)
        self.kl_weight = Scheduled(f"{WHERE}: kl", kl, least=0.0)
        self.rate = positive(f"{WHERE}: rate", rate)
        self._penalised = callable(kl) or kl > 0

    @property
    def label(self) -> str:
        """What it is called, with its weight now."""
        return f"adversarial objective (λ = {float(self.weight.value):.3g})"

    def check(self, priors: Mapping[str, dist.Distribution], guides: Mapping[str, dist.Distribution]) -> None:
        """Refuse draws without gradients, the KL of a point, and a critic that does not take these latents."""
        super().check(priors, guides)
        points = [name for name, q in guides.items() if _family(q) == "Delta"]
        if self._penalised and points:
            raise ValueError(
                f"{WHERE}: kl: the guide of {', '.join(map(repr, points))} is a point, whose KL to the prior is "
                "infinite: leave kl out, or use a guide with a density such as guides.Normal"
            )
        try_codes(f"{WHERE}: critic", self.critic, guides)

    def value(self, terms: Terms) -> Tensor:
        """Σ_n log p(x|z) + λ log σ(T(z)) − kl · KL; its gradient, also that of the critic's cross entropy."""
        codes, drawn = terms.codes()[0], terms.prior_codes()
        with frozen(self.critic):
            reward = logsigmoid(self._logits(codes)).sum()
        own = cross_entropy(self._logits(drawn.detach()), self._logits(codes.detach()))
        reconstruction = terms.log_lik.sum()
        self.note(len(terms), distortion=-reconstruction, reward=reward, critic=own)
        value = reconstruction + self.weight.value * reward
        if self._penalised:
            kl = terms.kl.sum()
            self.note(0, kl=kl)
            value = value - self.kl_weight.value * kl
        return with_gradient(value, value - own)

    def details(self) -> str:
        """Critic and weights."""
        more = f", kl={self.kl_weight!r}" * self._penalised + f", rate={self.rate:g}" * (self.rate != 1)
        return f"{self.critic!r}, weight={self.weight!r}{more}"

    def _logits(self, codes: Tensor) -> Tensor:
        return logits(f"{WHERE}: critic", self.critic, codes)
