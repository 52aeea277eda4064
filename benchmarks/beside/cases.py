"""What is trained: sizes, and data that all contestants draw alike. NumPy only."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

__all__ = ["CASES", "DRAWS", "Case", "arguments", "data"]

STEPS = 32  # of an epoch
DRAWS = 5000  # for log p(x)
BLOCK = 1000  # draws that are decoded at once by hand
LR = 1e-3
CHANNELS = (32, 64)  # of 3 × 3 convolutions with stride 2
FLOW = {"transforms": 3, "hidden_features": (64, 64)}  # masked autoregressive


@dataclass(frozen=True)
class Case:
    """Networks of one hidden layer with SiLU, or convolutions with ReLU; Bernoulli cells; Adam at `LR`."""

    name: str
    says: str
    features: int
    hidden: int
    latents: int
    batch: int
    images: bool = False
    flow: bool = False  # the prior is a flow, the guide has a full covariance
    evidence: bool = False  # nothing is trained: log p(x) of images by importance sampling

    @property
    def outputs(self) -> int:
        """Of the encoder."""
        m = self.latents
        return m + m * (m + 1) // 2 if self.flow else 2 * m


CASES = {
    case.name: case
    for case in (
        Case("small", "64-64-8, batch 64", 64, 64, 8, 64),
        Case("wide", "784-400-20, batch 128", 784, 400, 20, 128),
        Case("large", "784-400-20, batch 512", 784, 400, 20, 512),
        Case("conv", "convolutions 28×28-32-64-20, batch 128", 784, 0, 20, 128, images=True),
        Case("flow", "784-400-20, batch 128, full covariance, flow prior", 784, 400, 20, 128, flow=True),
        Case("evidence", "log p(x) by 5,000 draws, 784-400-20", 784, 400, 20, 0, evidence=True),
    )
}


def data(case: Case, rows: int | None = None) -> np.ndarray:
    """Binary rows (n, features) whose cells depend on each other: signs of a few latent directions."""
    rng = np.random.default_rng(0)
    rows = STEPS * case.batch if rows is None else rows
    x = rng.normal(size=(rows, 4)) @ rng.normal(size=(4, case.features)) + rng.normal(size=(rows, case.features))
    return (x > 1).astype(np.float32)


def arguments() -> argparse.Namespace:
    """What the driver tells a contestant."""
    parser = argparse.ArgumentParser()
    parser.add_argument("case", type=CASES.get)
    parser.add_argument("--engine")
    parser.add_argument("--precision")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--images", type=int, default=20)
    return parser.parse_args()
