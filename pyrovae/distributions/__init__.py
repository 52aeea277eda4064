"""Distributions that Pyro lacks. They are Pyro distributions, for parts of ours and of your own."""

from pyrovae.distributions import _kl  # noqa: F401  registers the closed forms
from pyrovae.distributions.bernoulli import Bernoulli
from pyrovae.distributions.binomial import Binomial
from pyrovae.distributions.bits import Bits
from pyrovae.distributions.categorical import Categorical
from pyrovae.distributions.categorical_sequence import CategoricalSequence
from pyrovae.distributions.columns import Columns
from pyrovae.distributions.continuous_bernoulli import ContinuousBernoulli
from pyrovae.distributions.discretized_logistic import DiscretizedLogistic
from pyrovae.distributions.flow import FlowDistribution
from pyrovae.distributions.horseshoe import Horseshoe
from pyrovae.distributions.listed_states import ListedStates
from pyrovae.distributions.multinomial import DirichletMultinomial, Multinomial
from pyrovae.distributions.negative_binomial import NegativeBinomial
from pyrovae.distributions.open_support import Beta, Gamma
from pyrovae.distributions.poisson import Poisson
from pyrovae.distributions.power_spherical import PowerSpherical
from pyrovae.distributions.relaxed_bernoulli import RelaxedBernoulli
from pyrovae.distributions.relaxed_one_hot_categorical import RelaxedOneHotCategorical
from pyrovae.distributions.spike_and_slab_normal import SpikeAndSlabNormal
from pyrovae.distributions.student_t import StudentT
from pyrovae.distributions.zero_inflated import ZeroInflated

__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Bits",
    "Categorical",
    "CategoricalSequence",
    "Columns",
    "ContinuousBernoulli",
    "DirichletMultinomial",
    "DiscretizedLogistic",
    "FlowDistribution",
    "Gamma",
    "Horseshoe",
    "ListedStates",
    "Multinomial",
    "NegativeBinomial",
    "Poisson",
    "PowerSpherical",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "SpikeAndSlabNormal",
    "StudentT",
    "ZeroInflated",
]
