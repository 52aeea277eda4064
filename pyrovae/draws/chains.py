"""The chains of a fit, or the one of a program, each with its weights in place while it is used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyrovae.program import Program, as_program
from pyrovae.svi.result import Fit

__all__ = ["Chains"]


class Chains:
    """Iterates over (index, program)."""

    def __init__(self, fit: Any) -> None:
        self.fit = fit if isinstance(fit, Fit) else None
        self.program: Program = fit.program if isinstance(fit, Fit) else as_program(fit)

    def __len__(self) -> int:
        return 1 if self.fit is None else len(self.fit.chains)

    def __iter__(self) -> Iterator[tuple[int, Program]]:
        if self.fit is None or len(self.fit.chains) == 1:
            yield 0, self.program
            return
        for index in range(len(self.fit.chains)):
            with self.fit.chain(index):
                yield index, self.program

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """A block in which the program is in ``eval`` mode."""
        training = self.program.training
        self.program.eval()
        try:
            yield
        finally:
            self.program.train(training)
