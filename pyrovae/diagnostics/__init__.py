"""Diagnostics: functions of an ArviZ tree that return xarray, one file per question, and one table of verdicts.

None of them takes R-hat or the effective sample size of guide draws as evidence: these draws are independent, whatever
the quality of the guide.
"""

from pyrovae.diagnostics._tree import NotAvailable
from pyrovae.diagnostics.convergence import convergence
from pyrovae.diagnostics.diagnose import diagnose
from pyrovae.diagnostics.diagnosis import Diagnosis
from pyrovae.diagnostics.elbo import elbo_terms, kl
from pyrovae.diagnostics.evidence import elpd, log_evidence
from pyrovae.diagnostics.latents import active_units, collapse
from pyrovae.diagnostics.reliability import good_k, pareto_k

__all__ = [
    "Diagnosis",
    "NotAvailable",
    "active_units",
    "collapse",
    "convergence",
    "diagnose",
    "elbo_terms",
    "elpd",
    "good_k",
    "kl",
    "log_evidence",
    "pareto_k",
]
