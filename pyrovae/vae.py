"""The variational autoencoder: a prior, a likelihood and a guide, as a Pyro program."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from pyrovae._calls import Call
from pyrovae._missing import masked
from pyrovae._modes import evaluating
from pyrovae._modules import modules_of
from pyrovae._parts import call_part, expect_shapes, refuse_uncallable, shape_message
from pyrovae._rng import preserved
from pyrovae.program import Program

__all__ = ["VAE"]


class VAE(Program):
    """p(z) p(x|z) with amortised q(z|x) (Kingma & Welling 2013, 1312.6114; Rezende et al. 2014, 1401.4082).

    A part is anything callable that returns a Pyro distribution: ``prior()``, ``likelihood(z)`` and ``guide(x)``,
    functions or modules, of ours or the user's. A part that takes a context (a parameter named ``context``, or one
    more required positional one) is given it, and a guide with a parameter named ``mask`` is told which cells of x
    are observed; NaN in x then means missing, and the likelihood leaves these cells out.

    Parameters
    ----------
    prior
        ``() -> p(z)``: event one latent's shape, batch () or, with a context, (n,).
    likelihood
        ``z (n, *latent) -> p(x|z)``: batch (n,), event one datum's shape.
    guide
        ``x (n, *event) -> q(z|x)``: batch (n,), event the latent's shape.

    Raises
    ------
    TypeError
        If a part cannot be called, or is a distribution or a class instead of what makes a distribution.
    ValueError
        If the parts do not fit each other; the message says which part and what it should return.

    Examples
    --------
    >>> import pyrovae as pv
    >>> vae = pv.VAE(
    ...     prior=lambda: dist.Laplace(torch.zeros(2), 1.0).to_event(1),
    ...     likelihood=pv.likelihoods.Bernoulli(pv.networks.MLP(2, (16,), 9)),
    ...     guide=pv.guides.Normal(pv.networks.MLP(9, (16,), 2 * 2)),
    ... )
    >>> vae.model(torch.zeros(5, 9)).shape
    torch.Size([5, 9])
    """

    def __init__(
        self,
        prior: Callable[..., dist.TorchDistribution],
        likelihood: Callable[..., dist.TorchDistribution],
        guide: Callable[..., dist.TorchDistribution],
    ) -> None:
        super(Program, self).__init__()
        self._prepare("data")
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
        if not any(call.needs_context for call in self._calls().values()):
            self._check_fit()

    @property
    def takes_context(self) -> bool:
        """Whether any part takes a context."""
        return any("context" in call.takes for call in self._calls().values())

    @property
    def takes_mask(self) -> bool:
        """Whether the guide is told which cells are observed, so that NaN may mean missing."""
        return "mask" in self._guide.takes

    @property
    def _open_ended(self) -> bool:
        return False

    def model(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """p(x, z): sites ``z`` and ``x`` in the plate ``data``."""
        self._register()
        x, mask = self._observed(x)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("z", self._prior(context=context))
            likelihood = self._likelihood(z, context=context)
            if mask is not None:
                likelihood, x = masked(likelihood, x, mask)
            value: Tensor = pyro.sample("x", likelihood, obs=x)
            return value

    def guide(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """q(z|x): site ``z`` in the plate ``data``."""
        self._register()
        x, mask = self._observed(x)
        with pyro.plate("data", x.shape[0]):
            z: Tensor = pyro.sample("z", self._guide(x, context=context, mask=mask))
            return z

    def encode(self, x: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """q(z|x) itself, batch (n,)."""
        x, mask = self._observed(x)
        return self._guide(x, context=context, mask=mask)

    def adapt(self, x: Tensor) -> None:
        """Let a guide that standardises its input take its units from the training data."""
        adapt = getattr(self._three[2], "adapt", None)
        if callable(adapt):
            adapt(x)

    def dimension_kl(self, x: Tensor, context: Tensor | None) -> Tensor | None:
        """As `Program.dimension_kl`, for priors with independent latents; of the marginals of a multivariate Normal."""
        q, p = self.encode(x, context), self._prior(context=context)
        if isinstance(q, dist.MultivariateNormal):
            q = dist.Normal(q.loc, q.covariance_matrix.diagonal(dim1=-2, dim2=-1).sqrt()).to_event(1)
        if any(not isinstance(f, dist.Independent) or f.event_dim != 1 or f.base_dist.event_dim for f in (q, p)):
            return None
        try:
            kl: Tensor = torch.distributions.kl_divergence(q.base_dist, p.base_dist)
        except NotImplementedError:
            return None
        return kl.expand(q.batch_shape + q.event_shape)

    def draw_guide(self, x: Tensor, context: Tensor | None, draws: int) -> tuple[poutine.Trace, int]:
        """As `Program.draw_guide`, with the guide run once per datum."""
        q = self.encode(x, context)
        with torch.no_grad():
            z = q.sample((draws,))
            log_q = q.log_prob(z)
        trace = poutine.Trace()
        fn = q if draws == 1 else q.expand((draws, x.shape[0]))
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

    def check(self, x: Tensor, context: Tensor | None) -> None:
        """Refuse parts that do not fit the data, naming the part.

        Raises
        ------
        ValueError
            With the part, the shape expected and the one that came.
        """
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
            )
        n = x.shape[0]
        x, mask = self._observed(x)
        prior = call_part("prior", self._prior, "", context=context)
        if prior.batch_shape not in ((), (n,)):
            raise ValueError(shape_message("prior", prior, f"() or ({n},)", None))
        q = call_part("guide", self._guide, "data", x, context=context, mask=mask)
        expect_shapes("guide", q, (n,), tuple(prior.event_shape), "the prior's event shape")
        likelihood = call_part("likelihood", self._likelihood, "latents", q.sample(), context=context)
        expect_shapes("likelihood", likelihood, (n,), tuple(x.shape[1:]), "the shape of one datum")
        if mask is not None:
            masked(likelihood, x, mask)

    def _check_fit(self) -> None:
        """Compare the parts with each other before there are data: x is drawn from the model."""
        with preserved(), torch.no_grad(), evaluating(self):
            prior = call_part("prior", self._prior, "")
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
            q = call_part("guide", self._guide, "data, drawn from the likelihood,", x, mask=mask)
            expect_shapes("guide", q, (2,), tuple(prior.event_shape), "the prior's event shape")

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
        lines = (
            f"    {name}={type(f).__name__ if isinstance(f, nn.Module) else getattr(f, '__name__', f)},"
            for name, f in zip(("prior", "likelihood", "guide"), self._three, strict=True)
        )
        return "VAE(\n" + "\n".join(lines) + "\n)"
