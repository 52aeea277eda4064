"""Steps that several processes take together: each computes the gradient of its share of the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from pyrovae._record import NotRecordable
from pyrovae._rng import preserved
from pyrovae.program import Batch
from pyrovae.svi.engines.recording import tensors_of
from pyrovae.svi.engines.share import Share, share_of
from pyrovae.svi.engines.traced import Recordings, Traced
from pyrovae.svi.loss import Loss
from pyrovae.svi.processes import Processes

if TYPE_CHECKING:
    from pyrovae.svi.run import Run

__all__ = ["Sharded", "cannot_share", "check_shareable"]

# Relative, between the gradient of a batch and the sum of those of its shares, each rounded where products are.
CLOSE = {"float32": 1e-4, "bf16": 2.0**-6}


def cannot_share(why: str, size: int) -> str:
    """What is said of a fit that several processes cannot share."""
    return f"{size} processes cannot share the batches of this fit: {why}. Fit it in one process, without torchrun"


def check_shareable(run: Run) -> str:
    """What several processes do, in a few words.

    Raises
    ------
    ValueError
        If it is known beforehand that they cannot.
    """
    size, objective, name = run.processes.size, run.objective, type(run.objective.elbo).__name__
    made = getattr(run.optimizer, "func", run.optimizer)
    modules = [*run.program.modules(), *objective.modules]
    if run.batch_size < size:
        raise ValueError(f"batch_size: expected at least {size}, a datum for each process, got {run.batch_size}")
    if run.engine == "eager":
        raise ValueError(cannot_share("they run a recording of it, and engine='eager' was asked for", size))
    if made is torch.optim.LBFGS:
        raise ValueError(cannot_share("L-BFGS evaluates the loss several times in a step", size))
    if not objective.differentiable:
        raise ValueError(cannot_share(f"{name} differentiates by itself", size))
    if objective.least > 1 or getattr(objective.elbo, "game", False):
        raise ValueError(cannot_share(f"{name} compares the data of a batch with each other or with a critic", size))
    if any(isinstance(module, _BatchNorm) and module.training for module in modules):
        raise ValueError(
            cannot_share("batch normalisation takes its mean from the whole batch (norm='layer' does not)", size)
        )
    return f"{size} processes share each batch"


class Sharded(Traced):
    """As `Traced`, with each batch shared among processes, which come to what one would, but for rounding.

    With b of N data in a batch and m of them in a share, the loss of the share has weights 1/m and 1/N for terms inside
    and outside the plate: weighted by m/b, the losses of the shares add up to that of the batch, and so do their
    gradients. What the program draws is drawn for the whole batch by each process, from the same random state. That the
    sum is that of the whole batch is looked at with the first batch, and in epochs 1, 2, 4, 8, ….

    The first step of a run, and batches with fewer data than there are processes, are computed whole by each of them.
    """

    name = "sharded"

    def __init__(
        self,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        clip_norm: float | None,
        recordings: Recordings,
        processes: Processes,
    ) -> None:
        super().__init__(loss, optimizer, clip_norm, recordings)
        self.processes = processes
        self.shares: dict[Any, Share] = {}
        self.proven: set[Any] = set()

    def epoch(self, batches: Iterable[Batch], *, first: bool = False) -> list[Any]:
        """As `Traced.epoch`.

        Raises
        ------
        NotRecordable
            If the program cannot be recorded, or a batch of it cannot be shared.
        """
        losses: list[Any] = []
        if first:
            self.recordings.admit()
        look = self.recordings.begin()
        if self.processes.any(look or not self.recordings.made):  # in one of them the program may have changed
            self.proven.clear()
        for batch in batches:
            if first and not losses:
                self._share(batch)
                losses += self.eager.epoch([batch], first=True)
                self._align(batch)
                continue
            if look and not losses:
                for some in (batch, self._part(batch)):
                    self.recordings.audit(some)
            losses.append(self.step(batch))
        if self.updated is not None:
            self.updated.show()
        return losses

    def step(self, batch: Batch, drawn: tuple[Callable[..., list[Tensor]], list[Tensor]] | None = None) -> Any:
        """As `Traced.step`."""
        share = self._share(batch)
        if share is None:
            loss = super().step(batch)
            self._align(batch)
            return loss
        whole, part = share.whole, share.part
        with torch.no_grad():
            noise = share.noise()
            values = share.rest(*noise, *part.state.tensors, *tensors_of(self._part(batch)))
            return self.take(whole, self._together(share, values, len(batch)))

    def _align(self, batch: Batch) -> None:
        """After a step that each took by itself, where the rounding of an accelerator may not be the same."""
        held = [t for state in self.optimizer.state.values() for t in state.values() if isinstance(t, Tensor)]
        self.processes.broadcast([*self.recordings.of(batch).state.tensors, *held])

    def _part(self, batch: Batch) -> Batch:
        return batch.take(self.processes.share(len(batch)))

    def _together(self, share: Share, values: list[Tensor], size: int) -> list[Tensor]:
        """Loss, gradients and what was noted, of the shares made into those of the batch; buffers stay as they are."""
        rows = self.processes.share(size)
        loss, gradients, buffers, sums = share.part.split(values)
        weight = (rows.stop - rows.start) / size
        added = self.processes.sums([*(weight * t for t in (loss, *gradients)), *sums])
        cut = 1 + len(gradients)
        return [*added[:cut], *buffers, *added[cut:]]

    def _share(self, batch: Batch) -> Share | None:
        """How to share batches of this shape; None if they are too small."""
        if len(batch) < self.processes.size:
            return None
        key = tuple((t.shape, t.dtype) for t in tensors_of(batch))
        whole, part = self.recordings.of(batch), self.recordings.of(self._part(batch))
        share = self.shares.get(key)
        if share is None or share.whole is not whole or share.part is not part:
            share = self.shares[key] = share_of(whole, part, self.processes, len(batch))
        if key not in self.proven:  # in all processes at once
            with preserved(), torch.no_grad():
                self._prove(share, batch)
            self.proven.add(key)
        return share

    def _prove(self, share: Share, batch: Batch) -> None:
        """Compare the sum of the shares with the whole batch, on the same noise; nothing of the program changes.

        Raises
        ------
        NotRecordable
            If they differ.
        """
        tensors = share.whole.state.tensors
        both = [[t.detach().clone() for t in tensors] for _ in range(2)]
        state = torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        values = share.whole.replay(*both[0], *tensors_of(batch))
        torch.set_rng_state(state[0])
        torch.cuda.set_rng_state_all(state[1])
        ours = share.rest(*share.noise(), *both[1], *tensors_of(self._part(batch)))
        added = share.part.split(self._together(share, ours, len(batch)))
        expected = share.whole.split(values)
        names = ["loss", *(f"gradient of {self._named(tensors[i])}" for i in share.whole.trained), *share.whole.noted]
        pairs = zip((added[0], *added[1], *added[3]), (expected[0], *expected[1], *expected[3]), strict=True)
        largest = max(float(g.abs().max()) for g in expected[1])
        close = CLOSE[self.recordings.loss.precision]
        off = [name for name, (a, b) in zip(names, pairs, strict=True) if not _close(a, b, largest, close)]
        kept = [*zip(both[1], both[0], tensors, strict=True)]
        kept += [(a, b, tensors[i]) for i, a, b in zip(share.part.reassigned, added[2], expected[2], strict=True)]
        off += [f"buffer {self._named(t)}" for a, b, t in kept if not _close(a, b, 0.0, close)]
        if self.processes.any(bool(off)):
            raise NotRecordable(
                f"its data depend on the others of their batch: computed in {self.processes.size} shares, the "
                f"{', the '.join(off[:3]) or 'shares of another process'} of a batch is not that of the whole"
            )

    def _named(self, tensor: Tensor) -> str:
        loss = self.recordings.loss
        named = chain(loss.program.named_parameters(), loss.program.named_buffers(), loss.named_parameters())
        return next((name for name, value in named if value is tensor), "one that it holds")


def _close(ours: Tensor, theirs: Tensor, largest: float, close: float) -> bool:
    """Equal but for the rounding of sums in another order; what is not finite is the step's to tell."""
    if ours.shape != theirs.shape:
        return False
    if not ours.numel() or not bool(torch.isfinite(theirs).all()):
        return True
    ours, theirs = ours.double(), theirs.double()
    scale, off = float(theirs.abs().max()), float((ours - theirs).abs().max())
    return off <= close * (scale + 1e-2 * largest) + 1e-12
