"""Likelihood of a table whose columns hold different kinds of values."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn.functional import logsigmoid

from pyrovae.data import Column
from pyrovae.data._columns import KINDS, check_cells, columns_of
from pyrovae.distributions.categorical import Categorical
from pyrovae.distributions.columns import Columns as Cells
from pyrovae.distributions.negative_binomial import NegativeBinomial
from pyrovae.likelihoods._likelihood import NetworkLikelihood

__all__ = ["Columns"]

START = 0.3  # of a column's spread: from 1, where z explains nothing, latents are given up before they are used
LEAST = 1e-3  # of a column's spread: the scale of a column that z explains wholly, which has no density


class Columns(NetworkLikelihood):
    """p(x|z) = Π_j p_j(x_j|z) for the columns of a table, each by its kind (as in Nazábal et al. 2018, 1807.03653).

    With a, a_1, … the network's outputs of a column:

    - real: N(m + s a, (s σ)²), with m and s the column's mean and standard deviation in the training data;
    - positive: the same of log x, a log-Normal;
    - count: negative binomial of mean m exp(a) and variance μ + μ²/r, with m the mean in the training data;
    - binary: logit P(x = 1) = b + a, with b that of the training data;
    - categorical: log P(x = k) = b_k + a_k + constant, with b_k that of the training data;
    - ordinal: logit P(x ≤ k) = c_k − a, with ordered c (McCullagh 1980).

    σ (at least a thousandth), r and the distances between the c are learned for each column. What is of the training
    data is set by `adapt`; until then m = 0 or 1, s = 1 and b = 0.

    Parameters
    ----------
    columns
        Those of the data, ``train.columns``, or by hand: ``{"age": "real", "stage": ("ordinal", 4)}``.
    network
        z (..., latents) → (..., `outputs`).

    Shapes
    ------
    z (..., latents) → batch (...), event (columns,): a `pyrovae.distributions.Columns`.

    Raises
    ------
    ValueError
        If a kind is unknown, levels do not fit it, or the network has another number of outputs.

    Examples
    --------
    >>> from pyrovae.networks import MLP
    >>> columns = {"age": "real", "visits": "count", "stage": ("ordinal", 4), "city": ("categorical", ("Bonn", "Ulm"))}
    >>> part = Columns(columns, MLP(3, (16,), Columns.outputs(columns)))
    >>> part(torch.zeros(5, 3)).event_shape
    torch.Size([4])
    """

    shift: Tensor
    spread: Tensor
    logits: Tensor
    cutpoints: Tensor
    adapted: Tensor
    _count: Tensor
    _places: Tensor
    _no_categorical: Tensor
    _no_ordinal: Tensor
    _last: Tensor

    def __init__(self, columns: Any, network: Callable[..., Tensor]) -> None:
        super().__init__(network)
        self.columns: tuple[Column, ...] = columns_of(columns)
        self.names = tuple(c.name for c in self.columns)
        self._sizes = [sum(_width(c) for c in self.columns if c.kind == kind) for kind in KINDS]
        for kind in KINDS:
            self.register_buffer(f"_{kind}", torch.tensor(_of(self.columns, kind), dtype=torch.long), persistent=False)
        levels = {kind: [len(self.columns[j].levels) for j in _of(self.columns, kind)] for kind in KINDS}
        d, scaled = len(self.columns), len(_of(self.columns, "real")) + len(_of(self.columns, "positive"))
        self.register_buffer("shift", torch.zeros(d))
        self.register_buffer("spread", torch.ones(d))
        self.register_buffer("logits", torch.zeros(self._sizes[3] + self._sizes[4]))
        self.register_buffer("adapted", torch.tensor(False))
        self.log_scale = _parameter(scaled)
        self.log_dispersion = _parameter(self._sizes[2])
        # of padded levels: where each column's stand in the network's output, and which there are
        most, start = max(levels["categorical"], default=0), 0
        places = torch.zeros(len(levels["categorical"]), most, dtype=torch.long)
        for row, k in enumerate(levels["categorical"]):
            places[row, :k], start = torch.arange(start, start + k), start + k
        self.register_buffer("_places", places, persistent=False)
        self._uneven: dict[str, bool] = {}
        self._bound("categorical", levels["categorical"])
        self._bound("ordinal", levels["ordinal"])
        steps = max(levels["ordinal"], default=2) - 1
        even = torch.zeros(len(levels["ordinal"]), steps)
        for row, k in enumerate(levels["ordinal"]):
            even[row] = _even(k, steps)
        self.register_buffer("cutpoints", even)
        self.log_gaps = _parameter(len(levels["ordinal"]), steps - 1) if max(levels["ordinal"], default=0) > 2 else None

    @staticmethod
    def outputs(columns: Any) -> int:
        """How many outputs the network needs: one for each column, of categorical ones as many as levels.

        They stand by kind, in the order real, positive, count, binary, categorical, ordinal.
        """
        return sum(_width(column) for column in columns_of(columns))

    def adapt(self, x: Tensor, context: Tensor | None = None) -> None:
        """Take the units of each column from the training data (n, columns), NaN where missing; once.

        Raises
        ------
        ValueError
            If a column has no observed value, or one that is none of its kind.
        """
        if self.adapted:
            return
        x = x.detach().double().cpu()
        if tuple(x.shape[1:]) != (len(self.columns),):
            raise ValueError(
                f"likelihoods.Columns: built for {len(self.columns)} columns, a datum has shape {tuple(x.shape[1:])}"
            )
        check_cells(x, self.columns, lambda bad: f"row {int(bad.any(1).nonzero()[0])}")
        seen = ~x.isnan()
        empty = [name for name, any_seen in zip(self.names, seen.any(0).tolist(), strict=True) if not any_seen]
        if empty:
            raise ValueError(
                f"the column{'s' * (len(empty) > 1)} {', '.join(map(repr, empty))} of the training data ha"
                f"{'ve' if len(empty) > 1 else 's'} no observed value, so nothing can be learned of "
                f"{'them' if len(empty) > 1 else 'it'}: drop {'them' if len(empty) > 1 else 'it'}"
            )
        constant, binary, categorical, ordinal = [], [], [], []
        for j, column in enumerate(self.columns):
            values = x[seen[:, j], j]
            only = int(values.unique().numel()) == 1
            constant += [column.name] if only else []
            if column.levels:
                counts = torch.bincount(values.long(), minlength=len(column.levels)).double() + 1
                share = counts / counts.sum()
                if column.kind == "binary":
                    binary.append(share[1:].logit())
                elif column.kind == "categorical":
                    categorical.append(share.log())
                else:
                    cuts = share.cumsum(0)[:-1].logit()
                    step = cuts.new_full((self.cutpoints.shape[-1] - len(cuts),), 1.0).cumsum(0)
                    ordinal.append(torch.cat([cuts, cuts[-1] + step]))
            elif column.kind == "count":
                self.shift[j] = values.mean().clamp_min(0.5 / len(values)).log()
            else:
                values = values.log() if column.kind == "positive" else values
                sd = values.std().item() if len(values) > 1 else 0.0
                self.shift[j], self.spread[j] = values.mean(), sd if sd > 0 else 1.0
        if binary or categorical:
            self.logits.copy_(torch.cat([*binary, *categorical]))
        if ordinal:
            self.cutpoints.copy_(torch.stack(ordinal))
        self.adapted.fill_(True)
        if constant:
            warnings.warn(
                f"constant in the training data: {', '.join(map(repr, constant))}. Real and positive ones get spread "
                "1; drop what tells nothing",
                stacklevel=2,
            )

    def forward(self, z: Tensor, context: Tensor | None = None) -> dist.TorchDistribution:
        """p(x|z)."""
        out = self.parameters_of(z, context)
        if out.shape[-1] != sum(self._sizes):
            raise ValueError(
                f"likelihoods.Columns: expected a network with {sum(self._sizes)} outputs for these columns "
                f"(Columns.outputs(columns)), got {out.shape[-1]}"
            )
        real, positive, count, binary, categorical, ordinal = out.split(self._sizes, -1)
        scale = () if self.log_scale is None else (START * self.log_scale.exp() + LEAST).split(self._sizes[:2])
        groups: list[tuple[Tensor, dist.TorchDistribution, Any]] = []

        def add(kind: str, fn: dist.TorchDistribution, support: Any) -> None:
            groups.append((self._at(kind), fn, support))

        for kind, a, family, support, which in (
            ("real", real, dist.Normal, constraints.real, 0),
            ("positive", positive, dist.LogNormal, constraints.positive, 1),
        ):
            if a.shape[-1]:
                at = self._at(kind)
                shift, spread = self.shift.index_select(0, at), self.spread.index_select(0, at)
                add(kind, family(shift + spread * a, spread * scale[which]), support)
        if count.shape[-1]:
            log_mean, log_r = self.shift[self._count] + count, self.get_parameter("log_dispersion")
            fn = NegativeBinomial(log_r.exp(), logits=log_mean - log_r)
            add("count", fn, constraints.nonnegative_integer)
        if binary.shape[-1]:
            add("binary", dist.Bernoulli(logits=self.logits[: self._sizes[3]] + binary), constraints.boolean)
        if categorical.shape[-1]:
            logits = self.logits[self._sizes[3] :] + categorical
            if self._uneven["categorical"]:
                logits = logits.index_select(-1, self._places.flatten())
            logits = self._only("categorical", logits.unflatten(-1, self._places.shape))
            add("categorical", Categorical(logits=logits), self._interval("categorical"))
        if ordinal.shape[-1]:
            log_p = self._only("ordinal", self._ordered(ordinal))
            add("ordinal", Categorical(logits=log_p, normalised=True), self._interval("ordinal"))
        return Cells(groups, self.names)

    def reset_parameters(self) -> None:
        """Back to the start: scales of 0.3 spreads, dispersions of 1, distances as in the training data."""
        with torch.no_grad():
            for parameter in self.parameters(recurse=False):
                parameter.zero_()

    def details(self) -> str:
        """How many columns of each kind, and the network."""
        kinds = [c.kind for c in self.columns]
        return ", ".join([f"{kinds.count(k)} {k}" for k in KINDS if k in kinds] + [super().details()])

    def _ordered(self, a: Tensor) -> Tensor:
        """log P(x = k), (…, columns, levels), by σ(b) − σ(a) = σ(b) σ(−a) (1 − exp(a − b))."""
        gaps = self.cutpoints.diff(dim=-1)
        if self.log_gaps is not None:
            gaps = gaps * self.log_gaps.exp()
        first = self.cutpoints[:, :1]
        cuts = torch.cat([first, first + gaps.cumsum(-1)], -1) - a.unsqueeze(-1)
        low, high = logsigmoid(-cuts), logsigmoid(cuts)
        between = high[..., 1:] + low[..., :-1] + torch.log(-torch.expm1(-gaps))
        # the last level of a column with fewer than the most: only what lies above its own last cutpoint
        inner = torch.cat([high[..., :1], between, low[..., -1:]], -1)
        return torch.where(self._last, torch.cat([high[..., :1], low], -1), inner) if self._uneven["ordinal"] else inner

    def _only(self, kind: str, log_p: Tensor) -> Tensor:
        """Without the levels that pad those of columns with fewer than the most."""
        return log_p.masked_fill(self._at(f"no_{kind}"), -torch.inf) if self._uneven[kind] else log_p

    def _bound(self, kind: str, levels: Sequence[int]) -> None:
        """Buffers: the highest code of each column, and which of the padded levels there are not, and is the last."""
        self._uneven[kind] = len(set(levels)) > 1
        number = torch.tensor(levels, dtype=torch.long)
        code = torch.arange(max(levels, default=0))
        self.register_buffer(f"_high_{kind}", number - 1, persistent=False)
        self.register_buffer(f"_no_{kind}", code >= number[:, None], persistent=False)
        if kind == "ordinal":
            self.register_buffer("_last", code == number[:, None] - 1, persistent=False)

    def _at(self, kind: str) -> Tensor:
        at: Tensor = getattr(self, f"_{kind}")  # get_buffer walks the modules each time
        return at

    def _interval(self, kind: str) -> constraints.Constraint:
        high = self._at(f"high_{kind}")
        return constraints.integer_interval(torch.zeros_like(high), high)


def _of(columns: Sequence[Column], kind: str) -> list[int]:
    return [j for j, column in enumerate(columns) if column.kind == kind]


def _width(column: Column) -> int:
    return len(column.levels) if column.kind == "categorical" else 1


def _parameter(*shape: int) -> nn.Parameter | None:
    return nn.Parameter(torch.zeros(*shape)) if shape[0] else None


def _even(levels: int, steps: int) -> Tensor:
    """Cutpoints that make the levels equally likely, and some beyond for those that are not there."""
    cuts = (torch.arange(1, levels) / levels).logit()
    return torch.cat([cuts, cuts[-1] + torch.arange(1, steps - levels + 2)])
