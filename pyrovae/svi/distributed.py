"""Several processes that run the same call: how they find each other, and what the first of them does alone."""

from __future__ import annotations

import atexit
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from pyrovae.svi.processes import TIMEOUT, ProcessError, Processes

if TYPE_CHECKING:
    from pyrovae.svi.batches import Batches

__all__ = ["by_first", "in_order", "is_first", "joined"]

NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """A block that several processes run alike, if this is one of several; one that fails tells the others.

    They are those of `torch.distributed` if it is initialised, else those that torchrun started, which are then made
    to know each other. Warnings are the first one's alone.

    Raises
    ------
    ValueError
        If the environment names several processes and not where they meet.
    """
    if not _several(device):
        yield Processes()
        return
    backend = "nccl" if device.type == "cuda" and "nccl" in dist.get_backend() else "gloo"
    try:
        group: Any = dist.new_group(timeout=TIMEOUT, backend=backend)
    except RuntimeError as error:
        raise ProcessError(f"process {dist.get_rank()} did not find the others: {error}") from error
    store = dist.distributed_c10d.PrefixStore(f"pyrovae {group.group_name}", _store())
    own = device if backend == "nccl" else "cpu"
    processes = Processes(dist.get_rank(), dist.get_world_size(), group, store, own)
    del group
    try:
        if store.add("here", 1) == processes.size:
            store.set("all here", "")
        processes.wait_for("all here")  # before one fails, and is gone when another still looks for it
        with warnings.catch_warnings():
            if not processes.first:
                warnings.simplefilter("ignore")
            yield processes
    except BaseException as error:
        with suppress(RuntimeError):
            store.set(f"failed/{processes.rank}", f"{type(error).__name__}: {error}"[:2000])
        raise
    finally:
        processes._leave()


def in_order(batches: Batches) -> float | None:
    """A figure that tells data in this order from the same in another; None of those that stay on disk."""
    if batches.stored is not None:
        return None
    rows = torch.nan_to_num(batches.x.double()).reshape(len(batches), -1).sum(1)
    return float((rows * torch.arange(1, len(batches) + 1, device=rows.device)).sum())


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    return not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0


def by_first(name: str, function: Callable[[], Any]) -> None:
    """Let the first process do something, and the others that ask for it wait until it is done.

    Raises
    ------
    ProcessError
        In the others, if it failed.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        function()
        return
    rank, store = dist.get_rank(), dist.distributed_c10d.PrefixStore(f"pyrovae {name}", _store())
    told = f"done {store.add(f'asked {rank}', 1)}"
    if rank:
        said = Processes(rank, dist.get_world_size(), store=store).wait_for(told)
        if said:
            raise ProcessError(f"process 0 could not {name}: {said}")
        return
    try:
        function()
    except BaseException as error:
        store.set(told, f"{type(error).__name__}: {error}")
        raise
    store.set(told, "")


def _several(device: torch.device) -> bool:
    """Whether this is one of several processes, which know each other afterwards."""
    if not dist.is_available():
        return False
    if not dist.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return False
        if missing := [name for name in NEEDED if name not in os.environ]:
            raise ValueError(
                f"the environment says WORLD_SIZE={os.environ['WORLD_SIZE']} and lacks {', '.join(missing)}, so that "
                "the processes cannot find each other: start them with torchrun, or unset WORLD_SIZE"
            )
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
        atexit.register(_end)
    return bool(dist.get_world_size() > 1)


def _store() -> Any:
    return dist.distributed_c10d._get_default_store()


def _end() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
