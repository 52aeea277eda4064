"""Bad input to priors, likelihoods, guides, networks and tables: refused before the first epoch, with what to do."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.distributions import constraints

import pyrovae as pv
from pyrovae import guides, likelihoods, networks, priors, schedules

MLP, Table = networks.MLP, networks.Columns
X = torch.rand(20, 4, generator=torch.Generator().manual_seed(1))
HOLES = torch.where(X > 0.9, torch.nan, X)
COUNTS = (4 * X).round()
TOTALS = COUNTS.sum(-1, keepdim=True)
N = dist.Normal


def encoder(outputs=4, features=4, **settings):
    return MLP(features, (8,), outputs, **settings)


def decoder(outputs=4, latents=2, **settings):
    return MLP(latents, (8,), outputs, **settings)


def vae(**parts):
    return pv.VAE(
        **{
            "prior": priors.Normal(2),
            "likelihood": likelihoods.Normal(decoder()),
            "guide": guides.Normal(encoder()),
            **parts,
        }
    )


def fit(program, data=X, **settings):
    return pv.fit(program, data, **{"epochs": 1, "progress": False, **settings})


def cell(value, other=1.0, row=7, column=2):
    """Data that are ``other`` but for one cell."""
    x = torch.full((20, 4), other)
    x[row, column] = value
    return x


def flow(latents=2, context=3, **settings):
    from zuko.flows import NSF

    return NSF(latents, context=context, hidden_features=(8,), **settings)


def bits(loss=None, **settings):
    return fit(vae(prior=priors.Bernoulli(2), guide=guides.Bernoulli(encoder(2), **settings)), loss=loss)


# Tables


N_ROWS = 40
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "age": RNG.normal(50, 10, N_ROWS),
        "income": RNG.lognormal(0, 1, N_ROWS),
        "visits": RNG.poisson(3, N_ROWS),
        "smoker": RNG.random(N_ROWS) > 0.5,
        "city": pd.Categorical(RNG.choice(["Bonn", "Köln", "Ulm"], N_ROWS)),
    }
)
DATA = pv.data.as_data(FRAME, kinds={"income": "positive"})
NEW_CITY = FRAME.assign(city=["Mainz", *FRAME["city"][1:]])


def table(columns=DATA.columns, read=None):
    read = columns if read is None else read
    return pv.VAE(
        priors.Normal(2),
        likelihoods.Columns(columns, decoder(likelihoods.Columns.outputs(columns))),
        guides.Normal(Table(read, encoder(features=Table.features(read)))),
    )


def encoded(**columns):
    return pv.data.as_data(FRAME.assign(**columns), columns=DATA.columns)


def posterior(frame):
    return pv.posterior(table(), frame, draws=2)


# A saved fit in another program


def reload(saved, other, data=X):
    def run(folder):
        fit(saved(), data).save(folder)
        return pv.load(folder, other())

    return run


class Takes(nn.Module):
    """A guide whose ``infer`` and ``adapt`` are not as they should be."""

    def forward(self, x):
        return N(x[:, :2], 1.0).to_event(1)


class BadInfer(Takes):
    def infer(self, x, context, mask):
        return "enumerate"


class BadAdapt(Takes):
    def adapt(self, x, context, labels):
        """Takes more than there is."""


def of_torch(x):
    return torch.distributions.Independent(torch.distributions.Normal(x[:, :2], 1.0), 1)


def auxiliary():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", N(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", N(z.repeat(1, 2), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", N(torch.zeros(2), 1.0).to_event(1), infer={"is_auxiliary": True})
            pyro.sample("z", N(u, pyro.param("scale", torch.ones(2))).to_event(1))

    return pv.Program(model, guide)


def off(make, value, outputs=4, other=1.0):
    """Data of which one cell is off the support of a likelihood, whose guide may be told of missing cells or not."""
    return [
        lambda mask=mask: fit(
            vae(likelihood=make(decoder(outputs)), guide=guides.Normal(encoder(mask=mask))), cell(value, other)
        )
        for mask in (False, True)
    ]


OFF = {
    "Bernoulli": (off(likelihoods.Bernoulli, 0.5), "boolean, got 0.5"),
    "Beta": (off(likelihoods.Beta, 1.0, other=0.5), r"interval \(0, 1\), got 1"),
    "Binomial": (off(lambda n: likelihoods.Binomial(6, n), 7.0), r"interval \(0, 6\), got 7"),
    "Categorical": (off(lambda n: likelihoods.Categorical(3, n), 3.0, 12), r"interval \(0, 2\), got 3"),
    "ContinuousBernoulli": (off(likelihoods.ContinuousBernoulli, 1.5), r"interval \(0, 1\), got 1\.5"),
    "DiscretizedLogistic": (
        off(lambda n: likelihoods.DiscretizedLogistic(n, levels=5), 5.0),
        r"interval \(0, 4\), got 5",
    ),
    "DiscretizedLogisticMixture": (
        off(lambda n: likelihoods.DiscretizedLogisticMixture(2, n, levels=5), 0.5, 24),
        r"interval \(0, 4\), got 0\.5",
    ),
    "Gamma": (off(likelihoods.Gamma, 0.0), r"greater than \(0\), got 0"),
    "LogNormal": (off(likelihoods.LogNormal, -1.0), r"greater than \(0\), got -1"),
    "NegativeBinomial": (off(likelihoods.NegativeBinomial, -1.0), r"integer of at least \(0\), got -1"),
    "OrderedLogistic": (off(lambda n: likelihoods.OrderedLogistic(4, n), 4.0), r"interval \(0, 3\), got 4"),
    "Poisson": (off(likelihoods.Poisson, 0.5), r"integer of at least \(0\), got 0\.5"),
    "ZeroInflatedNegativeBinomial": (off(likelihoods.ZeroInflatedNegativeBinomial, 0.5), r"at least \(0\), got 0\.5"),
    "ZeroInflatedPoisson": (off(likelihoods.ZeroInflatedPoisson, -2.0), r"at least \(0\), got -2"),
}


@pytest.mark.parametrize("family", OFF)
@pytest.mark.parametrize("told", [0, 1], ids=["without mask", "with mask"])
def test_data_off_the_support(family, told):
    runs, says = OFF[family]
    with pytest.raises(ValueError, match=f"the support of .*{says} at obs_id=7, x_dim_0=2 .*(Choose|Raise|Binar)"):
        runs[told]()


VALUES = {
    # supports of latent and guide
    "positive prior, real guide": (
        lambda: vae(prior=priors.Gamma(2)),
        r"latent has support at least \(0\), the guide's distribution real.*guides\.Normal\(…, support=constraints",
    ),
    "real prior, positive guide": (
        lambda: vae(guide=guides.Normal(encoder(), support=constraints.positive)),
        "real, the guide's distribution greater than .*cannot reach all of it.*without support=",
    ),
    "an interval that is too short": (
        lambda: vae(
            prior=priors.Uniform(2, low=0, high=2), guide=guides.Normal(encoder(), support=constraints.unit_interval)
        ),
        r"interval \(0, 2\), the guide's distribution interval \(0, 1\).*constraints\.interval\(0, 2\)",
    ),
    "bits, real guide": (lambda: vae(prior=priors.Bernoulli(2)), "boolean, the guide's.*Use guides.Bernoulli"),
    "one hot, bits guide": (
        lambda: vae(prior=priors.OneHotCategorical(2), guide=guides.Bernoulli(encoder(2))),
        "one hot, the guide's distribution boolean.*Use guides.OneHotCategorical",
    ),
    "bits, relaxed guide": (
        lambda: vae(prior=priors.Bernoulli(2), guide=guides.RelaxedBernoulli(encoder(2))),
        r"boolean, the guide's distribution interval \(0, 1\).*relaxed form with a relaxed prior",
    ),
    "simplex, real guide": (lambda: vae(prior=priors.Dirichlet(2)), "simplex, the guide's .*constraints.simplex"),
    "sphere, real guide": (lambda: vae(prior=priors.PowerSpherical(2)), "sphere, .*Use guides.PowerSpherical"),
    "positive prior, Laplace": (
        lambda: vae(prior=priors.Gamma(2), guide=guides.Laplace(2)),
        "looks for z outside of it.*constraints.positive",
    ),
    "positive prior, table": (
        lambda: vae(prior=priors.Gamma(2), guide=guides.Table(20, 2)),
        "looks for z outside of it.*constraints.positive",
    ),
    "a sphere as support=": (
        lambda: guides.Normal(encoder(), support=dist.constraints.sphere),
        "no bijection from the reals onto sphere: use guides.PowerSpherical",
    ),
    "a discrete support=": (
        lambda: guides.Normal(encoder(), support=constraints.boolean),
        "support: expected a continuous one, got boolean: use guides.Bernoulli",
    ),
    "a support without bounds": (
        lambda: guides.Normal(encoder(), support=constraints.dependent),
        r"guides\.Normal: support: expected one with its bounds, such as constraints\.interval",
    ),
    # totals
    "no total": (lambda: likelihoods.Multinomial(decoder()), "expected either total, .* or total_column.*got neither"),
    "both totals": (lambda: likelihoods.Multinomial(decoder(), total=3, total_column=0), "got both"),
    "half a total": (lambda: likelihoods.Multinomial(decoder(), total=2.5), "total: expected a whole number.*got 2.5"),
    "totals without context": (
        lambda: fit(vae(likelihood=likelihoods.Multinomial(decoder(), total_column=0)), COUNTS),
        "the likelihood of the VAE takes a context and none was given: pass context=",
    ),
    "another total": (
        lambda: fit(vae(likelihood=likelihoods.DirichletMultinomial(decoder(), total=40)), COUNTS),
        r"counts of total \(40\), got .* at obs_id=0 \(20 such.*add up to the total .*context=x\.sum",
    ),
    "totals that the data do not have": (
        lambda: fit(
            vae(likelihood=likelihoods.Multinomial(decoder(), total_column=0)),
            COUNTS,
            context=TOTALS + (torch.arange(20.0)[:, None] == 3),
        ),
        rf"counts of total \({TOTALS[3].item() + 1:.0f}\), got .* at obs_id=3 \(1 such",
    ),
    "totals that are not whole": (
        lambda: fit(vae(likelihood=likelihoods.Multinomial(decoder(), total_column=0)), COUNTS, context=TOTALS + 0.5),
        r"column 0 of the context is to hold the data's totals, whole numbers, got [\d.]+ .*the first in row 0\)",
    ),
    "a total column that is not there": (
        lambda: fit(vae(likelihood=likelihoods.Multinomial(decoder(), total_column=3)), COUNTS, context=TOTALS),
        "column 3 of the context is to hold the data's totals, whole numbers, and it has 1",
    ),
    "missing cells of a total": (
        lambda: fit(
            vae(likelihood=likelihoods.Multinomial(decoder(), total=4), guide=guides.Normal(encoder(mask=True))),
            cell(torch.nan),
        ),
        r"the total that they share is not known\. Drop these data.*first: obs_id=7, x_dim_0=2",
    ),
    # exposures
    "a zero exposure": (
        lambda: fit(
            vae(likelihood=likelihoods.Poisson(decoder(), exposure=0)),
            COUNTS,
            context=cell(0.0, row=5, column=0)[:, :1],
        ),
        r"likelihoods\.Poisson: column 0 of the context is to hold positive exposures, got 0 \(1 .*first in row 5\)",
    ),
    "a negative exposure": (
        lambda: fit(vae(likelihood=likelihoods.NegativeBinomial(decoder(), exposure=0)), COUNTS, context=-TOTALS - 1),
        r"positive exposures, got -\d+ .*the first in row 0\)",
    ),
    "an exposure column that is not there": (
        lambda: fit(vae(likelihood=likelihoods.NegativeBinomial(decoder(), exposure=2)), COUNTS, context=TOTALS),
        "column 2 of the context is to hold positive exposures, and it has 1: pass it with the data, context=",
    ),
    "a negative column": (
        lambda: likelihoods.Poisson(decoder(), exposure=-1),
        r"exposure \(the column of the context\): expected a whole number of at least 0, got -1",
    ),
    "the name of a column": (lambda: likelihoods.Poisson(decoder(), exposure="size"), "got 'size'"),
    "a zero exposure in validation": (
        lambda: fit(
            vae(likelihood=likelihoods.Poisson(decoder(), exposure=0)),
            COUNTS,
            context=TOTALS + 1,
            validation=pv.data.as_data(COUNTS, context=0 * TOTALS),
        ),
        "positive exposures, got 0",
    ),
    # temperatures and schedules
    "temperature 0": (
        lambda: guides.RelaxedBernoulli(encoder(2), temperature=0),
        "guides.RelaxedBernoulli: temperature: expected a positive number, got 0",
    ),
    "a negative temperature": (
        lambda: priors.RelaxedOneHotCategorical(2, temperature=-1),
        "priors.RelaxedOneHotCategorical: temperature: expected a positive number, got -1",
    ),
    "a temperature that falls to 0": (
        lambda: guides.RelaxedOneHotCategorical(encoder(2), temperature=schedules.linear(1, 0, 5)),
        "temperature: expected a positive number, got 0",
    ),
    "a temperature that is 0 in some epoch": (
        lambda: fit(
            vae(
                prior=priors.RelaxedBernoulli(2),
                guide=guides.RelaxedBernoulli(encoder(2), temperature=lambda epoch: 1 - epoch / 2),
            ),
            epochs=4,
        ),
        "temperature: expected a positive number, got 0 in epoch 2",
    ),
    "a schedule of no epochs": (lambda: schedules.linear(1, 0.5, 0), "linear: epochs: expected a whole number of at l"),
    # unknown names
    "an unknown estimator": (
        lambda: guides.Bernoulli(encoder(2), estimator="reinforce"),
        "estimator: expected 'score' or 'enumerate', got 'reinforce'",
    ),
    "an unknown optimiser": (
        lambda: guides.SemiAmortized(guides.Normal(encoder()), optimizer="sgd"),
        "optimizer: expected 'adam' or 'ascent', got 'sgd'",
    ),
    "an unknown normalisation": (lambda: encoder(norm="group"), 'norm: expected None, "batch" or "layer", got \'gr'),
    "an unknown pooling": (lambda: networks.Set(4, (8,), (), 3, pool="median"), "pool: expected one of mean, sum, max"),
    "an unknown kind": (
        lambda: likelihoods.Columns({"a": "continuous"}, decoder(1)),
        "column 'a': expected a kind of real, positive, .*got 'continuous'",
    ),
    # objectives
    "a baseline that is not used": (
        lambda: bits(pyro.infer.Trace_ELBO(), baseline=encoder(1)),
        "Trace_ELBO makes no use of the baselines of the sites z: use pyro.infer.TraceGraph_ELBO",
    ),
    "a baseline of two outputs": (
        lambda: bits(baseline=encoder(2)),
        r"the guide's baseline, given data of shape \(2, 4\), raised .*expected a baseline with 1 output",
    ),
    "a baseline of other data": (lambda: bits(baseline=encoder(1, 5)), "the guide's baseline, .*expected 5 features"),
    "a baseline beside enumeration": (
        lambda: guides.Bernoulli(encoder(2), estimator="enumerate", baseline=encoder(1)),
        "a baseline is for estimator='score'",
    ),
    "enumeration, Trace_ELBO": (
        lambda: bits(pyro.infer.Trace_ELBO(), estimator="enumerate"),
        "Trace_ELBO does not sum over the sites z, which the guide enumerates: use pyro.infer.TraceEnum_ELBO",
    ),
    "enumeration, importance weights": (
        lambda: bits(pyro.infer.RenyiELBO(num_particles=2), estimator="enumerate"),
        "RenyiELBO does not sum over the sites z",
    ),
    "too much to enumerate": (
        lambda: vae(
            prior=priors.Bernoulli(20),
            likelihood=likelihoods.Normal(decoder(latents=20)),
            guide=guides.Bernoulli(encoder(20), estimator="enumerate"),
        ),
        "guides.Bernoulli: estimator='enumerate' is for at most 16 latents, got 20",
    ),
    "score function, mean-field ELBO": (
        lambda: bits(pyro.infer.TraceMeanField_ELBO()),
        "TraceMeanField_ELBO leaves out the score function, and draws of the sites z have no other gradient",
    ),
    "a table, a recorded loss": (
        lambda: fit(vae(guide=guides.Table(20, 2)), loss=pyro.infer.JitTrace_ELBO()),
        "JitTrace_ELBO records tensors only, .*choose a loss without Jit",
    ),
    # contexts
    "context for no part": (lambda: fit(vae(), context=X), "a context was given, and no part of the VAE takes one"),
    "no context, prior": (
        lambda: fit(vae(prior=priors.Conditional(guides.Normal(encoder(features=3))))),
        "the prior of the VAE takes a context and none was given",
    ),
    "no context, under another name": (
        lambda: fit(vae(prior=lambda temperature: N(torch.zeros(2), 1.0).to_event(1))),
        "none was given: .*What the prior requires beside its own argument, here 'temperature', is the context",
    ),
    "no context, impute": (
        lambda: pv.impute(
            vae(likelihood=likelihoods.Normal(decoder(context=2)), guide=guides.Normal(encoder(mask=True))), HOLES
        ),
        "the likelihood of the VAE takes a context and none was given",
    ),
    "context of another width": (
        lambda: pv.posterior(vae(likelihood=likelihoods.Normal(decoder(context=2))), X, context=X[:, :3]),
        "built for 2 covariates, got a context of 3",
    ),
    "context of another length": (
        lambda: pv.posterior(vae(likelihood=likelihoods.Normal(decoder(context=2))), X, context=X[:19, :2]),
        r"context has shape \(19, 2\): expected \(20, c\)",
    ),
    "context with NaN": (
        lambda: fit(vae(likelihood=likelihoods.Normal(decoder(context=4))), context=cell(torch.nan)),
        "context is nan at obs_id=7, column 2: expected finite covariates",
    ),
    "context of other rows": (
        lambda: fit(
            vae(likelihood=likelihoods.Normal(decoder(context=1))),
            pd.DataFrame(X.numpy()),
            context=pd.DataFrame({"a": np.ones(20)}, index=range(5, 25)),
        ),
        "the index of context is not the data's",
    ),
    # tables
    "a new category": (
        lambda: posterior(NEW_CITY),
        "column 'city': the value 'Mainz' in row 0 is none of its levels: 'Bonn', 'Köln', 'Ulm'",
    ),
    "a new category to impute": (lambda: pv.impute(table(), NEW_CITY.assign(age=np.nan)), "the value 'Mainz' in row 0"),
    "a column renamed": (
        lambda: posterior(FRAME.rename(columns={"age": "Age"})),
        "the data lack the column 'age': add",
    ),
    "a column too many": (lambda: posterior(FRAME.assign(extra=1.0)), "have the column 'extra', which the training"),
    "columns in another order": (
        lambda: posterior(pv.data.as_data(FRAME[FRAME.columns[::-1]], kinds={"income": "positive"})),
        "the columns are in another order than the program's: 'city' stands where 'age' is expected",
    ),
    "columns of another kind": (
        lambda: posterior(pv.data.as_data(FRAME)),
        "column 'income' is positive in the program and real in the data",
    ),
    "a code that is no level": (
        lambda: posterior(torch.cat([DATA.x[:, :4], torch.full((N_ROWS, 1), 7.0)], 1)),
        "column 'city' is categorical with 3 levels: expected codes 0 to 2 or NaN, got 7 at obs_id=0",
    ),
    "a negative income": (lambda: posterior(FRAME.assign(income=-1.0)), "column 'income' is positive: .*got -1 at obs"),
    "half a visit": (lambda: posterior(FRAME.assign(visits=0.5)), "column 'visits' is count: .*got 0.5 at obs_id=0"),
    "a column without a value": (
        lambda: fit(table(), encoded(city=None)),
        "column 'city' of the training data has no observed value, .*: drop it",
    ),
    "one category": (lambda: pv.data.as_data(FRAME.assign(city="Ulm")), "column 'city'.*at least 2 different levels"),
    "categories as numbers": (
        lambda: fit(vae(likelihood=likelihoods.Normal(decoder(5)), guide=guides.Normal(encoder(features=5))), DATA),
        "column 'city' holds the categories 'Bonn', .*the program expected numbers",
    ),
    "columns read in another order": (
        lambda: table(read=DATA.columns[::-1]),
        "built for the columns 'age', 'income', .*the guide's Columns for 'city', .*build both with the same columns",
    ),
    "columns read with other levels": (
        lambda: table({"a": ("ordinal", 3)}, read={"a": ("categorical", 3)}),
        r"for 'a' \(of other kinds or levels\): build both",
    ),
    "outputs for other columns": (
        lambda: pv.VAE(
            priors.Normal(2),
            likelihoods.Columns(DATA.columns, decoder(6)),
            guides.Normal(Table(DATA.columns, encoder(features=Table.features(DATA.columns)))),
        ),
        r"expected a network with 7 outputs for these columns \(Columns\.outputs\(columns\)\), got 6",
    ),
    # imputation
    "nothing to impute": (lambda: pv.impute(table(), DATA), r"no cell of .* is missing \(NaN\): there is nothing to"),
    "one draw to impute": (lambda: pv.impute(table(), DATA, draws=1), "draws: expected a whole number of at least 2"),
    "a guide that cannot leave cells out": (lambda: pv.impute(vae(), HOLES), "the data hold NaN .*mask=True"),
    "a likelihood that cannot leave cells out": (
        lambda: pv.impute(
            vae(likelihood=lambda z: dist.Dirichlet(z.exp().repeat(1, 2)), guide=guides.Normal(encoder(mask=True))),
            HOLES,
        ),
        "Dirichlet cannot leave missing cells out",
    ),
    # VampPrior and Conditional
    "more pseudo-inputs than data": (
        lambda: fit(vae(prior=priors.VampPrior(50, 4))),
        r"expected at least 50 data of shape \(4,\), got 20",
    ),
    "pseudo-inputs of another shape": (
        lambda: vae(prior=priors.VampPrior(5, 3)),
        r"VampPrior: the guide could not be run on pseudo-inputs of shape \(5, 3\) .*build it with the shape",
    ),
    "VampPrior, Laplace": (
        lambda: vae(prior=priors.VampPrior(5, 4), guide=guides.Laplace(2)),
        "the guide Laplace needs the joint of each datum: use an amortised guide, or another prior",
    ),
    "VampPrior, table": (
        lambda: vae(prior=priors.VampPrior(5, 4), guide=guides.Table(20, 2)),
        "the guide Table needs the index and the joint",
    ),
    "VampPrior, guide with a context": (
        lambda: vae(prior=priors.VampPrior(5, 4), guide=guides.Normal(encoder(context=3))),
        "needs the context of each datum: use a guide without a context, or another prior",
    ),
    # Table, Laplace, SemiAmortized
    "a table of other data": (
        lambda: fit(vae(guide=guides.Table(30, 2))),
        "made for 30 training data, got 20: build i",
    ),
    "a table of other latents": (
        lambda: vae(guide=guides.Table(20, 3)),
        r"the guide has latents of shape \(3,\), the prior of \(2,\): change the sizes",
    ),
    "Laplace of other latents": (lambda: vae(guide=guides.Laplace(3)), r"the guide has latents of shape \(3,\), the p"),
    "new data of another shape in a table": (
        lambda: pv.posterior(vae(guide=guides.Table(20, 2, steps=2)), X[:, :3]),
        r"the likelihood makes data of shape \(4,\), and a datum has shape \(3,\)",
    ),
    "a table of bits": (
        lambda: guides.Table(20, 2, guides.Bernoulli),
        "draws of guides.Bernoulli have no gradient, .*use a continuous family",
    ),
    "a new datum without the model": (lambda: guides.Table(20, 2)(X), r"use the guide inside pv\.VAE, or pass joint="),
    "Laplace without the model": (lambda: guides.Laplace(2)(X), r"use the guide inside pv\.VAE, or pass joint="),
    "steps through a mixture": (
        lambda: guides.SemiAmortized(guides.Mixture(encoder(10), components=2)),
        "cannot be differentiated twice: use through=False",
    ),
    "steps of bits": (
        lambda: vae(prior=priors.Bernoulli(2), guide=guides.SemiAmortized(guides.Bernoulli(encoder(2)))),
        "draws of guides.Bernoulli have no gradient",
    ),
    # flows
    "a flow of other features": (
        lambda: vae(guide=guides.Flow(encoder(guides.Flow.outputs(2, features=5)), flow())),
        r"the network has 9 outputs, of which 4 are locations .*for 5 features: build it with context=5",
    ),
    "no outputs left for a flow": (
        lambda: vae(guide=guides.Flow(encoder(4), flow())),
        r"the flow raised RuntimeError for 0 features: build it with context=0, or the network with Flow\.outputs\(2",
    ),
    "too few outputs for a flow": (
        lambda: vae(guide=guides.Flow(encoder(3), flow())),
        r"expected a network with Flow\.outputs\(2, features\) outputs, at least 4, got 3",
    ),
    "a flow of other latents": (
        lambda: vae(guide=guides.Flow(encoder(guides.Flow.outputs(3, features=3)), flow(3))),
        r"the guide returned batch shape \(2,\) and event shape \(3,\), expected .*\(2,\) \(the prior's event shape",
    ),
    "a flow prior with a context": (
        lambda: priors.Flow(flow()),
        r"could not be drawn from without a context .*build it with context=0; .*priors\.Conditional",
    ),
    "widths that are no sequence": (
        lambda: guides.inverse_autoregressive(2, 3, hidden_features=8),
        "hidden_features: expected a sequence of whole numbers",
    ),
    # sizes
    "no latents": (lambda: priors.Normal(0), r"priors\.Normal: size .*expected a whole number of at least 1, got 0"),
    "a string as size": (lambda: priors.Gamma("2"), "whole number of at least 1, got '2'"),
    "a truth value as size": (lambda: priors.Laplace(True), "whole number of at least 1, got True"),
    "a float as size": (lambda: MLP(4.0, (), 2), "in_features: expected a whole number of at least 1, got 4.0"),
    "a tensor as size": (lambda: likelihoods.Binomial(torch.tensor(16), decoder()), "got tensor"),
    "one vertex": (lambda: priors.Dirichlet(1), "whole number of at least 2, got 1"),
    "outputs of no latents": (
        lambda: guides.Normal.outputs(0),
        "latents: expected a whole number of at least 1, got 0",
    ),
    "outputs of half a latent": (lambda: guides.MultivariateNormal.outputs(2.5), "at least 1, got 2.5"),
    "outputs of no components": (
        lambda: guides.Mixture.outputs(2, components=0),
        "components: expected a whole number",
    ),
    "outputs of no rank": (
        lambda: guides.LowRankMultivariateNormal.outputs(2, rank=0),
        "rank: expected a whole number",
    ),
    "outputs of a circle in one dimension": (lambda: guides.PowerSpherical.outputs(1), "at least 2, got 1"),
    "outputs of one state": (lambda: guides.OneHotCategorical.outputs(1), "at least 2, got 1"),
    "outputs of fewer than no bits": (lambda: guides.Bernoulli.outputs(-1), "at least 1, got -1"),
    "outputs of one vertex": (
        lambda: guides.Normal.outputs(1, support=constraints.simplex),
        "the real numbers behind 1 latents on the simplex: expected .*at least 1, got 0",
    ),
    # what networks make
    "outputs, full covariance": (
        lambda: vae(guide=guides.MultivariateNormal(encoder(4))),
        r"expected a network with m \+ m\(m \+ 1\)/2 outputs for m latents .*got 4 outputs",
    ),
    "outputs, low rank": (
        lambda: vae(guide=guides.LowRankMultivariateNormal(encoder(7), rank=2)),
        r"expected a network with m \(2 \+ rank\) = 4 m outputs .*got 7 outputs",
    ),
    "outputs, mixture": (
        lambda: vae(guide=guides.Mixture(encoder(9), components=2)),
        r"expected a network with K \(2 m \+ 1\) outputs .*got 9 outputs",
    ),
    "outputs, sphere": (
        lambda: vae(guide=guides.PowerSpherical(encoder(1))),
        "expected a network with m outputs .*got 1",
    ),
    "outputs, bits": (
        lambda: vae(prior=priors.Bernoulli(2), guide=guides.Bernoulli(encoder(3))),
        r"the guide returned .*event shape \(3,\), expected .*event shape \(2,\)",
    ),
    "outputs, Laplace": (lambda: vae(guide=guides.Laplace(2, network=encoder(3))), "expected a network with 2 outputs"),
    "outputs, categories": (
        lambda: vae(likelihood=likelihoods.Categorical(3, decoder(13))),
        "expected a network with 3 outputs for each cell",
    ),
    "outputs, likelihood": (
        lambda: vae(likelihood=likelihoods.Poisson(decoder(5))),
        "the guide, given data, drawn from the likelihood, .*expected 4 features",
    ),
    "outputs, scale": (
        lambda: vae(likelihood=likelihoods.Laplace(decoder(), decoder(3))),
        r"a scale of shape \(3,\) does not fit a datum of shape \(4,\)",
    ),
    "a network without a batch": (
        lambda: vae(likelihood=likelihoods.Normal(lambda z: z.sum())),
        r"a network whose output keeps the batch of its input, \(2,\) and then the shape of one datum, got \(\)",
    ),
    "a network that makes a pair": (
        lambda: vae(guide=guides.Normal(lambda x: (x, x))),
        "the guide, .*guides.Normal: expected a network that returns a tensor, got tuple",
    ),
    "a network that makes a distribution": (
        lambda: vae(likelihood=likelihoods.Normal(lambda z: N(z.repeat(1, 2), 1.0))),
        "likelihoods.Normal: expected a network that returns a tensor, got Normal",
    ),
    # numbers
    "a negative scale": (lambda: priors.Normal(2, scale=-1), r"priors\.Normal: scale: .*greater than \(0\), got -1"),
    "a scale that is NaN": (lambda: likelihoods.Laplace(decoder(), float("nan")), "scale: expected a finite value"),
    "a location of another shape": (
        lambda: priors.Normal(2, loc=torch.zeros(3)),
        r"loc: expected one number or shape \(2,\), got \(3,\)",
    ),
    "an interval upside down": (lambda: priors.Uniform(2, low=1, high=0), "expected low below high"),
    "weights that do not sum to 1": (
        lambda: priors.GaussianMixture(3, 2, probs=torch.ones(3)),
        "probs: expected a finite value, simplex",
    ),
    "a covariance as scale": (
        lambda: likelihoods.MultivariateNormal(4, decoder(), scale=torch.ones(4, 4)),
        r"a lower triangle of shape \(4, 4\), .*take torch\.linalg\.cholesky",
    ),
    "a gate of 1": (lambda: likelihoods.ZeroInflatedPoisson(decoder(), 1.0), "expected a gate between 0 and 1"),
    # types and numbers of data
    "one part in double": (
        lambda: vae(likelihood=likelihoods.Normal(decoder()).double()),
        r"must have the same dtype.*All parts must compute in one type: program\.double\(\) or program\.float\(\)",
    ),
    "a prior in double": (
        lambda: vae(prior=lambda: N(torch.zeros(2, dtype=torch.float64), 1.0).to_event(1)),
        "the likelihood, given latents.*All parts must compute in one type.*dtype= where a function makes tensors",
    ),
    "no data": (lambda: fit(vae(guide=guides.MultivariateNormal(encoder(5))), X[:0]), r"x is empty, of shape \(0, 4\)"),
    "no features": (lambda: fit(vae(), X[:, :0]), r"x is empty, of shape \(20, 0\)"),
    "one datum to normalise by": (
        lambda: fit(vae(guide=guides.Normal(encoder(norm="batch"))), X[:1]),
        r"a batch of one datum has none: choose a batch_size",
    ),
    "one datum left to normalise by": (
        lambda: fit(vae(guide=guides.Normal(encoder(norm="batch"))), batch_size=19),
        r"could not be run on a batch of shape \(1, 4\): .*choose a batch_size that leaves no datum alone",
    ),
    # parts of the user's
    "a guide of torch": (
        lambda: vae(guide=of_torch),
        "the guide returned torch.distributions.*expected a Pyro distribution: use pyro.distributions.Independent",
    ),
    "a keyword that nobody gives": (
        lambda: vae(likelihood=lambda z, *, scale: N(z.repeat(1, 2), scale).to_event(1)),
        "the likelihood, .*missing 1 required keyword-only argument: 'scale'",
    ),
    "restarts that start alike": (
        lambda: fit(vae(guide=guides.Laplace(2), likelihood=Start()), restarts=2),
        r"restarts=2 needs independent initial weights, .*reset_parameters\(\)",
    ),
    "auxiliary sites, posterior": (lambda: pv.posterior(auxiliary(), X), "auxiliary sites 'u' are no latents of the"),
    "auxiliary sites, sample": (
        lambda: pv.sample(auxiliary(), X, draws=2),
        "auxiliary sites 'u' are no latents of the",
    ),
    "auxiliary sites, impute": (lambda: pv.impute(auxiliary(), HOLES, draws=2), "auxiliary sites 'u'"),
    # descriptions
    "describe a program without data": (
        lambda: pv.describe(auxiliary()),
        "described by running it: pass some data, one datum or more",
    ),
    "describe with a context alone": (lambda: pv.describe(vae(), context=X), "a context was given without its data"),
    "describe other data": (lambda: pv.describe(vae(), X[:, :3]), "the guide, given data .*expected 4 features"),
}


class Start(nn.Module):
    """A likelihood that always starts at the same weights."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 4))

    def forward(self, z):
        return N(z @ self.weight, 1.0).to_event(1)


@pytest.mark.parametrize("case", VALUES)
def test_values(case):
    run, says = VALUES[case]
    with pytest.raises(ValueError, match=f"(?s){says}"):
        run()


TYPES = {
    "a string as temperature": (
        lambda: guides.RelaxedBernoulli(encoder(2), temperature="0.5"),
        "temperature: expected a number or a schedule, such as schedules.linear, got '0.5'",
    ),
    "a temperature of nothing": (
        lambda: priors.RelaxedBernoulli(2, temperature=lambda: 0.5),
        "temperature: expected a function of the epoch, .*takes 0 positional arguments",
    ),
    "a string as support": (
        lambda: guides.Normal(encoder(), support="positive"),
        r"support: expected a constraint, such as .*constraints\.positive .*got 'positive'",
    ),
    "a string as support of outputs": (
        lambda: guides.Normal.outputs(2, support="positive"),
        "support: expected a constraint, .*got 'positive'",
    ),
    "a string as scale": (lambda: priors.Normal(2, scale="1"), "scale: expected a number or a tensor, got '1'"),
    "a truth value as scale": (lambda: priors.Normal(2, scale=True), "scale: expected a number or a tensor, got True"),
    "a string as learned": (
        lambda: priors.Normal(2, learned="no"),
        "expected True or False for whether to learn it, got 'no'",
    ),
    "a number as mask": (lambda: encoder(mask=4), "mask: expected True or False, .*got 4"),
    "a number as network": (lambda: likelihoods.Normal(4), "expected a network, such as networks.MLP.*got int"),
    "a total as network": (lambda: likelihoods.Binomial(decoder(), 16), "expected a network, .*got int"),
    "a distribution as network": (
        lambda: likelihoods.Normal(N(0.0, 1.0)),
        "expected a network, such as .*got the distribution Normal",
    ),
    "nothing as network of a table": (
        lambda: Table({"a": "real"}, None),
        r"networks\.Columns: expected a network of the features, .*got NoneType",
    ),
    "a class as baseline": (lambda: guides.Bernoulli(encoder(2), baseline=MLP), "baseline: expected a network"),
    "a class as flow": (lambda: guides.Flow(encoder(9), nn.Linear), "expected a flow, such as zuko.flows.NSF.*got Lin"),
    "a network as flow": (lambda: guides.Flow(encoder(9), encoder()), "expected a flow of zuko, with a base .*got MLP"),
    "a network as flow prior": (lambda: priors.Flow(encoder()), "expected a flow of zuko, .*got MLP"),
    "an unknown family": (lambda: guides.Table(20, 2, "Normal"), "expected a family such as .*got 'Normal'"),
    "an unknown option": (lambda: guides.Table(20, 2, rank=2), "guides.Normal takes no rank"),
    "an option that is needed": (
        lambda: guides.Table(20, 2, guides.Mixture),
        "guides.Mixture needs components: pass components=… to the table",
    ),
    "options that are needed": (
        lambda: guides.Table(20, 2, guides.Flow),
        "guides.Flow needs flow and features: pass flow=…, features=… to the table",
    ),
    "steps of a class": (lambda: guides.SemiAmortized(guides.Normal), "expected an amortised guide, .*got Normal"),
    "a prior of no context": (
        lambda: priors.Conditional(priors.Normal(2)),
        "priors.Conditional: expected a function of the context, got Normal, which takes none",
    ),
    "a number as Conditional": (lambda: priors.Conditional(3), "expected a function of the context.*got int"),
    "columns of a frame": (
        lambda: likelihoods.Columns(FRAME, decoder(5)),
        r"columns: expected those of a table .*got a DataFrame$",
    ),
    "kinds as a list": (lambda: pv.data.as_data(FRAME, kinds=["real"]), "kinds: expected a mapping such as"),
    "texts in a real column": (lambda: posterior(FRAME.assign(age="old")), "the column 'age' .*is real: expected numb"),
    "texts as data": (lambda: fit(vae(), np.array([["a", "b"]])), "x has dtype .*expected real numbers"),
    "texts as context": (lambda: fit(vae(), context=["a"] * 20), "context has dtype .*expected real numbers"),
    "resample in words": (lambda: pv.impute(vae(), HOLES, resample="yes"), "resample: expected True or False"),
    "a class of a loss of another kind": (lambda: fit(vae(), loss=pyro.infer.SVGD), "expected an ELBO .*got SVGD"),
    "a likelihood that wants the mask": (
        lambda: vae(likelihood=lambda z, mask: N(z.repeat(1, 2), 1.0).to_event(1)),
        "the likelihood requires mask, and is told of context alone: give it a default, or bind it",
    ),
    "a prior that wants the joint": (
        lambda: vae(prior=lambda joint: None),
        "the prior requires joint, and is told of context, guide alone",
    ),
    "a guide that wants the guide": (lambda: vae(guide=lambda x, guide: None), "the guide requires guide, and is told"),
    "a prior that wants two": (lambda: vae(prior=lambda a, b: None), r"requires the arguments \(a, b\), and is given"),
    "an infer that is no dict": (
        lambda: fit(vae(guide=BadInfer())),
        r"the guide's infer\(x, context, mask\) must return .*and returned 'enumerate'",
    ),
    "an adapt that wants three": (
        lambda: fit(vae(guide=BadAdapt())),
        r"BadAdapt\.adapt requires the arguments \(x, context, labels\), and is given the training data x",
    ),
    "describe a number": (lambda: pv.describe(3), "expected a program .*got int"),
    "describe a class": (lambda: pv.describe(pv.VAE), "expected a program, got the class VAE"),
    "describe a network": (lambda: pv.describe(encoder()), "expected a program .*got MLP"),
    "describe a part": (lambda: pv.describe(priors.Normal(2)), "expected a program .*got Normal"),
    "impute with a number": (lambda: pv.impute(3, HOLES), "expected a program .*got int"),
}


@pytest.mark.parametrize("case", TYPES)
def test_types(case):
    run, says = TYPES[case]
    with pytest.raises(TypeError, match=f"(?s){says}"):
        run()


ORDER = {"a": "real", "b": "real", "c": ("categorical", 3)}
CODES = torch.cat([X[:, :2], (2 * X[:, 2:3]).round()], 1)

LOADED = {
    "other sizes": (
        reload(vae, lambda: vae(guide=guides.MultivariateNormal(encoder(5)))),
        r"parts\.guide\.network\.layers\.2\.weight has shape \(5, 8\), the saved one \(4, 8\)",
    ),
    "a table of other rows": (
        reload(lambda: vae(guide=guides.Table(20, 2, steps=2)), lambda: vae(guide=guides.Table(10, 2))),
        r"parts\.guide\.raw has shape \(10, 4\), the saved one \(20, 4\)",
    ),
    "columns in another order": (
        reload(lambda: table(ORDER), lambda: table({"b": "real", **ORDER}), CODES),
        r"of a table with the column \['a', 'real', \[\]\], and this program has \['b', 'real', \[\]\] in its place",
    ),
    "columns with other labels": (
        reload(lambda: table(ORDER), lambda: table({**ORDER, "c": ("categorical", ("x", "y", "z"))}), CODES),
        r"the column \['c', 'categorical', \[0, 1, 2\]\], and this program has .*'x', 'y', 'z'",
    ),
    "a table as numbers": (reload(lambda: table(ORDER), vae, CODES), "this program has None in its place"),
    "another scale": (
        reload(
            lambda: vae(likelihood=likelihoods.Normal(decoder(), 0.1)),
            lambda: vae(likelihood=likelihoods.Normal(decoder(), 5.0)),
        ),
        r"parts\.likelihood\.scale was given another value, 0\.1 then, 5 now\. Build the program as it was built",
    ),
    "another prior": (
        reload(lambda: vae(prior=priors.Normal(2)), lambda: vae(prior=priors.Normal(2, scale=3))),
        r"parts\.prior\.scale was given another value",
    ),
}


@pytest.mark.parametrize("case", LOADED)
def test_loading_into_another_program(case, tmp_path):
    run, says = LOADED[case]
    with pytest.raises(pv.RunFolderError, match=says):
        run(tmp_path / "run")


def test_a_refused_load_leaves_the_program(tmp_path):
    fit(vae(likelihood=likelihoods.Normal(decoder(), 0.1))).save(tmp_path / "run")
    other = vae(likelihood=likelihoods.Normal(decoder(), 5.0))
    before = {name: value.detach().clone() for name, value in other.weights().items()}
    with pytest.raises(pv.RunFolderError, match="another value"):
        pv.load(tmp_path / "run", other)
    assert all(torch.equal(value, before[name]) for name, value in other.weights().items())


def missing_column(likelihood):
    x = torch.where(torch.arange(4) == 2, torch.nan, COUNTS)
    return lambda: fit(vae(likelihood=likelihood(decoder()), guide=guides.Normal(encoder(mask=True))), x)


WARNED = {
    "a schedule that ends too late": (
        lambda: fit(
            vae(
                prior=priors.RelaxedBernoulli(2),
                guide=guides.RelaxedBernoulli(encoder(2), temperature=schedules.linear(1, 0.5, 10)),
            ),
            epochs=3,
        ),
        r"follows linear\(1, 0\.5, epochs=10\), and a run of 3 epochs ends before it does .*train for 10 epochs",
    ),
    "a cell that is never observed": (
        missing_column(likelihoods.Normal),
        "x_dim_0=2 is missing in all 20 training data: nothing is learned of it",
    ),
    "a count that is never observed": (missing_column(likelihoods.Poisson), "x_dim_0=2 is missing in all 20 training"),
    "a constant column": (lambda: fit(table(), encoded(age=1.0)), "constant in the training data: 'age'. .*spread 1"),
    "a constant count": (lambda: fit(table(), encoded(visits=0)), "constant in the training data: 'visits'"),
    "a constant truth value": (lambda: fit(table(), encoded(smoker=True)), "constant in the training data: 'smoker'"),
    "a part that starts alike": (
        lambda: fit(vae(likelihood=Start()), restarts=2),
        "every chain starts from the same parts.likelihood.weight",
    ),
}


@pytest.mark.parametrize("case", WARNED)
def test_warnings(case):
    run, says = WARNED[case]
    with pytest.warns(UserWarning, match=says):
        run()


def test_loading_into_another_likelihood_is_warned_of(tmp_path):
    fit(vae()).save(tmp_path / "run")
    with pytest.warns(UserWarning, match=r"the weights fit, .*likelihood=Normal.* then, likelihood=Laplace.* now"):
        pv.load(tmp_path / "run", vae(likelihood=likelihoods.Laplace(decoder(), 1.0)))


def test_numbers_of_numpy_are_taken():
    program = vae(
        prior=priors.Normal(np.int64(2), scale=np.float32(1)),
        likelihood=likelihoods.Binomial(np.int32(4), MLP(np.int64(2), (np.int64(8),), np.int8(4))),
        guide=guides.Normal(MLP(4, (8,), guides.Normal.outputs(np.int64(2)))),
    )
    assert fit(program, COUNTS.numpy()).history.sizes["epoch"] == 1


@pytest.mark.parametrize(
    "guide",
    [
        lambda: guides.Normal(encoder()),
        lambda: guides.MultivariateNormal(encoder(5)),
        lambda: guides.Mixture(encoder(10), components=2),
        lambda: guides.Flow(encoder(7), flow()),
        lambda: guides.Laplace(2, network=encoder(2)),
        lambda: guides.SemiAmortized(guides.Normal(encoder()), steps=2),
    ],
    ids=["Normal", "MultivariateNormal", "Mixture", "Flow", "Laplace", "SemiAmortized"],
)
def test_nan_in_a_guide_without_a_mask(guide):
    with pytest.raises(ValueError, match=r"the data hold NaN \(first: obs_id=7, x_dim_0=2\), .*mask=True"):
        fit(vae(guide=guide()), cell(torch.nan))


@pytest.mark.parametrize("first", ["import zuko", "import pyro, zuko", "import zuko, pyro"])
def test_zuko_before_pyrovae_does_not_hide_bad_parameters(first):
    code = f"""{first}
import pyro.distributions as dist, torch, pyrovae as pv
MLP = pv.networks.MLP
guide = pv.guides.Normal(MLP(4, (), 4))
bad = lambda z: dist.Normal(z.repeat(1, 2), -torch.ones(4)).to_event(1)
for run in (lambda: pv.VAE(pv.priors.Normal(2), bad, guide),
            lambda: pv.fit(pv.VAE(pv.priors.Normal(2), pv.likelihoods.Bernoulli(MLP(2, (), 4)), guide),
                           torch.full((5, 4), 0.5), progress=False)):
    try:
        run()
    except ValueError as error:
        print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "Expected parameter scale" in said
    assert "must lie in the support of Bernoulli" in said


def test_a_part_of_the_users_that_inherits_one_of_ours_says_its_own_name():
    own = type("Mine", (likelihoods.Laplace,), {"__module__": "__main__"})
    assert fit(vae(likelihood=own(decoder(), 1.0))).history.sizes["epoch"] == 1
    with pytest.raises(ValueError, match="^Mine: scale: expected a finite value"):
        own(decoder(), -1.0)
