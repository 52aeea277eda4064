"""Do small moves of z make small moves of x, and smaller ones than an autoencoder's?

The claim, the project's source notes (those on theory, on the encoder and decoder and on the parts of the VAE): that
the decoder is trained on draws and not on points makes it map neighbouring latents to similar data.

Every smooth decoder does so for moves that are small enough; how small says its Lipschitz constant, the largest
singular value of the Jacobian of E[x|z]. It is taken at a draw of q(z|x) for each held-out digit (its point, of the
autoencoder), for a VAE, one with β = 4 and an autoencoder of the same networks, from several seeds. Its unit is that of
the latents, which is arbitrary, and an autoencoder's codes lie farther apart; so it is multiplied by the spread of the
codes over that of the digits (root mean square distances from their means): of white codes and a linear decoder that
uses all latents alike this is 1, of one that uses a single one √(latents). The largest of all draws is a lower bound on
the constant of the whole decoder. Finite moves of a tenth of the spread in random directions stand beside.

For a linear decoder it is the largest singular value of its matrix, which the table shows first.

    python -m analysis.lipschitz --out runs/lipschitz --epochs 100 --seeds 3

writes ``lipschitz.csv`` and ``lipschitz.png`` there and prints the table, which a verdict follows.
"""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

import pyrovae as pv
from analysis._claims import AE, BETA, COLOURS, VAE, answer, codes, digits, fitted, parse

NAME = "lipschitz"
MOVE, TOLERANCE = 0.1, 1e-10
FIGURES = ("per unit of z, median", "median", "95 %", "largest", "finite moves")


def mean_of(program: pv.VAE) -> Callable[[Tensor], Tensor]:
    """z (n, latents) → E[x|z] (n, features)."""
    return lambda z: program.parts["likelihood"](z).mean


def jacobian(function: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """Of each row, (n, features, latents): a forward derivative for each latent."""
    ahead = [torch.func.jvp(function, (z,), (e.expand_as(z),))[1] for e in torch.eye(z.shape[1], dtype=z.dtype)]
    return torch.stack(ahead, -1).detach()


def steepness(function: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """The largest singular value of the Jacobian at each row, (n,)."""
    return torch.linalg.matrix_norm(jacobian(function, z), ord=2)


def moved(function: Callable[[Tensor], Tensor], z: Tensor, length: float, seed: int = 0) -> Tensor:
    """How far E[x|z] moves with z, per unit, in a random direction for each row, (n,)."""
    direction = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed), dtype=z.dtype)
    direction = direction / direction.norm(dim=1, keepdim=True)
    with torch.no_grad():
        return (function(z + length * direction) - function(z)).norm(dim=1) / length


def spread(x: Tensor) -> float:
    """Root mean square distance from the mean."""
    return float((x - x.mean(0)).square().sum(1).mean().sqrt())


def linear(features: int = 12, latents: int = 4) -> tuple[float, float]:
    """What is found of a linear decoder in double precision, and the largest singular value of its matrix."""
    layer = nn.Linear(latents, features, dtype=torch.double)
    program = pv.VAE(
        pv.priors.Normal(latents).double(),
        pv.likelihoods.Normal(layer).double(),
        pv.guides.Normal(nn.Linear(features, 2 * latents, dtype=torch.double)),
    )
    found = steepness(mean_of(program), torch.randn(50, latents, dtype=torch.double))
    exact = torch.linalg.svdvals(layer.weight.detach())[0]
    worst = int((found - exact).abs().argmax())
    return float(found[worst]), float(exact)


def measure(fit: pv.Fit, test: pv.Data) -> tuple[dict[str, float], np.ndarray]:
    """Its figures, and the constants at each digit in units of the spreads."""
    z, function = torch.as_tensor(codes(fit, test)[0], dtype=torch.float), mean_of(fit.program)
    own, unit = steepness(function, z), spread(z) / spread(test.x.float())
    relative = (own * unit).numpy()
    finite = moved(function, z, MOVE * spread(z)).numpy() * unit
    found = [float(own.median()), *np.quantile(relative, [0.5, 0.95, 1]), np.median(finite)]
    return dict(zip(FIGURES, map(float, found), strict=True)), relative


def lower(rows: pd.DataFrame, kind: str, than: str) -> tuple[bool, str]:
    """Whether median and 95 % are lower by two standard errors of the differences by seed, and both medians."""
    wide = rows.pivot(index="seed", columns="model", values=["median", "95 %"])
    text = f"{kind} {wide['median'][kind].mean():.2f}, {than} {wide['median'][than].mean():.2f}"
    differences = [wide[figure][kind] - wide[figure][than] for figure in ("median", "95 %")]
    sure = len(wide) > 1 and all(d.mean() < -2 * d.sem() for d in differences)
    error = f"{differences[0].sem():.2f}" if len(wide) > 1 else "unknown"
    return bool(sure), f"{text} (difference {differences[0].mean():+.2f} ± {error})"


def draw(values: dict[str, list[np.ndarray]]) -> plt.Figure:
    """The distribution over held-out digits of the constants, a line for each fit."""
    figure, ax = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
    for kind, fits in values.items():
        for k, one in enumerate(fits):
            label = None if k else kind
            ax.plot(np.sort(one), np.linspace(0, 1, len(one)), color=COLOURS[kind], lw=1.5, label=label)
    ax.set(xscale="log", xlabel="largest singular value · spread of codes / spread of digits", ylabel="share below")
    ax.legend(frameon=False)
    return figure


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Run from the command line."""
    options = parse(NAME, __doc__, arguments, epochs=100, seeds=3)
    train, test = digits(options)
    torch.manual_seed(0)
    found, exact = linear()
    rows: list[dict[str, object]] = []
    values: dict[str, list[np.ndarray]] = {VAE: [], BETA: [], AE: []}
    for seed in range(options.seeds):
        for kind, kept in values.items():
            row, relative = measure(fitted(kind, train, options, seed), test)
            kept.append(relative)
            rows.append({"model": kind, "seed": seed} | row)
    fits = pd.DataFrame(rows)
    known = {"model": "linear", FIGURES[0]: found, "exact": exact}
    table = pd.concat([pd.DataFrame([known]), fits], ignore_index=True)[["model", "seed", *FIGURES, "exact"]]
    (than_points, told), (than_one, beside) = lower(fits, VAE, AE), lower(fits, BETA, VAE)
    findings = [
        (abs(found - exact) <= TOLERANCE, f"of a linear decoder it is that of its matrix, to {abs(found - exact):.0e}"),
        (than_points, f"the VAE's decoder is less steep than the autoencoder's, in spreads: {told}"),
        (than_one, f"a decoder less steep again where the KL weighs more: {beside}"),
    ]
    return answer(NAME, options, table, lambda: draw(values), findings)


if __name__ == "__main__":
    main()
