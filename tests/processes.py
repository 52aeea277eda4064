"""What several processes fit together, as a script for torchrun: `processes.py FOLDER`."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pyro
import pyro.distributions as dist
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import pyrovae as pv
from pyrovae.draws import together
from pyrovae.networks import MLP
from pyrovae.objectives import MMD, Adversarial, Beta, Discrepancy, ImportanceWeighted, TotalCorrelation
from pyrovae.schedules import linear
from tests.engines import answer, vae
from tests.programs import bayesian_decoder, gaussian, hierarchy, small_vae

RANK = int(os.environ.get("RANK", "0"))


def holed() -> Tensor:
    """A third of one feature is missing."""
    x = gaussian(60)
    x[::3, 1] = math.nan
    return x


def subsampled() -> pv.Program:
    """A program that writes the size of the whole set itself, with a latent outside its plate."""

    def model(x: Tensor) -> None:
        m = pyro.sample("m", dist.Normal(torch.tensor(0.0), 1.0))
        with pyro.plate("data", size=71, subsample_size=len(x)):
            z = pyro.sample("z", dist.Normal(m, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])

    def guide(x: Tensor) -> None:
        loc, slope = pyro.param("loc", torch.tensor(0.3)), pyro.param("slope", torch.tensor(0.1))
        pyro.sample("m", dist.Normal(loc, pyro.param("scale", torch.tensor(0.5), dist.constraints.positive)))
        with pyro.plate("data", size=71, subsample_size=len(x)):
            pyro.sample("z", dist.Normal(slope * x[:, 0], 0.5))

    return pv.Program(model, guide)


def dropped() -> pv.VAE:
    return vae(nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 4)))


Case = tuple[Callable[[], Any], Any, dict[str, Any]]


def wide() -> pv.VAE:
    """Products of a share of 30 are large as well."""
    return pv.VAE(
        pv.priors.Normal(2), pv.likelihoods.Bernoulli(MLP(2, (640,), 64)), pv.guides.Normal(MLP(64, (640,), 4))
    )


CASES: dict[str, Case] = {
    "a smaller last batch": (vae, gaussian(71), {}),
    "a last batch of one": (vae, gaussian(61), {"clip_norm": 0.3, "schedule": None}),
    "sites outside the plate": (bayesian_decoder, gaussian(60), {}),
    "subsamples itself": (subsampled, gaussian(71), {"batch_size": 36}),
    "data drawn anew": (lambda: small_vae(4, total=1), pv.Data(gaussian(60).sigmoid()).binarize("dynamic"), {}),
    "a schedule": (lambda: vae(loss=Beta(linear(0.0, 1.0, 3))), gaussian(60), {}),
    "context and mask": (
        lambda: vae(MLP(4, (4,), 4, mask=True, context=2), MLP(2, (4,), 4, context=2)),
        holed(),
        {"context": gaussian(60, 2, seed=1)},
    ),
    "several draws": (lambda: vae(loss=ImportanceWeighted(4)), gaussian(60), {}),
    "two latents and pyro.param": (hierarchy, gaussian(60), {"batch_size": 60, "epochs": 8}),
    "rows": (
        lambda: pv.VAE(pv.priors.Normal(2), pv.likelihoods.Normal(MLP(2, (4,), 4), 1.0), pv.guides.Table(60, 2)),
        gaussian(60),
        {},
    ),
    "dropout": (dropped, gaussian(60), {"optimizer": torch.optim.AdamW}),
    "products in bfloat16": (wide, gaussian(60, 64).sigmoid().round(), {"precision": "bf16", "batch_size": 60}),
    "chains": (vae, gaussian(60), {"restarts": 2, "validation": gaussian(30, seed=1), "patience": 1}),
}


class Coupled(nn.Module):
    """A network that takes the mean of its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x - x.mean(0))
        return out


class Remembers(nn.Module):
    """A network that keeps the mean of its last batch and does nothing with it."""

    last: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("last", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.last.copy_(x.mean(0))
        out: Tensor = self.linear(x)
        return out


def values() -> pv.VAE:
    """A decoder that branches on a value."""
    own = vae()
    network = own.parts["likelihood"].network
    forward = network.forward
    network.forward = lambda z: forward(z) * (1 if float(z.sum()) > 0 else 2)
    return own


def discrete() -> pv.VAE:
    guide = pv.guides.Bernoulli(MLP(4, (4,), 3), estimator="score")
    return pv.VAE(pv.priors.Bernoulli(3), pv.likelihoods.Normal(MLP(3, (4,), 4), 1.0), guide)


REFUSED: dict[str, tuple[Callable[[], Any], dict[str, Any], str]] = {
    "looks at values": (values, {}, "it asks for the value of a tensor"),
    "draws depend on values": (discrete, {}, "what it draws depends on values that it computes"),
    "batch normalisation": (
        lambda: vae(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))),
        {},
        "norm='layer' does not",
    ),
    "a mean of the batch": (lambda: vae(Coupled()), {}, "computed in 2 shares, the loss"),
    "a buffer of the batch": (lambda: vae(Remembers()), {}, "buffer parts.guide.network.last of a batch is not that"),
    "discrepancy": (lambda: vae(loss=Discrepancy(MMD())), {}, "Discrepancy compares the data of a batch"),
    "V-statistic": (lambda: vae(loss=Discrepancy(MMD(unbiased=False))), {}, "computed in 2 shares"),
    "total correlation": (lambda: vae(loss=TotalCorrelation(6.0)), {}, "TotalCorrelation compares"),
    "critic": (lambda: vae(loss=Adversarial(MLP(2, (4,), 1))), {}, "with each other or with a critic"),
    "eager": (vae, {"engine": "eager"}, "engine='eager' was asked for"),
    "too small": (vae, {"batch_size": 1}, "batch_size: expected at least 2"),
    "other data": (vae, {"x": gaussian(70 + RANK)}, "was not given what the first one was (n: 70 there, 71 here"),
    "another order": (
        vae,
        {"x": gaussian(70).roll(RANK, 0)},
        "was not given what the first one was (order of the data",
    ),
    "other settings": (
        vae,
        {"lr": 0.01 * (1 + RANK)},
        "was not given what the first one was (lr: 0.01 there, 0.02 here)",
    ),
    "overflows": (vae, {"lr": 1e30, "epochs": 20}, "the loss stopped being finite at epoch"),
}


def keep(folder: Path, name: str, found: tuple[pv.Fit, dict[str, Tensor]]) -> None:
    fit, weights = found
    history = {f"history.{n}": torch.as_tensor(v.values.copy()) for n, v in fit.history.items() if n != "seconds"}
    both = {f"weight.{n}": v.contiguous().clone() for n, v in weights.items()}
    save_file(history | both, folder / f"{name}.{RANK}.safetensors")


def said(function: Callable[[], Any]) -> str:
    try:
        function()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def fails_in_the_second(end: pv.EpochEnd) -> None:
    if RANK == 1 and end.epoch == 1:
        raise OSError("no space left")


def drifts(end: pv.EpochEnd) -> None:
    with torch.no_grad():
        next(iter(end.program.parameters())).add_(1e-6 * RANK)


def masked() -> pv.VAE:
    return vae(MLP(4, (4,), 4, mask=True))


DRAWN: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "several": (vae, {"draws": 1000, "predictive": 20}),
    "missing": (masked, {"draws": 1000, "predictive": 2}),
    "one block": (bayesian_decoder, {"draws": 20}),
    "markov": (vae, {"draws": 5, "method": "nuts", "chains": 2, "warmup": 5}),
}


def drawn(name: str, path: Path | None, fit: pv.Fit) -> Any:
    """Draws of the fit, or of a program as it was made."""
    make, options = DRAWN[name]
    torch.manual_seed(5)
    program = fit if make is vae else make()
    x = gaussian(71 if name != "markov" else 5)
    if make is masked:
        x[70, 1] = math.nan  # in the last block alone
    return pv.posterior(program, x, path=path, progress=False, **options)


def draws(folder: Path, fit: pv.Fit) -> None:
    together.FLUSH = 400_000  # so that each process writes several times
    for name in DRAWN:
        drawn(name, folder / f"{name}.zarr", fit)
    drawn("several", folder / "several.nc", fit)


def draws_onto_a_full_disk(fit: pv.Fit, path: Path) -> None:
    with mock.patch.object(together.SharedTree, "append", side_effect=OSError("disk full") if RANK else None):
        pv.posterior(fit, gaussian(71), draws=1000, predictive=2, path=path)


def main(folder: Path) -> None:
    for name, (make, x, settings) in CASES.items():
        keep(folder, name, answer(make, "auto", x, **settings))
    words: dict[str, str] = {}
    for name, (make, own, _) in REFUSED.items():
        words[name] = said(lambda make=make, own=own: answer(make, **{"engine": "auto", **own}))  # type: ignore[misc]
    words["fails"] = said(lambda: answer(vae, "auto", callbacks=[fails_in_the_second]))
    words["drifts"] = said(lambda: answer(vae, "auto", callbacks=[drifts]))
    keep(folder, "stops", answer(vae, "auto", callbacks=[lambda end: RANK == 1 and end.epoch == 1]))

    def newly_drawn() -> pv.VAE:
        torch.manual_seed(RANK + 1)
        return vae()

    keep(folder, "other first weights", answer(newly_drawn, "auto"))

    def interrupted(end: pv.EpochEnd) -> None:
        if end.epoch == 1:
            raise KeyError("interrupted")

    resumed: dict[str, Any] = {"resume": folder / "checkpoint", "checkpoint_seconds": 0}
    words["interrupted"] = said(lambda: answer(vae, "auto", callbacks=[interrupted], **resumed))
    found = answer(vae, "auto", **resumed)
    keep(folder, "resumed", found)
    found[0].save(folder / "run")
    words["saved"] = str(sorted(p.name for p in (folder / "run").glob("run.json")))
    words["saved again"] = said(lambda: found[0].save(folder / "run"))
    if RANK == 0:
        found[0].save(folder / "alone")
    words["draws"] = said(lambda: draws(folder, pv.load(folder / "run", vae())))
    words["exists"] = said(lambda: pv.posterior(found[0], gaussian(71), draws=5, path=folder / "several.zarr"))
    words["full disk"] = said(lambda: draws_onto_a_full_disk(found[0], folder / "full.zarr"))
    (folder / f"words.{RANK}.json").write_text(json.dumps(words))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
