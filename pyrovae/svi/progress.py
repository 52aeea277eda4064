"""The progress bar: epochs, rate, time left, and the bound."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(show: bool, chains: int, epochs: int, label: str = "ELBO") -> Iterator[_Bar]:
    """A bar on a terminal or in a notebook, else one line at the end; nothing if not ``show``.

    ``label`` says what is raised.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    console = Console(stderr=True)
    live = show and _live(console)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeLeft(elapsed_when_finished=True, compact=True),
        TextColumn("{task.fields[elbo]}"),
    )
    with Progress(*columns, console=console, refresh_per_second=4, disable=not live) as progress:
        bar = _Bar(progress, chains, epochs, label)
        yield bar
    if show:
        console.print(f"engine: {bar.engine}", highlight=False, soft_wrap=True)
    if show and not live:
        console.print(bar.summary(), highlight=False, soft_wrap=True)


def _live(console: Any) -> bool:
    return bool(console.is_terminal or console.is_jupyter or "ipykernel" in sys.modules)


class _Bar:
    """Counts steps, and draws at most ten times a second."""

    def __init__(self, progress: Any, chains: int, epochs: int, label: str) -> None:
        self.progress, self.chains, self.epochs, self.label = progress, chains, epochs, label
        self.began = self.drawn = time.monotonic()
        self.count = 0
        self.text = self.engine = ""
        self.task: Any = None
        self.abreast = False  # one line for all chains

    def drop(self) -> None:
        """What was begun is begun again: its line and its steps count no more."""
        if self.task is not None:
            self.progress.remove_task(self.task)
        self.task, self.count, self.abreast = None, 0, False

    def start(self, chain: int, epoch: int) -> None:
        if self.abreast and chain:
            return
        several = f"{self.chains} chains abreast" if self.abreast else f"chain {chain + 1} of {self.chains}"
        name = "epochs" if self.chains == 1 else f"{several}, epochs"
        self.task = self.progress.add_task(name, total=self.epochs, completed=epoch, rate="", elbo="")

    def step(self, count: int) -> None:
        self.count += count

    def note(self, text: str) -> None:
        """Say why the bar stands still for a while."""
        if not self.progress.disable:
            self.progress.console.print(text, style="dim")

    def epoch(self, epoch: int, elbo: float, validation: float | None) -> None:
        now = time.monotonic()
        self.text = f"{self.label} {elbo:.2f}" + ("" if validation is None else f", validation {validation:.2f}")
        last = epoch + 1 == self.epochs
        if last or now - self.drawn > 0.1:
            rate = self.count / max(now - self.began, 1e-9)
            self.drawn = now
            self.progress.update(self.task, completed=epoch + 1, rate=f"{rate:,.0f} steps/s", elbo=self.text)

    def summary(self) -> str:
        seconds = time.monotonic() - self.began
        rate = self.count / max(seconds, 1e-9)
        return f"fit: {self.count:,} steps in {seconds:.1f} s ({rate:,.0f} steps/s), {self.text} nats per datum"
