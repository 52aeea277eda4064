"""Data that stay on disk: what is read, in which order, and that the answers are those of data in memory."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import zarr
from torch import Tensor

import pyrovae as pv
from pyrovae.data import _files, _rows
from pyrovae.data._rows import Rows
from pyrovae.svi.batches import Batches, prepare

N, FEATURES = 1000, 3
ROW = 4 * FEATURES


class Watched:
    """An array that remembers the most rows that were read at once."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.most, self.read = values, 0, 0
        self.shape, self.dtype = values.shape, values.dtype

    def __getitem__(self, rows: Any) -> np.ndarray:
        out = self.values[rows]
        self.most, self.read = max(self.most, len(out)), self.read + len(out)
        return out


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 10 rows, buffers of 100."""
    monkeypatch.setattr(_rows, "BLOCK", 10 * ROW)
    for module in (_rows, _files):
        monkeypatch.setattr(module, "BUFFER", 100 * ROW)


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).normal(3.0, 2.0, (N, FEATURES)).astype(np.float32)


def mapped(folder: Path, array: np.ndarray) -> np.memmap:
    np.save(folder / "x.npy", array)
    return np.load(folder / "x.npy", mmap_mode="r")


def zarred(folder: Path, array: np.ndarray, chunk: int = 8) -> zarr.Array:
    out = zarr.create_array(folder / "x.zarr", shape=array.shape, chunks=(chunk, *array.shape[1:]), dtype=array.dtype)
    out[:] = array
    return zarr.open(folder / "x.zarr", mode="r")


def hdf5(folder: Path, array: np.ndarray) -> Any:
    import h5py

    with h5py.File(folder / "x.h5", "w") as file:
        file["x"] = array
    return h5py.File(folder / "x.h5", "r")["x"]


STORES = pytest.mark.parametrize("store", [mapped, zarred, hdf5])


def program(**options: Any) -> pv.VAE:
    torch.manual_seed(0)
    return pv.VAE(
        pv.priors.Normal(2),
        pv.likelihoods.Normal(pv.networks.MLP(2, (4,), FEATURES, **options)),
        pv.guides.Normal(pv.networks.MLP(FEATURES, (4,), 4, **options)),
    )


def program_of_missing() -> pv.VAE:
    guide = pv.guides.Normal(pv.networks.MLP(FEATURES, (4,), 4, mask=True))
    return pv.VAE(pv.priors.Normal(2), pv.likelihoods.Normal(pv.networks.MLP(2, (4,), FEATURES)), guide)


def rows_of(x: Tensor, values: np.ndarray) -> list[int]:
    """Which rows of the values these are."""
    place = {row.tobytes(): i for i, row in enumerate(values)}
    return [place[row.tobytes()] for row in x.numpy()]


# What is read


@STORES
def test_parts_are_those_of_the_array(tmp_path, values, store):
    data = pv.data.as_data(store(tmp_path, values))
    assert isinstance(data.x, Rows)
    assert (data.x.shape, data.x.dtype, len(data)) == ((N, FEATURES), torch.float32, N)
    for key in (slice(3, 30), slice(0, N, 97), torch.tensor([5, 900, 5, 0]), [7], slice(4, 4)):
        assert torch.equal(data.x[key], torch.from_numpy(values[key]))
    assert torch.equal(data.x[-1], torch.from_numpy(values[-1]))
    assert repr(data) == "Data(data: 1,000 × x_dim_0 3, float32, on disk)"


def test_what_fits_into_a_buffer_is_read_into_memory(tmp_path, values):
    assert isinstance(pv.data.as_data(mapped(tmp_path, values[:100])).x, Tensor)
    data = pv.data.as_data(mapped(tmp_path, values))
    assert torch.equal(data.take(slice(10, 50)).x, torch.from_numpy(values[10:50]))
    assert isinstance(data.take(slice(0, 101)).x, Rows)
    assert isinstance(pv.data.as_data(mapped(tmp_path, values) + 1).x, Tensor)  # a memmap in name alone


@pytest.mark.parametrize("kind", ["bool", "uint8", "int16", "float16", ">f4", "float64"])
def test_stored_types(tmp_path, kind):
    array = np.random.default_rng(0).integers(0, 2, (N, 12)).astype(kind)
    x = pv.data.as_data(mapped(tmp_path, array)).x
    here = pv.data.as_data(array).x
    assert (type(x), x.dtype) == (Rows, here.dtype)
    assert torch.equal(x[:], here)


def test_files(tmp_path, values):
    mapped(tmp_path, values)
    zarred(tmp_path, values)
    for name in ("x.npy", "x.zarr"):
        data = pv.data.load(tmp_path / name)
        assert isinstance(data.x, Rows)
        assert torch.equal(data.x[:], torch.from_numpy(values))
    zarred(tmp_path / "small", values[:50])
    assert isinstance(pv.data.load(tmp_path / "small" / "x.zarr").x, Tensor)


def test_split_is_that_of_data_in_memory(tmp_path, values):
    parts = pv.data.as_data(zarred(tmp_path, values)).split(seed=3, test=0.3)
    for part, here in zip(parts, pv.data.as_data(values).split(seed=3, test=0.3), strict=True):
        assert isinstance(part.x, Rows)
        assert torch.equal(part.x[:], here.x)
        for name in ("obs_id", "position"):
            assert np.array_equal(part.coords[name][1], here.coords[name][1])
        shuffled = [row for batch in prepare(program(), part).shuffled(64) for row in rows_of(batch.x, values)]
        assert sorted(shuffled) == here.coords["position"][1].tolist()
    again = parts[0].take([5, 2, 600])
    assert torch.equal(again.x, parts[0].x[[5, 2, 600]])


def test_numbers_of_data_take_no_memory(tmp_path, values):
    data = pv.data.as_data(mapped(tmp_path, values))
    numbers = data.coords["obs_id"][1]
    assert type(numbers).__name__ == "RangeIndex"
    assert np.array_equal(numbers, np.arange(N))
    assert copy.deepcopy(data).x is data.x


@pytest.mark.parametrize("how", ["dynamic", "threshold"])
@pytest.mark.parametrize("eight_bit", [False, True])
def test_binarised(tmp_path, how, eight_bit):
    grey = np.random.default_rng(0).integers(0, 256, (N, 12)).astype(np.uint8)
    grey = grey if eight_bit else (grey / 255).astype(np.float32)
    data, here = (pv.data.as_data(x).binarize(how) for x in (mapped(tmp_path, grey), grey))
    assert isinstance(data.x, Rows)
    assert torch.equal(data.x[:], here.x)
    assert (data.draw is None) == (here.draw is None)


def test_context_on_disk(tmp_path, values):
    data = pv.data.as_data(values, context=mapped(tmp_path, np.arange(1000 * N).reshape(N, -1)[:, :5].astype(np.int64)))
    assert isinstance(data.context, Rows)
    for batch in prepare(program(context=5), data).shuffled(30):
        assert torch.equal(batch.context[:, 0] / 1000, torch.tensor(rows_of(batch.x, values)))


# In which order


def batches_of(values: np.ndarray) -> tuple[Watched, Batches]:
    watched = Watched(values)
    return watched, prepare(program(), pv.Data(Rows(watched)))


@pytest.mark.parametrize("size", [7, 100, 250])
def test_an_epoch_visits_each_row_once(values, size):
    watched, batches = batches_of(values)
    found = [rows_of(batch.x, values) for batch in batches.shuffled(size)]
    assert [len(rows) for rows in found] == [size] * (N // size) + ([N % size] if N % size else [])
    assert sorted(row for rows in found for row in rows) == list(range(N))
    assert watched.most <= 10


def test_same_seed_same_batches(values):
    _, batches = batches_of(values)

    def epoch(seed: int) -> list[int]:
        torch.manual_seed(seed)
        coming = batches.shuffled(30)
        torch.rand(5)  # what a program draws meanwhile changes nothing
        return [row for batch in coming for row in rows_of(batch.x, values)]

    assert epoch(1) == epoch(1)
    assert epoch(1) != epoch(2)


def test_order_within_a_buffer_is_uniform():
    """Of data that one buffer holds, each row is equally often in each place: χ² on 8 × 8 counts, 49 degrees."""
    values = np.arange(8, dtype=np.float32).reshape(8, 1)
    batches = Batches(pv.Data(Rows(Watched(values))), Rows(Watched(values)), None)
    counts, epochs = torch.zeros(8, 8), 1000
    for _ in range(epochs):
        (batch,) = batches.shuffled(8)
        counts[torch.arange(8), batch.x[:, 0].long()] += 1
    chi2 = float(((counts - epochs / 8) ** 2 / (epochs / 8)).sum())
    assert abs(chi2 - 49) < 4 * (2 * 49) ** 0.5


def test_a_batch_mixes_blocks_of_the_whole_file(values):
    """100 rows of a buffer stand in 10 blocks of 10, chosen anywhere."""
    _, batches = batches_of(values)
    first = rows_of(next(batches.shuffled(100)).x, values)
    assert len({row // 10 for row in first}) == 10
    assert max(first) - min(first) > N / 2


def test_blocks_are_in_order(values):
    watched, batches = batches_of(values)
    for size in (64, 1000):
        found = list(batches.blocks(size))
        assert torch.equal(torch.cat([batch.x for _, batch in found]), torch.from_numpy(values))
        assert [rows.start for rows, _ in found] == list(range(0, N, size))
    assert watched.most <= 10


def test_large_chunks_are_read_whole(tmp_path, values):
    x = pv.data.as_data(zarred(tmp_path, values, chunk=150)).x
    assert np.diff(x.edges).tolist() == [150] * 6 + [100]
    part = x.part(np.arange(100, N, 2))
    assert part.edges.tolist() == [0, 25, 100, 175, 250, 325, 400, 450]


def test_an_error_of_the_reader_reaches_the_loop(values):
    class Broken(Watched):
        def __getitem__(self, rows: Any) -> np.ndarray:
            if self.read > 2 * N:
                raise OSError("the disk is gone")
            return super().__getitem__(rows)

    batches = prepare(program(), pv.Data(Rows(Broken(values))))
    with pytest.raises(OSError, match="the disk is gone"):
        list(batches.shuffled(10)), list(batches.shuffled(10))


# A fit


def fitted(data: Any, **options: Any) -> pv.Fit:
    settings = {"epochs": 2, "batch_size": 50, "progress": False} | options
    return pv.fit(program(), data, **settings)


def test_fit_never_holds_all_data(values):
    watched = Watched(values)
    data = pv.Data(Rows(watched))
    fit = fitted(data, validation=data)
    assert watched.most <= 10
    assert np.isfinite(fit.history["elbo"]).all()
    assert watched.read < 9 * N  # opened, two checks, the units, two epochs with validation


def test_fit_without_noise_is_that_of_data_in_memory(values, monkeypatch):
    """A point guide and whole batches: the order changes the rounding alone."""
    monkeypatch.setattr(_rows, "BUFFER", N * ROW)  # the units are taken from all data
    ends = []
    for data in (pv.Data(Rows(Watched(values))), values):
        torch.manual_seed(0)
        likelihood = pv.likelihoods.Normal(pv.networks.MLP(2, (4,), FEATURES))
        vae = pv.VAE(pv.priors.Normal(2), likelihood, pv.guides.Delta(pv.networks.MLP(FEATURES, (4,), 2)))
        fit = pv.fit(vae, data, epochs=10, lr=0.02, batch_size=N, progress=False)
        ends.append(fit.history["elbo"].values[0])
        assert fit.settings["data_sum"] == pytest.approx([values.sum(dtype=np.float64)])
    assert ends[0] == pytest.approx(ends[1], abs=1e-4)
    assert ends[0][-1] > ends[0][0] + 0.1


def test_resumed_to_the_same_bits(tmp_path, values):
    data = pv.data.as_data(mapped(tmp_path, values))
    whole = fitted(data, epochs=4, restarts=2)

    class StopError(Exception):
        pass

    def stop(end: Any) -> None:
        if end.epoch == 2:
            raise StopError

    resumed = {"epochs": 4, "restarts": 2, "resume": tmp_path / "run", "checkpoint_seconds": 0.0}
    with pytest.raises(StopError):
        fitted(data, callbacks=[stop], **resumed)
    fit = fitted(data, **resumed)
    for ours, theirs in zip(fit.chains, whole.chains, strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_units_are_taken_from_a_buffer(values):
    torch.manual_seed(0)
    x, context = prepare(program(), pv.Data(Rows(Watched(values)))).sample()
    assert (x.shape, context) == ((100, FEATURES), None)
    whole = prepare(program(), values)
    assert whole.sample()[0] is whole.x


def test_posterior_in_blocks(values):
    watched = Watched(values)
    tree = pv.posterior(program(), pv.Data(Rows(watched)), draws=2, predictive=1)
    assert torch.equal(torch.from_numpy(tree["observed_data"]["x"].values), torch.from_numpy(values))
    assert np.array_equal(tree["posterior"]["obs_id"], np.arange(N))


# What is refused


@pytest.mark.parametrize(
    ("cell", "kind", "error", "message"),
    [
        (np.inf, np.float32, ValueError, r"infinite value at obs_id=777, x_dim_0=1"),
        (1, np.complex64, TypeError, "x has dtype complex64: expected real numbers"),
        (1, "S4", TypeError, r"x has dtype \|S4: expected real numbers"),
    ],
)
def test_values_refused(tmp_path, values, cell, kind, error, message):
    array = values.astype(kind)
    array[777, 1] = cell
    with pytest.raises(error, match=message):
        pv.data.as_data(mapped(tmp_path, array))
    with pytest.raises(error, match=message):
        pv.data.load(tmp_path / "x.npy")


def test_shapes_and_paths_refused(tmp_path, values):
    with pytest.raises(ValueError, match=r"shape \(3000,\), with no event dimension"):
        pv.data.as_data(zarred(tmp_path, values.ravel()))
    for name in ("no.npy", "no.zarr"):
        with pytest.raises(FileNotFoundError, match=name):
            pv.data.load(tmp_path / name)
    values[500, 1] = np.nan
    with pytest.raises(ValueError, match="context is nan at obs_id=500, column 1"):
        pv.data.as_data(values, context=mapped(tmp_path, values))


def test_off_the_support_and_missing_are_named(tmp_path, values):
    counts = np.abs(values).round()
    counts[777, 1] = -2
    likelihood = pv.likelihoods.Poisson(pv.networks.MLP(2, (), FEATURES))
    poisson = pv.VAE(pv.priors.Normal(2), likelihood, pv.guides.Normal(pv.networks.MLP(FEATURES, (), 4)))
    with pytest.raises(ValueError, match=r"site 'x': .* got -2 at obs_id=777, x_dim_0=1"):
        pv.fit(poisson, mapped(tmp_path, counts), progress=False)
    values[500, 1] = np.nan
    with pytest.raises(ValueError, match=r"the data hold NaN \(first: obs_id=500, x_dim_0=1\)"):
        fitted(mapped(tmp_path, values))
    with pytest.raises(ValueError, match=r"whole numbers up to 16777219, and torch.float32 is exact only up to"):
        fitted(mapped(tmp_path, np.full((N, FEATURES), -(2**24) - 3)))


def test_missing_cells_are_left_out(tmp_path, values):
    values[:, 2] = np.nan
    data = pv.data.as_data(mapped(tmp_path, values))
    assert repr(data).endswith("on disk, 0.33 of values missing)")
    with pytest.warns(UserWarning, match="x_dim_0=2 is missing in all 1,000 training data"):
        fit = pv.fit(program_of_missing(), data, epochs=1, progress=False)
    assert np.isfinite(fit.history["elbo"]).all()


def test_columns_are_checked(tmp_path, values):
    kinds = pv.data.as_data(pd.DataFrame({"a": [0.5, 1.5], "b": [1, 3], "c": [-1.0, 0.5]})).columns
    values[:, 1] = 2
    assert pv.data.as_data(mapped(tmp_path, values), columns=kinds).columns == kinds
    values[321, 1] = 0.5
    with pytest.raises(ValueError, match=r"column 'b' is count: .* got 0.5 at obs_id=321, x_dim_0=1"):
        pv.data.as_data(mapped(tmp_path, values), columns=kinds)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda d: torch.isnan(d.x),
            TypeError,
            r"torch.isnan needs all data in memory, and these 1,000 \(1.2e-05 GB\)",
        ),
        (lambda d: d.x.double(), AttributeError, r"x.double needs all data .* data.take\(slice\(0, 1000\)\)"),
        (lambda d: np.asarray(d.x), TypeError, "an array of x needs all data in memory"),
        (lambda d: list(d.x), TypeError, "not iterable"),
        (lambda d: d.x[:, 0], TypeError, "needs all data in memory"),
        (lambda d: d.x[[N]], IndexError, "expected rows from 0 to 999, got 1000 to 1000"),
        (lambda d: d.x.nothing, AttributeError, "nothing"),
        (lambda d: d.binarize("static"), ValueError, "binarize='static' makes other data, and these stay on disk"),
        (lambda d: pv.impute(program(), d), TypeError, "torch.isnan needs all data in memory"),
    ],
)
def test_what_needs_all_data_is_refused(tmp_path, values, call, error, message):
    data = pv.data.as_data(mapped(tmp_path, values))
    with pytest.raises(error, match=message):
        call(data)


def test_programs_that_hold_something_for_each_row_are_refused(tmp_path, values):
    likelihood = pv.likelihoods.Normal(pv.networks.MLP(2, (), FEATURES))
    table = pv.VAE(pv.priors.Normal(2), likelihood, pv.guides.Table(N, 2))
    with pytest.raises(ValueError, match="is told the rows of its data, and these 1,000 stay on disk: read them into"):
        pv.fit(table, mapped(tmp_path, values), progress=False)
