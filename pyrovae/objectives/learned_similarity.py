"""A critic of the data, whose hidden features say how like two data are: VAE-GAN."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from pyrovae._modes import evaluating
from pyrovae._numbers import positive
from pyrovae._recording import recording
from pyrovae.objectives._critic import cross_entropy, logits, network
from pyrovae.objectives._frozen import frozen
from pyrovae.objectives._objective import Objective, _family, with_gradient
from pyrovae.objectives._terms import Terms
from pyrovae.schedules import Scheduled
from pyrovae.structure import prune, site_of

__all__ = ["LearnedSimilarity"]

WHERE = "objectives.LearnedSimilarity"
Weight = float | Callable[[int], float]


class LearnedSimilarity(Objective):
    """VAE-GAN: reconstructions are like x in the hidden features f of a critic of data (Larsen et al. 2016).

    The critic T(f(x)) learns to tell data from the program's means x̂ = E(x|z), of codes and of draws of the prior. With
    log p(f|z) = log N(f(x); f(x̂), I), in one backward pass

    - the encoder raises log p(f|z) − kl · KL;
    - the decoder raises γ log p(f|z) + log σ(T(f(x̂))) of both kinds of means, the non-saturating reward;
    - the critic and f lower their cross entropy, alone.

    The features change as the critic learns, so log p(f|z) does not compare one epoch with another. The figure that is
    reported is the ELBO of the program, by its own likelihood p(x|z), which this objective does not raise and which
    need not rise; posterior draws, evidence and diagnostics are those of that likelihood too. Of it only the mean is
    trained: fix its other parameters, such as a learned scale. By epoch in `fit`'s history, nats per datum:
    ``distortion``, ``kl``, ``similarity`` (the mean of log p(f|z)), ``reward`` and ``critic``, 3 log 2 ≈ 2.08 where the
    critic cannot tell.

    Parameters
    ----------
    features
        x (n, *event) → (n, features): the lower layers of the critic, f.
    critic
        (n, features) → logits (n, 1), high where it takes x for a datum: its upper layers, T.
    weight
        γ, a number or a function of the epoch.
    kl
        The weight of the KL, a number or a function of the epoch.
    rate
        The learning rate of features and critic, as a multiple of that of the run; Pyro's own SVI sets rates by itself.
    plate
        The name of the data plate, where it cannot be told.

    Raises
    ------
    TypeError
        If features or critic are no modules.
    ValueError
        If they have nothing to train or do not fit the data; if a weight is negative; if draws of the guide have no
        gradient, or it is a point; before training, if data are missing.

    References
    ----------
    Larsen, Sønderby, Larochelle & Winther 2016, 1512.09300, algorithm 1.

    Examples
    --------
    >>> from pyrovae.networks import MLP
    >>> LearnedSimilarity(MLP(64, (128,), 32), MLP(32, (), 1), weight=0.1)
    LearnedSimilarity(MLP(64 → 128 → 32, SiLU), MLP(32 → 1), weight=0.1)
    """

    pathwise = True
    game = True

    def __init__(
        self,
        features: nn.Module,
        critic: nn.Module,
        *,
        weight: Weight = 1.0,
        kl: Weight = 1.0,
        rate: float = 1.0,
        plate: str | None = None,
    ) -> None:
        super().__init__(plate=plate)
        self.features = network(f"{WHERE}: features", features)
        self.critic = network(f"{WHERE}: critic", critic)
        self.weight = Scheduled(f"{WHERE}: weight", weight, least=0.0)
        self.kl_weight = Scheduled(f"{WHERE}: kl", kl, least=0.0)
        self.rate = positive(f"{WHERE}: rate", rate)

    @property
    def label(self) -> str:
        """What is reported, and what was raised instead."""
        return f"ELBO of p(x|z) (trained by features, γ = {float(self.weight.value):.3g})"

    def check(self, priors: Mapping[str, dist.Distribution], guides: Mapping[str, dist.Distribution]) -> None:
        """Refuse draws without gradients, and points."""
        super().check(priors, guides)
        points = [name for name, q in guides.items() if _family(q) == "Delta"]
        if points:
            raise ValueError(
                f"{WHERE}: the guide of {', '.join(map(repr, points))} is a point, whose KL to the prior is infinite: "
                "use a guide with a density such as guides.Normal"
            )

    def adapt(self, x: Tensor, context: Tensor | None = None) -> None:
        """Refuse data that the critic cannot take."""
        if bool(torch.isnan(x).any()) if isinstance(x, Tensor) else x.summary.first_missing is not None:
            raise ValueError(f"{WHERE}: the data hold NaN, and a critic of data needs whole ones: fill or drop them")
        with torch.no_grad(), evaluating(self):
            try:
                self._logits(self._features(x[:2]))
            except (RuntimeError, TypeError, IndexError, ValueError) as error:
                if str(error).startswith(WHERE):
                    raise
                raise ValueError(
                    f"{WHERE}: features and critic, given data of shape {tuple(x[:2].shape)} and type {x.dtype}, "
                    f"raised {type(error).__name__}: {error}. They must fit the data and each other, in the program's "
                    "type"
                ) from error

    def value(self, terms: Terms) -> Tensor:
        """Σ_n log p(x|z) − KL, the gradient being that of the class."""
        guide, model = terms.pairs[0]
        x, rebuilt = _means(terms, model)
        given = {n: s["value"] for n, s in guide.nodes.items() if s["type"] == "sample"}
        again = self._decoded(terms, x, {n: v.detach() if n in terms.names else v for n, v in given.items()})
        fresh = self._decoded(terms, x, {n: v for n, v in given.items() if n not in terms.names})
        with frozen(self.features, self.critic):
            seen = self._features(x)
            encoder, decoder = (_similarity(seen, self._features(mean)) for mean in (rebuilt, again))
            reward = logsigmoid(self._logits(self._features(torch.cat([again, fresh])))).sum()
        own = cross_entropy(*(self._logits(self._features(mean.detach())) for mean in (x, again, fresh)))
        distortion, kl = -terms.log_lik.sum(), terms.kl.sum()
        self.note(len(terms), distortion=distortion, kl=kl, similarity=encoder, reward=reward, critic=own)
        # the first run's features reach encoder and decoder, the second's the decoder alone
        raised = encoder + (self.weight.value - 1) * decoder - self.kl_weight.value * kl + reward
        return with_gradient(-distortion - kl, raised - own)

    def details(self) -> str:
        """Networks and weights."""
        more = f", kl={self.kl_weight!r}" * (repr(self.kl_weight) != "1") + f", rate={self.rate:g}" * (self.rate != 1)
        return f"{self.features!r}, {self.critic!r}, weight={self.weight!r}{more}"

    def _logits(self, features: Tensor) -> Tensor:
        return logits(f"{WHERE}: critic", self.critic, features)

    def _features(self, x: Tensor) -> Tensor:
        out: Tensor = self.features(x)
        if not isinstance(out, Tensor) or out.dim() != 2 or len(out) != len(x):
            came = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ValueError(
                f"{WHERE}: features: given data of shape {tuple(x.shape)}, expected shape ({len(x)}, features), got "
                f"{came}: end it with torch.nn.Flatten()"
            )
        return out

    def _decoded(self, terms: Terms, x: Tensor, latents: Mapping[str, Tensor]) -> Tensor:
        """The means of another run of the model, given these latents; what is not given is drawn from the prior."""
        model = poutine.condition(terms.model, data=dict(latents))
        shown, mean = _means(terms, poutine.trace(model).get_trace(*terms.args, **terms.kwargs))
        if not recording.get() and not torch.equal(shown, x):
            raise ValueError(
                f"{WHERE}: the program runs on other data each time: give it those of the batch, "
                "pyro.plate('data', size=N, subsample=index), or x alone"
            )
        return mean


def _means(terms: Terms, trace: poutine.Trace) -> tuple[Tensor, Tensor]:
    """x and its mean given z, both (n, *event), at the one observed site of a datum."""
    observed = [
        s
        for n, s in prune(trace).nodes.items()
        if s["type"] == "sample" and s["is_observed"] and not s["infer"].get("_deterministic")
        if n not in terms.pairs[0][0].nodes
    ]
    if len(observed) != 1:
        names = ", ".join(repr(s["name"]) for s in observed)
        raise ValueError(f"{WHERE}: expected a model that observes one site, got {len(observed)} ({names})")
    node = observed[0]
    site = site_of(node, terms.plate)
    try:
        mean = node["fn"].mean
    except NotImplementedError:
        raise ValueError(
            f"{WHERE}: the likelihood {type(node['fn']).__name__} has no mean, which is what it compares with x: use "
            "one with a mean, such as Bernoulli or Normal"
        ) from None
    return site.to_front(node["value"]), site.to_front(mean)


def _similarity(seen: Tensor, rebuilt: Tensor) -> Tensor:
    """Σ log N(f(x); f(x̂), I)."""
    density: Tensor = dist.Normal(rebuilt, 1.0).log_prob(seen).sum()
    return density
