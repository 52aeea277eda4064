"""The networks of a case in plain torch, which torch by hand, Pyro and pythae share."""

from __future__ import annotations

from torch import nn

from beside.cases import CHANNELS, Case

__all__ = ["networks"]


def networks(case: Case) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder."""
    m, h, (small, large) = case.latents, case.hidden, CHANNELS
    if not case.images:
        return (
            nn.Sequential(nn.Linear(case.features, h), nn.SiLU(), nn.Linear(h, case.outputs)),
            nn.Sequential(nn.Linear(m, h), nn.SiLU(), nn.Linear(h, case.features)),
        )
    encoder = nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        *(nn.Conv2d(1, small, 3, 2, 1), nn.ReLU(), nn.Conv2d(small, large, 3, 2, 1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(large * 49, case.outputs)),
    )
    decoder = nn.Sequential(
        *(nn.Linear(m, large * 49), nn.Unflatten(1, (large, 7, 7)), nn.ReLU()),
        *(nn.ConvTranspose2d(large, small, 3, 2, 1, 1), nn.ReLU()),
        *(nn.ConvTranspose2d(small, 1, 3, 2, 1, 1), nn.Flatten()),
    )
    return encoder, decoder
