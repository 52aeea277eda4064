"""What every test shares: a seed, no screen, and a check that nothing global is left changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import matplotlib
import pyro
import pytest
import torch
from pyro.poutine import runtime

matplotlib.use("Agg")

import matplotlib.pyplot as plt

import pyrovae.guides  # noqa: F401  before zuko, whose import turns the validation of distributions off for everyone

SEED = 0
MOST_FIGURES = 20


def _restore_store(_: Any) -> None:
    pyro.clear_param_store()


def _restore_settings(settings: dict[str, Any]) -> None:
    pyro.settings.set(**settings)


def _restore_handlers(_: Any) -> None:
    runtime._PYRO_STACK.clear()


# What is watched: how it is read, and how it is put back after a test that changed it, so that
# one fault is reported once. Pyro's settings hold the validation of its and torch's distributions.
WATCHED: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "names in pyro.get_param_store()": (
        lambda: sorted(pyro.get_param_store().keys()),
        _restore_store,
    ),
    "pyro.settings.get()": (lambda: dict(pyro.settings.get()), _restore_settings),
    "Pyro's stack of effect handlers": (
        lambda: [type(h).__name__ for h in runtime._PYRO_STACK],
        _restore_handlers,
    ),
    "torch.get_default_dtype()": (torch.get_default_dtype, torch.set_default_dtype),
    "torch.get_default_device()": (
        lambda: str(torch.get_default_device()),
        lambda _: torch.set_default_device(None),
    ),
    "torch.is_grad_enabled()": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch.are_deterministic_algorithms_enabled()": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "torch.get_num_threads()": (torch.get_num_threads, torch.set_num_threads),
}


def _read() -> dict[str, Any]:
    return {name: read() for name, (read, _) in WATCHED.items()}


def _difference(before: Any, after: Any) -> str:
    if isinstance(before, dict):
        changed = [k for k in after if before.get(k) != after[k]]
        return ", ".join(f"{k}: {before.get(k)!r} -> {after[k]!r}" for k in changed)
    return f"{before!r} -> {after!r}"


# Read once, before a fixture of wider scope can change it: such a fixture is held to it too.
_AT_START = _read()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seed before fixtures of a wider scope draw: what they draw depends on nothing earlier."""
    pyro.set_rng_seed(SEED)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Each test starts from the same state of torch's, NumPy's and Python's generators."""
    pyro.set_rng_seed(SEED)


@pytest.fixture(autouse=True)
def nothing_global_changes() -> Iterator[None]:
    """Fail a test that leaves Pyro's or torch's global state other than it was."""
    yield
    now = _read()
    changed = [name for name in WATCHED if now[name] != _AT_START[name]]
    for name in changed:
        WATCHED[name][1](_AT_START[name])
    if changed:
        lines = [f"  {name}: {_difference(_AT_START[name], now[name])}" for name in changed]
        pytest.fail(
            "the test, or a fixture it uses, left global state changed:\n" + "\n".join(lines),
            pytrace=False,
        )


@pytest.fixture(autouse=True)
def figures_are_closed() -> Iterator[None]:
    """Close all figures; fail a test that left many open."""
    yield
    count = len(plt.get_fignums())
    plt.close("all")
    if count > MOST_FIGURES:
        pytest.fail(
            f"the test left {count} figures open, at most {MOST_FIGURES} may be: close each one",
            pytrace=False,
        )
