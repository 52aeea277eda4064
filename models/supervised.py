"""Labels read off the code: M1 of Kingma, Rezende, Mohamed & Welling 2014, arXiv 1406.5298, and a joint form.

z ~ N(0, I), x from a network of z, and a label y ~ Cat(softmax(W z + b)), with one q(z|x) for both. Where y is known,
log p(x, y) ≥ E_q(z|x) [log p(x|z) + log p(y|z)] − KL(q(z|x) ‖ p(z)); where it is not, q(y|z) = p(y|z) is exact and y
drops out: the bound of a VAE. A factor in training counts log p(y|z) ``weight`` times, for one label says less than
its image and is what is asked for. Prediction: p(y|x) ≈ E_q(z|x) p(y|z), the mean of the draws of y.

``joint=False`` is M1 (their section 2, the bound its eq. 5): the code is that of a VAE that knows no label, and a
classifier is trained on draws of it, since no gradient of log p(y|z) reaches z. ``joint=True`` shapes the code as
well, as supervised topic models do (Blei & McAuliffe 2007).

Their settings: 50 latents, two softplus layers of 600 units, a transductive SVM on the code.

What differs: the classifier is linear and probabilistic, and trained with the rest instead of after it; 8 latents and
two SiLU layers of 128 units unless told; the likelihood suits the data. ``q(z|x)`` is not told of y, so that the label
cannot help itself.
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import TraceEnum_ELBO
from torch import Tensor, nn

import pyrovae as pv

CERTAIN = 1e4  # a logit below the others by so much has probability 0 exactly


def prepare(data: pv.Data, *, labelled: int = 100, seed: int = 0) -> pv.Data:
    """The data with the labels of a few as the context: no datum that `Data.split` holds out has one in it."""
    return data if data.context is not None else pv.data.labels_as_context(data, labelled, seed)


def build(
    data: pv.Data,
    *,
    latents: int = 8,
    hidden: tuple[int, ...] = (128, 128),
    joint: bool = True,
    weight: float = 50.0,
    likelihood: str = "auto",
) -> pv.Program:
    """The program for data with one-hot labels as their context, rows of zeros where they are not known.

    ``joint``: whether labels shape the code. ``weight``: how often log p(y|z) counts in training; 1 is the bound.
    ``likelihood`` as in `pyrovae.likelihoods.suited`.
    """
    if data.context is None:
        raise ValueError("models/supervised.py: expected labels as the context: build(prepare(data, labelled=100))")
    if not bool(((data.context == 0) | (data.context == 1)).all() and (data.context.sum(-1) <= 1).all()):
        raise ValueError("models/supervised.py: expected a context with one 1 in a row, the label's, or none")
    if not 0 <= weight < float("inf"):
        raise ValueError(f"weight: expected a number of at least 0, got {weight!r}")
    features, classes = pv.data.features(data), data.context.shape[1]
    q_z = pv.guides.Normal(pv.networks.MLP(features, hidden[::-1], 2 * latents))
    q_z.adapt(data.x.float())
    parts = Supervised(
        pv.priors.Normal(latents),
        pv.likelihoods.suited(data, pv.networks.MLP(latents, hidden, features), likelihood),
        pv.networks.MLP(latents, (), classes),
        q_z,
        joint,
        weight,
    )
    loss = TraceEnum_ELBO(max_plate_nesting=1)  # the sum over y takes no further pass through a network
    if weight != 1 and bool(data.context.any()):
        loss.label = f"ELBO + (w − 1) log p(y|z) (w = {weight:.3g})"
    return pv.Program(parts.model, parts.guide, loss=loss)


class Supervised(nn.Module):
    """p(z) p(x|z) p(y|z) and q(z|x), with p(y|z) for q(y|z) where y is not known, in the plate of the data."""

    def __init__(self, p_z: nn.Module, p_x: nn.Module, y: nn.Module, q_z: nn.Module, joint: bool, weight: float):
        super().__init__()
        self.p_z, self.p_x, self.y, self.q_z = p_z, p_x, y, q_z
        self.joint, self.weight = joint, weight

    def model(self, x: Tensor, label: Tensor | None = None) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.p_z())
            pyro.sample("x", self.p_x(z), obs=x)
            logits = self.logits(z)
            pyro.sample("y", dist.OneHotCategorical(logits=logits))
            if self.training and label is not None and self.weight != 1:
                pyro.factor("label", (self.weight - 1) * (label * logits.log_softmax(-1)).sum(-1))

    def guide(self, x: Tensor, label: Tensor | None = None) -> None:
        with pyro.plate("data", len(x)):
            logits = self.logits(pyro.sample("z", self.q_z(x)))
            if label is not None:
                logits = torch.where(label.sum(-1, keepdim=True) > 0, CERTAIN * label, logits)
            pyro.sample("y", dist.OneHotCategorical(logits=logits), infer={"enumerate": "parallel"})

    def logits(self, z: Tensor) -> Tensor:
        """Of p(y|z)."""
        out: Tensor = self.y(z if self.joint else z.detach())
        return out
