"""The record of a chain, and of all chains as an xarray Dataset."""

from __future__ import annotations

import importlib.metadata
import math
import platform
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["History", "to_dataset", "versions"]

FIELDS = ("elbo", "elbo_validation", "learning_rate", "seconds")


@dataclass
class History:
    """ELBO by step and by epoch of one chain, nats per datum.

    Epochs before ``settled``, in which a schedule still changes what is raised, are not compared with others.
    """

    steps: list[float] = field(default_factory=list)
    epochs: list[tuple[float, float, float, float]] = field(default_factory=list)
    measures: dict[str, list[float]] = field(default_factory=dict)
    stopped: bool = False
    settled: int = 0

    def __post_init__(self) -> None:
        self._rows = array("d", chain.from_iterable(self.epochs))  # the same, to be looked at without a conversion

    def add(
        self,
        elbo: float,
        validation: float | None,
        rate: float,
        seconds: float,
        measures: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Close an epoch; ``measures`` are what the objective tells of it."""
        self.epochs.append((elbo, math.nan if validation is None else validation, rate, seconds))
        self._rows.extend(self.epochs[-1])
        for name, value in measures.items():
            self.measures.setdefault(name, []).append(value)

    def _criterion(self) -> np.ndarray:
        """What ranks epochs: the validation bound where there is one; what is not finite ranks last, and so does what
        is of another objective than the last epoch."""
        values = np.frombuffer(self._rows).reshape(-1, len(FIELDS))
        held_out = bool(np.isfinite(values[:, 1]).any())
        values = np.where(np.isfinite(values[:, int(held_out)]), values[:, int(held_out)], -np.inf)
        values[: min(self.settled, len(values) - 1)] = -np.inf
        return values

    def is_best(self) -> bool:
        """Whether the last epoch is the best so far."""
        return self.since_best() == 0

    def since_best(self) -> int:
        """Epochs since the best one."""
        values = self._criterion()
        return len(values) - 1 - int(values.argmax())

    def quality(self, kept_best: bool) -> float:
        """What ranks chains: the best epoch where its weights are kept, else the mean of the last tenth."""
        values = self._criterion()
        return float(values.max() if kept_best else values[-max(1, len(values) // 10) :].mean())

    def kept(self, kept_best: bool) -> int:
        """The epoch whose weights the chain has."""
        return int(self._criterion().argmax()) if kept_best else len(self.epochs) - 1

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "steps": torch.tensor(self.steps, dtype=torch.float64),
            "epochs": torch.tensor(self.epochs, dtype=torch.float64).reshape(-1, len(FIELDS)),
            "measures": {name: torch.tensor(v, dtype=torch.float64) for name, v in self.measures.items()},
            "stopped": self.stopped,
            "settled": self.settled,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> History:
        """From a checkpoint."""
        return cls(
            state["steps"].tolist(),
            [tuple(row) for row in state["epochs"].tolist()],
            {name: values.tolist() for name, values in state.get("measures", {}).items()},
            state["stopped"],
            state.get("settled", 0),
        )


def to_dataset(histories: list[History], *, kept_best: bool, label: str = "ELBO") -> xr.Dataset:
    """All chains side by side, shorter ones filled up with NaN; see `Fit.history`. ``label`` says what was raised."""
    import xarray as xr

    def pad(rows: list[np.ndarray]) -> np.ndarray:
        out = np.full((len(rows), max(map(len, rows), default=0)), np.nan)
        for row, values in zip(out, rows, strict=True):
            row[: len(values)] = values
        return out

    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    variables["elbo_step"] = (("chain", "step"), pad([np.asarray(h.steps) for h in histories]))
    for index, name in enumerate(FIELDS):
        values = pad([np.asarray([e[index] for e in h.epochs]) for h in histories])
        if name != "elbo_validation" or np.isfinite(values).any():
            variables[name] = (("chain", "epoch"), values)
    for name in dict.fromkeys(name for h in histories for name in h.measures):
        variables[name] = (("chain", "epoch"), pad([np.asarray(h.measures.get(name, [])) for h in histories]))
    variables["kept_epoch"] = (("chain",), np.asarray([h.kept(kept_best) for h in histories]))
    dataset = xr.Dataset(variables, attrs={"units": "nats per datum", "objective": label})
    if settled := max((h.settled for h in histories), default=0):
        dataset.attrs["settled"] = settled
    return dataset.assign_coords({str(dim): np.arange(size) for dim, size in dataset.sizes.items()})


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    names = ("pyrovae", "torch", "pyro-ppl", "arviz", "xarray", "numpy")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
