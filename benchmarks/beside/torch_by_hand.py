"""Torch, as one writes it without a library; the flow is zuko's."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import zuko
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from beside.cases import BLOCK, DRAWS, FLOW, LR, Case, arguments, data
from beside.networks import networks
from beside.rounds import Rounds

__all__ = ["triangle"]

CONSTANT = math.log(2 * math.pi) / 2


def triangle(raw: Tensor, size: int) -> Tensor:
    """Lower triangular factors with a positive diagonal."""
    factor = raw.new_zeros(*raw.shape[:-1], size, size)
    below = torch.tril_indices(size, size)
    factor[..., below[0], below[1]] = raw
    diagonal = factor.diagonal(dim1=-2, dim2=-1)
    return factor.tril(-1) + torch.diag_embed(softplus(diagonal))


def loss_of(case: Case, encoder: nn.Module, decoder: nn.Module, flow: nn.Module | None) -> Callable[[Tensor], Tensor]:
    """The negative ELBO per datum of a batch."""
    m = case.latents

    def standard(x: Tensor) -> tuple[Tensor, Tensor]:
        loc, raw = encoder(x).chunk(2, -1)
        scale = softplus(raw)
        return loc + scale * torch.randn_like(loc), 0.5 * (loc**2 + scale**2 - 1).sum() - scale.log().sum()

    def full(x: Tensor) -> tuple[Tensor, Tensor]:
        raw = encoder(x)
        loc, factor = raw[:, :m], triangle(raw[:, m:], m)
        eps = torch.randn_like(loc)
        z = loc + (factor @ eps.unsqueeze(-1)).squeeze(-1)
        log_q = -(0.5 * eps**2 + CONSTANT).sum() - factor.diagonal(dim1=-2, dim2=-1).log().sum()
        return z, log_q - flow().log_prob(z).sum()

    draw = standard if flow is None else full

    def loss(x: Tensor) -> Tensor:
        z, divergence = draw(x)
        return (binary_cross_entropy_with_logits(decoder(z), x, reduction="sum") + divergence) / len(x)

    return loss


def evidence(encoder: nn.Module, decoder: nn.Module, x: Tensor) -> Tensor:
    """log p̂(x) of each row, blocks of draws at a time."""
    loc, raw = encoder(x).chunk(2, -1)
    scale, out = softplus(raw), []
    for one, mean, spread in zip(x, loc, scale, strict=True):
        log_w = []
        for _ in range(DRAWS // BLOCK):
            eps = torch.randn(BLOCK, len(mean))
            z = mean + spread * eps
            cells = binary_cross_entropy_with_logits(decoder(z), one.expand(BLOCK, -1), reduction="none")
            log_w.append(0.5 * (eps**2 - z**2).sum(-1) + spread.log().sum() - cells.sum(-1))
        out.append(torch.logsumexp(torch.cat(log_w), 0) - math.log(DRAWS))
    return torch.stack(out)


class Bfloat16(nn.Module):
    """A network under automatic mixed precision, its output in float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            out: Tensor = self.network(x)
        return out.float()


def main() -> None:
    """Run rounds."""
    told = arguments()
    torch.set_num_threads(told.threads)
    torch.manual_seed(0)
    case = told.case
    encoder, decoder = networks(case)
    versions = {"torch": torch.__version__, "zuko": zuko.__version__}
    if case.evidence:
        x = torch.from_numpy(data(case, told.images))
        rounds = Rounds(told.seconds, told.warm_up, len(x), versions=versions)
        with torch.no_grad():
            while True:
                evidence(encoder, decoder, x)
                if rounds():
                    return
    flow = zuko.flows.MAF(case.latents, **FLOW) if case.flow else None
    if told.precision == "bf16":
        encoder, decoder = Bfloat16(encoder), Bfloat16(decoder)
    loss = loss_of(case, encoder, decoder, flow)
    parameters = [p for part in (encoder, decoder, flow) if part is not None for p in part.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=LR, fused=True)
    x = torch.from_numpy(data(case))
    rounds = Rounds(told.seconds, told.warm_up, -(-len(x) // case.batch), versions=versions)
    while True:
        total = 0.0
        for rows in torch.randperm(len(x)).split(case.batch):
            optimizer.zero_grad(set_to_none=True)
            value = loss(x[rows])
            value.backward()
            optimizer.step()
            total += value.item()
        if rounds():
            return


if __name__ == "__main__":
    main()
