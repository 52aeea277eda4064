"""Steps as machine code: the recorded graph and the optimiser through Inductor, several steps in a call."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from pyrovae.program import Batch
from pyrovae.svi.engines.block import Block, NotCompilable
from pyrovae.svi.engines.recording import Recording
from pyrovae.svi.engines.traced import Recordings, Traced
from pyrovae.svi.loss import Loss
from pyrovae.svi.optimizers import is_plain_adam

__all__ = ["Compiled", "NotCompilable", "missing_compiler", "steps_at_once"]

MOST = 8  # steps in a call: more make the code long, and gain little
LIGHT = 3e7  # multiplications of a step, above which a call for each costs nothing beside it


def missing_compiler(device: torch.device) -> str | None:
    """What this machine lacks to compile for a device; None if nothing."""
    if device.type == "cuda":
        try:
            importlib.import_module("triton")
        except ImportError:
            return "to compile for a GPU Triton is needed (pip install triton)"
        return None
    named = os.environ.get("CXX")
    if any(shutil.which(name) for name in ([named] if named else ["g++", "clang++", "c++"])):
        return None
    return "no C++ compiler was found: install g++ (on Debian and Ubuntu: apt install g++), or set CXX"


def steps_at_once(multiplications: float, steps: int) -> int:
    """How many of an epoch's steps to take in one call: up to eight where they are light, so that few are left over.

    >>> [steps_at_once(1e6, steps) for steps in (1, 7, 13, 15, 600)], steps_at_once(1e9, 600)
    ([1, 7, 6, 5, 8], 1)
    """
    if multiplications > LIGHT:
        return 1
    return max(range(1, min(MOST, max(1, steps)) + 1), key=lambda k: (steps // k * k if k > 3 else 0, k))


class Compiled(Traced):
    """Blocks of steps on full batches by compiled code; what is left over in an epoch, and the first one, as `Traced`.

    Parameters
    ----------
    loss, optimizer, clip_norm, recordings
        As of `Traced`.
    full, quiet
        How many full batches an epoch has, and whether they come without a draw.
    note
        Told before something that takes long.
    """

    name = "compiled"

    def __init__(
        self,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        clip_norm: float | None,
        recordings: Recordings,
        full: int,
        *,
        quiet: bool,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__(loss, optimizer, clip_norm, recordings)
        self.full, self.quiet, self.note = full, quiet, note
        self.blocks: dict[int, tuple[Recording, Block]] = {}

    def forget(self) -> None:
        """As `Traced.forget`."""
        super().forget()
        self.blocks.clear()

    def epoch(self, batches: Iterable[Batch], *, first: bool = False) -> list[Any]:
        """As `Traced.epoch`.

        Raises
        ------
        NotRecordable
            If the program cannot be recorded.
        NotCompilable
            If its recording cannot be compiled, or comes to other numbers when it is.
        """
        batches = iter(batches)
        if first or not self.full:
            return super().epoch(batches, first=first)
        if not is_plain_adam(self.optimizer):
            raise NotCompilable("only plain torch.optim.Adam is compiled with the steps")
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None  # rather none than that of another step
        try:
            return self._epoch(batches)
        finally:
            self._settle()

    def step(self, batch: Batch, drawn: tuple[Callable[..., list[Tensor]], list[Tensor]] | None = None) -> Any:
        """As `Traced.step`."""
        self._settle()
        return super().step(batch, drawn)

    def _epoch(self, batches: Iterator[Batch]) -> list[Any]:
        losses: list[Any] = []
        look = self.recordings.begin()
        block: Block | None = None
        done = 0
        while done < self.full:
            batch = next(batches)
            if look:
                self.recordings.audit(batch)
                for _, made in self.blocks.values():
                    made.checked = False
                look = False
            if block is None or self.recordings.unproven:
                block = self._block(batch)  # of all full batches
            if done + block.steps > self.full:
                losses.append(self.step(batch))
                done += 1
                continue
            some = block.run(batch, islice(batches, block.steps - 1))
            losses += some if isinstance(some, list) else [some]
            done += block.steps
        return losses + [self.step(batch) for batch in batches]

    def _settle(self) -> None:
        for _, block in self.blocks.values():
            block.settle()

    def _block(self, batch: Batch) -> Block:
        recording = self.recordings.of(batch)
        if id(recording) not in self.blocks:
            weights = sum(recording.state.tensors[i].numel() for i in recording.trained)
            steps = steps_at_once(3.0 * len(batch) * weights, self.full)
            self.blocks[id(recording)] = (
                recording,
                Block(self, recording, batch, steps, quiet=self.quiet, note=self.note),
            )
        return self.blocks[id(recording)][1]
