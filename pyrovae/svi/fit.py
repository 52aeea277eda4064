"""`fit`: what it takes, and what is checked before the first epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pyrovae._memory import memory_told
from pyrovae._modes import training_modes
from pyrovae._numbers import at_least, positive
from pyrovae._rng import Stream, preserved, seeded
from pyrovae.program import Program, as_elbo, as_program
from pyrovae.structure import inspect_program
from pyrovae.svi.batches import prepare
from pyrovae.svi.distributed import joined
from pyrovae.svi.door import check_data, check_last_batch, check_objective, warn_unseen
from pyrovae.svi.engines.choose import check_engine
from pyrovae.svi.loss import Loss, default_elbo, modules_of_loss
from pyrovae.svi.precision import check_precision, warn_of_processor
from pyrovae.svi.result import EpochEnd, Fit
from pyrovae.svi.run import Run

__all__ = ["fit"]


def fit(
    program: Any,
    data: Any,
    *,
    context: Any = None,
    loss: Any = None,
    optimizer: Callable[..., torch.optim.Optimizer] | None = None,
    lr: float = 4e-3,
    schedule: str | Callable[[torch.optim.Optimizer], Any] | None = "cosine",
    clip_norm: float | None = None,
    epochs: int = 100,
    batch_size: int = 100,
    validation: Any = None,
    patience: int | None = None,
    seed: int = 0,
    restarts: int = 1,
    engine: str = "auto",
    precision: str = "float32",
    callbacks: Sequence[Callable[[EpochEnd], Any]] = (),
    resume: str | Path | None = None,
    checkpoint_seconds: float = 30.0,
    progress: bool = True,
) -> Fit:
    """Fit a program to data by stochastic variational inference.

    The program is trained in place and is left with the weights of its best chain. Pyro's global parameter store, its
    settings and the global random state are left as they were. The same seed, initial weights and machine give the
    same bits; initial weights are drawn where a network is built, so seed before building it, or build it as the
    library left it. Processes that torchrun started share each batch, and come to what one would, but for rounding.

    Parameters
    ----------
    program
        A `pyrovae.VAE`, a `pyrovae.Program`, or any object with ``model`` and ``guide``.
    data, validation
        Data set, tensor, array, DataFrame, DataArray, torch Dataset or DataLoader, (n, *event). NaN means missing,
        for a guide that can be told which cells are. Validation data change nothing in the model; they are evaluated
        after each epoch with the same noise, in ``eval`` mode.
    context
        Covariates (n, c), given to the parts that take them; a validation set brings its own,
        ``pv.data.as_data(x, context=c)``.
    loss
        An ELBO object of Pyro's or of `objectives`, or its class; by default the program's own, else
        `pyro.infer.Trace_ELBO`, for a program with enumerated sites `TraceEnum_ELBO`, for one with baselines
        `TraceGraph_ELBO`.
    optimizer
        Called as ``optimizer(parameters, lr=lr)``: a class of `torch.optim` or a `functools.partial` of one; Adam by
        default. Losses and gradients are per datum.
    schedule
        "cosine": the learning rate falls from ``lr`` to 0 over the epochs along half a cosine; None: it stays; or a
        function ``optimizer -> scheduler`` of `torch.optim.lr_scheduler`. Stepped after each epoch.
    clip_norm
        Largest norm of the gradient of the loss per datum.
    patience
        Stop a chain after so many epochs without a higher bound on the validation data (on the training data without
        them), and go back to its best weights.
    restarts
        Number of chains: the first from the program's weights, the others from newly drawn ones. Under "auto" those of
        a small program are trained at once, which takes half the time, if there are no callbacks.
    engine
        How steps run, to the same answers: "eager", as Python; "traced", the program and its gradients recorded once as
        a graph, in the second step, and replayed; "compiled", that graph and the optimiser as machine code, several
        steps in a call, for which a C++ compiler (on a GPU, Triton) is needed and a minute at first. "auto" takes what
        the work left pays for. A program that cannot be recorded (it branches on values, draws with numpy, or changes
        from epoch to epoch) is run as Python; `Fit.settings` says what ran, and why.
    precision
        "float32": products of matrices as torch's setting has them; "bf16": large ones, and convolutions, of factors
        rounded to bfloat16, which processors that have it compute in half the time. All else stays float32: weights,
        sums, densities. Validation is in float32.
    callbacks
        Called after each epoch with an `EpochEnd`; one that returns True stops the chain.
    resume
        A folder for checkpoints, written every ``checkpoint_seconds``: if it holds those of an interrupted run with
        the same settings, the run goes on where it was, to the same bits.
    progress
        Show a bar with rate and time left.

    Returns
    -------
    Fit
        With ``program``, ``history`` (nats per datum) and ``save``.

    Raises
    ------
    ValueError
        Before the first epoch: data off a likelihood's support, parts that do not fit, a site without a guide, a
        parameter that gets no gradient, a plate that is not the data's, arguments out of range.
    NonFiniteError
        When the loss or its gradient is not finite, naming epoch, step and site; it carries the fit so far.
    torch.OutOfMemoryError, MemoryError, RuntimeError
        When there is too little memory, also for the plainest engine; which of them, torch decides.
    ProcessError
        Where several processes share the work: if another one fails, or was given something else.

    References
    ----------
    Hoffman, Blei, Wang & Paisley 2013, 1206.7051; Kingma & Welling 2013, 1312.6114, algorithm 1.
    """
    program = as_program(program)
    epochs, batch_size, restarts = (
        at_least(name, value, 1)
        for name, value in (("epochs", epochs), ("batch_size", batch_size), ("restarts", restarts))
    )
    patience = None if patience is None else at_least("patience", patience, 1)
    engine, precision = check_engine(engine), check_precision(precision)
    lr = positive("lr", lr)
    clip_norm = None if clip_norm is None else positive("clip_norm", clip_norm)
    if callable(callbacks) or not all(callable(callback) for callback in callbacks):
        raise TypeError("callbacks: expected a list of functions of an EpochEnd, such as [print]")
    if resume is not None and Path(resume).is_file():
        raise NotADirectoryError(f"resume: expected a folder for checkpoints, {resume} is a file")
    if isinstance(validation, tuple):
        raise TypeError("validation: expected data, got a tuple; with a context: pv.data.as_data(x, context=c)")
    elbo = program.loss if loss is None else as_elbo(loss)
    for module in (*program.modules(), *modules_of_loss(elbo)):
        if callable(check := getattr(module, "check_epochs", None)):
            check(epochs)
    batches = prepare(program, data, context, training=True)
    warn_of_processor(precision, batches.x.device)
    held_out = None if validation is None else prepare(program, validation)
    what = f"training on batches of {min(batch_size, len(batches)):,} data"
    less = "give fit a smaller batch_size, or the program smaller networks"
    with joined(batches.x.device) as processes, preserved(), memory_told(what, less):
        with _buffers_kept_on_error(program):
            with seeded(seed, Stream.ADAPT):
                program.adapt(*batches.sample())
            structure = inspect_program(program, batches.take(slice(0, 3)))
            check_data(program, structure, batches)
            warn_unseen(batches)
            check_last_batch(program, batches, min(batch_size, len(batches)))
            if held_out is not None:
                check_data(program, structure, held_out, "validation data")
            elbo = elbo or default_elbo(structure)
            check_objective(elbo, program, batches, min(batch_size, len(batches)))
            objective = Loss(elbo, program, structure, len(batches), precision)
            if held_out is not None and len(held_out) < objective.least:
                raise ValueError(
                    f"validation: {type(elbo).__name__} compares the data of a batch with each other: expected "
                    f"{objective.least} data or more, got {len(held_out)}"
                )
            if objective.recorded and precision != "float32":
                raise ValueError(
                    f"{type(elbo).__name__} records its own operations, which precision={precision!r} does not reach: "
                    "use the same loss without Jit, and engine='traced'"
                )
            if objective.recorded and len(batches) % min(batch_size, len(batches)):
                raise ValueError(
                    f"{type(elbo).__name__} records the shapes of its first batch, and the last of {len(batches)} data "
                    f"would be smaller: choose a batch_size that divides {len(batches)}, or a loss without Jit"
                )
            if objective.recorded and batches.numbered:
                raise ValueError(
                    f"{type(elbo).__name__} records tensors only, and this program is told the rows of its data: "
                    "choose a loss without Jit"
                )
        run = Run(
            program=program,
            batches=batches,
            held_out=held_out,
            objective=objective,
            optimizer=optimizer or torch.optim.Adam,
            lr=lr,
            schedule=schedule,
            clip_norm=clip_norm,
            epochs=epochs,
            batch_size=min(batch_size, len(batches)),
            patience=patience,
            seed=seed,
            restarts=restarts,
            callbacks=tuple(callbacks),
            folder=None if resume is None else Path(resume),
            checkpoint_seconds=checkpoint_seconds,
            progress=progress,
            engine=engine,
            processes=processes,
        )
        with training_modes(program):
            return run.all()


@contextmanager
def _buffers_kept_on_error(program: Program) -> Iterator[None]:
    """A block that, if it fails, leaves the program's buffers as they were."""
    before = {name: value.clone() for name, value in program.named_buffers()}
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for name, value in program.named_buffers():
                value.copy_(before[name])
        raise
