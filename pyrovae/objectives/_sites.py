"""What is read off the sites of a trace: whose they are, their densities and values by draw and datum."""

from __future__ import annotations

from typing import Any

import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from pyrovae.structure import site_of

__all__ = [
    "PARTICLES",
    "as_site",
    "by_datum",
    "check_sites",
    "data_plate",
    "in_front",
    "inside",
    "kl_of",
    "latents",
    "log_prob_of",
    "observed",
    "scale_of",
]

PARTICLES = "_particles"


def latents(trace: poutine.Trace) -> list[str]:
    """The latents."""
    return [n for n, s in trace.nodes.items() if s["type"] == "sample" and not s["is_observed"]]


def observed(trace: poutine.Trace) -> list[str]:
    """The sites whose value is given, and the factors; deterministic ones have no density."""
    return [
        n
        for n, s in trace.nodes.items()
        if s["type"] == "sample" and s["is_observed"] and not s["infer"].get("_deterministic")
    ]


def check_sites(guide: poutine.Trace, model: poutine.Trace, plate: str, local: list[str], seen: list[str]) -> None:
    """Every latent must be in both, and at the same side of the plate."""
    ours, theirs = latents(guide), latents(model)
    if not local or not seen:
        role, what = ("model", "observes nothing") if local else ("guide", "draws no latent")
        raise ValueError(f"the {role} {what} in the plate {plate!r}: there is nothing to weigh")
    lost = [n for n in ours if n not in theirs]
    extra = [n for n in theirs if n not in ours]
    if lost or extra:
        raise ValueError(
            f"the sites {', '.join(lost or extra)} are in the {'guide' if lost else 'model'} alone: this objective "
            "needs each latent in both (use pyro.infer.Trace_ELBO or TraceEnum_ELBO)"
        )
    apart = [n for n in ours if inside(guide.nodes[n], plate) != inside(model.nodes[n], plate)]
    if apart:
        raise ValueError(
            f"the sites {', '.join(apart)} stand inside the plate {plate!r} in one of guide and model and outside it "
            "in the other: draw them inside it in both"
        )


def inside(node: Any, plate: str) -> bool:
    """Whether a site stands in the plate."""
    return any(frame.name == plate for frame in node["cond_indep_stack"])


def data_plate(guide: poutine.Trace, model: poutine.Trace) -> str:
    """The only plate that all observed sites inside plates stand in, and some latent."""
    given = [{f.name for f in model.nodes[n]["cond_indep_stack"] if f.vectorized} for n in observed(model)]
    latent = {f.name for n in latents(guide) for f in guide.nodes[n]["cond_indep_stack"] if f.vectorized}
    common = sorted(set.intersection(latent, *(plates for plates in given if plates)) - {PARTICLES})
    if len(common) != 1:
        found = ", ".join(map(repr, common)) or "none"
        raise ValueError(
            f"this objective weighs each datum by itself, and the plate of the data could not be told (found: {found}):"
            " name it, plate='…', in the objective"
        )
    return common[0]


def by_datum(node: Any, values: Tensor, plate: str) -> Tensor:
    """Values of the site's batch shape, summed over all plates but those of the draws and the data: (K, n)."""
    values = scale_and_mask(values, 1.0, node.get("mask"))
    dims = {f.name: f.dim for f in node["cond_indep_stack"] if f.vectorized}
    if PARTICLES in dims:
        values = values.movedim((dims[PARTICLES], dims[plate]), (0, -1))
    else:
        values = values.movedim(dims[plate], -1).unsqueeze(0)
    return values.reshape(values.shape[0], -1, values.shape[-1]).sum(1)


def log_prob_of(trace: poutine.Trace, name: str, plate: str) -> Tensor:
    """A site's log density in unscaled nats, its mask applied, by draw and datum: (K, n)."""
    node = trace.nodes[name]
    return by_datum(node, node["unscaled_log_prob"], plate)


def kl_of(guide: poutine.Trace, model: poutine.Trace, name: str) -> Tensor:
    """KL(q ‖ p) of a site in closed form, of its batch shape.

    Raises
    ------
    NotImplementedError
        If none is known, or the two are masked differently.
    """
    q, p = guide.nodes[name]["fn"], model.nodes[name]["fn"]
    if guide.nodes[name].get("mask") is not model.nodes[name].get("mask"):
        raise NotImplementedError  # it is the KL of no one distribution
    kl: Tensor = torch.distributions.kl_divergence(q, p)
    return kl.expand(torch.broadcast_shapes(q.batch_shape, p.batch_shape))


def as_site(node: Any, values: Tensor, plate: str) -> Tensor:
    """Numbers (K, n), or (1, n) of a trace of one draw, in the shape that multiplies the site's value."""
    dims = {f.name: f.dim for f in node["cond_indep_stack"] if f.vectorized}
    shape, event = [1] * node["value"].dim(), len(node["fn"].event_shape)
    shape[dims[plate] - event] = values.shape[1]
    if PARTICLES in dims:
        shape[dims[PARTICLES] - event] = values.shape[0]
    return values.reshape(shape)


def in_front(node: Any, plate: str) -> Tensor:
    """The site's value, (K, n, everything else flattened)."""
    site = site_of(node, plate)
    dims = {f.name: f.dim for f in node["cond_indep_stack"] if f.vectorized}
    value = node["value"]
    if PARTICLES in dims:
        value = value.movedim((dims[PARTICLES] - site.event_dim, dims[plate] - site.event_dim), (0, 1))
    else:
        value = value.movedim(dims[plate] - site.event_dim, 0).unsqueeze(0)
    return value.reshape(*value.shape[:2], -1)


def scale_of(nodes: list[Any]) -> float | Tensor:
    """The one factor that the densities of a datum's sites are multiplied by.

    Raises
    ------
    ValueError
        If they have several.
    """
    scales = {float(s) if not isinstance(s, Tensor) or s.numel() == 1 else None for s in (n["scale"] for n in nodes)}
    if len(scales) != 1 or None in scales:
        raise ValueError(
            "the sites of a datum have different weights (poutine.scale), so that there is no one weight of a datum: "
            "use pyro.infer.Trace_ELBO, or give them one"
        )
    return float(scales.pop() or 0.0)
