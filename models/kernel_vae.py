"""A kernelised VAE: the maximum mean discrepancy of Gretton et al. 2012 (JMLR 13) with a kernel of the user's.

No paper of that name was found. The objective is E log p(x|z) − weight · MMD²(codes, prior), where

    MMD² = E k(z, z′) + E k(y, y′) − 2 E k(z, y)

as a U-statistic (Gretton et al., lemma 6, equation 3), and k is any kernel that is positive definite. If it is
characteristic, the MMD is 0 only where the codes follow the prior. There is no bound on log p(x).

Settings: k by name, one of those below, or as "module:function", a function of a (n, L) and b (m, L) that returns
(n, m). From Python it may be the function itself.

What differs from `mmd_vae.py` and `wae_mmd.py`: the kernel is free.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

import torch
from torch import Tensor

import pyrovae as pv

Kernel = Callable[[Tensor, Tensor], Tensor]


def laplace(a: Tensor, b: Tensor) -> Tensor:
    """exp(−|a − b|₁/L)."""
    return torch.exp(-(a.unsqueeze(1) - b).abs().mean(-1))


def matern(a: Tensor, b: Tensor) -> Tensor:
    """(1 + r) exp(−r), r = √(3/L) |a − b|: the Matérn kernel with ν = 3/2."""
    r = torch.cdist(a, b) * (3 / a.shape[-1]) ** 0.5
    return (1 + r) * torch.exp(-r)


KERNELS: dict[str, Kernel] = {
    "rbf": pv.objectives.RBF(),
    "inverse_multiquadratic": pv.objectives.InverseMultiquadratic(),
    "laplace": laplace,
    "matern": matern,
}


def build(
    data: pv.Data,
    *,
    latents: int = 8,
    hidden: tuple[int, ...] = (128, 128),
    likelihood: str = "auto",
    kernel: str | Kernel = "laplace",
    weight: float = 100.0,
) -> pv.VAE:
    """The program for data of one event dimension; ``weight`` of the MMD² in nats per datum."""
    features = pv.data.features(data)
    return pv.VAE(
        prior=pv.priors.Normal(latents),
        likelihood=pv.likelihoods.suited(data, pv.networks.MLP(latents, hidden, features), likelihood),
        guide=pv.guides.Normal(pv.networks.MLP(features, hidden[::-1], 2 * latents)),
        loss=pv.objectives.Discrepancy(pv.objectives.MMD(named(kernel)), weight),
    )


def named(kernel: str | Kernel) -> Kernel:
    """The kernel of this name, or what "module:function" imports."""
    if not isinstance(kernel, str):
        return kernel
    if kernel in KERNELS:
        return KERNELS[kernel]
    module, _, function = kernel.partition(":")
    try:
        found: Kernel = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"kernel: expected one of {', '.join(KERNELS)}, or 'module:function' that can be imported, got {kernel!r} "
            f"({error})"
        ) from error
    return found
