"""The verdicts on a tree: a table, in text and HTML, and a summary in words."""

from __future__ import annotations

import html
import textwrap
import unicodedata
from dataclasses import dataclass
from typing import Any

import pandas as pd

__all__ = ["CONVERGED", "DESCRIBES", "HEADS", "IN_TIME", "TIGHT", "USABLE", "USED", "Diagnosis", "cell"]

DESCRIBES = "Does it describe these data?"
TIGHT = "Is the bound tight?"
USABLE = "Is q(z|x) usable for each datum?"
USED = "Are all latents used?"
CONVERGED = "Has training converged?"
IN_TIME = "Did training stop in time?"
FAULTS = {
    TIGHT: {"usable": "the ELBO is below log p(x)", "bad": "the ELBO is far below log p(x)"},
    USABLE: {
        "usable": "q(z|x) cannot stand for the posterior of some data",
        "bad": "q(z|x) cannot stand for the posterior of many data",
    },
    USED: {"usable": "some latents carry nothing", "bad": "no latent carries anything"},
    CONVERGED: {"usable": "training may not have converged", "bad": "training has not converged"},
    IN_TIME: {"usable": "training went on a little too long", "bad": "training went on too long"},
}

HEADS = {
    "question": "question",
    "figure": "figure",
    "threshold": "threshold",
    "bad": "share bad",
    "verdict": "verdict",
    "action": "what to do",
}


@dataclass(frozen=True)
class Diagnosis:
    """The verdicts on one tree. Prints as a table; ``table`` is a DataFrame with a row per check.

    Attributes
    ----------
    table
        Columns question, figure, threshold, bad (share of the data or of the latents that is bad, or NaN), verdict
        ("good", "usable", "bad", "–" where there is nothing to judge, "not available") and action.
    title
        What was judged.
    """

    table: pd.DataFrame
    title: str

    @property
    def verdict(self) -> str:
        """The worst verdict of the table."""
        return next((v for v in ("bad", "usable", "good") if (self.table["verdict"] == v).any()), "not available")

    @property
    def summary(self) -> str:
        """The verdict in words."""
        missing = int((self.table["verdict"] == "not available").sum())
        rest = f" {missing} of {len(self.table)} checks could not be made; the table says why." if missing else ""
        if self.verdict == "not available":
            return "Nothing could be judged; the table says why."
        if self.verdict == "good":
            count = len(self.table) - missing
            some = "The one check made is good" if count == 1 else f"The {count} checks made are good"
            made = some if missing else "All checks are good"
            if self.table.set_index("question")["verdict"].get(USABLE) == "good":
                made += ": the draws can stand for the posterior"
            return f"{made}.{rest}"
        bad = self.table[self.table["verdict"] == self.verdict]
        faults = "; ".join(FAULTS[q][self.verdict] for q in bad["question"])
        lead = "Not to be trusted as it is" if self.verdict == "bad" else "Usable with care"
        return f"{lead}: {faults}. First: {bad['action'].iloc[0]}.{rest}"

    def __str__(self) -> str:
        return _text(self)

    def _repr_html_(self) -> str:
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell(c, v))}</td>" for c, v in row.items()) + "</tr>"
            for _, row in self.table.iterrows()
        )
        head = "".join(f"<th>{html.escape(HEADS[c])}</th>" for c in HEADS)
        title, summary = html.escape(self.title), html.escape(self.summary)
        return f"<p><b>{title}</b></p><table><tr>{head}</tr>{rows}</table><p>{summary}</p>"


def cell(column: str, value: Any) -> str:
    """A value of the table in words."""
    if column == "bad":
        return "–" if pd.isna(value) else f"{100 * value:.0f} %"
    return str(value)


def _width(text: str) -> int:
    """Columns on a terminal: a combining accent takes none."""
    return sum(not unicodedata.combining(c) for c in text)


def _text(diagnosis: Diagnosis) -> str:
    columns = [c for c in HEADS if c != "action"]
    cells = [[HEADS[c] for c in columns]] + [
        [cell(c, row[c]) for c in columns] for _, row in diagnosis.table.iterrows()
    ]
    widths = [max(_width(row[i]) for row in cells) for i in range(len(columns))]
    lines = [diagnosis.title, ""]
    for index, row in enumerate(cells):
        lines.append(
            "  ".join(text + " " * (width - _width(text)) for text, width in zip(row, widths, strict=True)).rstrip()
        )
        if index == 0:
            lines.append("  ".join("─" * width for width in widths))
        else:
            action = diagnosis.table["action"].iloc[index - 1]
            if action != "–" and diagnosis.table["verdict"].iloc[index - 1] != "–":
                lines += textwrap.wrap(action, 100, initial_indent="    → ", subsequent_indent="      ")
    return "\n".join([*lines, "", *textwrap.wrap(diagnosis.summary, 110)])
