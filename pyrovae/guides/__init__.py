"""Guides q(z|x): amortised posteriors. A function of x that returns a distribution works as well."""

from pyrovae.guides.multivariate_normal import MultivariateNormal
from pyrovae.guides.normal import Normal

__all__ = ["MultivariateNormal", "Normal"]
