"""All chains of a run at once: an epoch of each after that of another, and their steps together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from pyrovae._record import NotRecordable
from pyrovae._rng import preserved
from pyrovae.svi.chain import Chain
from pyrovae.svi.checkpoint import is_due, write_checkpoint
from pyrovae.svi.engines.lanes import Lanes
from pyrovae.svi.engines.snapshot import Snapshot
from pyrovae.svi.engines.surroundings import Surroundings
from pyrovae.svi.loss import quiet

if TYPE_CHECKING:
    from pyrovae.svi.run import Run

__all__ = ["train_abreast"]

APART = 2  # epochs in a row that each may take by itself, until the recording of one stands for all


def train_abreast(run: Run, pending: list[dict[str, Any]], bar: Any) -> bool:
    """Train the chains of a run, from the start or from the states of all.

    False, and everything is as it was, if one after another they might come to something else: the program changes what
    they would share, or an error is met, which is then met again in its place.
    """
    chosen, reason = run.chosen, run.reason
    with run.program.scope():
        before = Snapshot(Surroundings(run.objective))
    try:
        _train(run, pending, bar)
    except Exception as error:
        said = next(iter(str(error).splitlines()), "")
        why = said if isinstance(error, NotRecordable) else f"{type(error).__name__}: {said}"
        bar.drop()
        with run.program.scope():
            before.restore()
        run.load(run.initial, run.initial_loss)
        run.histories, run.finished, run.recordings, run.abreast = [], [], None, 1
        run.chosen, run.reason = chosen, f"{reason}; one chain after another: {why}"
        return False
    run.reason += f"; {run.restarts} chains abreast"
    return True


def _train(run: Run, pending: list[dict[str, Any]], bar: Any) -> None:
    lanes = Lanes(run.objective, run.clip_norm)
    chains = [_chain(run, lanes, number, pending) for number in range(run.restarts)]
    bar.abreast = True
    running = {chain.number: chain.epochs(bar) for chain in chains}
    stopped = {number: state for number, state in enumerate(pending) if state["history"]["stopped"]}
    done: dict[int, dict[str, Tensor]] = {}
    apart = 0
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
                lanes.check()
            if due and len(states) == run.restarts:
                write_checkpoint(run, [states[number] for number in sorted(states)])
            losses = lanes.take([*running], run.recordings)
            for number, values in zip(running, losses or (), strict=False):
                chains[number].took(values)
            apart = apart + 1 if losses is None else 0
            if losses is None and running:
                _take_apart(run, lanes, [chains[number] for number in running], apart)
                _prepare(run, lanes, chains)
        run.finished = [done[number] for number in sorted(done)]
    write_checkpoint(run)


def _chain(run: Run, lanes: Lanes, number: int, pending: list[dict[str, Any]]) -> Chain:
    if number and not pending:
        run.restart(number)
    with run.program.scope(), quiet():
        lanes.begin()
        chain = Chain(run, number, pending[number] if pending else None)
        lanes.add(chain.optimizer)
        lanes.check()
        return chain


def _take_apart(run: Run, lanes: Lanes, chains: list[Chain], apart: int) -> None:
    """An epoch of each by itself: the first, and one in which the program is recorded again."""
    if apart > APART:
        raise NotRecordable("the program is recorded in each epoch")
    for chain in chains:
        with lanes.alone(chain.number):
            chain.take()
        if run.chosen != "traced":
            raise NotRecordable(run.reason)
        lanes.check()


def _record(run: Run, lanes: Lanes, chains: list[Chain]) -> None:
    """Before the first epoch that is taken up: what had been recorded before it."""
    with lanes.entered(0), preserved():
        run.recordings.begin()
        for size in sorted(set(chains[0].sizes)):
            run.recordings.of(run.batches.take(slice(0, size)))
    _prepare(run, lanes, chains)


def _prepare(run: Run, lanes: Lanes, chains: list[Chain]) -> None:
    if lanes.prepare(run.recordings):
        for chain in chains:
            chain.engine.forget()


def _copied(state: Any) -> Any:
    """A nest of dicts and lists with copies of its tensors."""
    if isinstance(state, dict):
        return {key: _copied(value) for key, value in state.items()}
    if isinstance(state, list):
        return [_copied(value) for value in state]
    return state.detach().clone() if isinstance(state, Tensor) else state
