"""Semi-supervised learning with a deep generative model, M2: Kingma, Rezende, Mohamed & Welling 2014, arXiv 1406.5298.

y ~ Cat(1/K), z ~ N(0, I), x from a network of (y, z); q(y|x) from a network of x, q(z|x, y) from one of (x, y). Where y
is known the bound is −L(x, y) = E_q(z|x,y) [log p(x|y, z) + log p(y) + log p(z) − log q(z|x, y)] (eq. 6), else
−U(x) = Σ_y q(y|x) (−L(x, y)) + H(q(y|x)) (eq. 7). One program is both: where y is known its guide is all on the label,
so that eq. 7 becomes eq. 6. In training a factor adds α log q(y|x) for each known label (eq. 9).

The context holds the labels, one column for each class, and a row of zeros where y is not known. The latent y is
one-hot; the mean of its draws is q(y|x) of held-out data.

Their settings: 50 latents; one softplus layer of 500 units in each network; α = 0.1 · N in eq. 9, whose last term is a
mean over the labelled data, so .1 · N / N_l for each of them; 100, 600, 1000 or 3000 labels of MNIST. The sum over y is
made exactly.

What differs: 16 latents and 128 units unless told, Adam, PyTorch's initial weights; the likelihood suits the data; the
score function, with a baseline that a network learns, is a second, cheaper estimator of the sum over y.

The default α is the paper's, which was 50 for 100 labels of 50,000 images. It is too small where there are few images:
1.5 for 100 labels of 1,500 small digits gave an accuracy of .75, and 100 gave .91. Give 50 or more there. The weight of
a label whose row is repeated is that of all its copies together.
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import TraceEnum_ELBO, TraceGraph_ELBO
from torch import Tensor, nn

import pyrovae as pv

CERTAIN = 1e4  # a logit below the others by so much has probability 0 exactly


def prepare(data: pv.Data, *, labelled: int = 100, seed: int = 0) -> pv.Data:
    """The data with the labels of a few as the context: no datum that `Data.split` holds out has one in it."""
    return data if data.context is not None else pv.data.labels_as_context(data, labelled, seed)


def build(
    data: pv.Data,
    *,
    latents: int = 16,
    hidden: int = 128,
    alpha: float | None = None,
    estimator: str = "enumerate",
    likelihood: str = "auto",
) -> pv.Program:
    """The program for data with one-hot labels as their context, rows of zeros where they are not known.

    ``alpha``: weight of log q(y|x) of each known label, nats; by default .1 · N / N_l of these data. ``estimator``:
    "enumerate" (the sum over all classes) or "score". ``likelihood`` as in `pyrovae.likelihoods.suited`.
    """
    if data.context is None:
        raise ValueError(
            "models/semi_supervised.py: expected labels as the context: build(prepare(data, labelled=100))"
        )
    if not bool(((data.context == 0) | (data.context == 1)).all() and (data.context.sum(-1) <= 1).all()):
        raise ValueError("models/semi_supervised.py: expected a context with one 1 in a row, the label's, or none")
    features, classes = pv.data.features(data), data.context.shape[1]
    known = int(data.context.sum())
    alpha = 0.1 * len(data) / max(known, 1) if alpha is None else alpha
    if not 0 <= alpha < float("inf"):
        raise ValueError(f"alpha: expected a number of at least 0, got {alpha!r}")
    decoder = pv.networks.MLP(latents, (hidden,), features, activation=nn.Softplus, context=classes)
    q_y = pv.guides.OneHotCategorical(
        pv.networks.MLP(features, (hidden,), classes, activation=nn.Softplus),
        estimator=estimator,
        baseline=pv.networks.MLP(features, (hidden,), 1) if estimator == "score" else None,
    )
    q_z = pv.guides.Normal(Joint(features, classes, hidden, 2 * latents))
    for guide in (q_y, q_z):
        guide.adapt(data.x.float())
    parts = M2(
        pv.priors.OneHotCategorical(classes),
        pv.priors.Normal(latents),
        pv.likelihoods.suited(data, decoder, likelihood),
        q_y,
        q_z,
        alpha,
    )
    loss = TraceEnum_ELBO(max_plate_nesting=1) if estimator == "enumerate" else TraceGraph_ELBO()
    loss.label = f"ELBO + α log q(y|x) (α = {alpha:.3g})" if known and alpha else "ELBO"
    return pv.Program(parts.model, parts.guide, loss=loss)


class Joint(nn.Module):
    """A network of x (n, features) and y (…, n, classes) whose work on x is done once for all y."""

    takes = frozenset({"context"})

    def __init__(self, features: int, classes: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.x, self.y = nn.Linear(features, hidden), nn.Linear(classes, hidden, bias=False)
        self.then = nn.Sequential(nn.Softplus(), nn.Linear(hidden, outputs))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        out: Tensor = self.then(self.x(x) + self.y(context))
        return out


class M2(nn.Module):
    """p(y) p(z) p(x|y, z) and q(y|x) q(z|x, y), in the plate of the data."""

    def __init__(self, p_y: nn.Module, p_z: nn.Module, p_x: nn.Module, q_y: nn.Module, q_z: nn.Module, alpha: float):
        super().__init__()
        self.p_y, self.p_z, self.p_x, self.q_y, self.q_z = p_y, p_z, p_x, q_y, q_z
        self.alpha = alpha

    def model(self, x: Tensor, label: Tensor | None = None) -> None:
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", self.p_y())
            z = pyro.sample("z", self.p_z())
            pyro.sample("x", self.p_x(z, context=y), obs=x)
            if self.training and label is not None and self.alpha:
                # log_softmax rather than log_prob: rows of zeros are no classes, and weigh nothing
                pyro.factor("label", self.alpha * (label * self.q_y(x).logits.log_softmax(-1)).sum(-1))

    def guide(self, x: Tensor, label: Tensor | None = None) -> None:
        q_y = self.q_y(x)
        if label is not None:
            known = label.sum(-1, keepdim=True) > 0
            q_y = dist.OneHotCategorical(logits=torch.where(known, CERTAIN * label, q_y.logits))
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", q_y, infer=self.q_y.infer(x))
            pyro.sample("z", self.q_z(x, context=y))
