"""VampPrior: a mixture of the guide's own posteriors."""

from __future__ import annotations

from collections.abc import Callable

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae._numbers import at_least
from pyrovae._part import Part

__all__ = ["VampPrior"]


class VampPrior(Part):
    """p(z) = Σ_k w_k q(z|u_k), the guide at K learned pseudo-inputs u_k (Tomczak & Welling 2017, 1705.07120).

    Of all priors, the average of q(z|x) over the data maximises the ELBO; this is a mixture of it in K points. The
    pseudo-inputs start at rows of the training data, drawn without repetition before the first epoch, and wherever
    training is restarted at the same ones. They are free to leave the range of the data, as nothing but the guide
    reads them.

    Parameters
    ----------
    components
        Number of pseudo-inputs K.
    shape
        The shape of one datum: a number of features, or a tuple.
    learn_weights
        Learn the weights, from equal ones.

    Shapes
    ------
    Event and support of the guide's q(z|x), batch ().

    Raises
    ------
    ValueError
        If a size is not a whole number of at least 1, or the training data have another shape or fewer rows than K.

    Examples
    --------
    >>> prior = VampPrior(50, 64)
    >>> prior
    VampPrior(50 of (64,))
    >>> prior(guide=lambda x: dist.Normal(x[:, :2], 1.0).to_event(1)).event_shape
    torch.Size([2])
    """

    takes = frozenset({"guide"})
    adapted: Tensor

    def __init__(self, components: int, shape: int | tuple[int, ...], *, learn_weights: bool = False) -> None:
        super().__init__()
        self.components = at_least("priors.VampPrior: components", components, 1)
        sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
        self.shape = tuple(at_least("priors.VampPrior: shape", size, 1) for size in sizes)
        self.hold("logits", 0.0, shape=(self.components,), learned=learn_weights)
        self.inputs = nn.Parameter(torch.randn(self.components, *self.shape))
        self.register_buffer("adapted", torch.tensor(False))

    def forward(self, guide: Callable[[Tensor], dist.TorchDistribution]) -> dist.TorchDistribution:
        """p(z)."""
        try:
            q = guide(self.inputs)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise ValueError(
                f"priors.VampPrior: the guide could not be run on pseudo-inputs of shape {tuple(self.inputs.shape)} "
                f"({error}): build it with the shape of one datum"
            ) from error
        return dist.MixtureSameFamily(dist.Categorical(logits=self.held("logits")), q)

    def adapt(self, x: Tensor, context: Tensor | None = None) -> None:
        """Start the pseudo-inputs at rows of x, with the means of their columns where cells are missing, once."""
        if self.adapted:
            return
        if tuple(x.shape[1:]) != self.shape or len(x) < self.components:
            raise ValueError(
                f"priors.VampPrior: expected at least {self.components} data of shape {self.shape}, got {len(x)} of "
                f"shape {tuple(x.shape[1:])}: build it with the shape of one datum and no more components than data"
            )
        rows = x[torch.randperm(len(x))[: self.components].to(x.device)].to(self.inputs.dtype)
        means = x.nanmean(0).nan_to_num(0.0) if x.is_floating_point() else 0.0
        with torch.no_grad():
            self.inputs.copy_(torch.where(rows.isnan(), torch.as_tensor(means, dtype=rows.dtype), rows))
        self.adapted.fill_(True)

    def reset_parameters(self) -> None:
        """Equal weights, and pseudo-inputs drawn anew, until `adapt` takes other rows of the data."""
        super().reset_parameters()
        nn.init.normal_(self.inputs)
        self.adapted.fill_(False)

    def details(self) -> str:
        """Its sizes."""
        return f"{self.components} of {self.shape}"
