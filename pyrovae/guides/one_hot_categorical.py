"""Guide of a categorical latent."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints

from pyrovae._numbers import at_least
from pyrovae.guides._discrete import DiscreteGuide

__all__ = ["OneHotCategorical"]


class OneHotCategorical(DiscreteGuide):
    """q(z|x) = Categorical(z; softmax(network(x))), z one of K unit vectors: the cluster of a datum.

    Parameters
    ----------
    network
        x (n, *event) → (n, K): logits.
    estimator
        ``"score"``: the score function's gradient. ``"enumerate"``: exact, by the sum over the K states; the
        objective is then `pyro.infer.TraceEnum_ELBO`.
    baseline
        For ``"score"``: a network x → (n, 1) that learns the cost of each datum, which is subtracted from it; the
        objective is then `pyro.infer.TraceGraph_ELBO`.

    Shapes
    ------
    x (n, *event) → batch (n,), event (K,); support: unit vectors.

    Raises
    ------
    ValueError
        If ``estimator`` is neither, or a baseline comes with ``"enumerate"`` or has not one output.

    Examples
    --------
    >>> import torch
    >>> from pyrovae.networks import MLP
    >>> OneHotCategorical(MLP(64, (32,), 10), estimator="enumerate")(torch.zeros(5, 64)).sample().sum(-1)
    tensor([1., 1., 1., 1., 1.])
    """

    support = constraints.one_hot

    @staticmethod
    def outputs(latents: int) -> int:
        """How many outputs the network needs for so many states."""
        return at_least("outputs: latents", latents, 2)

    def distribution(self, raw: Tensor) -> dist.TorchDistribution:
        """q with these logits (n, K)."""
        return dist.OneHotCategorical(logits=raw)
