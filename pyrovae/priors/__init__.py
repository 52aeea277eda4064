"""Priors p(z): callables that return a distribution over one latent. A function that returns one works as well."""

from pyrovae.priors.normal import Normal

__all__ = ["Normal"]
