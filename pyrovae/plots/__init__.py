"""Plots, one file per question: each returns a matplotlib Figure and looks right untouched.

With ``backend="none"`` nothing is drawn, and the figures in it are returned as an xarray Dataset. What is general is
drawn by ArviZ: ``az.plot_forest``, ``az.plot_pair`` and the others take the same tree.
"""

from pyrovae.plots.aggregate_posterior import plot_aggregate_posterior
from pyrovae.plots.bounds import plot_bounds
from pyrovae.plots.calibration import plot_calibration
from pyrovae.plots.elbo import plot_elbo
from pyrovae.plots.gap import plot_gap
from pyrovae.plots.interpolation import plot_interpolation
from pyrovae.plots.khat import plot_khat
from pyrovae.plots.kl import plot_kl
from pyrovae.plots.latent import plot_latent
from pyrovae.plots.manifold import plot_manifold
from pyrovae.plots.ppc import plot_ppc
from pyrovae.plots.prior_draws import plot_prior_draws
from pyrovae.plots.rate_distortion import plot_rate_distortion
from pyrovae.plots.reconstruction import plot_reconstruction
from pyrovae.plots.traversal import plot_traversal

__all__ = [
    "plot_aggregate_posterior",
    "plot_bounds",
    "plot_calibration",
    "plot_elbo",
    "plot_gap",
    "plot_interpolation",
    "plot_khat",
    "plot_kl",
    "plot_latent",
    "plot_manifold",
    "plot_ppc",
    "plot_prior_draws",
    "plot_rate_distortion",
    "plot_reconstruction",
    "plot_traversal",
]
