"""Programs: a Pyro model and guide with one data plate, and the parameters they use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyrovae._calls import parameters
from pyrovae._modules import modules_of
from pyrovae._part import Part

__all__ = ["Batch", "Program", "as_elbo", "as_program", "repeat"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Some data: x (n, *event), their covariates (n, c), and their rows (n,) in the training data while it trains."""

    x: Tensor
    context: Tensor | None = None
    index: Tensor | None = None

    def __len__(self) -> int:
        return self.x.shape[0]

    @property
    def args(self) -> tuple[Any, ...]:
        """The arguments of a program's ``model`` and ``guide``."""
        if self.index is not None:
            return self.x, self.context, self.index
        return (self.x,) if self.context is None else (self.x, self.context)

    def take(self, rows: Tensor | slice) -> Batch:
        """Some of its rows."""
        return Batch(*(None if t is None else t[rows] for t in (self.x, self.context, self.index)))  # type: ignore[arg-type]


class Program(PyroModule):
    """A Pyro model and guide, as functions, methods, `torch.nn.Module` or `PyroModule`, with one data plate.

    Both are called with the data (n, *event), and with the context (n, covariates) as a second argument when there
    is one; the observed sites stand in a plate of length n. One with a parameter ``index`` is told which rows of the
    training data these are while it trains, None else, so that it can have parameters for each. Parameters are found
    wherever they are: in modules that the functions refer to, in ``pyro.module`` and ``pyro.param`` statements. They
    belong to the program: Pyro's global parameter store is not touched.

    Parameters
    ----------
    model, guide
        The generative program p(x, z) and the variational one q(z|x).
    plate
        Name of the data plate; found by itself unless two plates follow the length of the data.
    loss
        The objective that `fit` takes for it unless told another: an ELBO object of Pyro's or of `objectives`.

    Raises
    ------
    TypeError
        If model or guide cannot be called, or the loss is no ELBO object.

    Examples
    --------
    >>> import pyro.distributions as dist
    >>> def model(x):
    ...     with pyro.plate("data", len(x)):
    ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
    ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
    >>> def guide(x):
    ...     slope = pyro.param("slope", torch.tensor(0.1))
    ...     with pyro.plate("data", len(x)):
    ...         pyro.sample("z", dist.Normal(slope * x, 0.7))
    >>> Program(model, guide)
    Program(model=model, guide=guide)
    """

    def __init__(
        self, model: Callable[..., Any], guide: Callable[..., Any], *, plate: str | None = None, loss: Any = None
    ) -> None:
        super().__init__()
        for role, function in (("model", model), ("guide", guide)):
            if not callable(function):
                raise TypeError(f"Program: expected a callable {role}, got {type(function).__name__}")
        self._prepare(plate, loss)
        self._functions = (model, guide)
        self._indexed = tuple("index" in parameters(function) for function in self._functions)
        found: dict[str, nn.Module] = {}
        for role, function in (("model", model), ("guide", guide)):
            for name, module in modules_of(function):
                if all(module is not other for other in found.values()):
                    found[f"{role}_{name}" if name else role] = module
        self.found = nn.ModuleDict(found)
        _refuse_shared_names(model, guide)

    def _prepare(self, plate: str | None, loss: Any) -> None:
        self.plate = plate
        self._loss = (None if loss is None else as_elbo(loss),)  # in a tuple: its networks are not the program's
        self._store: Any = {"params": {}, "constraints": {}}
        self._waiting: dict[str, Tensor] = {}
        self._scoped = False

    @property
    def loss(self) -> ELBO | None:
        """The objective that it was given."""
        return self._loss[0]

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "loss":  # some are modules, which torch would make parts of the program and the property not see
            name, value = "_loss", (None if value is None else as_elbo(value),)
        super().__setattr__(name, value)

    @property
    def takes_index(self) -> bool:
        """Whether it is told which rows of the training data it is given."""
        return any(self._indexed)

    @property
    def broadcasts(self) -> bool:
        """Whether it can be run under a plate of draws around that of the data."""
        return False

    @property
    def updates(self) -> bool:
        """Whether `update` does anything."""
        return False

    def model(self, x: Any, context: Any = None, index: Any = None) -> Any:
        """Run the generative program."""
        return self._run(0, x, context, index)

    def guide(self, x: Any, context: Any = None, index: Any = None) -> Any:
        """Run the variational program."""
        return self._run(1, x, context, index)

    def _run(self, which: int, x: Any, context: Any, index: Any) -> Any:
        told = {"index": index} if index is not None and self._indexed[which] else {}
        return self._functions[which](x, **told) if context is None else self._functions[which](x, context, **told)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """A block in which the program's own parameters stand in Pyro's parameter store, which is then put back."""
        with pyro.get_param_store().scope(self._store):
            outer, self._scoped = self._scoped, True
            try:
                yield
            finally:
                self._scoped = outer

    def check(self, batch: Batch) -> None:
        """Errors that the parts of a program can be asked about before it runs; none for a general program."""

    def adapt(self, x: Tensor, context: Tensor | None = None) -> None:
        """Told of the training data once, before the first epoch; a general program takes no notice."""

    def update(self, x: Tensor, context: Tensor | None = None) -> None:
        """Told of the training data before each epoch; a general program takes no notice."""

    def dimension_kl(self, batch: Batch) -> Tensor | None:
        """KL(q(z_j|x) ‖ p(z_j)) for each latent dimension j in closed form, (n, latents); None where there is none."""
        return None

    def densities(self, batch: Batch, latents: Mapping[str, Tensor]) -> tuple[Tensor, Tensor] | None:
        """log p(z) and log p(x|z), each (copies, n) in unscaled nats, of latents {site: (copies, n, *event)}.

        None where they can only be had by running the model, as of a general program.
        """
        return None

    @contextmanager
    def once(self, batch: Batch) -> Iterator[None]:
        """A block in which q of this batch may be computed once, for draws made in parts: no weight changes in it."""
        yield

    def draw_guide(self, batch: Batch, draws: int) -> tuple[poutine.Trace, int]:
        """A trace of the guide over ``draws`` copies of the data, and how many copies it holds.

        The data are repeated along their plate, which is valid for every program whose latents are local; a program
        that can do it cheaper overrides this.
        """
        trace = poutine.trace(self.guide).get_trace(*repeat(batch, draws).args)
        trace.compute_log_prob()
        return trace, draws

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters of the modules, then those made by ``pyro.param``, unconstrained."""
        known = set()
        for name, value in super().named_parameters(prefix, recurse, remove_duplicate):
            known.add(id(value))
            yield name, value
        for name, value in self._store["params"].items():
            if id(value) not in known:
                yield f"{prefix}.{name}" if prefix else name, value

    def weights(self) -> dict[str, Tensor]:
        """All that training changes, by name: parameters and buffers (shared, not copied)."""
        persistent = self.state_dict(keep_vars=True)
        own = dict(self.named_parameters())
        ids = {id(v) for v in own.values()}
        return own | {name: value for name, value in persistent.items() if id(value) not in ids}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Copy weights in, in place. Those of ``pyro.param`` statements that have not run yet wait until they do.

        Raises
        ------
        ValueError
            If names or shapes are not this program's.
        """
        own = self.weights()
        missing = sorted(own.keys() - weights.keys())
        surplus = {name: value for name, value in weights.items() if name not in own}
        if missing or (surplus and not self._open_ended):
            raise ValueError(
                "these weights are not this program's: "
                + "; ".join(
                    f"{what} {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
                    for what, names in (("missing", missing), ("unknown", sorted(surplus)))
                    if names
                )
                + ". Build the program as it was built for the run"
            )
        for name, value in own.items():
            if value.dim() == 0 and not value.requires_grad and weights[name].dim():
                value.resize_(weights[name].shape)  # a buffer that takes its shape from the training data
            if value.shape != weights[name].shape:
                raise ValueError(
                    f"these weights are not this program's: {name} has shape {tuple(value.shape)}, the saved one "
                    f"{tuple(weights[name].shape)}. Build the program with the sizes of the run"
                )
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(weights[name])
        self._waiting = surplus

    def settle(self) -> None:
        """Give waiting weights to the parameters that have appeared since; called after the program first ran."""
        if self._waiting:
            waiting, self._waiting = self._waiting, {}
            self.load_weights({**{k: v.detach().clone() for k, v in self.weights().items()}, **waiting})
            if self._waiting:
                names = ", ".join(sorted(self._waiting))
                self._waiting = {}
                raise ValueError(f"these weights are not this program's: it has no parameter {names}")

    @property
    def _open_ended(self) -> bool:
        """Whether ``pyro.param`` statements may still make parameters: a program of the user's that has not run."""
        return not self._store["params"]

    def reset_parameters(self) -> list[str]:
        """Draw new initial values for an independent restart, and name the parameters that nothing could reset.

        Modules with a ``reset_parameters`` of their own are asked, for themselves and what they hold (a part of ours
        for itself alone); parameters of ``pyro.param`` are made anew by their statements when the program next runs.
        """
        modules = {id(p) for _, p in super().named_parameters()}
        kept = set(modules)
        for module in self.modules():
            if module is not self and callable(getattr(module, "reset_parameters", None)):
                module.reset_parameters()
                kept -= {id(p) for p in module.parameters(recurse=not isinstance(module, Part))}
        for name in [name for name, p in self._store["params"].items() if id(p) not in modules]:
            del self._store["params"][name], self._store["constraints"][name]
        return [name for name, p in self.named_parameters() if id(p) in kept and p.requires_grad]

    def __repr__(self) -> str:
        model, guide = (getattr(f, "__name__", type(f).__name__) for f in self._functions)
        return f"{type(self).__name__}(model={model}, guide={guide})"


def as_program(program: Any) -> Program:
    """A `Program`, or any object with a ``model`` and a ``guide`` made into one."""
    if isinstance(program, Program):
        return program
    if isinstance(program, type):
        raise TypeError(f"expected a program, got the class {program.__name__}: make one, {program.__name__}(…)")
    if callable(getattr(program, "model", None)) and callable(getattr(program, "guide", None)):
        own = getattr(program, "loss", None)
        return Program(program.model, program.guide, loss=own if isinstance(own, ELBO) else None)
    raise TypeError(
        f"expected a program (pv.VAE(...), pv.Program(model, guide), or an object with .model and .guide), got "
        f"{type(program).__name__}"
    )


def as_elbo(loss: Any) -> ELBO:
    """An ELBO object from one, or from its class.

    Raises
    ------
    TypeError
        If it is neither.
    """
    if isinstance(loss, type) and issubclass(loss, ELBO):
        try:
            loss = loss()
        except TypeError as error:
            raise TypeError(
                f"loss: the class {loss.__name__} cannot be made into an object by itself: {error}"
            ) from error
    if not isinstance(loss, ELBO):
        came = getattr(loss, "__name__", type(loss).__name__)
        raise TypeError(
            f"loss: expected an ELBO object, such as pyro.infer.Trace_ELBO(), got {came}: take one of Pyro's or of "
            "objectives; a distance goes into objectives.Discrepancy(…)"
        )
    return loss


def repeat(batch: Batch, times: int) -> Batch:
    """The data (n, …) repeated along their first dimension, (times · n, …), copies in order."""
    rows = torch.arange(len(batch), device=batch.x.device)
    return batch if times == 1 else batch.take(rows.repeat(times))


def _refuse_shared_names(model: Any, guide: Any) -> None:
    """Two modules whose PyroParams have the same name would silently become one parameter."""
    if not (isinstance(model, PyroModule) and isinstance(guide, PyroModule)) or model is guide:
        return
    shared = {n for n, _ in model.named_pyro_params()} & {n for n, _ in guide.named_pyro_params()}
    if shared:
        raise ValueError(
            f"Program: model and guide both have a PyroParam named {', '.join(sorted(shared))}, which Pyro would make "
            "one parameter: rename one of them"
        )
