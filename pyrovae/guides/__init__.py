"""Guides q(z|x): amortised posteriors, and those of one datum at a time. A function of x works as well."""

from pyrovae.guides.bernoulli import Bernoulli
from pyrovae.guides.delta import Delta
from pyrovae.guides.flow import Flow, inverse_autoregressive
from pyrovae.guides.laplace import Laplace
from pyrovae.guides.low_rank_multivariate_normal import LowRankMultivariateNormal
from pyrovae.guides.mixture import Mixture
from pyrovae.guides.multivariate_normal import MultivariateNormal
from pyrovae.guides.normal import Normal
from pyrovae.guides.one_hot_categorical import OneHotCategorical
from pyrovae.guides.power_spherical import PowerSpherical
from pyrovae.guides.relaxed_bernoulli import RelaxedBernoulli
from pyrovae.guides.relaxed_one_hot_categorical import RelaxedOneHotCategorical
from pyrovae.guides.semi_amortized import SemiAmortized
from pyrovae.guides.table import Table
from pyrovae.guides.truncated import Truncated

__all__ = [
    "Bernoulli",
    "Delta",
    "Flow",
    "Laplace",
    "LowRankMultivariateNormal",
    "Mixture",
    "MultivariateNormal",
    "Normal",
    "OneHotCategorical",
    "PowerSpherical",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "SemiAmortized",
    "Table",
    "Truncated",
    "inverse_autoregressive",
]
