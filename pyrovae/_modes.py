"""Training and evaluation modes, put back module by module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["evaluating", "training_modes"]


@contextmanager
def evaluating(program: nn.Module) -> Iterator[None]:
    """A block in ``eval`` mode, after which each module has the mode it had."""
    modes = [(module, module.training) for module in program.modules()]
    program.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def training_modes(program: nn.Module) -> Iterator[None]:
    """A block in which the program trains; modules that were set to ``eval`` inside a training one stay frozen."""
    modes = [(module, module.training) for module in program.modules()]
    if not program.training:
        program.train()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
