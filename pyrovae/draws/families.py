"""The family of a guide as raw numbers of each datum: where they start, and the q that they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.torch_distribution import ExpandedDistribution
from torch import Tensor, nn
from torch.distributions import transform_to
from torch.distributions.transforms import Transform

from pyrovae.draws.plan import Plan
from pyrovae.guides._guide import NetworkGuide
from pyrovae.guides.semi_amortized import SemiAmortized
from pyrovae.guides.table import Table
from pyrovae.program import Batch, Program, repeat
from pyrovae.structure import Site
from pyrovae.vae import VAE

__all__ = ["GuideFamily", "guide_family"]

OTHERWISE = "family='student' and family='full' take any guide"
REDUNDANT = {"probs": "logits", "covariance_matrix": "scale_tril", "precision_matrix": "scale_tril"}
CACHES = ("_cached_x_y", "_inv")  # of torch's transforms: no numbers of their own
CLOSE = 1e-3  # nats, and relative: log q of what was put together again


@dataclass(frozen=True)
class GuideFamily:
    """The latent site, raw numbers (n, p) of the guide's q of each datum, and what makes q of any such numbers."""

    site: Site
    raw: Tensor
    distribution: Callable[[Tensor], Any]


def guide_family(program: Program, plan: Plan, batch: Batch) -> GuideFamily:
    """The family of a guide's q(z|x), at its own values; the caller evaluates, without gradient.

    A guide of ours has raw numbers, its network's output. The distribution that any other returns is taken apart into
    its parameters, each mapped onto the reals; those that it gives all data alike, such as degrees of freedom written
    as a number, stay as they are: they are the family.

    Raises
    ------
    ValueError
        If there is not one latent site, draws of q have no gradient, or q cannot be taken apart, with the reason.
    """
    site = _one(plan)
    guide = program.parts["guide"] if isinstance(program, VAE) and "guide" in program.parts else None
    if isinstance(guide, (NetworkGuide, SemiAmortized, Table)) and isinstance(program, VAE):
        x, mask = program._observed(batch.x)
        if isinstance(guide, Table):
            row = guide.rows_of(x, batch.context, mask)
            known = (row >= 0).unsqueeze(-1)
            raw, guide = torch.where(known, guide.raw[row.clamp_min(0)], guide.raw.mean(0)), guide.family
        else:
            guide = guide.guide if isinstance(guide, SemiAmortized) else guide
            raw = guide.parameters_of(x, batch.context, mask)
        family = GuideFamily(site, raw.detach(), guide.distribution)
        _refuse_without_gradient(family.distribution(family.raw))
        return family
    several = batch if len(batch) > 1 else repeat(batch, 2)  # of one datum it could not be told what is alike for all
    q = _returned(program, several, site)
    _refuse_without_gradient(q)
    found, make = _apart(q, q.batch_shape)
    if not found:
        raise _refusal(q, "it gives all data the same numbers")
    raw = torch.cat([transform.inv(value).reshape(len(value), -1) for value, transform in found], -1)[: len(batch)]
    shapes = [transform.inv(value).shape[1:] for value, transform in found]

    def distribution(raw: Tensor) -> Any:
        pieces = raw.split([shape.numel() for shape in shapes], -1)
        return make([t(p.reshape(len(raw), *s)) for p, s, (_, t) in zip(pieces, shapes, found, strict=True)])

    _refuse_other(q, distribution, raw)
    return GuideFamily(site, raw.detach(), distribution)


def _one(plan: Plan) -> Site:
    if plan.shared:
        names = ", ".join(f"'{s.name}'" for s in plan.shared)
        raise ValueError(f"the latents {names} are shared by all data: a datum has no posterior of its own")
    if len(plan.latents) != 1:
        names = ", ".join(f"'{s.name}'" for s in plan.latents) or "none"
        raise ValueError(
            f"the guide's own family is taken of one latent site, and it has {names}, of which one may depend on the "
            f"draw of another: {OTHERWISE}"
        )
    site = plan.latents[0]
    if site.plate_dim != -1 or site.event_dim != len(site.event_shape):
        raise ValueError(
            f"the latent {site.name!r} stands in a plate inside the data plate, and the guide's own family is taken of "
            f"one vector per datum: {OTHERWISE}"
        )
    return site


def _returned(program: Program, batch: Batch, site: Site) -> Any:
    if isinstance(program, VAE):
        return program.encode(batch.x, batch.context)
    return poutine.trace(program.guide).get_trace(*batch.args).nodes[site.name]["fn"]


def _refusal(q: Any, why: str) -> ValueError:
    return ValueError(f"the guide's {type(q).__name__} cannot be improved within its own family: {why}. {OTHERWISE}")


def _refuse_without_gradient(q: Any) -> None:
    if not q.has_rsample:
        raise _refusal(q, "its draws have no gradient")


def _refuse_other(q: Any, distribution: Callable[[Tensor], Any], raw: Tensor) -> None:
    """What was put together again must be what was taken apart."""
    try:
        z = q.sample()
        before, after = q.log_prob(z)[: len(raw)], distribution(raw).log_prob(z[: len(raw)])
        same = before.shape == after.shape and bool((abs(after - before) <= CLOSE * (1 + abs(before))).all())
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise _refusal(q, f"it could not be put together again ({error})") from error
    if not same:
        raise _refusal(q, "put together again of its parameters it is another distribution")


Found = list[tuple[Tensor, Transform]]
Make = Callable[[Sequence[Tensor]], Any]


def _apart(q: Any, batch: torch.Size) -> tuple[Found, Make]:
    """The parameters of q that differ by datum, with the map onto their support, and what makes q of such again."""
    if isinstance(q, (torch.distributions.Independent, torch.distributions.TransformedDistribution)) and not _own(q):
        base = q.base_dist
        found, make = _apart(base, batch + base.batch_shape[len(q.batch_shape) :])
        if isinstance(q, torch.distributions.Independent):
            return found, lambda values: make(values).to_event(q.reinterpreted_batch_ndims)
        for transform in q.transforms:
            if not _constant(transform, batch[0]):
                raise _refusal(q, f"its {type(transform).__name__} has numbers of its own, which would stay")
        return found, lambda values: dist.TransformedDistribution(make(values), list(q.transforms))
    if isinstance(q, ExpandedDistribution):
        return _apart(q.base_dist, batch)
    if not _own(q):
        raise _refusal(q, "it does not say what its parameters are")
    free: dict[str, tuple[Tensor, Transform]] = {}
    held: dict[str, Tensor] = {}
    for name, constraint in type(q).arg_constraints.items():
        if REDUNDANT.get(name) in type(q).arg_constraints:
            continue
        value = torch.as_tensor(getattr(q, name))
        alike = value.dim() < len(batch) + constraint.event_dim or value.stride(0) == 0
        event = value.shape[value.dim() - constraint.event_dim :]
        if alike:
            held[name] = value.expand(batch + event)[:1]
            continue
        try:
            free[name] = value.expand(batch + event), transform_to(constraint)
        except NotImplementedError as error:
            raise _refusal(q, f"its parameter {name!r} cannot be mapped onto the reals") from error
    kind, names = type(q), list(free)
    return list(free.values()), lambda values: kind(**dict(zip(names, values, strict=True)), **held)


def _own(q: Any) -> bool:
    """Whether it has parameters by name: a LogNormal has, though it is a Normal transformed."""
    constraints = type(q).arg_constraints
    return isinstance(constraints, dict) and bool(constraints)


def _constant(transform: Any, n: int) -> bool:
    """Whether a transform is the same for all of n data: it holds no function of its own, and no value per datum."""
    held = [value for name, value in vars(transform).items() if name not in CACHES]
    held = [inner for value in held for inner in (value if isinstance(value, (list, tuple)) else [value])]
    return not isinstance(transform, nn.Module) and all(
        _constant(value, n)
        if isinstance(value, Transform)
        else not callable(value) and not (isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == n)
        for value in held
    )
