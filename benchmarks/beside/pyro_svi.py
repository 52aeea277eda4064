"""Pyro: a program as its tutorial writes one, and `SVI.step` with Pyro's Adam and `Trace_ELBO`, validation off."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
import zuko
from pyro.contrib.zuko import ZukoToPyro
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor, nn
from torch.nn.functional import softplus

from beside.cases import FLOW, LR, Case, arguments, data
from beside.networks import networks
from beside.rounds import Rounds
from beside.torch_by_hand import triangle


class Program(nn.Module):
    """Model and guide."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.latents = case.latents
        self.encoder, self.decoder = networks(case)
        self.flow = zuko.flows.MAF(case.latents, **FLOW) if case.flow else None

    def model(self, x: Tensor) -> None:
        """p(x, z)."""
        pyro.module("decoder", self.decoder)
        if self.flow is not None:
            pyro.module("flow", self.flow)
        with pyro.plate("data", len(x)):
            if self.flow is None:
                zeros = x.new_zeros(len(x), self.latents)
                z = pyro.sample("z", dist.Normal(zeros, torch.ones_like(zeros)).to_event(1))
            else:
                z = pyro.sample("z", ZukoToPyro(self.flow()))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        """q(z|x)."""
        pyro.module("encoder", self.encoder)
        raw = self.encoder(x)
        with pyro.plate("data", len(x)):
            if self.flow is None:
                loc, scale = raw.chunk(2, -1)
                pyro.sample("z", dist.Normal(loc, softplus(scale)).to_event(1))
            else:
                m = self.latents
                pyro.sample("z", dist.MultivariateNormal(raw[:, :m], scale_tril=triangle(raw[:, m:], m)))


def main() -> None:
    """Run rounds."""
    told = arguments()
    if told.case.evidence:
        raise SystemExit("Pyro has no importance sampling of many data at once")
    torch.set_num_threads(told.threads)
    torch.manual_seed(0)
    pyro.enable_validation(False)
    program = Program(told.case)
    svi = SVI(program.model, program.guide, pyro.optim.Adam({"lr": LR}), Trace_ELBO())
    x = torch.from_numpy(data(told.case))
    versions = {"pyro": pyro.__version__, "torch": torch.__version__}
    rounds = Rounds(told.seconds, told.warm_up, -(-len(x) // told.case.batch), versions=versions)
    while True:
        for rows in torch.randperm(len(x)).split(told.case.batch):
            svi.step(x[rows])
        if rounds():
            return


if __name__ == "__main__":
    main()
