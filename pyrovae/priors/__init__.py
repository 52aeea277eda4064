"""Priors p(z): callables that return a distribution over one latent. A function that returns one works as well."""

from pyrovae.priors.bernoulli import Bernoulli
from pyrovae.priors.beta import Beta
from pyrovae.priors.categorical_sequence import CategoricalSequence
from pyrovae.priors.conditional import Conditional
from pyrovae.priors.dirichlet import Dirichlet
from pyrovae.priors.flow import Flow
from pyrovae.priors.gamma import Gamma
from pyrovae.priors.gaussian_mixture import GaussianMixture
from pyrovae.priors.horseshoe import Horseshoe
from pyrovae.priors.laplace import Laplace
from pyrovae.priors.log_normal import LogNormal
from pyrovae.priors.logistic_normal import LogisticNormal
from pyrovae.priors.multivariate_normal import MultivariateNormal
from pyrovae.priors.normal import Normal
from pyrovae.priors.one_hot_categorical import OneHotCategorical
from pyrovae.priors.power_spherical import PowerSpherical
from pyrovae.priors.relaxed_bernoulli import RelaxedBernoulli
from pyrovae.priors.relaxed_one_hot_categorical import RelaxedOneHotCategorical
from pyrovae.priors.spike_and_slab import SpikeAndSlab
from pyrovae.priors.student_t import StudentT
from pyrovae.priors.uniform import Uniform
from pyrovae.priors.vamp_prior import VampPrior

__all__ = [
    "Bernoulli",
    "Beta",
    "CategoricalSequence",
    "Conditional",
    "Dirichlet",
    "Flow",
    "Gamma",
    "GaussianMixture",
    "Horseshoe",
    "Laplace",
    "LogNormal",
    "LogisticNormal",
    "MultivariateNormal",
    "Normal",
    "OneHotCategorical",
    "PowerSpherical",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "SpikeAndSlab",
    "StudentT",
    "Uniform",
    "VampPrior",
]
