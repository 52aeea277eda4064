"""Tables that are aligned as they are and read as Markdown."""

from __future__ import annotations

from typing import Any

__all__ = ["markdown", "of_case"]


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """The first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells: list[str]) -> str:
        padded = [c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return f"| {' | '.join(padded)} |"

    rule = [("-" * (w - 1) + ":") if i else "-" * w for i, w in enumerate(widths)]
    return "\n".join([line(head), line(rule), *map(line, rows)])


def of_case(found: dict[str, dict[str, Any]], per: str) -> str:
    """A row for each contestant; below, what did not run as asked."""
    rows, notes = [], []
    for name, figures in found.items():
        if "failed" in figures:
            rows.append([name, *"––––––"])
            notes.append(f"{name}: {figures['failed']}")
            continue
        if figures.get("ran", name.split("-")[-1]) not in name:
            notes.append(f"{name} ran {figures['ran']}: {figures['why']}")
        spread = "{:.2f} – {:.2f}".format(*figures["quartiles"]) if "quartiles" in figures else "–"
        ratio = f"{figures['ratio']:.2f}" if "ratio" in figures else "–"
        first, peak, grew = figures["set_up"], figures["peak"], figures["peak"] - figures["before"]
        times = f"{1e3 * figures['seconds']:.3f}", ratio, spread, f"{first:.1f}"
        rows.append([name, *times, f"{peak:,.0f}", f"{grew:,.0f}"])
    text = markdown(["", f"ms a {per}", "ratio", "quartiles", "set-up, s", "peak MiB", "above imports"], rows)
    return "\n".join([text, *notes])
