"""The verdicts on a tree: a table, in text and HTML, and a summary in words."""

from __future__ import annotations

import html
import textwrap
import unicodedata
from dataclasses import dataclass
from typing import Any

import pandas as pd

__all__ = ["HEADS", "Diagnosis", "cell"]

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
        ("good", "usable", "bad", "–" where there is nothing to judge, "not available"), action, the one most likely to
        help and why, fault, what is wrong in a few words, and first, the place of the fault in the order of mending.
    title
        What was judged.
    core
        The question without whose answer nothing is called good.
    draws
        What can stand for the posterior where all is good.
    """

    table: pd.DataFrame
    title: str
    core: str
    draws: str = "the draws"

    @property
    def verdict(self) -> str:
        """The worst verdict of the table; "not available" rather than "good" where the core question has no answer."""
        found = next((v for v in ("bad", "usable", "good") if (self.table["verdict"] == v).any()), "not available")
        return "not available" if found == "good" and self._answer(self.core) != "good" else found

    @property
    def faults(self) -> list[str]:
        """What is wrong, in a few words each, in the order in which it should be mended."""
        wrong = self.table[self.table["verdict"].isin(["usable", "bad"])]
        return [str(fault) for fault in wrong.sort_values("first", kind="stable")["fault"]]

    @property
    def summary(self) -> str:
        """The verdict in words."""
        missing = int((self.table["verdict"] == "not available").sum())
        judged = int(self.table["verdict"].isin(["good", "usable", "bad"]).sum())
        rest = f" {missing} of {judged + missing} checks could not be made; the table says why." if missing else ""
        if self.faults:
            wrong = self.table[self.table["verdict"].isin(["usable", "bad"])].sort_values("first", kind="stable")
            lead = "Not to be trusted as it is" if self.verdict == "bad" else "Usable with care"
            return f"{lead}: {'; '.join(self.faults)}. First: {wrong['action'].iloc[0]}.{rest}"
        if not judged:
            return "Nothing could be judged; the table says why."
        if self.verdict == "not available":
            return f"Nothing wrong was seen, and the main question was not answered: {self.core}{rest}"
        made = "All checks are good" if not missing else f"The {judged} checks made are good"
        return f"{made}: {self.draws} can stand for the posterior.{rest}"

    def _answer(self, question: str) -> str:
        return str(self.table.set_index("question")["verdict"].get(question, "not available"))

    def __str__(self) -> str:
        return _text(self)

    def _repr_html_(self) -> str:
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell(c, row[c]))}</td>" for c in HEADS) + "</tr>"
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
    lines, told = [diagnosis.title, ""], set[str]()
    for index, row in enumerate(cells):
        lines.append(
            "  ".join(text + " " * (width - _width(text)) for text, width in zip(row, widths, strict=True)).rstrip()
        )
        if index == 0:
            lines.append("  ".join("─" * width for width in widths))
        else:
            action = diagnosis.table["action"].iloc[index - 1]
            if action != "–" and diagnosis.table["verdict"].iloc[index - 1] != "–":
                told, action = {action} | told, "as above" if action in told else action
                lines += textwrap.wrap(action, 100, initial_indent="    → ", subsequent_indent="      ")
    return "\n".join([*lines, "", *textwrap.wrap(diagnosis.summary, 110)])
