"""Vectors of independent bits as one event, which can be enumerated."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

__all__ = ["Bits"]

MOST_BITS = 16


class Bits(dist.Independent):
    """p(z) = Π_h Bernoulli(z_h), z in {0, 1}^H, as one event whose 2^H states can be enumerated.

    It is an Independent Bernoulli, with the closed forms of one. Sampled in a guide under
    ``infer={"enumerate": "parallel"}``, `pyro.infer.TraceEnum_ELBO` takes the expectation over z exactly.

    Parameters
    ----------
    probs, logits
        Tensors (*batch, H) with the probability of a 1 or its log odds: one of them.

    Raises
    ------
    ValueError
        If both or neither are given, or a number without a dimension; on enumeration of more than 16 bits.

    Examples
    --------
    >>> Bits(torch.tensor([0.5, 0.1])).enumerate_support()
    tensor([[0., 0.],
            [0., 1.],
            [1., 0.],
            [1., 1.]])
    """

    has_enumerate_support = True

    def __init__(
        self, probs: Tensor | None = None, logits: Tensor | None = None, validate_args: bool | None = None
    ) -> None:
        given = [t for t in (probs, logits) if t is not None]
        if len(given) != 1 or not torch.as_tensor(given[0]).dim():
            shapes = [tuple(torch.as_tensor(t).shape) for t in given]
            raise ValueError(
                f"distributions.Bits: expected probs or logits of shape (*batch, bits), got {len(given)} of them"
                + (f", of shape {' and '.join(map(str, shapes))}" if shapes else "")
            )
        super().__init__(dist.Bernoulli(probs, logits, validate_args=validate_args), 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Bits:
        """The same with another batch shape."""
        new = self._get_checked_instance(Bits, _instance)
        dist.Independent.__init__(new, self.base_dist.expand(torch.Size(batch_shape) + self.event_shape), 1)
        return new

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All states in binary order, (2^H, *batch, H), or (2^H, 1, …, 1, H) where they are not expanded."""
        (bits,) = self.event_shape
        if bits > MOST_BITS:
            raise ValueError(
                f"distributions.Bits: {bits} bits have {2**bits:,} states, at most {MOST_BITS} bits are enumerated: "
                "use fewer latents, or an objective that samples them"
            )
        like = self.base_dist.logits
        places = torch.arange(bits - 1, -1, -1, device=like.device)
        states = (torch.arange(2**bits, device=like.device).unsqueeze(-1) >> places & 1).to(like.dtype)
        states = states.reshape(2**bits, *(1,) * len(self.batch_shape), bits)
        return states.expand(2**bits, *self.batch_shape, bits) if expand else states
