"""Every part and network, with what a test must know of it: a new one is tested by being listed in its file."""

from tests.registry._part import COVARIATES, FEATURES, IMAGE, LATENTS, Network, Part, call
from tests.registry.guides import GUIDES
from tests.registry.likelihoods import LIKELIHOODS
from tests.registry.networks import NETWORKS
from tests.registry.priors import PRIORS

__all__ = [
    "COVARIATES",
    "FEATURES",
    "GUIDES",
    "IMAGE",
    "LATENTS",
    "LIKELIHOODS",
    "NETWORKS",
    "PRIORS",
    "Network",
    "Part",
    "call",
]
