"""The VQ-VAE: van den Oord, Vinyals & Kavukcuoglu 2017, "Neural Discrete Representation Learning", arXiv 1711.00937.

z is P codes of a datum, each the number of one of K vectors. The encoder makes P vectors e, q(z|x) puts all mass on the
nearest codes (equation 1), and the decoder sees their vectors v. What is climbed is (equation 3)

    log p(x|v) − |sg(e) − v|² − β |e − sg(v)|²,  sg: without gradient,

where the decoder's gradient with respect to v goes to e as it is, and none to the codebook: that moves to the encoder's
vectors by the second term, and these keep to it by the third.

Their prior is uniform in stage one, and then learned over the codes. Here it is learned in the same loop, by log p(z),
whose gradient reaches the prior alone. z is discrete and a point mass on it has entropy 0, so that
log p(x|z) + log p(z) of the one code is a lower bound on log p(x), the figure reported. The gap is −log p(z|x), and no
weights of draws can show it, as all draws are that code. ``perplexity`` in the history is exp of the entropy of the
codes' use in an epoch, K if all are used alike: far below it, codes are dead.

Their settings: K = 512, 32 × 32 codes for ImageNet, β = .25 (.1 to 2 are alike), Adam's step 2e-4, a PixelCNN as prior.
What differs: fully connected layers; the codebook starts at vectors of the encoder; the likelihood suits the data; the
prior is a GRU along the positions, or has logits for each.
"""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

import pyrovae as pv

PRIORS = ("autoregressive", "independent")


class Point(dist.Independent):
    """Mass on one code alone."""

    truncated = True  # no draw shows the others: so that no evidence is made of equal weights


class Nearest(nn.Module):
    """q(z|x): the codes nearest to e (n, P, D) in the codebook (K, D), which starts at vectors of the encoder."""

    def __init__(self, network: nn.Module, codes: int, size: int) -> None:
        super().__init__()
        self.encoder = pv.guides.Delta(network)
        self.codebook = nn.Parameter(torch.empty(codes, size))
        self.register_buffer("adapted", torch.tensor(False))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Codes drawn anew, until `adapt` takes others."""
        nn.init.normal_(self.codebook)
        self.adapted.fill_(False)

    def adapt(self, x: Tensor) -> None:
        """Take the scale of the data, and once as codes the vectors of some of them."""
        self.encoder.adapt(x)
        if not self.adapted:
            with torch.no_grad():
                found = self.encoded(x[torch.randperm(len(x))[: len(self.codebook)]]).flatten(0, 1)
                found = found[torch.randperm(len(found))][: len(self.codebook)]
                self.codebook[: len(found)] = found
            self.adapted.fill_(True)

    def encoded(self, x: Tensor) -> Tensor:
        """The encoder's vectors e (n, P, D)."""
        return self.encoder.parameters_of(x).unflatten(-1, (-1, self.codebook.shape[1]))

    def forward(self, x: Tensor) -> dist.TorchDistribution:
        """A point mass, whose log probability is 0."""
        far = torch.cdist(self.encoded(x), self.codebook, compute_mode="donot_use_mm_for_euclid_dist")
        logits = (far.argmin(-1, keepdim=True) == torch.arange(far.shape[-1]).to(far.device)).to(far).log()
        return Point(pv.distributions.Categorical(logits=logits, normalised=True), 1)


class Decoder(nn.Module):
    """A network of vectors (…, P · D), or of those of codes (…, P), without a gradient to the codebook."""

    def __init__(self, network: pv.networks.MLP, guide: Nearest) -> None:
        super().__init__()
        self.network, self.guide = network, (guide,)  # in a tuple: no part of it

    def forward(self, z: Tensor) -> Tensor:
        """What the likelihood makes its distribution of."""
        if z.shape[-1] != self.network.in_features:
            z = self.guide[0].codebook.detach()[z.long()].flatten(-2)
        return self.network(z)  # type: ignore[no-any-return]


class Quantised(pv.objectives.Objective):
    """log p(x, z) of the one code, with the gradients of equation 3 and of log p(z)."""

    def __init__(self, guide: Nearest, likelihood: Any, beta: float) -> None:
        super().__init__()
        self.parts, self.beta, self.used = (guide, likelihood), beta, nn.Buffer(torch.zeros(len(guide.codebook)))

    @property
    def label(self) -> str:
        """The figure: β has no part in its value."""
        return "VQ bound"

    def climbed(self, terms: Any) -> Tensor:
        """Equation 3 and log p(z), a sum over the batch."""
        (guide, likelihood), x = self.parts, terms.args[0]
        e, v = guide.encoded(x), guide.codebook[terms.codes()[0].long()]
        through = e + (v - e).detach()
        pull, commitment = (e.detach() - v).square().sum(), (e - v.detach()).square().sum()
        self.note(len(terms), quantisation_error=pull)
        log_lik = likelihood(through.flatten(-2)).log_prob(x).sum()
        return log_lik + terms.log_prior.sum() - pull - self.beta * commitment

    def value(self, terms: Any) -> Tensor:
        """Σ log p(x, z)."""
        climbed = self.climbed(terms)
        if torch.is_grad_enabled():
            self.used += (terms.codes().reshape(-1, 1) == torch.arange(len(self.used)).to(self.used)).sum(0)
        return climbed - climbed.detach() + terms.log_weight.sum().detach()

    def measures(self) -> dict[str, float]:
        """With the perplexity of the codes since the last call."""
        perplexity = float(torch.special.entr(self.used / self.used.sum().clamp_min(1)).sum().exp())
        self.used.zero_()
        return super().measures() | {"perplexity": perplexity}


def build(
    data: pv.Data,
    *,
    positions: int = 8,
    codes: int = 32,
    size: int = 8,
    hidden: tuple[int, ...] = (128, 128),
    prior: str = "autoregressive",
    beta: float = 0.25,
    likelihood: str = "auto",
) -> pv.VAE:
    """The program for data of one event dimension: P ``positions``, K ``codes``, vectors of D = ``size`` numbers.

    ``prior``: "autoregressive" or "independent"; ``likelihood`` as in `pyrovae.likelihoods.suited`.
    """
    if prior not in PRIORS or min(size, codes) < 2 or not 0 <= beta < float("inf"):
        told = f"{', '.join(PRIORS)} and 2 or more, got {prior!r} and {size}, {codes}; beta from 0, got {beta}"
        raise ValueError(f"prior, size, codes: expected one of {told}")
    features, mlp = pv.data.features(data), pv.networks.MLP
    guide = Nearest(mlp(features, hidden[::-1], positions * size), codes, size)
    decoder = pv.likelihoods.suited(data, Decoder(mlp(positions * size, hidden, features), guide), likelihood)
    learned = pv.priors.CategoricalSequence(positions, codes, hidden=64 if prior == "autoregressive" else 0)
    return pv.VAE(learned, decoder, guide, loss=Quantised(guide, decoder, beta))
