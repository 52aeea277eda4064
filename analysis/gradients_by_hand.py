"""Are the gradients of the sampling layer and of the KL, derived by hand, those of automatic differentiation?

The claim, the project's source notes (the one on the sampling layer): with v = log σ² and z = μ + e^{v/2} ε, the
gradient of a reconstruction error E is dE/dμ = dE/dz and dE/dv = dE/dz · ε · e^{v/2}/2; of KL = −½ Σ (1 + v − μ² − e^v)
it is dKL/dμ = μ and dKL/dv = (e^v − 1)/2. The same note first writes the KL as Σ (1 + v − μ² − e^v), and the notes from
an encyclopedia give ½(Nσ² + |μ|² − 2N log σ) for one scale σ in N dimensions, up to a constant.

Each is compared with autograd in double precision; the KL itself with Gauss–Hermite quadrature of E_q[log q − log p],
which is exact for these polynomials of second degree. Then the same through this library: the raw outputs (m, s) of the
network in `guides.Normal`, whose scale is softplus(s), so that v = 2 log softplus(s) and its derivative is
2 sigmoid(s)/softplus(s), and on to the bias of the network's last layer, under `TraceMeanField_ELBO`, which has the KL
in closed form.

    python -m analysis.gradients_by_hand --out runs/gradients_by_hand

writes ``gradients_by_hand.csv`` and ``gradients_by_hand.png`` there and prints the table, which a verdict follows.
"""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from pyro import poutine
from pyro.infer import TraceMeanField_ELBO
from torch import Tensor, nn

import pyrovae as pv
from analysis._claims import answer, parse

NAME = "gradients_by_hand"
TOLERANCE = 1e-10
SLIP = "KL as first written, without −½"


def sampling_layer(dz: Tensor, eps: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """dE/dμ and dE/dv by hand, of dE/dz."""
    return dz, dz * eps * torch.exp(v / 2) / 2


def kl(mu: Tensor, v: Tensor) -> Tensor:
    """KL(N(μ, e^v) ‖ N(0, 1)), summed over the last dimension."""
    return -(1 + v - mu**2 - v.exp()).sum(-1) / 2


def slip(mu: Tensor, v: Tensor) -> Tensor:
    """The note's first formula."""
    return (1 + v - mu**2 - v.exp()).sum(-1)


def isotropic(mu: Tensor, v: Tensor) -> Tensor:
    """The encyclopedia's, of one σ for all N dimensions, v (…, 1); N/2 more than the KL."""
    n = mu.shape[-1]
    return ((n * v.exp() - n * v).sum(-1) + (mu**2).sum(-1)) / 2


def quadrature(mu: Tensor, v: Tensor, nodes: int = 8) -> Tensor:
    """KL(N(μ, e^v) ‖ N(0, 1)) as E_q[log q − log p], by Gauss–Hermite, summed over the last dimension."""
    at, weight = (torch.as_tensor(a) for a in np.polynomial.hermite_e.hermegauss(nodes))
    z = mu[..., None] + torch.exp(v / 2)[..., None] * at
    log_ratio = -(at**2) / 2 - v[..., None] / 2 + z**2 / 2
    return (log_ratio * weight).sum((-1, -2)) / math.sqrt(2 * math.pi)


def by_definition(n: int = 200, latents: int = 5) -> dict[str, tuple[Tensor, Tensor]]:
    """By hand and by autograd, of random μ, v and ε and a decoder of two layers."""
    mu, v, eps = (torch.randn(n, latents, dtype=torch.double) for _ in range(3))
    mu, v = mu.requires_grad_(), v.requires_grad_()
    decoder = nn.Sequential(nn.Linear(latents, 16), nn.SiLU(), nn.Linear(16, 12)).double()
    x = torch.rand(n, 12, dtype=torch.double)
    found: dict[str, tuple[Tensor, Tensor]] = {}
    errors = {"squared error": nn.MSELoss(reduction="sum"), "cross entropy": nn.BCEWithLogitsLoss(reduction="sum")}
    for name, error in errors.items():
        z = mu + torch.exp(v / 2) * eps
        dmu, dv, dz = torch.autograd.grad(error(decoder(z), x), (mu, v, z))
        hand = sampling_layer(dz, eps, v.detach())
        found |= {f"dE/dμ, {name}": (hand[0], dmu), f"dE/dv, {name}": (hand[1], dv)}
    m, w = mu.detach(), v.detach()
    dmu, dv = torch.autograd.grad(kl(mu, v).sum(), (mu, v))
    found |= {"dKL/dμ": (m, dmu), "dKL/dv": ((w.exp() - 1) / 2, dv)}
    found["dKL/dv, the step before it: e^v − 1"] = w.exp() - 1, dv
    found["KL"] = kl(m, w), quadrature(m, w)
    one = w[:, :1]
    found["KL of one scale, less N/2"] = isotropic(m, one) - latents / 2, quadrature(m, one.expand_as(m))
    found[SLIP] = slip(m, w), quadrature(m, w)
    return found


def by_the_library(n: int = 50, latents: int = 5) -> dict[str, tuple[Tensor, Tensor]]:
    """By hand and by autograd, of the raw outputs of the network of a `guides.Normal`."""
    decoder, encoder = pv.networks.MLP(latents, (16,), 12).double(), pv.networks.MLP(12, (16,), 2 * latents).double()
    last = [m for m in encoder.modules() if isinstance(m, nn.Linear)][-1]
    program = pv.VAE(pv.priors.Normal(latents).double(), pv.likelihoods.Bernoulli(decoder), pv.guides.Normal(encoder))
    x = torch.rand(n, 12, dtype=torch.double).round()
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: object, out: Tensor) -> None:
        out.retain_grad()
        kept.append(out)

    def guide(*args: Tensor) -> Tensor:
        torch.manual_seed(1)  # the same draws for the objective and for us
        drawn: Tensor = program.guide(*args)
        return drawn

    handle = encoder.register_forward_hook(keep)
    with program.scope():
        TraceMeanField_ELBO().differentiable_loss(program.model, guide, x).backward()
        handle.remove()
        z = poutine.trace(guide).get_trace(x).nodes["z"]["value"].detach().requires_grad_()
    (raw,) = kept
    m, s = raw.detach().chunk(2, -1)
    scale = nn.functional.softplus(s)
    v = 2 * scale.log()
    (dz,) = torch.autograd.grad(-program.parts["likelihood"](z).log_prob(x).sum(), z)
    dmu, dv = sampling_layer(dz, (z.detach() - m) / scale, v)
    chain = 2 * torch.sigmoid(s) / scale
    hand = torch.cat([dmu + m, (dv + (v.exp() - 1) / 2) * chain], -1)
    assert raw.grad is not None
    assert last.bias.grad is not None
    return {
        "guides.Normal: −dELBO/dm": (hand[:, :latents], raw.grad[:, :latents]),
        "guides.Normal: −dELBO/ds, by softplus": (hand[:, latents:], raw.grad[:, latents:]),
        "guides.Normal: −dELBO/d(bias of its network)": (hand.sum(0), last.bias.grad),
    }


def descend(loss: object, steps: int = 20, rate: float = 0.03) -> np.ndarray:
    """The KL along gradient descent on a formula for it, from μ = 1, v = .5."""
    point = torch.tensor([[1.0, 0.5]], dtype=torch.double, requires_grad=True)
    out = []
    for _ in range(steps):
        out.append(kl(point[:, :1], point[:, 1:]).item())
        (gradient,) = torch.autograd.grad(loss(point[:, :1], point[:, 1:]).sum(), point)  # type: ignore[operator]
        point = (point - rate * gradient).detach().requires_grad_()
    return np.array(out)


def draw(found: dict[str, tuple[Tensor, Tensor]], paths: dict[str, np.ndarray]) -> plt.Figure:
    """By hand against autograd, and what descent on either formula does to the KL."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    gradients = {k: v for k, v in found.items() if k.startswith(("dE", "dKL", "guides")) and "before" not in k}
    for name, (hand, auto) in gradients.items():
        axes[0].plot(auto.flatten(), hand.flatten(), "o", ms=3, alpha=0.6, label=name)
    axes[0].axline((0, 0), slope=1, color="black", lw=0.8)
    axes[0].set(xlabel="autograd", ylabel="by hand", xscale="symlog", yscale="symlog")
    axes[0].legend(frameon=False, fontsize=7.5)
    for (name, values), colour in zip(paths.items(), ("#0072B2", "#D55E00"), strict=True):
        axes[1].plot(values, color=colour, lw=2, label=name)
    axes[1].set(yscale="log", xlabel="steps of gradient descent", ylabel="KL (nats)")
    axes[1].legend(frameon=False)
    return figure


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Run from the command line."""
    options = parse(NAME, __doc__, arguments)
    torch.manual_seed(0)
    found = by_definition() | by_the_library()
    rows = []
    for name, (hand, other) in found.items():
        off = float((hand - other).abs().max())
        beside = "quadrature" if name.startswith("KL") else "autograd"
        ratio = float((hand * other).sum() / (other**2).sum())
        rows.append({"formula": name, "beside": beside, "numbers": hand.numel(), "largest difference": off})
        rows[-1] |= {"slope": ratio, "equal": off <= TOLERANCE}
    table = pd.DataFrame(rows)
    paths = {"KL": descend(kl), SLIP: descend(slip)}
    equal = table.set_index("formula")["equal"]
    sound = [n for n in equal.index if n != SLIP and "before" not in n]
    worst = table.set_index("formula").loc[sound, "largest difference"].max()
    slope = table.set_index("formula").loc[SLIP, "slope"]
    step = table.set_index("formula").loc["dKL/dv, the step before it: e^v − 1", "slope"]
    findings = [
        (
            equal[sound].all(),
            f"gradients and KL agree to {worst:.0e} (tolerance {TOLERANCE:.0e}), by guides.Normal too",
        ),
        (
            equal[SLIP],
            f"the first KL formula, {slope:.3g} times the KL: descent on it takes the KL from {paths[SLIP][0]:.2g} to "
            f"{paths[SLIP][-1]:.2g} nats, on the right one to {paths['KL'][-1]:.2g}",
        ),
        (
            equal["dKL/dv, the step before it: e^v − 1"],
            f"the line before the last of dKL/dv, {step:.3g} times it (the last line has its ½ again)",
        ),
    ]
    return answer(NAME, options, table, lambda: draw(found, paths), findings)


if __name__ == "__main__":
    main()
