"""What an objective is called, where its numbers are not meant."""

from __future__ import annotations

import re

__all__ = ["without_numbers"]


def without_numbers(label: str) -> str:
    """A label without what stands in parentheses at its end.

    >>> [without_numbers(label) for label in ("ELBO", "β-ELBO (β = 4)", "ELBO + (w − 1) log p(y|z) (w = 50)")]
    ['ELBO', 'β-ELBO', 'ELBO + (w − 1) log p(y|z)']
    """
    return re.sub(r" \([^()]*\)$", "", label)
