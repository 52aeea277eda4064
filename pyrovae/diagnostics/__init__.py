"""Diagnostics: functions of an ArviZ tree that return xarray, one file per question, and one table of verdicts.

Those that need the model take the fit as an argument. None of them takes R-hat or the effective sample size of guide
draws as evidence: these draws are independent, whatever the quality of the guide.
"""

from pyrovae.diagnostics._tree import NotAvailable
from pyrovae.diagnostics.aggregate import density_gap, prior_match
from pyrovae.diagnostics.annealing import ais, bdmc
from pyrovae.diagnostics.calibration import calibration, coverage
from pyrovae.diagnostics.compare import compare
from pyrovae.diagnostics.convergence import convergence
from pyrovae.diagnostics.diagnose import diagnose
from pyrovae.diagnostics.diagnosis import Diagnosis
from pyrovae.diagnostics.disentanglement import disentanglement
from pyrovae.diagnostics.elbo import elbo_terms, kl
from pyrovae.diagnostics.evidence import elpd, log_evidence
from pyrovae.diagnostics.gaps import gaps
from pyrovae.diagnostics.gold_standard import gold_standard
from pyrovae.diagnostics.importance import importance
from pyrovae.diagnostics.intervals import intervals
from pyrovae.diagnostics.latents import active_units, collapse
from pyrovae.diagnostics.predictive import predictive_check
from pyrovae.diagnostics.prior_predictive import prior_predictive_check
from pyrovae.diagnostics.reliability import good_k, pareto_k
from pyrovae.diagnostics.sampler import sampler_checks
from pyrovae.diagnostics.sbc import sbc
from pyrovae.diagnostics.surgery import rate_distortion, surgery

__all__ = [
    "Diagnosis",
    "NotAvailable",
    "active_units",
    "ais",
    "bdmc",
    "calibration",
    "collapse",
    "compare",
    "convergence",
    "coverage",
    "density_gap",
    "diagnose",
    "disentanglement",
    "elbo_terms",
    "elpd",
    "gaps",
    "gold_standard",
    "good_k",
    "importance",
    "intervals",
    "kl",
    "log_evidence",
    "pareto_k",
    "predictive_check",
    "prior_match",
    "prior_predictive_check",
    "rate_distortion",
    "sampler_checks",
    "sbc",
    "surgery",
]
