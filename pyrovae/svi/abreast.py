"""All chains of a run at once, an epoch of each after the other, their steps together where that can be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from pyrovae._record import NotRecordable
from pyrovae._rng import preserved
from pyrovae.svi.chain import Chain
from pyrovae.svi.checkpoint import is_due, write_checkpoint
from pyrovae.svi.engines.choose import make_engine
from pyrovae.svi.engines.eager import StoppedError
from pyrovae.svi.engines.lanes import Lanes
from pyrovae.svi.loss import quiet

if TYPE_CHECKING:
    from pyrovae.svi.run import Run

__all__ = ["train_abreast"]


def train_abreast(run: Run, pending: list[dict[str, Any]], bar: Any) -> bool:
    """Train the chains of a run, from the start or from the states of all.

    False, and nothing has been trained, if they cannot have the program in turn.

    Raises
    ------
    NonFiniteError
        As of `fit`; its fit has the chain that failed and those before it as they are then.
    """
    lanes, chains = Lanes(run.objective, run.clip_norm), []
    try:
        for number in range(run.restarts):
            if number and not pending:
                run.restart(number)
            with run.program.scope(), quiet():
                lanes.begin()
                chains.append(Chain(run, number, pending[number] if pending else None))
                lanes.add(chains[-1].optimizer)
    except NotRecordable as error:
        run.reason += f"; one chain after another, as {error}"
        run.histories.clear()
        run.load(run.initial, run.initial_loss)
        return False
    bar.at_once = True
    running = {chain.number: chain.epochs(bar) for chain in chains}
    stopped = {number: state for number, state in enumerate(pending) if state["history"]["stopped"]}
    done: dict[int, dict[str, Tensor]] = {}
    with run.program.scope(), quiet():
        lanes.begin()
        if pending:
            _record(run, lanes, chains)
        while running:
            due, states = is_due(run), {**stopped}
            run.abreast = len(running)
            for number, epochs in [*running.items()]:
                history = chains[number].history
                with lanes.entered(number):
                    for wanted in epochs:
                        if wanted:
                            lanes.collect(number, run.batches, run.batch_size)
                            break
                        if due or history.stopped:
                            states[number] = _copied(chains[number].state())
                        if history.stopped:
                            stopped[number] = states[number]
                    else:
                        done[number] = _copied(run.program.weights())
                        del running[number]
            if due and len(states) == run.restarts:
                write_checkpoint(run, [states[number] for number in sorted(states)])
            if running:
                _take(run, lanes, chains, done)
        run.finished += [done[number] for number in sorted(done)]
    if run.chosen == "traced":
        run.reason += f"; each chain by itself, as {lanes.apart}" if lanes.apart else f"; {run.restarts} chains abreast"
    write_checkpoint(run)
    return True


def _record(run: Run, lanes: Lanes, chains: list[Chain]) -> None:
    """Before the first epoch that is taken up: what an uninterrupted run had recorded before it."""
    with lanes.entered(0), preserved():
        try:
            run.recordings.begin()
            for size in sorted(set(chains[0].sizes)):
                run.recordings.of(run.batches.take(slice(0, size)))
        except NotRecordable as error:
            chains[0].fall_back(error)
    _prepare(run, lanes, chains)


def _prepare(run: Run, lanes: Lanes, chains: list[Chain]) -> None:
    if run.chosen != "traced":
        lanes.stop("they run as Python")
    elif lanes.prepare(run.recordings):
        for chain in chains:
            chain.engine.forget()


def _take(run: Run, lanes: Lanes, chains: list[Chain], done: dict[int, dict[str, Tensor]]) -> None:
    """An epoch of those that are not done."""
    losses, running = None, [chain.number for chain in chains if chain.number not in done]
    try:
        losses = lanes.take(running, run.recordings)
    except NotRecordable as error:
        chains[running[0]].fall_back(error)
        lanes.stop("they run as Python")
    for number, values in zip(running, losses or (), strict=False):
        chains[number].took(values)
    if losses is not None:
        return
    for number in running:
        chain = chains[number]
        if chain.engine.name != run.chosen:
            chain.engine = make_engine(run, chain.optimizer)
        try:
            with lanes.alone(number):
                chain.take()
        except StoppedError as error:
            for other in range(number):
                with lanes.entered(other):
                    run.finished.append(done.get(other) or _copied(run.program.weights()))
            with lanes.entered(number):
                raise run.non_finite(error) from None
    _prepare(run, lanes, chains)


def _copied(state: Any) -> Any:
    """A nest of dicts and lists with copies of its tensors."""
    if isinstance(state, dict):
        return {key: _copied(value) for key, value in state.items()}
    if isinstance(state, list):
        return [_copied(value) for value in state]
    return state.detach().clone() if isinstance(state, Tensor) else state
