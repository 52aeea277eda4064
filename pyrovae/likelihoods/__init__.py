"""Likelihoods p(x|z): a network and a family. A function of z that returns a distribution works as well."""

from pyrovae.likelihoods.bernoulli import Bernoulli
from pyrovae.likelihoods.beta import Beta
from pyrovae.likelihoods.binomial import Binomial
from pyrovae.likelihoods.categorical import Categorical
from pyrovae.likelihoods.columns import Columns
from pyrovae.likelihoods.continuous_bernoulli import ContinuousBernoulli
from pyrovae.likelihoods.dirichlet_multinomial import DirichletMultinomial
from pyrovae.likelihoods.discretized_logistic import DiscretizedLogistic
from pyrovae.likelihoods.discretized_logistic_mixture import DiscretizedLogisticMixture
from pyrovae.likelihoods.gamma import Gamma
from pyrovae.likelihoods.laplace import Laplace
from pyrovae.likelihoods.log_normal import LogNormal
from pyrovae.likelihoods.low_rank_multivariate_normal import LowRankMultivariateNormal
from pyrovae.likelihoods.multinomial import Multinomial
from pyrovae.likelihoods.multivariate_normal import MultivariateNormal
from pyrovae.likelihoods.negative_binomial import NegativeBinomial
from pyrovae.likelihoods.normal import Normal
from pyrovae.likelihoods.ordered_logistic import OrderedLogistic
from pyrovae.likelihoods.poisson import Poisson
from pyrovae.likelihoods.student_t import StudentT
from pyrovae.likelihoods.suited import suited
from pyrovae.likelihoods.zero_inflated_negative_binomial import ZeroInflatedNegativeBinomial
from pyrovae.likelihoods.zero_inflated_poisson import ZeroInflatedPoisson

__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "Columns",
    "ContinuousBernoulli",
    "DirichletMultinomial",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "Gamma",
    "Laplace",
    "LogNormal",
    "LowRankMultivariateNormal",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "OrderedLogistic",
    "Poisson",
    "StudentT",
    "ZeroInflatedNegativeBinomial",
    "ZeroInflatedPoisson",
    "suited",
]
