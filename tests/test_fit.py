"""The training loop: scale, reproducibility, resumption, and what it leaves behind."""

from __future__ import annotations

import functools
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.contrib.gp.kernels import RBF
from pyro.infer import (
    JitTrace_ELBO,
    JitTraceMeanField_ELBO,
    RenyiELBO,
    ReweightedWakeSleep,
    Trace_ELBO,
    Trace_MMD,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    TraceTailAdaptive_ELBO,
)

import pyrovae as pv
from pyrovae.program import Batch
from pyrovae.structure import inspect_program
from pyrovae.svi.batches import prepare
from pyrovae.svi.loss import Loss
from tests.programs import counts, gaussian, hierarchy, linear_vae, small_vae, tutorial

quick = functools.partial(pv.fit, epochs=3, batch_size=20, progress=False)


def weights(fit: pv.Fit) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in fit.program.weights().items()}


def assert_same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def global_program(n: int) -> pv.Program:
    """x_i ~ N(m + z_i, 1), z_i ~ N(0, 1), one global m ~ N(0, 1)."""

    def model(x):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(m + z, 1.0), obs=x[:, 0])

    def guide(x):
        loc = pyro.param("loc", torch.tensor(0.2))
        pyro.sample("m", dist.Normal(loc, 0.5))
        slope = pyro.param("slope", torch.tensor(0.3))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(slope * x[:, 0], 0.7))

    return pv.Program(model, guide)


class TestScale:
    def test_minibatches_with_a_global_site_add_up_to_the_whole(self) -> None:
        """The loss per datum averaged over batches equals the full-batch ELBO / N within 4 standard errors."""
        n, x = 40, gaussian(40, 1, 1)
        program = global_program(n)
        structure = inspect_program(program, Batch(x))
        assert [s.name for s in structure.outside] == ["m"]
        draws = 4000
        with program.scope():
            whole = [Trace_ELBO().loss(program.model, program.guide, x) / n for _ in range(draws)]
            loss = Loss(Trace_ELBO(), program, structure, n)
            parts = [loss.value(Batch(x[8 * (i % 5) : 8 * (i % 5) + 8])) for i in range(draws)]
        error = math.hypot(np.std(whole), np.std(parts)) / math.sqrt(draws)
        assert abs(np.mean(whole) - np.mean(parts)) < 4 * error

    def test_a_program_that_subsamples_itself_has_the_same_loss(self) -> None:
        n, x = 40, gaussian(40, 3, 1)

        def make(own: bool) -> pv.Program:
            def plate(x):
                return pyro.plate("data", size=n, subsample_size=len(x)) if own else pyro.plate("data", len(x))

            def model(x):
                with plate(x):
                    z = pyro.sample("z", dist.Normal(0.0, 1.0))
                    pyro.sample("x", dist.Normal(z.unsqueeze(-1), 1.0).expand([len(x), 3]).to_event(1), obs=x)

            def guide(x):
                a = pyro.param("a", torch.tensor(0.2))
                with plate(x):
                    pyro.sample("z", dist.Normal(a * x.sum(-1), 0.5))

            return pv.Program(model, guide)

        values = []
        for own in (False, True):
            program = make(own)
            structure = inspect_program(program, Batch(x))
            assert structure.full_size == (n if own else None)
            with program.scope():
                loss = Loss(Trace_ELBO(), program, structure, n)
                values.append([loss.value(Batch(x[:10])) for _ in range(2000)])
        a, b = np.array(values)
        assert abs(a.mean() - b.mean()) < 4 * math.hypot(a.std(), b.std()) / math.sqrt(2000)

    def test_renyi_under_minibatches_is_a_bound(self) -> None:
        """Per datum, from the smaller batch as from the whole; scaled densities would go far beyond log p(x)."""
        x = gaussian(40, 4, 2)
        vae = linear_vae()
        structure = inspect_program(vae, Batch(x))
        elbo = RenyiELBO(alpha=0, num_particles=20, vectorize_particles=True, max_plate_nesting=1)
        loss = Loss(elbo, vae, structure, len(x))
        with vae.scope():
            whole = np.array([loss.value(Batch(x)) for _ in range(300)])
            parts = np.array([np.mean([loss.value(Batch(x[i : i + 8])) for i in range(0, 40, 8)]) for _ in range(300)])
        assert abs(whole.mean() - parts.mean()) < 4 * math.hypot(whole.std(), parts.std()) / math.sqrt(300)
        w = vae.parts["likelihood"].network.layers[0]
        marginal = dist.MultivariateNormal(w.bias, w.weight @ w.weight.T + torch.eye(4))
        assert -parts.mean() < marginal.log_prob(x).mean().item() + 4 * parts.std() / math.sqrt(300)

    def test_history_is_in_nats_per_datum(self) -> None:
        fit = quick(linear_vae(), gaussian(), seed=1)
        assert fit.history["elbo_step"].sizes == {"chain": 1, "step": 30}
        assert fit.history["elbo"].sizes == {"chain": 1, "epoch": 3}
        steps = fit.history["elbo_step"].values.reshape(3, 10)
        np.testing.assert_allclose(fit.history["elbo"].values[0], steps.mean(1), rtol=1e-6)
        assert -50 < fit.history["elbo"].values[0, -1] < 0

    def test_a_smaller_last_batch_counts_by_its_size(self) -> None:
        fit = pv.fit(linear_vae(), gaussian(50), epochs=1, batch_size=40, lr=1e-12, progress=False)
        steps = fit.history["elbo_step"].values[0]
        np.testing.assert_allclose(fit.history["elbo"].values[0, 0], (40 * steps[0] + 10 * steps[1]) / 50, rtol=1e-6)


class TestReproducibility:
    @pytest.mark.parametrize("make", [small_vae, tutorial])
    def test_same_seed_same_bits(self, make) -> None:
        x = counts() if make is small_vae else (counts() > 2).float()
        runs = []
        for noise in (1, 2):
            torch.manual_seed(0)
            program = make()
            torch.manual_seed(noise)
            fit = quick(program, x, validation=x[:10], seed=3)
            runs.append((weights(fit), fit.history.drop_vars("seconds")))
        assert_same_bits(runs[0][0], runs[1][0])
        assert runs[0][1].identical(runs[1][1])

    def test_another_seed_other_bits(self) -> None:
        runs = []
        for seed in (0, 1):
            torch.manual_seed(0)
            runs.append(weights(quick(small_vae(), counts(), seed=seed)))
        assert not torch.equal(
            runs[0]["parts.guide.network.layers.0.weight"], runs[1]["parts.guide.network.layers.0.weight"]
        )

    def test_nothing_global_is_changed(self) -> None:
        import random

        pyro.param("mine", torch.tensor(1.0))
        try:
            settings = pyro.settings.get()
            states = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())
            for program, x in (
                (small_vae(), counts()),
                (hierarchy(), gaussian()),
                (tutorial(), (counts() > 2).float()),
            ):
                before = (torch.get_rng_state(), program.training)
                fit = quick(program, x, validation=x[:10], restarts=1)
                pv.posterior(fit, x[:5], draws=30)
                assert torch.equal(before[0], torch.get_rng_state())
                assert program.training == before[1]
            assert pyro.settings.get() == settings
            assert np.array_equal(np.random.get_state()[1], states[1])
            assert random.getstate() == states[2]
            assert list(pyro.get_param_store().keys()) == ["mine"]
        finally:
            pyro.clear_param_store()

    def test_validation_changes_nothing_in_the_model(self) -> None:
        runs = []
        for validation in (None, counts(20, seed=5)):
            torch.manual_seed(0)
            vae = small_vae()
            vae.parts["guide"].network.layers.append(torch.nn.BatchNorm1d(4))
            runs.append(weights(quick(vae, counts(), validation=validation)))
        assert_same_bits(*runs)


class TestResume:
    def test_stopped_between_epochs(self, tmp_path: Path) -> None:
        """Interrupted by a callback's exception after each epoch in turn, with schedule, patience and two chains."""
        x = counts()

        def run(folder: Path | None, callback=None) -> pv.Fit:
            torch.manual_seed(0)
            return pv.fit(
                small_vae(), x, validation=x[:10], epochs=4, batch_size=20, restarts=2, patience=3, seed=2,
                schedule=functools.partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.9),
                resume=folder, checkpoint_seconds=0, callbacks=[callback] if callback else [], progress=False,
            )  # fmt: skip

        whole = run(None)
        seen = []

        def stop(end: pv.EpochEnd) -> None:
            seen.append((end.chain, end.epoch))
            if len(seen) % 2 == 0:
                raise KeyboardInterrupt

        resumed = None
        for _ in range(12):
            try:
                resumed = run(tmp_path, stop)
                break
            except KeyboardInterrupt:
                continue
        assert resumed is not None
        assert_same_bits(weights(whole), weights(resumed))
        for ours, theirs in zip(whole.chains, resumed.chains, strict=True):
            assert_same_bits(ours, theirs)
        assert whole.history.drop_vars("seconds").identical(resumed.history.drop_vars("seconds"))

    @pytest.mark.parametrize("optimizer", ["SGD", "RMSprop", "AdamW"])
    def test_optimisers_resume_to_the_same_bits(self, tmp_path: Path, optimizer: str) -> None:
        make = functools.partial(getattr(torch.optim, optimizer), weight_decay=0.01)

        def run(folder: Path | None, *callbacks) -> pv.Fit:
            torch.manual_seed(0)
            return pv.fit(
                linear_vae(), gaussian(), epochs=4, optimizer=make, resume=folder, checkpoint_seconds=0,
                callbacks=callbacks, progress=False,
            )  # fmt: skip

        def interrupt(end: pv.EpochEnd) -> None:
            if end.epoch == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, interrupt)
        assert_same_bits(weights(run(None)), weights(run(tmp_path)))

    def test_killed_at_a_random_step(self, tmp_path: Path) -> None:
        """SIGKILL, wherever it falls, then resumed: the weights equal those of the run that was left alone."""
        script = tmp_path / "train.py"
        script.write_text(
            "import sys, time, torch, pyrovae as pv\n"
            "from safetensors.torch import save_file\n"
            "from tests.programs import counts, small_vae\n"
            "torch.manual_seed(0)\n"
            "vae, folder = small_vae(), None if sys.argv[1] == '-' else sys.argv[1]\n"
            "slow = [lambda end: time.sleep(0.02)] if len(sys.argv) > 3 else []\n"
            "fit = pv.fit(vae, counts(), epochs=60, batch_size=10, resume=folder, checkpoint_seconds=0,\n"
            "             callbacks=slow, progress=False)\n"
            "save_file({k: v.contiguous() for k, v in fit.program.weights().items()}, sys.argv[2])\n"
        )
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}

        def start(*args: str) -> subprocess.Popen:
            return subprocess.Popen([sys.executable, str(script), *args], env=env)

        assert start("-", str(tmp_path / "whole")).wait() == 0
        folder = tmp_path / "run"
        rng = np.random.default_rng(0)
        for _ in range(2):
            process = start(str(folder), str(tmp_path / "resumed"), "slow")
            deadline = time.monotonic() + 60
            before = _stamp(folder)
            while _stamp(folder) == before and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.4))
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        assert start(str(folder), str(tmp_path / "resumed")).wait() == 0
        from safetensors.torch import load_file

        assert_same_bits(load_file(tmp_path / "whole"), load_file(tmp_path / "resumed"))

    def test_other_settings_are_refused(self, tmp_path: Path) -> None:
        pv.fit(linear_vae(), gaussian(), epochs=1, resume=tmp_path, progress=False)
        with pytest.raises(pv.RunFolderError, match=r"other settings \(lr: 0.004 then, 0.1 now\)"):
            pv.fit(linear_vae(), gaussian(), epochs=1, lr=0.1, resume=tmp_path, progress=False)
        with pytest.raises(pv.RunFolderError, match="data_sum"):
            pv.fit(linear_vae(), gaussian(seed=1), epochs=1, resume=tmp_path, progress=False)


def _stamp(folder: Path) -> float:
    path = folder / "checkpoint" / "run.json"
    return path.stat().st_mtime_ns if path.exists() else 0


class TestOptions:
    @pytest.mark.parametrize(
        "loss",
        [
            Trace_ELBO(num_particles=2, vectorize_particles=True, max_plate_nesting=1),
            TraceMeanField_ELBO,
            TraceGraph_ELBO(),
            TraceEnum_ELBO(max_plate_nesting=1),
            RenyiELBO(alpha=0.5, num_particles=2),
            ReweightedWakeSleep(num_particles=3, max_plate_nesting=1),
            JitTrace_ELBO(ignore_jit_warnings=True),
            JitTraceMeanField_ELBO(ignore_jit_warnings=True),
            Trace_MMD(RBF(2), num_particles=2, vectorize_particles=True, max_plate_nesting=1),
        ],
        ids=lambda loss: getattr(loss, "__name__", type(loss).__name__),
    )
    def test_pyros_elbo_objects_train(self, loss) -> None:
        torch.manual_seed(0)
        fit = pv.fit(linear_vae(), gaussian(), loss=loss, epochs=20, lr=1e-2, progress=False)
        elbo = fit.history["elbo"].values[0]
        assert elbo[-1] > elbo[0] + 0.5

    def test_what_a_loss_cannot_do_is_said(self) -> None:
        with pytest.raises(ValueError, match=r"Jit.*choose a batch_size that divides 200"):
            pv.fit(linear_vae(), gaussian(), loss=JitTrace_ELBO(), batch_size=64, progress=False)
        with pytest.raises(ValueError, match=r"infinite loss by design.*RenyiELBO"):
            pv.fit(linear_vae(), gaussian(), loss=TraceTailAdaptive_ELBO(num_particles=4), progress=False)

    def test_a_parameter_that_comes_late_is_named(self) -> None:
        calls = []

        def model(x):
            calls.append(1)
            loc = pyro.param("loc", torch.tensor(0.0))
            if len(calls) > 12:
                loc = loc + pyro.param("late", torch.tensor(0.0))
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(loc, 1.0))
                pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])

        def guide(x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(pyro.param("a", torch.tensor(0.1)) * x[:, 0], 0.7))

        with pytest.raises(ValueError, match="late first appeared in training"):
            pv.fit(pv.Program(model, guide), gaussian(features=1), epochs=10, progress=False)

    def test_lbfgs_on_the_whole_data(self) -> None:
        torch.manual_seed(0)
        fit = pv.fit(
            linear_vae(), gaussian(), optimizer=torch.optim.LBFGS, lr=0.1, epochs=20, batch_size=200, progress=False
        )
        elbo = fit.history["elbo"].values[0]
        assert elbo[-1] > elbo[0] + 0.5

    def test_schedule_and_learning_rate_are_recorded(self) -> None:
        fit = quick(linear_vae(), gaussian(), lr=0.1, schedule=lambda o: torch.optim.lr_scheduler.StepLR(o, 1, 0.5))
        np.testing.assert_allclose(fit.history["learning_rate"].values[0], [0.1, 0.05, 0.025])

    def test_clipping_bounds_the_step(self) -> None:
        """Plain SGD moves by at most lr · clip_norm."""
        torch.manual_seed(0)
        vae = linear_vae()
        vae.adapt(gaussian())
        before = torch.cat([p.detach().flatten() for p in vae.parameters()])
        pv.fit(
            vae, gaussian(), optimizer=torch.optim.SGD, lr=0.5, clip_norm=0.01, epochs=1, batch_size=200, progress=False
        )
        moved = (torch.cat([p.detach().flatten() for p in vae.parameters()]) - before).norm().item()
        assert moved == pytest.approx(0.005, rel=1e-3)

    def test_patience_goes_back_to_the_best_epoch(self) -> None:
        torch.manual_seed(0)
        x = counts(30)
        kept = {}
        vae = small_vae()

        def keep(end: pv.EpochEnd) -> None:
            kept[end.epoch] = {k: v.detach().clone() for k, v in end.program.weights().items()}

        fit = pv.fit(
            vae, x, validation=counts(30, seed=9), epochs=400, lr=0.05, patience=5, callbacks=[keep], progress=False
        )
        values = fit.history["elbo_validation"].values[0]
        best = int(values.argmax())
        assert len(values) == best + 6
        assert_same_bits(weights(fit), kept[best])

    def test_a_callback_stops_a_chain(self) -> None:
        ends = []
        fit = quick(linear_vae(), gaussian(), callbacks=[lambda end: ends.append(end) or end.epoch == 1])
        assert fit.history.sizes["epoch"] == 2
        assert [e.epoch for e in ends] == [0, 1]

    def test_restarts_are_independent_and_the_best_is_kept(self) -> None:
        torch.manual_seed(0)
        fit = quick(small_vae(), counts(), restarts=3)
        assert len(fit.chains) == 3
        name = "parts.guide.network.layers.0.weight"
        assert len({fit.chains[c][name].sum().item() for c in range(3)}) == 3
        assert torch.equal(fit.program.weights()[name], fit.chains[fit.best][name])
        assert fit.best == int(fit.history["elbo"].values[:, -1].argmax())
        with fit.chain(0) as program:
            assert torch.equal(program.weights()[name], fit.chains[0][name])
        assert torch.equal(fit.program.weights()[name], fit.chains[fit.best][name])

    def test_restarts_of_a_foreign_program(self) -> None:
        torch.manual_seed(0)
        fit = quick(tutorial(), (counts() > 2).float(), restarts=2)
        assert any(not torch.equal(fit.chains[0][n], fit.chains[1][n]) for n in fit.chains[0])

    def test_a_fit_goes_on_from_the_programs_weights(self) -> None:
        torch.manual_seed(0)
        vae = linear_vae()
        first = pv.fit(vae, gaussian(), epochs=100, lr=1e-2, progress=False).history["elbo"].values[0]
        second = pv.fit(vae, gaussian(), epochs=1, lr=1e-2, progress=False).history["elbo"].values[0]
        assert second[0] > first[0] + 1
        assert abs(second[0] - first[-1]) < 0.5

    def test_float64_programs_of_closures(self) -> None:
        x = gaussian(features=1).double()

        def model(x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=x.dtype), 1.0))
                pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])

        def guide(x):
            a = pyro.param("a", torch.tensor(0.0, dtype=torch.float64))
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(a * x[:, 0], math.sqrt(0.5)))

        fit = pv.fit(pv.Program(model, guide), x, epochs=200, batch_size=50, lr=0.02, progress=False)
        slope = fit.program.weights()["a"]
        assert slope.dtype == torch.float64
        assert slope.item() == pytest.approx(0.5, abs=0.02)  # E[z|x] = x/2
        assert prepare(fit.program, x).x.dtype == torch.float64


class TestNonFinite:
    def test_the_site_is_named_and_the_weights_are_the_last_finite_ones(self) -> None:
        torch.manual_seed(0)
        vae = linear_vae()
        count = {"steps": 0}
        likelihood = vae.parts["likelihood"]
        forward = likelihood.forward

        def breaks(z, context=None):
            count["steps"] += 1
            fn = forward(z, context)
            bad = count["steps"] > 12
            return dist.Normal(fn.base_dist.loc / (0.0 if bad else 1.0), fn.base_dist.scale).to_event(1)

        likelihood.forward = breaks
        with pytest.raises(pv.NonFiniteError, match=r"epoch \d+, step \d+: the .* of site 'x' .*clip_norm") as caught:
            pv.fit(vae, gaussian(), epochs=5, batch_size=50, progress=False)
        assert all(p.isfinite().all() for p in vae.parameters())
        assert_same_bits(weights(caught.value.fit), {k: v.detach() for k, v in vae.weights().items()})
        assert caught.value.fit.history["elbo_step"].size >= 3

    def test_a_gradient_that_is_not_finite_takes_no_step(self) -> None:
        """√0 has an infinite slope while the loss is finite."""

        class Root(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.raw = torch.nn.Parameter(torch.zeros(()))

            def forward(self, z):
                return dist.Normal(z + self.raw.sqrt(), torch.ones(2)).to_event(1)

        vae = pv.VAE(pv.priors.Normal(2), Root(), pv.guides.Normal(pv.networks.MLP(2, (), 4)))
        with pytest.raises(pv.NonFiniteError, match=r"epoch 1, step 1: every site is finite, the gradient of .*raw"):
            pv.fit(vae, gaussian(features=2), epochs=1, progress=False)
        assert all(p.isfinite().all() for p in vae.parameters())


class TestHistory:
    def test_what_is_not_finite_is_never_the_best(self) -> None:
        from pyrovae.svi.history import History

        history = History()
        for elbo, validation in ((-10, -10), (-9, math.nan), (-8, -8)):
            history.add(elbo, validation, 0.1, 0.0)
        assert history.is_best()
        assert history.kept(True) == 2
        history.add(-7, math.nan, 0.1, 0.0)
        assert history.since_best() == 1

    def test_chains_are_ranked_by_what_they_keep(self) -> None:
        from pyrovae.svi.history import History

        peaked, flat = History(), History()
        for a, b in zip((-20, -12, -10, -14), (-20, -12, -11, -11.1), strict=True):
            peaked.add(a, None, 0.1, 0.0)
            flat.add(b, None, 0.1, 0.0)
        assert peaked.quality(True) > flat.quality(True)
        assert peaked.quality(False) < flat.quality(False)

    def test_verdicts_are_on_the_epoch_that_patience_kept(self) -> None:
        torch.manual_seed(0)
        fit = pv.fit(
            small_vae(), counts(40), validation=counts(40, seed=9), epochs=400, lr=0.05, patience=20, progress=False
        )
        kept = int(fit.history["kept_epoch"][0])
        assert kept == int(fit.history["elbo_validation"].values[0].argmax())
        assert kept + 21 == fit.history.sizes["epoch"]
        tree = pv.posterior(fit, counts(40), draws=40)
        row = pv.diagnose(tree).table.set_index("question").loc["Did training stop in time?"]
        assert row["verdict"] in ("good", "not available")


def test_restarts_remake_param_statements() -> None:
    def model(x):
        a = pyro.param("a", lambda: torch.randn(3))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z.unsqueeze(-1) * a, 1.0).to_event(1), obs=x)

    def guide(x):
        b = pyro.param("b", lambda: 0.1 * torch.randn(3))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x @ b, 0.5))

    fit = pv.fit(pv.Program(model, guide), gaussian(features=3), epochs=1, lr=1e-9, restarts=3, progress=False)
    assert len({chain["a"][0].item() for chain in fit.chains}) == 3


def test_lbfgs_keeps_the_last_finite_weights() -> None:
    torch.manual_seed(0)
    vae = linear_vae()
    with pytest.raises(pv.NonFiniteError):
        pv.fit(vae, gaussian(), optimizer=torch.optim.LBFGS, lr=1e8, epochs=20, batch_size=200, progress=False)
    assert all(p.isfinite().all() for p in vae.parameters())


def test_another_validation_set_or_loss_is_another_run(tmp_path: Path) -> None:
    def run(**settings) -> pv.Fit:
        return pv.fit(linear_vae(), gaussian(), epochs=1, resume=tmp_path, progress=False, **settings)

    run(validation=gaussian(20))
    with pytest.raises(pv.RunFolderError, match="validation_sum"):
        run(validation=gaussian(20, seed=3))
    with pytest.raises(pv.RunFolderError, match="loss_arguments"):
        run(validation=gaussian(20), loss=Trace_ELBO(num_particles=2))
