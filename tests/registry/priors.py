"""Every prior. A new one is tested by being listed here."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from pyrovae import priors
from tests.registry._part import LATENTS, Part


def _standard_normal(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    return stats.norm.logpdf(value).sum(-1)


def _learned_normal(part: Any, inputs: Any, value: np.ndarray) -> np.ndarray:
    loc, scale = part.held("loc").detach().numpy(), part.held("scale").detach().numpy()
    return stats.norm.logpdf(value, loc, scale).sum(-1)


PRIORS = (
    Part("Normal", lambda: priors.Normal(LATENTS), (LATENTS,), _standard_normal),
    Part("Normal, learned", lambda: priors.Normal(LATENTS, learned=True), (LATENTS,), _learned_normal, learned=True),
)
