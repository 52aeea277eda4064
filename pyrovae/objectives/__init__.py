"""Objectives: Pyro ELBO objects for ``fit(loss=…)`` and ``VAE(…, loss=…)``. Any that Pyro ships works as well."""

from pyrovae.objectives._objective import Objective
from pyrovae.objectives.adversarial import Adversarial
from pyrovae.objectives.beta import Beta
from pyrovae.objectives.discrepancy import Discrepancy
from pyrovae.objectives.distances import MMD, RBF, Energy, InverseMultiquadratic, SlicedWasserstein
from pyrovae.objectives.dreg import DReG
from pyrovae.objectives.importance_weighted import ImportanceWeighted
from pyrovae.objectives.learned_similarity import LearnedSimilarity
from pyrovae.objectives.renyi import Renyi
from pyrovae.objectives.total_correlation import TotalCorrelation

__all__ = [
    "MMD",
    "RBF",
    "Adversarial",
    "Beta",
    "DReG",
    "Discrepancy",
    "Energy",
    "ImportanceWeighted",
    "InverseMultiquadratic",
    "LearnedSimilarity",
    "Objective",
    "Renyi",
    "SlicedWasserstein",
    "TotalCorrelation",
]
