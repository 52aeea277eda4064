"""What a fit returns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pyrovae.program import Program

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["EpochEnd", "Fit", "NonFiniteError"]


@dataclass(frozen=True)
class EpochEnd:
    """What a callback is told after each epoch; a callback that returns True stops the chain.

    ``elbo`` and ``validation`` are in nats per datum; ``validation`` is None without validation data.
    """

    program: Program
    chain: int
    epoch: int
    epochs: int
    elbo: float
    validation: float | None
    learning_rate: float


@dataclass
class Fit:
    """A trained program with its history.

    Attributes
    ----------
    program
        Holds the weights of the best chain: highest validation ELBO, or training ELBO without validation data.
    history
        Dataset in nats per datum: ``elbo_step`` (chain, step) as seen in training; ``elbo`` (chain, epoch), its mean
        over the data; ``elbo_validation`` (chain, epoch); ``learning_rate`` and ``seconds`` (chain, epoch);
        ``kept_epoch`` (chain), the epoch whose weights the chain has. Chains that stopped early are filled up with NaN.
        Of another objective than the ELBO these are −loss: ``attrs["objective"]`` says what it is, and what it tells
        of itself, such as a weight that follows a schedule, stands beside it (chain, epoch).
    settings
        Arguments, sizes and versions, as JSON types.
    chains
        The weights of each restart.
    """

    program: Program
    history: xr.Dataset
    settings: dict[str, Any]
    chains: list[dict[str, Tensor]]

    @property
    def best(self) -> int:
        """Index of the chain whose weights the program holds."""
        return int(self.settings["best_chain"])

    @contextmanager
    def chain(self, index: int) -> Iterator[Program]:
        """A block in which the program holds the weights of one chain."""
        before = {name: value.detach().clone() for name, value in self.program.weights().items()}
        self.program.load_weights(self.chains[index])
        try:
            yield self.program
        finally:
            self.program.load_weights(before)

    def save(self, directory: str | Path, *, overwrite: bool = False) -> Path:
        """Write weights, history and settings into a folder, which `pyrovae.load` reads: safetensors and JSON.

        Raises
        ------
        FileExistsError
            If the folder holds a run and ``overwrite`` is False.
        """
        from pyrovae.svi.folder import save

        return save(self, directory, overwrite=overwrite)

    def __repr__(self) -> str:
        elbo = self.history["elbo"].isel(chain=self.best).dropna("epoch")
        text = f"Fit({len(elbo)} epochs, {len(self.chains)} chain{'s' if len(self.chains) > 1 else ''}"
        if len(elbo):
            text += f", {self.history.attrs.get('objective', 'ELBO')} {elbo.values[-1]:.2f}"
        if "elbo_validation" in self.history:
            text += (
                f", validation {self.history['elbo_validation'].isel(chain=self.best).dropna('epoch').values[-1]:.2f}"
            )
        return text + " nats per datum)"


class NonFiniteError(FloatingPointError):
    """The loss or a gradient was not finite. ``fit`` holds the last finite weights and the history so far."""

    def __init__(self, message: str, fit: Fit) -> None:
        super().__init__(message)
        self.fit = fit
