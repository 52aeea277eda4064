"""Ours: `pyrovae.fit` as it is called, a round ending in its callback, and `pyrovae.diagnostics.importance`."""

from __future__ import annotations

import inspect
from typing import Any

import torch
import zuko
from torch import nn

import pyrovae as pv
from beside.cases import CHANNELS, DRAWS, FLOW, LR, Case, arguments, data
from beside.rounds import Rounds

__all__ = ["extra", "program"]

FOREVER = 10**9


def program(case: Case) -> pv.VAE:
    """The parts of a case."""
    torch.manual_seed(0)
    m = case.latents
    encoder: nn.Module
    decoder: nn.Module
    if case.images:
        encoder = pv.networks.Conv((1, 28, 28), CHANNELS, case.outputs)
        decoder = pv.networks.Conv(m, CHANNELS[::-1], (1, 28, 28), flat=True)
    else:
        encoder = pv.networks.MLP(case.features, (case.hidden,), case.outputs)
        decoder = pv.networks.MLP(m, (case.hidden,), case.features)
    likelihood = pv.likelihoods.Bernoulli(decoder)
    if case.flow:
        return pv.VAE(pv.priors.Flow(zuko.flows.MAF(m, **FLOW)), likelihood, pv.guides.MultivariateNormal(encoder))
    return pv.VAE(pv.priors.Normal(m), likelihood, pv.guides.Normal(encoder))


def extra(engine: str | None, precision: str | None) -> dict[str, Any]:
    """The arguments of `fit` that say how it runs."""
    asked = {name: value for name, value in (("engine", engine), ("precision", precision)) if value is not None}
    known = inspect.signature(pv.fit).parameters
    if engine == "eager" and "engine" not in known:
        del asked["engine"]  # the only one there is
    if unknown := asked.keys() - known.keys():
        raise SystemExit(f"pyrovae.fit takes no {', '.join(sorted(unknown))}")
    return asked


def main() -> None:
    """Run rounds."""
    told = arguments()
    torch.set_num_threads(told.threads)
    case = told.case
    versions = {"pyrovae": pv.__version__, "torch": torch.__version__}
    if case.evidence:
        vae, x = program(case), torch.from_numpy(data(case, told.images))
        rounds = Rounds(told.seconds, told.warm_up, len(x), versions=versions)
        while True:
            pv.diagnostics.importance(vae, x, draws=DRAWS)
            if rounds():
                return
    x = data(case)
    how = extra(told.engine, told.precision)
    rounds = Rounds(told.seconds, told.warm_up, -(-len(x) // case.batch), versions=versions)
    fit = pv.fit(
        program(case),
        x,
        lr=LR,
        schedule=None,
        epochs=FOREVER,
        batch_size=case.batch,
        callbacks=[rounds],
        progress=False,
        **how,
    )
    rounds.say(ran=fit.settings.get("engine", "eager"), why=fit.settings.get("engine_reason", ""))


if __name__ == "__main__":
    main()
