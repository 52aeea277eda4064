"""What processes that share the same call tell each other, and how they learn that one of them has failed."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["TIMEOUT", "ProcessError", "Processes"]

TIMEOUT = timedelta(minutes=30)  # of a process that neither ends nor answers


class ProcessError(RuntimeError):
    """Another process failed, or holds something else than this one does."""


class Processes:
    """This process among those that run the same call; by itself, it is the first of one.

    Parameters
    ----------
    rank, size
        Which one it is, from 0, and how many there are.
    group
        Their group of `torch.distributed`, None for one alone.
    store
        Where each can leave a word for the others.
    device
        That of the tensors that they exchange.
    """

    def __init__(self, rank: int = 0, size: int = 1, group: Any = None, store: Any = None, device: Any = "cpu") -> None:
        self.rank, self.size, self.group, self.store, self.device = rank, size, group, store, device

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """This process's part of n data.

        >>> [Processes(rank, 3).share(10) for rank in range(3)]
        [slice(0, 4, None), slice(4, 7, None), slice(7, 10, None)]
        """
        return slice(-(-n * self.rank // self.size), -(-n * (self.rank + 1) // self.size))

    def sums(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Each tensor added up over the processes: those of one type are sent as one."""
        found = list(tensors)
        for kind in dict.fromkeys(t.dtype for t in tensors):
            places = [i for i, t in enumerate(tensors) if t.dtype == kind]
            flat = torch.cat([tensors[i].reshape(-1) for i in places])
            self._reduce(flat, dist.ReduceOp.SUM)
            for i, piece in zip(places, flat.split([tensors[i].numel() for i in places]), strict=True):
                found[i] = piece.view(tensors[i].shape)
        return found

    def any(self, here: bool) -> bool:
        """Whether it is so in one of them."""
        if self.size == 1:
            return here
        flag = torch.tensor([float(here)], device=self.device)
        self._reduce(flag, dist.ReduceOp.MAX)
        return bool(flag)

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Let these be, in place, what they are in the first process."""
        with torch.no_grad(), self._waiting():
            for tensor in tensors if self.size > 1 else ():
                held = tensor.detach().contiguous().to(self.device)
                dist.broadcast(held, group=self.group, group_src=0)
                tensor.copy_(held)

    def check_same(self, mine: Mapping[str, Any]) -> None:
        """All must have been given the same.

        Raises
        ------
        ProcessError
            Naming what differs.
        """
        if self.size == 1:
            return
        text = torch.tensor(list(json.dumps(mine, default=str).encode()), dtype=torch.uint8, device=self.device)
        length = torch.tensor([len(text)], device=self.device)
        self.broadcast([length])
        whole = text if self.first else torch.zeros(int(length), dtype=torch.uint8, device=self.device)
        self.broadcast([whole])
        theirs, ours = (json.loads(bytes(t.tolist())) for t in (whole, text))
        other = [f"{k}: {theirs.get(k)!r} there, {v!r} here" for k, v in ours.items() if not _equal(theirs.get(k), v)]
        if self.any(bool(other)):
            raise ProcessError(
                f"{self._name} was not given what the first one was ({'; '.join(other) or 'another differs'}): give "
                "all the same program, data and settings, and seed before the program is built; processes that are to "
                "train different things are started one by one, without torchrun"
            )

    def check_epoch(self, epoch: int, tensors: Sequence[Tensor], figures: Mapping[str, float], stop: bool) -> bool:
        """Whether one of them stops, at an epoch's end, at which all must hold the same weights and figures.

        Raises
        ------
        ProcessError
            If they do not.
        """
        if self.size == 1:
            return stop
        held = sum(float(t.detach().double().sum()) for t in tensors)
        known = {"weights": held, **figures}
        values = torch.nan_to_num(torch.tensor(list(known.values()), dtype=torch.float64))
        both = torch.cat([values, -values, torch.tensor([float(stop)])]).to(self.device)
        self._reduce(both, dist.ReduceOp.MAX)
        most, least, stops = both.cpu().split([len(known), len(known), 1])
        other = [name for name, a, b in zip(known, most, -least, strict=True) if a != b]
        if other:
            raise ProcessError(
                f"after epoch {epoch + 1} {self._name} and another one no longer have the same {' and '.join(other)}: "
                "a callback, or the program itself, does something else in each of them; let it do the same in all, "
                "from the seed that fit was given"
            )
        return bool(stops)

    def wait_for(self, key: str) -> str:
        """What another process says under this key, when it has said it.

        Raises
        ------
        ProcessError
            If one has failed, or says nothing for too long.
        """
        began, pause = time.monotonic(), 0.001
        while not self.store.check([key]):
            if failed := self._failed():
                raise ProcessError(f"{self._name} stopped, as {failed}")
            if time.monotonic() - began > TIMEOUT.total_seconds():
                raise ProcessError(f"{self._name} waited {TIMEOUT} for another one ({key})")
            time.sleep(pause)
            pause = min(0.1, 2 * pause)
        return str(self.store.get(key).decode())

    @property
    def _name(self) -> str:
        return f"process {self.rank} of {self.size}"

    def _reduce(self, tensor: Tensor, operation: Any) -> None:
        with self._waiting():
            dist.all_reduce(tensor, operation, group=self.group)

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """A block in which another process may fail."""
        try:
            yield
        except RuntimeError as error:
            raise ProcessError(
                f"{self._name} stopped, as {self._failed() or f'another one is gone: {error}'}"
            ) from error

    def _failed(self) -> str:
        """Which processes have said that they failed, and why."""
        with suppress(RuntimeError):  # where the store itself was one of theirs
            keys = {rank: f"failed/{rank}" for rank in range(self.size) if rank != self.rank}
            said = [(rank, self.store.get(key).decode()) for rank, key in keys.items() if self.store.check([key])]
            own = [(r, why) for r, why in said if not why.startswith(ProcessError.__name__)] or said
            return "; ".join(f"process {rank} failed: {why}" for rank, why in own)
        return ""

    def _leave(self) -> None:
        """Close the connections, at which the others wake up; nothing else may refer to the group."""
        group, self.group = self.group, None
        with suppress(RuntimeError, ValueError):
            dist.destroy_process_group(group)


def _equal(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_equal, ours, theirs))
    if isinstance(ours, float) and isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=1e-9) or ours != ours != theirs
    return bool(ours == theirs)
