"""Stick breaking that keeps the small shares."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions.transforms import StickBreakingTransform
from torch.nn.functional import logsigmoid, pad

__all__ = ["StickBreaking"]


class StickBreaking(StickBreakingTransform):
    """K − 1 real numbers onto the simplex: y_k = σ(t_k) Π_{j<k} (1 − σ(t_j)), t_k = x_k − log(K − k), y_K the rest.

    As torch's, by logarithms. Beside a share next to 1 that takes the others from 1 minus it, which float32 rounds to 0
    beyond x = 17 and by a fifth before it; densities of such draws would be off by nats, and the ELBO no bound.

    Examples
    --------
    >>> onto = StickBreaking()
    >>> float(onto(torch.tensor([30.0, 0.0]))[1]) > 0
    True
    >>> onto.inv(onto(torch.tensor([30.0, 0.0]))).round(decimals=3)
    tensor([30., 0.])
    """

    def _call(self, x: Tensor) -> Tensor:
        return torch.cat([self._log_shares(x), logsigmoid(-_centred(x)).sum(-1, keepdim=True)], -1).exp()

    def _inverse(self, y: Tensor) -> Tensor:
        rest = y.flip(-1).cumsum(-1).flip(-1)[..., 1:]
        return y[..., :-1].log() - rest.log() + _counts(rest).log()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Σ_k log y_k + log(1 − σ(t_k))."""
        return (self._log_shares(x) + logsigmoid(-_centred(x))).sum(-1)

    @staticmethod
    def _log_shares(x: Tensor) -> Tensor:
        """All but the last."""
        t = _centred(x)
        return logsigmoid(t) + pad(logsigmoid(-t).cumsum(-1)[..., :-1], (1, 0))


def _counts(x: Tensor) -> Tensor:
    """K − 1, …, 1."""
    return torch.arange(x.shape[-1], 0, -1, dtype=x.dtype, device=x.device)


def _centred(x: Tensor) -> Tensor:
    return x - _counts(x).log()
