"""The likelihood of tables and the features for their guide: densities by scipy, bad input, and what is learned."""

from __future__ import annotations

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import special, stats
from torch.distributions import constraints

import pyrovae as pv
from pyrovae.distributions import Columns as Cells
from pyrovae.likelihoods import Columns
from pyrovae.networks import MLP
from pyrovae.networks import Columns as Features

TABLE = {
    "age": "real",
    "town": ("categorical", ("Bonn", "Köln", "Ulm")),
    "income": "positive",
    "stage": ("ordinal", 4),
    "visits": "count",
    "colour": ("categorical", 2),
    "smokes": "binary",
    "height": "real",
    "grade": ("ordinal", ("low", "high")),
}
NAMES = list(TABLE)


def rows(n: int = 200, seed: int = 0, holes: float = 0.0) -> torch.Tensor:
    """Values of the table, in double precision."""
    rng = np.random.default_rng(seed)
    x = np.column_stack(
        [
            rng.normal(40, 12, n),
            rng.integers(0, 3, n),
            np.exp(rng.normal(7, 0.5, n)),
            rng.integers(0, 4, n),
            rng.poisson(4, n),
            rng.integers(0, 2, n),
            rng.integers(0, 2, n),
            rng.normal(1.7, 0.1, n),
            rng.integers(0, 2, n),
        ]
    )
    x[rng.random(x.shape) < holes] = np.nan
    return torch.tensor(x)


def made(columns=TABLE, latents: int = 3, adapted: bool = True, **settings) -> Columns:
    """A likelihood with weights drawn anew."""
    torch.manual_seed(1)
    part = Columns(columns, MLP(latents, (8,), Columns.outputs(columns), **settings)).double()
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    if adapted:
        part.adapt(rows())
    return part


def by_hand(part: Columns, z: torch.Tensor, x: np.ndarray) -> np.ndarray:
    """The log density of each cell by scipy and the formulas of the docstring."""
    a = part.network(z).detach().numpy()  # real 2, positive 1, count 1, binary 1, categorical 3 + 2, ordinal 2
    train = rows().numpy()
    sigma = 0.3 * part.log_scale.exp().detach().numpy() + 1e-3
    out = np.empty_like(x)
    for k, j in enumerate((0, 7)):
        m, s = train[:, j].mean(), train[:, j].std(ddof=1)
        out[:, j] = stats.norm.logpdf(x[:, j], m + s * a[:, k], s * sigma[k])
    logs = np.log(train[:, 2])
    loc, scale = logs.mean() + logs.std(ddof=1) * a[:, 2], logs.std(ddof=1) * sigma[2]
    out[:, 2] = stats.lognorm.logpdf(x[:, 2], scale, scale=np.exp(loc))
    mu, r = train[:, 4].mean() * np.exp(a[:, 3]), part.log_dispersion.exp().item()
    out[:, 4] = stats.nbinom.logpmf(x[:, 4], r, r / (r + mu))
    share = (np.bincount(train[:, 6].astype(int), minlength=2) + 1) / (len(train) + 2)
    out[:, 6] = stats.bernoulli.logpmf(x[:, 6], special.expit(special.logit(share[1]) + a[:, 4]))
    for j, at, k in ((1, 5, 3), (5, 8, 2)):
        share = (np.bincount(train[:, j].astype(int), minlength=k) + 1) / (len(train) + k)
        log_p = special.log_softmax(np.log(share) + a[:, at : at + k], -1)
        out[:, j] = log_p[np.arange(len(x)), x[:, j].astype(int)]
    for j, at, k in ((3, 10, 4), (8, 11, 2)):
        share = (np.bincount(train[:, j].astype(int), minlength=k) + 1) / (len(train) + k)
        cuts = special.logit(share.cumsum()[:-1])
        gaps = np.diff(cuts) * np.exp(part.log_gaps.detach().numpy()[at - 10, : k - 2])
        cuts = np.concatenate([cuts[:1], cuts[0] + gaps.cumsum()])
        below = special.expit(cuts - a[:, at : at + 1])
        p = np.diff(np.column_stack([np.zeros(len(x)), below, np.ones(len(x))]))
        out[:, j] = np.log(p[np.arange(len(x)), x[:, j].astype(int)])
    return out


# The density


def test_the_density_of_each_cell_is_that_of_scipy():
    part, z, x = made(), torch.randn(50, 3, dtype=torch.float64), rows(50, seed=3)
    with pyro.validation_enabled(True):
        fn = part(z)
        expected = by_hand(part, z, x.numpy())
        np.testing.assert_allclose(fn.cell_log_prob(x).detach().numpy(), expected, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(fn.log_prob(x).detach().numpy(), expected.sum(1), rtol=1e-9)


@pytest.mark.parametrize("anything", [0.0, -7.3, math.nan, math.inf])
def test_missing_cells_count_nothing_whatever_stands_there(anything):
    part, z, x = made(), torch.randn(50, 3, dtype=torch.float64), rows(50, seed=3)
    mask = torch.rand(x.shape) > 0.4
    expected = np.where(mask, by_hand(part, z, x.numpy()), 0).sum(1)
    with pyro.validation_enabled(True):
        fn = part(z).marginal(mask)
        log_prob = fn.log_prob(torch.where(mask, x, anything))
    np.testing.assert_allclose(log_prob.detach().numpy(), expected, rtol=1e-9, atol=1e-9)
    log_prob.sum().backward()
    for name, parameter in part.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_draws_have_the_frequencies_of_the_density():
    part = made()
    torch.manual_seed(0)
    with torch.no_grad():
        fn = part(torch.randn(1, 3, dtype=torch.float64))
        x = fn.sample((40_000,))[:, 0]
        assert part(torch.zeros(1, 3).double()).support.check(x).all()
        mean, variance = fn.mean[0], fn.variance[0]
        for j, (name, kind) in enumerate(TABLE.items()):
            if isinstance(kind, tuple):
                assert mean[j].isnan()
                levels = x[:, j].unique()
                point = x[:1].repeat(len(levels), 1)
                point[:, j] = levels
                p = fn.cell_log_prob(point)[:, j].exp()
                assert len(levels) == len(Columns({name: kind}, torch.nn.Identity()).columns[0].levels)
                torch.testing.assert_close(p.sum().item(), 1.0)
                seen = (x[:, j, None] == levels).double().mean(0)
                assert ((seen - p).abs() < 4 * (p * (1 - p) / len(x)).sqrt()).all(), name
            else:
                assert abs(x[:, j].mean() - mean[j]) < 4 * (variance[j] / len(x)).sqrt(), name


def test_shapes_of_draws_and_of_larger_batches():
    part = made(context=2)
    z, context = torch.randn(7, 5, 3, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    fn = part(z, context)
    assert (fn.batch_shape, fn.event_shape) == ((7, 5), (9,))
    assert fn.sample((2,)).shape == (2, 7, 5, 9)
    x = rows(5)
    assert fn.log_prob(x).shape == (7, 5)
    wide = part(z[0], context).expand((7, 5))
    torch.testing.assert_close(wide.log_prob(x), part(z[0], context).log_prob(x).expand(7, 5))
    assert wide.sample().shape == (7, 5, 9)
    mask = torch.rand(5, 9) > 0.5
    torch.testing.assert_close(
        part(z[0], context).marginal(mask).expand((7, 5)).log_prob(x),
        part(z[0], context).marginal(mask).log_prob(x).expand(7, 5),
    )
    numbers = Columns({"a": "real", "b": "positive"}, MLP(3, (), 2))(torch.randn(4, 3))
    assert numbers.has_rsample
    assert not fn.has_rsample
    numbers.rsample().sum().backward()
    assert numbers.mean.isfinite().all()


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("income", 0.0, "greater than (0)"),
        ("stage", 4.0, "integer interval (0, 3)"),
        ("town", 3.0, "integer interval (0, 2)"),
        ("colour", 2.0, "integer interval (0, 1)"),
        ("visits", 1.5, "integer of at least (0)"),
        ("smokes", 2.0, "boolean"),
    ],
)
def test_the_support_names_the_cell(column, value, says):
    from pyrovae._support import by_element, describe

    part, x = made(), rows(5)
    with pyro.validation_enabled(True):
        fn = part(torch.zeros(5, 3, dtype=torch.float64))
        cells = by_element(fn.support)
        assert cells.check(x).all()
        assert fn.support.check(x).all()
        j = NAMES.index(column)
        x[2, j] = value
        assert (~cells.check(x)).nonzero().tolist() == [[2, j]]
        assert cells.names[j] == column
        assert describe(cells.cell(j)) == says
        with pytest.raises(ValueError, match="to be within the support"):
            fn.log_prob(x)
        mask = torch.ones_like(x, dtype=torch.bool)
        mask[2, j] = False
        assert fn.marginal(mask).log_prob(x).isfinite().all()


def test_a_level_without_data_stays_possible_and_padding_does_not():
    part = Columns(
        {"a": ("categorical", 5), "b": ("categorical", 2), "c": ("ordinal", 5), "d": ("ordinal", 2)}, MLP(1, (), 9)
    )
    x = torch.randint(0, 2, (50, 4)).float()
    part.adapt(x)
    fn = part(torch.zeros(1, 1))
    four = fn.cell_log_prob(torch.tensor([[4.0, 1.0, 4.0, 1.0]]))
    assert four.isfinite().all()
    many = fn.sample((2000,))
    assert many.amax((0, 1))[[1, 3]].tolist() == [1, 1]


def test_saved_loaded_reset_and_double():
    part, fresh = made(), made(adapted=False)
    fresh.load_state_dict(part.state_dict())
    z, x = torch.randn(5, 3, dtype=torch.float64), rows(5)
    torch.testing.assert_close(fresh(z).log_prob(x), part(z).log_prob(x))
    before = fresh.shift.clone()
    fresh.adapt(2 * rows())  # was adapted: stays
    assert torch.equal(fresh.shift, before)
    fresh.reset_parameters()
    assert all(not p.any() for p in fresh.parameters(recurse=False))
    assert part(z).sample().dtype == part(z).log_prob(x).dtype == torch.float64


def test_it_learns_a_table_by_svi():
    """Dispersion, scales and cutpoints of data without latents: the maximum likelihood, found by Pyro's SVI."""
    rng = np.random.default_rng(0)
    n = 4000
    x = np.column_stack(
        [
            rng.normal(100, 5, n),
            rng.negative_binomial(2.5, 2.5 / (2.5 + 6), n),
            rng.choice(4, n, p=[0.4, 0.1, 0.3, 0.2]),
        ]
    )
    columns = {"a": "real", "b": "count", "c": ("ordinal", 4)}
    part = Columns(columns, torch.nn.Linear(1, 3, bias=False)).double()
    data = torch.tensor(x)
    part.adapt(data[:200])  # units of a few rows only: the rest is to be learned
    optimizer = torch.optim.Adam(part.parameters(), 0.05)
    one = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(300):
        optimizer.zero_grad()
        (-part(one).log_prob(data).mean()).backward()
        optimizer.step()
    fn = part(one)
    fitted = fn.log_prob(data).mean().item()
    best_r = max(stats.nbinom.logpmf(x[:, 1], r, r / (r + x[:, 1].mean())).mean() for r in np.linspace(1.5, 4, 2000))
    share = np.bincount(x[:, 2].astype(int)) / n
    best = stats.norm.logpdf(x[:, 0], x[:, 0].mean(), x[:, 0].std()).mean() + best_r + (share * np.log(share)).sum()
    assert best - 1e-4 < fitted < best + 1e-6


# What it starts from


def test_a_constant_column_is_named():
    x = rows()
    x[:, 0] = 3.0
    part = made(adapted=False)
    with pytest.warns(UserWarning, match="constant in the training data: 'age'.*drop what tells nothing"):
        part.adapt(x)
    assert part.spread[0] == 1
    assert part.shift[0] == 3


def test_an_empty_column_is_refused():
    x = rows()
    x[:, 1] = torch.nan
    with pytest.raises(ValueError, match="the column 'town' of the training data has no observed value.*drop it"):
        made(adapted=False).adapt(x)


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("stage", 7.0, "column 'stage' is ordinal with 4 levels: expected codes 0 to 3 or NaN, got 7 at row 3"),
        ("income", -1.0, "column 'income' is positive: expected values above 0, got -1 at row 3"),
        ("visits", 0.5, "column 'visits' is count: expected the whole numbers 0, 1, 2, …, got 0.5 at row 3"),
    ],
)
def test_training_data_off_the_kinds_are_refused(column, value, says):
    x = rows(20)
    x[3, NAMES.index(column)] = value
    with pytest.raises(ValueError, match=says):
        made(adapted=False).adapt(x)


def test_missing_cells_do_not_change_what_is_adapted_to_the_others():
    part, holes = made(adapted=False), made(adapted=False)
    x = rows()
    part.adapt(x)
    x[::2] = torch.nan
    holes.adapt(torch.cat([rows(), torch.full((100, 9), torch.nan).double()]))
    torch.testing.assert_close(holes.shift, part.shift)
    torch.testing.assert_close(holes.cutpoints, part.cutpoints)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (
            lambda: Columns({"a": "reel"}, MLP(1, (), 1)),
            ValueError,
            "column 'a': expected a kind of real, .*got 'reel'",
        ),
        (
            lambda: Columns({"a": "categorical"}, MLP(1, (), 1)),
            ValueError,
            "at least 2 different levels, got none; give",
        ),
        (lambda: Columns({"a": ("ordinal", ("x", "x"))}, MLP(1, (), 1)), ValueError, "different levels, got 'x', 'x'"),
        (lambda: Columns({"a": ("binary", 3)}, MLP(1, (), 1)), ValueError, "expected 2 different levels, got 0, 1, 2"),
        (lambda: Columns({"a": ("real", 3)}, MLP(1, (), 1)), ValueError, "column 'a' is real: expected no levels"),
        (lambda: Columns({"a": ("real", 3, 4)}, MLP(1, (), 1)), ValueError, r"expected a kind, or \(kind, levels\)"),
        (lambda: Columns(["a"], MLP(1, (), 1)), TypeError, "columns: expected those of a table"),
        (lambda: Columns(None, MLP(1, (), 1)), TypeError, "as_data.*got none"),
        (lambda: Columns({}, MLP(1, (), 1)), TypeError, "columns: expected those of a table"),
        (lambda: Columns([pv.data.Column("a", "real")] * 2, MLP(1, (), 2)), ValueError, "'a' appears twice"),
        (lambda: Columns({"a": "real"}, 3), TypeError, "likelihoods.Columns: expected a network"),
        (
            lambda: Columns(TABLE, MLP(1, (), 9))(torch.zeros(2, 1)),
            ValueError,
            r"expected a network with 12 outputs .*Columns.outputs\(columns\).*got 9",
        ),
        (
            lambda: made().float().adapt(torch.zeros(3, 2)) or made(adapted=False).adapt(torch.zeros(3, 2)),
            ValueError,
            "9 columns",
        ),
        (
            lambda: Features(TABLE, MLP(Features.features(TABLE), (), 2))(torch.zeros(2, 3)),
            ValueError,
            r"the 9 columns it was built for .*got shape \(2, 3\)",
        ),
        (lambda: Features({"a": "reel"}, MLP(1, (), 1)), ValueError, "expected a kind of real"),
    ],
)
def test_bad_input(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_groups_must_hold_each_column_once():
    normal = dist.Normal(torch.zeros(2), 1.0)
    with pytest.raises(ValueError, match=r"hold each of 3 columns once, got \[0, 1\]"):
        Cells([(torch.tensor([0, 1]), normal, constraints.real)], "abc", validate_args=True)


# The features


def test_features_by_hand():
    x, mask = rows(6), torch.ones(6, 9, dtype=torch.bool)
    mask[0] = False
    mask[1, 3] = False
    network = Features(TABLE, torch.nn.Identity()).double()
    train = rows(holes=0.2)
    network.adapt(train)
    out = network(torch.where(mask, x, torch.nan), mask=mask)
    torch.testing.assert_close(network(torch.where(mask, x, torch.nan)), out)
    assert out.shape == (6, Features.features(TABLE)) == (6, 2 + 1 + 1 + 1 + 3 + 2 + 3 + 1 + 9)
    assert not out[0].any()
    torch.testing.assert_close(out[:, -9:], mask.double())

    def unit(j, f):
        seen = f(train[:, j])[~train[:, j].isnan()]
        return (f(x[2:, j]) - seen.mean()) / seen.std(correction=0)

    numbers = torch.stack([unit(0, lambda v: v), unit(2, torch.log), unit(4, torch.log1p), unit(7, lambda v: v)], -1)
    torch.testing.assert_close(out[2:, :4], numbers)
    torch.testing.assert_close(out[2:, 4], 2 * x[2:, 6] - 1)
    one_hot = torch.nn.functional.one_hot
    torch.testing.assert_close(out[2:, 5:8], one_hot(x[2:, 1].long(), 3).double())
    torch.testing.assert_close(out[2:, 8:10], one_hot(x[2:, 5].long(), 2).double())
    torch.testing.assert_close(out[1:, 10:13], (x[1:, 3:4] > torch.arange(3)).double() * mask[1:, 3:4])
    torch.testing.assert_close(out[2:, 13], x[2:, 8])


def test_features_take_the_context_of_their_network():
    columns = {"a": "real"}
    plain = Features(columns, MLP(2, (), 3))
    told = Features(columns, MLP(2, (), 3, context=4))
    assert (plain.takes, told.takes) == ({"mask"}, {"mask", "context"})
    x, context = torch.randn(5, 1), torch.randn(5, 4)
    assert told(x, context=context).shape == (5, 3)
    assert not torch.equal(told(x, context=context), told(x, context=context + 1))


def test_it_prints_itself_on_one_line():
    columns = {"a": "real", "b": "count", "c": "real"}
    assert repr(Features(columns, MLP(6, (), 3))) == "Columns(2 real, 1 count, MLP(6 → 3), mask)"
    assert repr(Columns(columns, MLP(2, (), 3))) == "Columns(2 real, 1 count, MLP(2 → 3))"


def test_features_of_a_constant_or_impossible_column_are_finite():
    network = Features({"a": "real", "b": "positive", "c": "count"}, torch.nn.Identity())
    network.adapt(torch.tensor([[1.0, 2.0, 3.0]] * 5))
    assert network(torch.tensor([[1.0, -2.0, -3.0]])).isfinite().all()
    assert network.spread.tolist() == [1, 1, 1]


def test_the_parts_make_a_vae_that_is_saved_and_loaded(tmp_path):
    x = rows(300, holes=0.1)
    data = pv.data.as_data(x.float(), columns=made().columns)

    def build():
        outputs = pv.guides.MultivariateNormal.outputs(2)
        return pv.VAE(
            pv.priors.Normal(2),
            Columns(data.columns, MLP(2, (8,), Columns.outputs(data.columns))),
            pv.guides.MultivariateNormal(Features(data.columns, MLP(Features.features(data.columns), (8,), outputs))),
        )

    vae = build()
    fit = pv.fit(vae, data, epochs=3, seed=0, progress=False)
    likelihood = vae.parts["likelihood"]
    assert likelihood.adapted
    assert abs(likelihood.shift[0] - x[:, 0].nanmean()) < 1e-3
    network = vae.parts["guide"].network
    assert network.adapted
    assert vae.columns == data.columns
    fit.save(tmp_path / "run")
    loaded = pv.load(tmp_path / "run", build())
    tree, again = (pv.posterior(f, data, draws=5, seed=1) for f in (fit, loaded))
    np.testing.assert_array_equal(tree["posterior"]["z"], again["posterior"]["z"])
    assert tree["posterior_predictive"]["x"].dims[-1] == data.dims[0]
    means = pv.reconstruct(fit, data, draws=10)["x"].isel(chain=0).values
    assert np.isnan(means[:, [NAMES.index("town"), NAMES.index("stage")]]).all()
    assert np.isfinite(means[:, [NAMES.index("age"), NAMES.index("visits"), NAMES.index("smokes")]]).all()


def test_the_program_refuses_other_columns():
    """Codes that mean something else are silently wrong: `check_columns`, which `prepare` calls."""
    own = made().columns
    data = pv.Data(rows(), columns=own)
    pv.data.check_columns(own, data)
    pv.data.check_columns(own, pv.Data(rows()))
    other = list(own)
    other[1] = pv.data.Column("town", "categorical", ("Ulm", "Köln", "Bonn"))
    for columns, says in (
        (own[::-1], "in another order than the program's: 'grade' stands where 'age' is expected"),
        (own[:-1], "the data lack the column 'grade'"),
        ((*own, pv.data.Column("shoe", "real")), "the data have the column 'shoe', which the training data had not"),
        (other, "column 'town' has the levels 'Bonn', 'Köln', 'Ulm' in the program and 'Ulm', 'Köln', 'Bonn' in the"),
        ((pv.data.Column("age", "count"), *own[1:]), "column 'age' is real in the program and count in the data"),
    ):
        x = torch.ones(5, len(columns))
        with pytest.raises(ValueError, match=says):
            pv.data.check_columns(own, pv.Data(x, columns=tuple(columns)))
    with pytest.raises(ValueError, match=r"a table of 9 columns, and a datum has shape \(2,\)"):
        pv.data.check_columns(own, pv.Data(torch.ones(5, 2)))
    numbers = {"a": "real", "b": "count", "c": ("binary", (False, True)), "d": ("ordinal", 4)}
    pv.data.check_columns(None, pv.data.as_data(torch.zeros(3, 4), columns=numbers))
    pv.data.check_columns(None, pv.Data(torch.zeros(3, 4)))
    with pytest.raises(
        ValueError, match="column 'town' holds the categories 'Bonn', 'Köln', 'Ulm', stored as codes, and"
    ):
        pv.data.check_columns(None, data)
