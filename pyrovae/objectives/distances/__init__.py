"""Squared statistical distances of codes from draws of the prior: callables (n, L), (m, L) → a scalar."""

from pyrovae.objectives.distances.energy import Energy
from pyrovae.objectives.distances.kernels import RBF, InverseMultiquadratic
from pyrovae.objectives.distances.mmd import MMD
from pyrovae.objectives.distances.sliced_wasserstein import SlicedWasserstein

__all__ = ["MMD", "RBF", "Energy", "InverseMultiquadratic", "SlicedWasserstein"]
