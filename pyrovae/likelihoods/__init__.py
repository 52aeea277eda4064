"""Likelihoods p(x|z): a network and a family. A function of z that returns a distribution works as well."""

from pyrovae.likelihoods.bernoulli import Bernoulli
from pyrovae.likelihoods.binomial import Binomial
from pyrovae.likelihoods.normal import Normal

__all__ = ["Bernoulli", "Binomial", "Normal"]
