"""Inference of one datum at a time: gradient steps on its own ELBO."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae._rng import preserved

__all__ = ["bound", "choice", "fixed_noise", "refine"]

Family = Callable[[Tensor], dist.TorchDistribution]
Joint = Callable[[Tensor], Tensor]
OPTIMIZERS = ("adam", "ascent")
LONGEST = 5.0
SEED = 0x3C6EF372FE94F82B


def bound(distribution: Family, raw: Tensor, joint: Joint, draws: int = 1) -> Tensor:
    """The ELBO of each datum (n,), E_q log p(x, z) − log q(z), by so many draws of q = distribution(raw)."""
    q = distribution(raw)
    z = q.rsample((draws,))
    return (joint(z) - q.log_prob(z)).mean(0)


def refine(
    distribution: Family,
    raw: Tensor,
    joint: Joint,
    *,
    steps: int,
    lr: float,
    draws: int = 1,
    optimizer: str = "adam",
    through: bool = False,
) -> Tensor:
    """``raw`` (n, p) after gradient steps on the ELBO of each datum; nothing else gets a gradient from them.

    Parameters
    ----------
    distribution
        Raw numbers (n, p) → q, batch (n,), with pathwise draws.
    raw
        Where it starts.
    joint
        z (draws, n, *latent) → log p(x, z) (draws, n).
    steps, lr, draws
        How many steps, of what rate, with how many draws each.
    optimizer
        ``"ascent"``: raw + lr · gradient, a gradient longer than 5 shortened to 5. ``"adam"`` (Kingma & Ba 2014,
        1412.6980, β₂ = .95), with a rate that falls linearly to 0, so that the noise of the draws is averaged out.
    through
        Keep the graph of the steps, so that what depends on the outcome can be differentiated with respect to the
        start and the model. Without it the outcome is a constant, and the gradient of a step leaves out the score of
        q, which is 0 on average, and without which the noise is gone where q is exact (Roeder et al. 2017,
        1703.09194).
    """
    with torch.enable_grad():
        if not (through and raw.requires_grad):
            raw = raw.detach().clone().requires_grad_()
        first = second = torch.zeros_like(raw)
        for step in range(1, steps + 1):
            if through:
                value = bound(distribution, raw, joint, draws)
            else:
                z = distribution(raw).rsample((draws,))
                value = (joint(z) - distribution(raw.detach()).log_prob(z)).mean(0)
            (gradient,) = torch.autograd.grad(value.sum(), raw, create_graph=through)
            if optimizer == "adam":
                first = 0.9 * first + 0.1 * gradient
                second = 0.95 * second + 0.05 * gradient.square()
                scale = (second / (1 - 0.95**step) + 1e-16).sqrt()
                gradient = (1 - (step - 1) / steps) * first / (1 - 0.9**step) / scale
            else:
                gradient = gradient * (LONGEST / (gradient.square().sum(-1, keepdim=True) + 1e-16).sqrt()).clamp(max=1)
            raw = raw + lr * gradient
            if not through:
                raw = raw.detach().requires_grad_()
    return raw if through else raw.detach()


@contextmanager
def fixed_noise() -> Iterator[None]:
    """A block that draws the same numbers each time, and leaves the random state as it was.

    They must not be those that q is drawn with afterwards, or its ELBO is too good: a seed that nobody sets.
    """
    with preserved():
        torch.manual_seed(SEED)
        yield


def choice(name: str, value: str, options: tuple[str, ...]) -> str:
    """One of the options.

    >>> choice("optimizer", "sgd", OPTIMIZERS)
    Traceback (most recent call last):
        ...
    ValueError: optimizer: expected 'adam' or 'ascent', got 'sgd'
    """
    if value not in options:
        raise ValueError(f"{name}: expected {' or '.join(map(repr, options))}, got {value!r}")
    return value
