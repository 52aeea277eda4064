"""Densities of a program's sites by draw and datum: what the objectives of ours are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from pyrovae.program import Program
from pyrovae.structure import prune, site_of

__all__ = ["PARTICLES", "Terms", "draw_terms"]

PARTICLES = "_particles"
Pair = tuple[poutine.Trace, poutine.Trace]


@dataclass
class Terms:
    """K draws of the latents of each of n data by the guide, and their densities in unscaled nats, (K, n).

    ``scale`` is the factor N/b of the data plate (and of handlers around the program), ``outside`` the scaled
    log p − log q of the sites outside the plate, a scalar. ``score`` is log q of the sites whose draws have no
    gradient, None where there are none. ``pairs`` are the traces of guide and model: one with all K draws, or one
    for each.
    """

    pairs: list[Pair]
    plate: str
    scale: float | Tensor
    log_lik: Tensor
    log_prior: Tensor
    log_q: Tensor
    score: Tensor | None
    outside: Tensor | float
    model: Callable[..., Any]
    guide: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __len__(self) -> int:
        """n, the number of data."""
        return self.log_lik.shape[-1]

    @property
    def log_weight(self) -> Tensor:
        """log p(x, z) − log q(z|x), (K, n)."""
        return self.log_lik + self.log_prior - self.log_q

    @cached_property
    def names(self) -> list[str]:
        """The latents of a datum, in the guide's order."""
        return [n for n in _sites(self.pairs[0][0]) if _in(self.pairs[0][0].nodes[n], self.plate)]

    @cached_property
    def kl(self) -> Tensor:
        """KL(q(z|x) ‖ p(z)) (K, n): in closed form where it is known, else by the draws, log q − log p.

        Of several latents that guide and model draw in the same order it is the sum of the KL of each given those
        before it. Drawn in another order, p(z_i) depends on what was drawn after z_i: then by the draws.
        """
        model = self.pairs[0][1]
        if [n for n in model.nodes if n in self.names] != self.names:
            return self.log_q - self.log_prior
        total: Tensor | float = 0.0
        for name in self.names:
            try:
                pieces = [_by_datum(g.nodes[name], _kl(g, m, name), self.plate) for g, m in self.pairs]
            except NotImplementedError:
                pieces = [_log_prob(g, name, self.plate) - _log_prob(m, name, self.plate) for g, m in self.pairs]
            total = total + torch.cat(pieces)
        return torch.broadcast_to(torch.as_tensor(total), self.log_q.shape)

    def codes(self, trace: poutine.Trace | None = None) -> Tensor:
        """All latents of a datum side by side, (K, n, L); or those of another trace of one draw each, (1, n, L)."""
        traces = [g for g, _ in self.pairs] if trace is None else [trace]
        return torch.cat([torch.cat([_front(t.nodes[n], self.plate) for n in self.names], -1) for t in traces])

    def prior_codes(self) -> Tensor:
        """A draw of the prior for each datum, (n, L), with gradients to the prior where its family has them."""
        if len(self.names) == 1:
            node = self.pairs[0][1].nodes[self.names[0]]
            fn = node["fn"]
            value = fn.rsample() if fn.has_rsample else fn.sample()
            return _front({**node, "value": value}, self.plate)[0]
        free = poutine.trace(poutine.uncondition(self.model)).get_trace(*self.args, **self.kwargs)
        return self.codes(prune(free))[0]


def draw_terms(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    particles: int = 1,
    vectorize: bool = False,
    plate: str | None = None,
) -> Terms:
    """Run guide and model, with so many draws of the latents of each datum.

    Methods of a `Program` that takes latents with a dimension of draws in front are run once for all draws, as others
    are if ``vectorize`` says so; else once for each.

    Raises
    ------
    ValueError
        If the plate of the data cannot be told, or the sites inside it are not weighted equally.
    """
    owner = getattr(model, "__self__", None)
    if isinstance(owner, Program):
        vectorize, plate = vectorize or owner.broadcasts, plate or owner.plate
    if particles > 1 and vectorize:
        nesting = _nesting(_pair(model, guide, args, kwargs))
        wrap = lambda fn: pyro.plate(PARTICLES, particles, dim=-nesting - 1)(fn)  # noqa: E731
        pairs = [_pair(wrap(model), wrap(guide), args, kwargs)]
    else:
        pairs = [_pair(model, guide, args, kwargs) for _ in range(particles)]
    for pair in pairs:
        for trace in pair:
            trace.compute_log_prob()
    first, shown = pairs[0]
    plate = plate or _data_plate(first, shown)
    local = [n for n in _sites(first) if _in(first.nodes[n], plate)]
    observed = [n for n, s in shown.nodes.items() if s["type"] == "sample" and s["is_observed"]]
    seen = [n for n in observed if _in(shown.nodes[n], plate)]
    lost = [n for n in local if n not in shown.nodes]
    extra = [n for n in _sites(shown) if n not in first.nodes]
    if not local:
        raise ValueError(f"the guide draws no latent in the plate {plate!r}: there is nothing to weigh")
    if lost or extra:
        raise ValueError(
            f"the sites {', '.join(lost or extra)} are in the {'guide' if lost else 'model'} alone: this objective "
            "needs each latent in both (use pyro.infer.Trace_ELBO or TraceEnum_ELBO)"
        )
    outside: Tensor | float = 0.0
    for g, m in pairs:
        outside = outside + sum(
            sign * t.nodes[n]["log_prob"].sum()
            for sign, t, names in ((1, m, [*_sites(m), *observed]), (-1, g, _sites(g)))
            for n in names
            if not _in(t.nodes[n], plate)
        )

    def total(which: int, names: list[str]) -> Tensor:
        return torch.cat([torch.stack([_log_prob(p[which], n, plate) for n in names]).sum(0) for p in pairs])

    scored = [n for n in local if not first.nodes[n]["fn"].has_rsample]
    return Terms(
        pairs=pairs,
        plate=plate,
        scale=_scale([first.nodes[n] for n in local] + [shown.nodes[n] for n in (*local, *seen)]),
        log_lik=total(1, seen),
        log_prior=total(1, local),
        log_q=total(0, local),
        score=total(0, scored) if scored else None,
        outside=outside / particles,
        model=model,
        guide=guide,
        args=args,
        kwargs=kwargs,
    )


def _pair(model: Any, guide: Any, args: Any, kwargs: Any) -> Pair:
    drawn = poutine.trace(guide).get_trace(*args, **kwargs)
    replayed = poutine.trace(poutine.replay(model, trace=drawn)).get_trace(*args, **kwargs)
    return prune(drawn), prune(replayed)


def _nesting(pair: Pair) -> int:
    dims = [f.dim for t in pair for s in t.nodes.values() for f in s.get("cond_indep_stack", ()) if f.vectorized]
    return -min(dims, default=0)


def _sites(trace: poutine.Trace) -> list[str]:
    """The latents."""
    return [n for n, s in trace.nodes.items() if s["type"] == "sample" and not s["is_observed"]]


def _in(node: Any, plate: str) -> bool:
    return any(frame.name == plate for frame in node["cond_indep_stack"])


def _data_plate(guide: poutine.Trace, model: poutine.Trace) -> str:
    """The only plate that all observed sites inside plates stand in, and some latent."""
    observed = [
        {f.name for f in s["cond_indep_stack"] if f.vectorized}
        for s in model.nodes.values()
        if s["type"] == "sample" and s["is_observed"]
    ]
    latent = {f.name for n in _sites(guide) for f in guide.nodes[n]["cond_indep_stack"] if f.vectorized}
    common = sorted(set.intersection(latent, *(plates for plates in observed if plates)) - {PARTICLES})
    if len(common) != 1:
        found = ", ".join(map(repr, common)) or "none"
        raise ValueError(
            f"this objective weighs each datum by itself, and the plate of the data could not be told (found: {found}):"
            " name it, plate='…', in the objective"
        )
    return common[0]


def _by_datum(node: Any, values: Tensor, plate: str) -> Tensor:
    """Values of the site's batch shape, summed over all plates but those of the draws and the data: (K, n)."""
    values = scale_and_mask(values, 1.0, node.get("mask"))
    dims = {f.name: f.dim for f in node["cond_indep_stack"] if f.vectorized}
    if PARTICLES in dims:
        values = values.movedim((dims[PARTICLES], dims[plate]), (0, -1))
    else:
        values = values.movedim(dims[plate], -1).unsqueeze(0)
    return values.reshape(values.shape[0], -1, values.shape[-1]).sum(1)


def _log_prob(trace: poutine.Trace, name: str, plate: str) -> Tensor:
    node = trace.nodes[name]
    return _by_datum(node, node["unscaled_log_prob"], plate)


def _kl(guide: poutine.Trace, model: poutine.Trace, name: str) -> Tensor:
    q, p = guide.nodes[name]["fn"], model.nodes[name]["fn"]
    kl: Tensor = torch.distributions.kl_divergence(q, p)
    return kl.expand(torch.broadcast_shapes(q.batch_shape, p.batch_shape))


def _front(node: Any, plate: str) -> Tensor:
    """The site's value, (K, n, everything else flattened)."""
    site = site_of(node, plate)
    dims = {f.name: f.dim for f in node["cond_indep_stack"] if f.vectorized}
    value = node["value"]
    if PARTICLES in dims:
        value = value.movedim((dims[PARTICLES] - site.event_dim, dims[plate] - site.event_dim), (0, 1))
    else:
        value = value.movedim(dims[plate] - site.event_dim, 0).unsqueeze(0)
    return value.reshape(*value.shape[:2], -1)


def _scale(nodes: list[Any]) -> float | Tensor:
    scales = {float(s) if not isinstance(s, Tensor) or s.numel() == 1 else None for s in (n["scale"] for n in nodes)}
    if len(scales) != 1 or None in scales:
        raise ValueError(
            "the sites of a datum have different weights (poutine.scale), so that there is no one weight of a datum: "
            "use pyro.infer.Trace_ELBO, or give them one"
        )
    return float(scales.pop() or 0.0)
