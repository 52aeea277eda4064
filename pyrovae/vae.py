"""The variational autoencoder: a prior, a likelihood and a guide, as a Pyro program."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from pyrovae._calls import TOLD, Call, parameters
from pyrovae._missing import masked
from pyrovae._modes import evaluating
from pyrovae._modules import modules_of
from pyrovae._part import Part
from pyrovae._parts import call_part, expect_shapes, refuse_uncallable, shape_message
from pyrovae._rng import preserved
from pyrovae._support import check_reach, describe, mismatch
from pyrovae.program import Batch, Program, repeat

__all__ = ["VAE"]

TELLS = {
    "prior": ("context", "guide"),
    "likelihood": ("context",),
    "guide": ("context", "mask", "index", "joint"),
}


class VAE(Program):
    """p(z) p(x|z) with amortised q(z|x) (Kingma & Welling 2013, 1312.6114; Rezende et al. 2014, 1401.4082).

    A part is anything callable that returns a Pyro distribution: ``prior()``, ``likelihood(z)`` and ``guide(x)``,
    functions or modules, of ours or the user's. Beside that it is told what it has a parameter for:

    - ``context``, the covariates (n, c): any part, by this name or as one more required positional parameter;
    - ``mask``, which cells of x are observed: a guide. NaN in x then means missing, and the likelihood leaves these
      cells out;
    - ``index``, the rows (n,) of the training data that these are, None after training: a guide with parameters for
      each datum;
    - ``joint``, the function z (…, n, *latent) → log p(x, z) (…, n) of these data: a guide that climbs it;
    - ``guide``, the function x → q(z|x): a prior made of it.

    Before the first epoch, `fit` calls ``adapt(x)`` or ``adapt(x, context)`` of the parts that have it, with all
    training data; before each epoch ``update(x)``, which may take a ``context`` and a ``guide``, here the function
    rows (b,) → q(z|x) of these data: a step in closed form, such as the M step of EM, of what has no gradient. A
    guide's ``infer(x, context, mask)`` gives the ``infer`` of its sample statement.

    Parameters
    ----------
    prior
        ``() -> p(z)``: event one latent's shape, batch () or, with a context, (n,).
    likelihood
        ``z (n, *latent) -> p(x|z)``: batch (n,), event one datum's shape.
    guide
        ``x (n, *event) -> q(z|x)``: batch (n,), event the latent's shape.
    loss
        The objective that `fit` takes for it unless told another: an ELBO object of Pyro's or of `objectives`.

    Raises
    ------
    TypeError
        If a part cannot be called, or is a distribution or a class instead of what makes a distribution; if the loss
        is no ELBO object.
    ValueError
        If the parts do not fit each other; the message says which part and what it should return. If the objective
        is not defined for them.

    Examples
    --------
    >>> import pyrovae as pv
    >>> vae = pv.VAE(
    ...     prior=lambda: dist.Laplace(torch.zeros(2), 1.0).to_event(1),
    ...     likelihood=pv.likelihoods.Bernoulli(pv.networks.MLP(2, (16,), 9)),
    ...     guide=pv.guides.Normal(pv.networks.MLP(9, (16,), 2 * 2)),
    ... )
    >>> with vae.scope():  # outside of it a run registers the parameters in Pyro's store, as Pyro's SVI needs
    ...     vae.model(torch.zeros(5, 9)).shape
    torch.Size([5, 9])
    """

    def __init__(
        self,
        prior: Callable[..., dist.TorchDistribution],
        likelihood: Callable[..., dist.TorchDistribution],
        guide: Callable[..., dist.TorchDistribution],
        *,
        loss: Any = None,
    ) -> None:
        super(Program, self).__init__()
        self._prepare("data", loss)
        parts = {"prior": prior, "likelihood": likelihood, "guide": guide}
        for name, part in parts.items():
            refuse_uncallable(name, part)
        found: dict[str, nn.Module] = {}
        for role, part in parts.items():
            for name, module in modules_of(part):
                if all(module is not other for other in found.values()):
                    found[f"{role}_{name}" if name else role] = module
        self.parts = nn.ModuleDict(found)
        self._prior, self._likelihood, self._guide = (
            Call(part, own) for part, own in ((prior, 0), (likelihood, 1), (guide, 1))
        )
        self._three = (prior, likelihood, guide)
        self._name = (0, "")
        self._known: tuple[Batch, dist.TorchDistribution] | None = None
        for role, part in parts.items():
            known = parameters(part)
            alien = [n for n in TOLD if n in known and n not in TELLS[role] and known[n].default is known[n].empty]
            if alien:
                raise TypeError(
                    f"VAE: the {role} requires {' and '.join(alien)}, and is told of {', '.join(TELLS[role])} alone: "
                    "give it a default, or bind it with functools.partial"
                )
        _check_columns(self.columns, guide)
        climbing = self._guide.takes & ({"joint", "index"} | ({"context"} if self._guide.needs_context else set()))
        if "guide" in self._prior.takes and climbing:
            raise ValueError(
                f"the prior {type(prior).__name__} is made of the guide, and the guide {type(guide).__name__} needs "
                f"the {' and the '.join(sorted(climbing))} of each datum: use "
                f"{'an amortised guide' if climbing - {'context'} else 'a guide without a context'}, or another prior"
            )
        if not any(call.needs_context for call in self._calls().values()):
            self._check_fit()

    @property
    def broadcasts(self) -> bool:
        """Whether its likelihood is known to take latents with a dimension of draws in front."""
        return isinstance(self._three[1], Part) and _takes_draws(self._three[1])

    @property
    def updates(self) -> bool:
        """Whether a part has a step in closed form."""
        return any(callable(getattr(part, "update", None)) for part in self._three)

    @property
    def takes_context(self) -> bool:
        """Whether any part takes a context."""
        return any("context" in call.takes for call in self._calls().values())

    @property
    def takes_mask(self) -> bool:
        """Whether the guide is told which cells are observed, so that NaN may mean missing."""
        return "mask" in self._guide.takes

    @property
    def takes_index(self) -> bool:
        """Whether the guide is told which rows of the training data it is given."""
        return "index" in self._guide.takes

    @property
    def columns(self) -> Any:
        """The columns that the likelihood was made for, where it describes a table; None else."""
        return getattr(self._three[1], "columns", None)

    @property
    def _latent_shape(self) -> str:
        """Where the guide's event shape comes from, and how a guide of ours gets it."""
        outputs = getattr(self._three[2], "outputs", None)
        how = f"; {type(self._three[2]).__name__}.outputs(latents, …) says how many outputs its network needs"
        return "the prior's event shape" + (how if callable(outputs) else "")

    @property
    def _open_ended(self) -> bool:
        return False

    def model(self, x: Tensor, context: Tensor | None = None, index: Tensor | None = None) -> Tensor:
        """p(x, z): sites ``z`` and ``x`` in the plate ``data``."""
        self._register()
        x, mask = self._observed(x)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", self._p(context))
            likelihood = self._likelihood(z, context=context)
            if mask is not None:
                likelihood, x = masked(likelihood, x, mask)
            value: Tensor = pyro.sample("x", likelihood, obs=x)
            return value

    def guide(self, x: Tensor, context: Tensor | None = None, index: Tensor | None = None) -> Tensor:
        """q(z|x): site ``z`` in the plate ``data``."""
        self._register()
        x, mask = self._observed(x)
        infer = getattr(self._three[2], "infer", None)
        with pyro.plate("data", x.shape[0]):
            q = self._q(x, context, mask, index)
            z: Tensor = pyro.sample("z", q, infer=infer(x, context, mask) if callable(infer) else {})
            return z

    def encode(self, x: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """q(z|x) itself, batch (n,)."""
        x, mask = self._observed(x)
        return self._q(x, context, mask)

    def adapt(self, x: Tensor, context: Tensor | None = None) -> None:
        """Let the parts that start from the data take what they need."""
        for part in self._three:
            adapt = getattr(part, "adapt", None)
            if callable(adapt):
                known = parameters(adapt)
                required = [n for n, p in known.items() if p.default is p.empty and "VAR" not in p.kind.name]
                if len(required) > 2:
                    raise TypeError(
                        f"{type(part).__name__}.adapt requires the arguments ({', '.join(required)}), and is given the "
                        "training data x and their context: give the others defaults"
                    )
                adapt(*(x, context)[: len(known)])

    def update(self, x: Tensor, context: Tensor | None = None) -> None:
        """Let the parts that have one take their step in closed form."""

        def guide(rows: Tensor) -> dist.TorchDistribution:
            some = Batch(x, context).take(rows)
            observed, mask = self._observed(some.x)
            return self._q(observed, some.context, mask, rows if self.takes_index else None)

        for part in self._three:
            if callable(update := getattr(part, "update", None)):
                Call(update, own=1)(x, context=context, guide=guide)

    def dimension_kl(self, batch: Batch) -> Tensor | None:
        """As `Program.dimension_kl`, for priors with independent latents; of the marginals of a multivariate Normal."""
        q, p = self._encoded(batch), self._p(batch.context)
        if isinstance(q, (dist.MultivariateNormal, dist.LowRankMultivariateNormal)):
            q = dist.Normal(q.loc, q.variance.sqrt()).to_event(1)
        if any(not isinstance(f, dist.Independent) or f.event_dim != 1 or f.base_dist.event_dim for f in (q, p)):
            return None
        try:  # of one shape: torch's closed forms for discrete families do not broadcast
            kl: Tensor = torch.distributions.kl_divergence(
                q.base_dist, p.base_dist.expand(q.batch_shape + q.event_shape)
            )
        except NotImplementedError:
            return None
        return kl

    def densities(self, batch: Batch, latents: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """As `Program.densities`: the parts are asked, the model is not traced."""
        z, context = latents["z"], batch.context
        x, mask = self._observed(batch.x)
        log_prior = self._p(context).log_prob(z)
        if isinstance(self._three[1], Part):
            return log_prior, self._log_lik(z, x, mask, context)
        rows = repeat(Batch(x, context), len(z))  # a function of the user's is promised one dimension of data
        mask = None if mask is None else mask.repeat(len(z), *(1,) * (mask.dim() - 1))
        return log_prior, self._log_lik(z.flatten(0, 1), rows.x, mask, rows.context).reshape(z.shape[:2])

    @contextmanager
    def once(self, batch: Batch) -> Iterator[None]:
        """As `Program.once`."""
        self._known = (batch, self.encode(batch.x, batch.context))
        try:
            yield
        finally:
            self._known = None

    def _encoded(self, batch: Batch) -> dist.TorchDistribution:
        known = self._known
        return known[1] if known is not None and known[0] is batch else self.encode(batch.x, batch.context)

    def draw_guide(self, batch: Batch, draws: int) -> tuple[poutine.Trace, int]:
        """As `Program.draw_guide`, with the guide run once per datum."""
        q = self._encoded(batch)
        with torch.no_grad():
            z = q.sample((draws,))
            log_q = q.log_prob(z)
        trace = poutine.Trace()
        fn = q.expand((draws, len(batch))) if isinstance(q, dist.Independent) else q
        trace.add_node("_INPUT", name="_INPUT", type="args", args=(), kwargs={})
        trace.add_node(
            "z",
            name="z",
            type="sample",
            fn=fn,
            value=z.flatten(0, 1),
            log_prob=log_q.flatten(),
            is_observed=False,
            infer={},
            args=(),
            kwargs={},
            cond_indep_stack=(),
        )
        return trace, draws

    def check(self, batch: Batch) -> None:
        """Refuse parts that do not fit the data, naming the part.

        Raises
        ------
        ValueError
            With the part, the shape expected and the one that came.
        """
        context = batch.context
        if context is not None and not self.takes_context:
            raise ValueError(
                "a context was given, and no part of the VAE takes one: build a network with "
                f"context={context.shape[-1]}, write a part as f(x, context), or leave the context out"
            )
        needing = [name for name, call in self._calls().items() if call.needs_context]
        if context is None and needing:
            raise ValueError(
                f"the {' and the '.join(needing)} of the VAE take{'s' if len(needing) == 1 else ''} a context and none "
                "was given: pass context= with the data (for validation data, pv.data.as_data(x, context=c))"
                + "".join(
                    f". What the {name} requires beside its own argument, here {call.context_name!r}, is the context"
                    for name, call in self._calls().items()
                    if call.needs_context and call.context_name != "context"
                )
            )
        n = len(batch)
        x, mask = self._observed(batch.x)
        prior = call_part("prior", self._p, "", context=context)
        if prior.batch_shape not in ((), (n,)):
            raise ValueError(shape_message("prior", prior, f"() or ({n},)", None))
        self._check_declared(prior)
        q = call_part("guide", self._q, "data", x, context=context, mask=mask, index=batch.index)
        expect_shapes("guide", q, (n,), tuple(prior.event_shape), self._latent_shape)
        likelihood = call_part("likelihood", self._likelihood, "latents", q.sample(), context=context)
        expect_shapes("likelihood", likelihood, (n,), tuple(x.shape[1:]), "the shape of one datum")
        if mask is not None:
            masked(likelihood, x, mask)
        infer = getattr(self._three[2], "infer", None)
        if callable(infer) and not isinstance(told := infer(x, context, mask), dict):
            raise TypeError(
                "the guide's infer(x, context, mask) must return the infer of a sample statement, a dict such as "
                f"{{'enumerate': 'parallel'}}, and returned {told!r}"
            )

    def _check_fit(self) -> None:
        """Compare the parts with each other before there are data: x is drawn from the model."""
        with preserved(), torch.no_grad(), evaluating(self), pyro.validation_enabled(True):
            prior = call_part("prior", self._p, "")
            if prior.batch_shape != ():
                raise ValueError(shape_message("prior", prior, "()", None))
            z = prior.expand((2,)).sample()
            likelihood = call_part("likelihood", self._likelihood, "latents, drawn from the prior,", z)
            expect_shapes("likelihood", likelihood, (2,), None, "")
            try:
                x = likelihood.sample()
            except NotImplementedError:  # a family that cannot be drawn from: the data will tell
                return
            mask = torch.ones_like(x, dtype=torch.bool) if self.takes_mask else None
            self._check_declared(prior)
            q = call_part("guide", self._q, "data, drawn from the likelihood,", x, mask=mask)
            expect_shapes("guide", q, (2,), tuple(prior.event_shape), self._latent_shape)
            check_reach("z", prior, q)
            if callable(check := getattr(self.loss, "check", None)):
                check({"z": prior}, {"z": q})

    def _check_declared(self, prior: dist.TorchDistribution) -> None:
        """A guide that climbs log p(x, z) would leave the prior's support before it could be compared with it."""
        support = getattr(self._three[2], "support", None)
        if (
            support is not None
            and "joint" in self._guide.takes
            and "real" == describe(support) != describe(prior.support)
        ):
            raise ValueError(mismatch("z", prior, support, "it looks for z outside of it"))

    def _p(self, context: Tensor | None = None) -> dist.TorchDistribution:
        """p(z), told what it takes."""
        prior: dist.TorchDistribution = self._prior(context=context, guide=self._of_whole_data)
        return prior

    def _q(
        self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None, index: Tensor | None = None
    ) -> dist.TorchDistribution:
        """q(z|x), told what it takes."""

        def joint(z: Tensor) -> Tensor:
            prior = self._p(context)
            if not (self.training or bool(torch.as_tensor(prior.support.check(z)).all())):
                support = getattr(self._three[2], "support", None)
                raise ValueError(mismatch("z", prior, support, "it looks for z outside of it"))
            if tuple(z.shape[z.dim() - prior.event_dim :]) != tuple(prior.event_shape):
                raise ValueError(
                    f"the guide has latents of shape {tuple(z.shape[z.dim() - prior.event_dim :])}, the prior "
                    f"of {tuple(prior.event_shape)}: change the sizes so that they agree"
                )
            return prior.log_prob(z) + self._log_lik(z, x, mask, context)

        q: dist.TorchDistribution = self._guide(x, context=context, mask=mask, index=index, joint=joint)
        return q

    def _log_lik(self, z: Tensor, x: Tensor, mask: Tensor | None, context: Tensor | None) -> Tensor:
        """log p(x|z), (…, n), of latents (…, n, *latent)."""
        likelihood, value = self._likelihood(z, context=context), x
        if tuple(likelihood.event_shape) != tuple(x.shape[1:]):
            raise ValueError(
                f"the likelihood makes data of shape {tuple(likelihood.event_shape)}, and a datum has shape "
                f"{tuple(x.shape[1:])}: change the sizes of the networks, or check the data"
            )
        if mask is not None:
            likelihood, value = masked(likelihood, x, mask)
        log_lik: Tensor = likelihood.log_prob(value)
        return log_lik

    def _of_whole_data(self, x: Tensor) -> dist.TorchDistribution:
        """q(z|x) of data without a missing cell and without a context."""
        return self._q(x, mask=torch.ones_like(x, dtype=torch.bool) if self.takes_mask else None)

    def _calls(self) -> dict[str, Call]:
        return {"prior": self._prior, "likelihood": self._likelihood, "guide": self._guide}

    def _observed(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """x with 0 where it is missing, and where it is not."""
        if not self.takes_mask:
            return x, None
        return torch.nan_to_num(x, nan=0.0) if x.is_floating_point() else x, ~torch.isnan(x)

    def _register(self) -> None:
        """Tell Pyro of the parameters when the program runs outside `scope`, under Pyro's own SVI.

        Pyro's store gives a module that comes under a name it knows the parameters that it has under it. The name is
        therefore this object's alone: not that of a copy, nor of another that had its address.
        """
        if not self._scoped:
            if self._name[0] != id(self):
                self._name = id(self), f"vae_{uuid.uuid4().hex}"
            pyro.module(self._name[1], self)

    def __repr__(self) -> str:
        lines = []
        for name, part in zip(("prior", "likelihood", "guide"), self._three, strict=True):
            text = repr(part) if isinstance(part, nn.Module) else getattr(part, "__name__", type(part).__name__)
            lines.append(f"    {name}={text},".replace("\n", "\n    "))
        return "VAE(\n" + "\n".join(lines) + "\n)"


def _takes_draws(module: nn.Module) -> bool:
    """Whether a part of ours, or a network, acts on the last dimension alone: a network of the user's may not."""
    if isinstance(module, Part):
        ours = type(module).__module__.startswith("pyrovae.")
        functions = [n for n, value in vars(module).items() if n.endswith("network") and value is not None]
        return ours and not functions and all(map(_takes_draws, module.children()))
    if isinstance(module, nn.Sequential):
        return all(map(_takes_draws, module))
    by_cell = (
        "pyrovae.networks.",
        "torch.nn.modules.linear",
        "torch.nn.modules.activation",
        "torch.nn.modules.dropout",
    )
    return type(module).__module__.startswith(by_cell) or isinstance(module, (nn.LayerNorm, nn.Identity))


def _check_columns(own: Any, guide: Any) -> None:
    """A network that reads a table must know its columns in the likelihood's order: it would take codes for others."""
    if own is None:
        return
    for _, module in modules_of(guide):
        for part in module.modules():
            theirs = getattr(part, "columns", None)
            if isinstance(theirs, tuple) and theirs != tuple(own):
                ours, read = (", ".join(repr(getattr(c, "name", c)) for c in columns) for columns in (own, theirs))
                same = " (of other kinds or levels)" if ours == read else ""
                raise ValueError(
                    f"the likelihood was built for the columns {ours}, the guide's {type(part).__name__} for {read}"
                    f"{same}: build both with the same columns, train.columns"
                )
