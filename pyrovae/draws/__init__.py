"""Draws as ArviZ trees: of the posterior, of the prior, of reconstructions."""

from pyrovae.draws.decode import decode
from pyrovae.draws.impute import impute
from pyrovae.draws.posterior import posterior
from pyrovae.draws.predict import encode, reconstruct, sample

__all__ = ["decode", "encode", "impute", "posterior", "reconstruct", "sample"]
