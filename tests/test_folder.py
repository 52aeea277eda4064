"""Run folders: what is kept, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import pyrovae as pv
from tests.programs import counts, gaussian, hierarchy, linear_vae, small_vae, tutorial


@pytest.fixture
def run(tmp_path: Path) -> tuple[pv.Fit, Path]:
    torch.manual_seed(0)
    fit = pv.fit(small_vae(), counts(), validation=counts(20), epochs=3, restarts=2, progress=False)
    return fit, fit.save(tmp_path / "run")


def test_holds_safetensors_and_json_only(run) -> None:
    _, folder = run
    assert sorted(p.suffix for p in folder.iterdir()) == [".json", ".safetensors"]


def poisson_table() -> pv.VAE:
    """A likelihood whose intercepts, and a guide whose parameters, come from the training data."""
    return pv.VAE(
        pv.priors.GaussianMixture(2, 2),
        pv.likelihoods.Poisson(pv.networks.MLP(2, (8,), 6)),
        pv.guides.Table(50, 2, steps=5),
    )


def poisson_vamp() -> pv.VAE:
    return pv.VAE(
        pv.priors.VampPrior(4, 6),
        pv.likelihoods.NegativeBinomial(pv.networks.MLP(2, (8,), 6)),
        pv.guides.Normal(pv.networks.MLP(6, (8,), 4)),
    )


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (small_vae, counts()),
        (tutorial, (counts() > 2).float()),
        (hierarchy, gaussian()),
        (poisson_table, counts()),
        (poisson_vamp, counts()),
    ],
)
def test_load_gives_the_same_fit(make, x, tmp_path: Path) -> None:
    torch.manual_seed(0)
    fit = pv.fit(make(), x, epochs=3, restarts=1 if make in (tutorial, hierarchy) else 2, progress=False)
    fit.save(tmp_path / "run")
    torch.manual_seed(1)
    again = pv.load(tmp_path / "run", make())
    assert again.settings == fit.settings
    assert again.history.identical(fit.history)
    tree, other = (pv.posterior(f, x[:5], draws=7) for f in (fit, again))
    assert tree.identical(other)


def test_a_run_is_not_overwritten_unasked(run) -> None:
    fit, folder = run
    with pytest.raises(FileExistsError, match="already holds a run.*overwrite=True"):
        fit.save(folder)
    fit.save(folder, overwrite=True)
    assert len(list(folder.iterdir())) == 2


def test_other_files_of_the_user_stay(run) -> None:
    fit, folder = run
    (folder / "notes.txt").write_text("mine")
    fit.save(folder, overwrite=True)
    assert (folder / "notes.txt").read_text() == "mine"


def test_missing_damaged_truncated_and_foreign_folders(run, tmp_path: Path) -> None:
    _, folder = run
    with pytest.raises(pv.RunFolderError, match="is not a run folder: it has no run.json"):
        pv.load(tmp_path / "nothing", small_vae())
    document = (folder / "run.json").read_text()
    tensors = next(folder.glob("*.safetensors"))
    contents = tensors.read_bytes()

    tensors.write_bytes(contents[:-100])
    with pytest.raises(pv.RunFolderError, match="damaged.*truncated or altered"):
        pv.load(folder, small_vae())
    tensors.write_bytes(contents)

    (folder / "run.json").write_text(document[: len(document) // 2])
    with pytest.raises(pv.RunFolderError, match="is damaged .JSONDecodeError"):
        pv.load(folder, small_vae())

    (folder / "run.json").write_text(json.dumps({"format": "another"}))
    with pytest.raises(pv.RunFolderError, match="expected format 'pyrovae run 1', got 'another'"):
        pv.load(folder, small_vae())
    (folder / "run.json").write_text(document)

    tensors.unlink()
    with pytest.raises(pv.RunFolderError, match="is damaged: state-.* is missing"):
        pv.load(folder, small_vae())


def test_another_programs_folder_is_refused_and_the_program_left_alone(run) -> None:
    _, folder = run
    other = small_vae(latents=3)
    before = {k: v.detach().clone() for k, v in other.weights().items()}
    with pytest.raises(pv.RunFolderError, match="not this program's: .* has shape"):
        pv.load(folder, other)
    with pytest.raises(pv.RunFolderError, match="not this program's: missing"):
        pv.load(folder, linear_vae())
    assert all(torch.equal(before[k], v) for k, v in other.weights().items())


def test_a_function_programs_folder_is_checked_when_it_runs(tmp_path: Path) -> None:
    pv.fit(hierarchy(), gaussian(), epochs=1, progress=False).save(tmp_path / "run")

    import pyro
    import pyro.distributions as dist

    def model(x):
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, pyro.param("other", torch.tensor(1.0))))
            pyro.sample("y", dist.Normal(z, 1.0), obs=x[:, 0])

    def guide(x):
        with pyro.plate("rows", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0], 1.0))

    fit = pv.load(tmp_path / "run", pv.Program(model, guide))
    with pytest.raises(ValueError, match="not this program's"):
        pv.posterior(fit, gaussian(), draws=5)


def test_an_interrupted_write_leaves_the_old_run(run, monkeypatch) -> None:
    fit, folder = run
    import pyrovae.svi.folder as module

    before = pv.load(folder, small_vae()).chains[0]
    fit.chains[0] = {k: v + 1 for k, v in fit.chains[0].items()}

    def fails(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(module.os, "fsync", fails)
    with pytest.raises(OSError, match="no space"):
        fit.save(folder, overwrite=True)
    monkeypatch.undo()
    after = pv.load(folder, small_vae()).chains[0]
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert len(list(folder.iterdir())) == 2
