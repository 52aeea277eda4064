"""Plots of a tree, one file per question: each returns a matplotlib Figure and looks right untouched.

What is general is drawn by ArviZ: ``az.plot_forest``, ``az.plot_pair`` and the others take the same tree.
"""

from pyrovae.plots.bounds import plot_bounds
from pyrovae.plots.elbo import plot_elbo
from pyrovae.plots.khat import plot_khat
from pyrovae.plots.kl import plot_kl
from pyrovae.plots.latent import plot_latent
from pyrovae.plots.ppc import plot_ppc
from pyrovae.plots.prior_draws import plot_prior_draws
from pyrovae.plots.reconstruction import plot_reconstruction

__all__ = [
    "plot_bounds",
    "plot_elbo",
    "plot_khat",
    "plot_kl",
    "plot_latent",
    "plot_ppc",
    "plot_prior_draws",
    "plot_reconstruction",
]
