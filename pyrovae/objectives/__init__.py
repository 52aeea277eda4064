"""Objectives: Pyro ELBO objects for ``fit(loss=…)`` and ``VAE(…, loss=…)``. Any that Pyro ships works as well."""

from pyrovae.objectives._objective import Objective
from pyrovae.objectives.beta import Beta
from pyrovae.objectives.importance_weighted import ImportanceWeighted

__all__ = ["Beta", "ImportanceWeighted", "Objective"]
