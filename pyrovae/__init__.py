"""pyrovae: variational autoencoders as Pyro programs, with evidence per datum on whether the inference worked.

Import it as ``import pyrovae as pv``. A program is a prior, a likelihood and a guide (`VAE`), or any Pyro model and
guide (`Program`); `fit` trains it, `posterior` draws from it into an ArviZ tree, `diagnose` says what can be trusted.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "VAE": "pyrovae.vae",
    "Program": "pyrovae.program",
    "Fit": "pyrovae.svi",
    "EpochEnd": "pyrovae.svi",
    "NonFiniteError": "pyrovae.svi",
    "RunFolderError": "pyrovae.svi",
    "fit": "pyrovae.svi",
    "load": "pyrovae.svi",
    "posterior": "pyrovae.draws",
    "sample": "pyrovae.draws",
    "reconstruct": "pyrovae.draws",
    "encode": "pyrovae.draws",
    "impute": "pyrovae.draws",
    "decode": "pyrovae.draws",
    "describe": "pyrovae.description",
    "diagnose": "pyrovae.diagnostics",
    "compare": "pyrovae.diagnostics",
    "correct": "pyrovae.repair",
    "expectation": "pyrovae.repair",
    "refine": "pyrovae.repair",
    "Data": "pyrovae.data",
}
_MODULES = (
    "data",
    "diagnostics",
    "distributions",
    "guides",
    "likelihoods",
    "networks",
    "objectives",
    "plots",
    "priors",
    "report",
    "schedules",
)

__all__ = [
    "VAE",
    "Data",
    "EpochEnd",
    "Fit",
    "NonFiniteError",
    "Program",
    "RunFolderError",
    "compare",
    "correct",
    "data",
    "decode",
    "describe",
    "diagnose",
    "diagnostics",
    "distributions",
    "encode",
    "expectation",
    "fit",
    "guides",
    "impute",
    "likelihoods",
    "load",
    "networks",
    "objectives",
    "plots",
    "posterior",
    "priors",
    "reconstruct",
    "refine",
    "report",
    "sample",
    "schedules",
]

if TYPE_CHECKING:
    from pyrovae import (
        data,
        diagnostics,
        distributions,
        guides,
        likelihoods,
        networks,
        objectives,
        plots,
        priors,
        report,
        schedules,
    )
    from pyrovae.data import Data
    from pyrovae.description import describe
    from pyrovae.diagnostics import compare, diagnose
    from pyrovae.draws import decode, encode, impute, posterior, reconstruct, sample
    from pyrovae.program import Program
    from pyrovae.repair import correct, expectation, refine
    from pyrovae.svi import EpochEnd, Fit, NonFiniteError, RunFolderError, fit, load
    from pyrovae.vae import VAE


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that importing the package stays cheap."""
    if name in _WHERE:
        value = getattr(importlib.import_module(_WHERE[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"pyrovae.{name}")
    else:
        raise AttributeError(f"module 'pyrovae' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
