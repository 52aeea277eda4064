"""Several steps of Adam on a recorded loss as one compiled function."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyrovae._bound import bound
from pyrovae._draws_apart import constants_apart, draws_apart, draws_together
from pyrovae._machine_code import machine_code
from pyrovae._record import NotRecordable, record
from pyrovae._rng import preserved
from pyrovae.program import Batch
from pyrovae.svi.engines.recording import Recording, tensors_of
from pyrovae.svi.engines.state import share_memory
from pyrovae.svi.engines.update import clipped

if TYPE_CHECKING:
    from pyrovae.svi.engines.traced import Traced

__all__ = ["Block", "NotCompilable"]

CLOSE = 1e-4  # relative, between the losses of compiled steps and those of replayed ones


class NotCompilable(NotRecordable):
    """A recording that compiles to no code, or to code that gives other numbers."""


class Block:
    """So many steps of Adam, compiled for batches of one shape.

    What the program draws is drawn outside, in the order of the steps. When it is first run, the same steps are
    replayed and must come to the same losses.

    Parameters
    ----------
    engine
        What replays steps, and whose optimiser, Adam, has taken one.
    recording, batch
        The loss, and data of its shape.
    steps
        How many in a call.
    quiet
        Whether batches come without a draw, so that those of several steps may be drawn at once.
    note
        Told before something that takes long.

    Raises
    ------
    NotCompilable
        If the compiler fails, or tensors of the program are the same memory, of which code has two.

    References
    ----------
    Kingma & Ba 2014, 1412.6980, algorithm 1.
    """

    def __init__(
        self,
        engine: Traced,
        recording: Recording,
        batch: Batch,
        steps: int,
        *,
        quiet: bool,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        if share_memory(recording.state.tensors):
            raise NotCompilable("two of its tensors share memory")
        self.engine, self.recording = engine, recording
        self.group = engine.optimizer.param_groups[0]
        self.settings = self._settings()
        apart = draws_apart(recording.graph)
        self.draw = apart[0] if apart else None
        self.drawn = bound(apart[0]) if apart else list
        self.rest = apart[1] if apart else recording.graph
        self.kernel, self.constants = constants_apart(self.rest)
        self.steps = steps if apart else 1
        self.together = draws_together(apart[0], steps) if apart and quiet else None
        state = recording.state.tensors
        held = [engine.optimizer.state.get(state[i]) for i in recording.trained]
        if not all(held):
            raise NotCompilable("a parameter has had no gradient before")
        self.counts = [h["step"] for h in held if h]
        if len({float(count) for count in self.counts}) > 1:
            raise NotCompilable("its parameters have taken different numbers of steps")
        moments = [h[name] for name in ("exp_avg", "exp_avg_sq") for h in held if h]
        self.held = [t.detach() for t in (*state, *moments)]  # the same memory
        self.rates = torch.zeros(2, self.steps, device=self.held[0].device)
        self.numbers = None if self.rates.is_cuda else self.rates.numpy()
        self.checked = False
        self.taken = 0  # steps that are not among the counts yet
        code, key = engine.recordings.code, (id(recording), self.steps, *map(str, self.settings), engine.clip_norm)
        if key not in code:
            note("compiling: up to a minute the first time, some seconds when it is found on disk")
            code[key] = self._compile(batch)
        self.compiled = code[key]

    def run(self, first: Batch, more: Iterable[Batch]) -> Any:
        """Take the steps on these batches; the losses, numbers, or a tensor of them where a GPU would be waited for."""
        if self._settings() != self.settings:
            raise NotCompilable("the schedule changes more than the learning rate: betas, eps or weight_decay")
        given: list[tuple[Batch, list[Tensor]]] = []
        if self.together is not None:
            given += zip(chain((first,), more), self.together(), strict=True)
        else:
            for batch in chain((first,), more):
                given.append((batch, self.drawn()))
        self._set_rates()
        with torch.no_grad():
            if not self.checked:
                return self._check(given)
            losses = self._call(given)
        self.taken += self.steps
        return losses.clone() if losses.is_cuda else losses.tolist()  # a CUDA graph writes to the same memory again

    def settle(self) -> None:
        """Count the steps that were taken, for whoever reads the optimiser's state."""
        if self.taken:
            torch._foreach_add_(self.counts, self.taken)
            self.taken = 0

    def _settings(self) -> list[Any]:
        return [self.group[name] for name in ("betas", "eps", "weight_decay")]

    def _call(self, given: list[tuple[Batch, list[Tensor]]]) -> Tensor:
        flat = [t for batch, drawn in given for t in (*drawn, *tensors_of(batch))]
        values = list(self.compiled(*self.held, *self.constants, self.rates, *flat))
        self.recording.tell(self.engine.recordings.loss.elbo, values[1:], self.steps)
        return values[0]

    def _set_rates(self) -> None:
        """The step sizes and the corrections of the second moment, steps by steps."""
        count, lr, (first, second) = self.counts[0].item() + self.taken, float(self.group["lr"]), self.group["betas"]
        later = [count + 1 + j for j in range(self.steps)]
        values = [[lr / (1 - first**t) for t in later], [math.sqrt(1 - second**t) for t in later]]
        if self.numbers is None:
            self.rates.copy_(torch.tensor(values))
        else:
            self.numbers[:] = values

    def _function(self, *flat: Tensor) -> list[Tensor]:
        """The steps, written to the tensors of the state in the end."""
        recording, given = self.recording, iter(flat)
        state = [next(given) for _ in recording.state.tensors]
        first, second = ([next(given) for _ in recording.trained] for _ in range(2))
        before = [*state], [*first], [*second]
        constants = [next(given) for _ in self.constants]
        rates = next(given)
        drawn = len(self.draw.graph.find_nodes(op="output")[0].args[0]) if self.draw is not None else 0
        each = (len(flat) - len(self.held) - len(constants) - 1) // self.steps
        losses: list[Tensor] = []
        totals: list[Tensor] = []
        for step in range(self.steps):
            own = [next(given) for _ in range(each)]
            values = self.kernel.forward(*own[:drawn], *state, *own[drawn:], *constants)
            loss, gradients, buffers, sums = recording.split(values)
            gradients = clipped(gradients, self.engine.clip_norm)
            for j, (index, gradient) in enumerate(zip(recording.trained, gradients, strict=True)):
                state[index], first[j], second[j] = self._adam(
                    state[index], gradient, first[j], second[j], rates[:, step]
                )
            for index, value in zip(recording.reassigned, buffers, strict=True):
                state[index] = value
            losses.append(loss)
            totals = [a + b for a, b in zip(totals, sums, strict=True)] if totals else list(sums)
        for old, new in zip(chain(*before), chain(state, first, second), strict=True):
            if old is not new:
                old.copy_(new)
        return [torch.stack(losses), *totals]

    def _adam(self, p: Tensor, g: Tensor, m: Tensor, v: Tensor, rates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        beta1, beta2 = self.group["betas"]
        if self.group["weight_decay"]:
            g = g + self.group["weight_decay"] * p
        m = m + (g - m) * (1 - beta1)
        v = v * beta2 + g * g * (1 - beta2)
        return p - rates[0] * m / (v.sqrt() / rates[1] + self.group["eps"]), m, v

    def _compile(self, batch: Batch) -> Any:
        examples = [*(t.clone() for t in self.held), *self.constants]
        kept = [(t, t.clone(), t._version) for t in self.constants]
        with preserved(), torch.no_grad():
            again = [t.clone() for _ in range(self.steps) for t in (*self.drawn(), *tensors_of(batch))]
            flat = [*examples, self.rates.clone(), *again]
            try:
                return machine_code(record(self._function, *flat), flat)
            except Exception as error:  # the run goes on without it
                raise NotCompilable(f"the compiler failed: {type(error).__name__}: {_first_line(error)}") from error
            finally:
                for constant, value, version in kept:
                    if constant._version != version:
                        constant.copy_(value)

    def _check(self, given: list[tuple[Batch, list[Tensor]]]) -> list[float]:
        """Take the steps both ways, from the same weights and on the same draws; keep what the replay came to.

        Raises
        ------
        NotCompilable
            If the losses differ.
        """
        self.settle()
        tensors = [*self.held, *self.counts]
        before = [t.clone() for t in tensors]
        random_state = torch.get_rng_state()
        with self.engine.recordings.loss.noting():
            ours = self._call(given).double().cpu()
        for tensor, kept in zip(tensors, before, strict=True):
            tensor.copy_(kept)
        if self.draw is None:
            torch.set_rng_state(random_state)
        rest = bound(self.rest)
        theirs = [float(self.engine.step(batch, (rest, drawn))) for batch, drawn in given]
        expected = torch.tensor(theirs, dtype=torch.float64)
        off = float(((ours - expected).abs() / expected.abs().clamp(min=1e-3)).max())
        if off > CLOSE:  # not so where a loss is not finite, which the end of the epoch finds
            raise NotCompilable(f"compiled, its steps give losses that differ by {off:.1e} of them from those replayed")
        self.checked = math.isfinite(off)
        return theirs


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:200]
