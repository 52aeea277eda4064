"""The figures of a report: what each shows, how to read it, and what it needs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.figure import Figure

from pyrovae import plots
from pyrovae.report.images import Image, embed

__all__ = ["SECTIONS", "Drawn", "Section", "draw"]


@dataclass(frozen=True)
class Section:
    """A figure of the report: its anchor, its title, how to read it, its text for those who cannot see it."""

    id: str
    title: str
    reading: str
    alt: str
    plot: Callable[[xr.DataTree], Figure]


@dataclass(frozen=True)
class Drawn:
    """A section with its image, or with why it has none."""

    section: Section
    image: Image | None
    reason: str = ""


SECTIONS = (
    Section(
        "elbo",
        "Training",
        "A curve that still rises at its right end wants more epochs; a validation curve that falls while training "
        "rises is overfitting.",
        "Line chart of the ELBO in nats per datum against finished epochs, in training and on validation data.",
        plots.plot_elbo,
    ),
    Section(
        "kl",
        "Latent dimensions",
        "A tall bar carries much information about each datum, a bar at zero none; thin lines span 80 % of the data.",
        "Bar chart of the mean KL divergence to the prior of each latent dimension, sorted, in nats per datum.",
        plots.plot_kl,
    ),
    Section(
        "khat",
        "Quality of the guide, datum by datum",
        "The height of the curve at the first line is the share of data for which q(z|x) can stand for the posterior; "
        "what lies right of it cannot be mended by weighting the draws.",
        "Cumulative distribution over the data of Pareto k-hat, with the zones usable, doubtful and no finite mean.",
        plots.plot_khat,
    ),
    Section(
        "bounds",
        "Tightness of the bound",
        "The rise from left to right is how far the ELBO lies below log p(x), at least; if the curve still rises at "
        "the right, the truth lies higher.",
        "Line chart of the mean importance-weighted bound against its number of draws, on a logarithmic axis.",
        plots.plot_bounds,
    ),
    Section(
        "latent",
        "Where the data lie in latent space",
        "Data that the program holds to be alike lie together; colours show labels that it has not seen.",
        "Scatter plots of the posterior means of the data in pairs of latent dimensions, coloured by label.",
        plots.plot_latent,
    ),
    Section(
        "aggregate",
        "Do the data fill the prior?",
        "Above, the two densities of each dimension should lie on each other; below, blue is a hole, prior mass where "
        "no data are encoded, and red is data that the prior calls unlikely.",
        "Densities of the aggregate posterior and the prior in each latent dimension, and their difference in pairs.",
        plots.plot_aggregate_posterior,
    ),
    Section(
        "reconstruction",
        "Reconstructions",
        "From the worst described datum on the left to the best: what the predictive mean leaves out, the latents do "
        "not hold; what a single draw adds, the likelihood takes for noise.",
        "Data from the worst described to the best, each beside the posterior predictive draws for it.",
        plots.plot_reconstruction,
    ),
    Section(
        "prior",
        "Draws from the prior",
        "These should look like data; if they do not although reconstructions do, the prior puts mass where no data "
        "are encoded.",
        "Draws of new data from the prior predictive distribution.",
        plots.plot_prior_draws,
    ),
    Section(
        "ppc",
        "Posterior predictive check",
        "The dark curve should run within the bundle; a p-value near 0 or 1 means that the program predicts too little "
        "or too much of that statistic.",
        "Distributions over the data of statistics of each datum, observed and in posterior predictive draws.",
        plots.plot_ppc,
    ),
)


def draw(section: Section, tree: xr.DataTree) -> Drawn:
    """The section's image; or the reason why the tree does not allow it.

    A fault that is not about the tree's contents is also told as a `RuntimeWarning`: a report is still written.
    """
    before = set(plt.get_fignums())
    try:
        with plt.style.context("default"):
            return Drawn(section, embed(section.plot(tree)))
    except ValueError as error:
        return Drawn(section, None, str(error))
    except Exception as error:
        reason = f"the figure could not be drawn ({type(error).__name__}: {error})"
        warnings.warn(f"report, {section.title}: {reason}", RuntimeWarning, stacklevel=2)
        return Drawn(section, None, reason)
    finally:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)
