"""Stochastic variational inference: the one training loop, what it returns, and the folder that it is kept in."""

from pyrovae.svi.fit import fit
from pyrovae.svi.folder import RunFolderError, load
from pyrovae.svi.result import EpochEnd, Fit, NonFiniteError

__all__ = ["EpochEnd", "Fit", "NonFiniteError", "RunFolderError", "fit", "load"]
