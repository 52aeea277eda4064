from __future__ import annotations

import copy
import functools
import gzip
import hashlib
import http.server
import os
import pickle
import struct
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from pyrovae.data import Column, Data, _images, as_data, decode, load, names, read
from pyrovae.data._idx import read_idx

NAN = float("nan")


@pytest.fixture
def toy() -> Data:
    return Data(
        torch.arange(24.0).reshape(6, 2, 2),
        name="toy",
        dims=("row", "column"),
        coords={
            "obs_id": (("obs_id",), np.array(list("abcdef"))),
            "column": (("column",), np.array(["left", "right"])),
            "weight": (("obs_id", "row"), np.arange(12).reshape(6, 2)),
            "unit": ((), np.array("mm")),
        },
        context=torch.arange(6.0),
        labels=np.array([0, 0, 1, 1, 2, 2]),
    )


# The container


def test_defaults():
    data = Data(torch.zeros(3, 2, 4))
    assert (len(data), data.event_shape) == (3, (2, 4))
    assert data.dims == ("x_dim_0", "x_dim_1")
    assert data.coords["obs_id"][0] == ("obs_id",)
    assert data.coords["obs_id"][1].tolist() == [0, 1, 2]
    assert data.context is data.labels is data.draw is data.test is None


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (torch.bool, torch.uint8),
        (torch.uint8, torch.uint8),
        (torch.int8, torch.int64),
        (torch.int32, torch.int64),
        (torch.int64, torch.int64),
        (torch.uint64, torch.int64),
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_stored_types(given, stored):
    x = torch.tensor([[0, 1]]).to(given)
    data = Data(x)
    assert data.x.dtype == stored
    assert data.x.tolist() == [[0, 1]]
    assert (data.x.data_ptr() == x.data_ptr()) == (given == stored)


def test_gradients_are_cut_and_large_integers_exact():
    assert not Data(torch.ones(1, 1, requires_grad=True)).x.requires_grad
    assert Data(torch.tensor([[2**62 + 1]])).x.item() == 2**62 + 1


def test_missing_values_are_kept():
    assert Data(torch.tensor([[NAN, 1.0]])).x.isnan().tolist() == [[True, False]]


def test_context_and_coordinates_are_normalised(toy):
    assert toy.context.shape == (6, 1)
    assert Data(torch.zeros(2, 1), context=torch.tensor([1, 2])).context.dtype == torch.float32
    assert Data(torch.zeros(2, 1), labels=["a", "b"]).labels.dtype.kind == "U"
    assert Data(torch.zeros(2, 1), labels=torch.tensor([3, 4])).labels.tolist() == [3, 4]
    objects = np.array([1, "b"], dtype=object)
    assert Data(torch.zeros(2, 1), labels=objects).labels.tolist() == ["1", "b"]
    ints = np.array([1, 2], dtype=object)
    assert Data(torch.zeros(2, 1), labels=ints).labels.dtype.kind == "i"
    text = np.array(["a", "b"], dtype=np.dtypes.StringDType())
    assert Data(torch.zeros(2, 1), labels=text).labels.dtype.kind == "U"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": np.zeros((2, 2))}, TypeError, r"not ndarray: use pyrovae\.data\.as_data"),
        ({"x": torch.tensor(1.0)}, ValueError, "single number"),
        ({"x": torch.zeros(4)}, ValueError, r"shape \(4,\).*reshape it to \(n, 1\)"),
        ({"x": torch.zeros(0, 3)}, ValueError, r"empty, of shape \(0, 3\)"),
        ({"x": torch.zeros(3, 0)}, ValueError, "empty"),
        ({"x": torch.zeros(2, 2, dtype=torch.complex64)}, TypeError, "complex64.*view_as_real"),
        ({"x": torch.eye(2).to_sparse()}, TypeError, "sparse.*expected a dense one"),
        (
            {"x": torch.tensor([[2**63]], dtype=torch.uint64)},
            ValueError,
            "9223372036854775808, more than int64",
        ),
        ({"dims": ("a",)}, ValueError, r"names 1 event dimensions .* x has 2"),
        ({"dims": "ab"}, TypeError, r"write \('ab',\)"),
        ({"dims": ("a", 1)}, TypeError, "must be strings, not 1"),
        ({"dims": ("a", "a")}, ValueError, "'a' appears twice"),
        ({"dims": ("a", "draw")}, ValueError, "'draw' is kept for the tree"),
        ({"coords": {"k": (("no",), np.zeros(2))}}, ValueError, "over 'no', which x does not have"),
        ({"coords": {"k": np.zeros(2)}}, TypeError, r"must be a pair \(dims, values\)"),
        ({"coords": {"obs_id": ("obs_id", [1, 2])}}, ValueError, r"\(2,\): expected \(3,\)"),
        ({"coords": {"obs_id": ((), 1)}}, ValueError, "must be over itself"),
        ({"context": np.zeros(3)}, TypeError, "context must be a torch.Tensor, not ndarray"),
        ({"context": torch.zeros(2)}, ValueError, r"context has shape \(2, 1\): expected \(3, c\)"),
        ({"context": torch.zeros(3, 0)}, ValueError, r"expected \(3, c\), c > 0"),
        (
            {
                "context": torch.tensor([[0, 0], [0, NAN], [0, 0]]),
                "coords": {"obs_id": ("obs_id", ["u", "v", "w"])},
            },
            ValueError,
            "context is nan at obs_id=v, column 1",
        ),
        ({"context": torch.tensor([0, 0, torch.inf])}, ValueError, "context is inf at obs_id=2"),
        ({"labels": [1, 2]}, ValueError, r"labels have shape \(2,\): expected \(3,\)"),
        ({"labels": np.zeros((3, 1))}, ValueError, "labels have shape"),
        ({"draw": "bernoulli"}, TypeError, "draw must be a function"),
        ({"name": 3}, TypeError, "name must be a string, not int"),
        ({"test": 3}, ValueError, "test=3 holds out 3 of 3 data"),
        ({"test_size": "big"}, TypeError, "test_size must be a count or a fraction, not 'big'"),
    ],
)
def test_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Data(**{"x": torch.zeros(3, 2, 2)} | arguments)


def test_infinite_value_is_named_with_its_place(toy):
    x = toy.x.clone()
    x[3, 0, 1] = -torch.inf
    x[4] = torch.inf
    with pytest.raises(ValueError, match=r"toy holds an infinite .* obs_id=d, row=0, column=right"):
        Data(x, name="toy", dims=toy.dims, coords=toy.coords)


def test_repr(toy):
    assert repr(toy) == "Data(toy: 6 × row 2 × column 2, float32, context 1, labels)"
    data = Data(torch.tensor([[0.5, NAN]] * 2000), draw=torch.bernoulli, test=1000)
    assert repr(data) == (
        "Data(data: 2,000 × x_dim_0 2, float32, 0.5 of values missing, drawn anew per batch, published test 1,000)"
    )


def test_is_frozen_copied_and_pickled(toy):
    with pytest.raises(AttributeError):
        toy.name = "other"
    dynamic = Data(torch.rand(3, 2)).binarize("dynamic")
    for again in (pickle.loads(pickle.dumps(dynamic)), copy.deepcopy(dynamic)):
        assert torch.equal(again.x, dynamic.x)
        assert again.draw is torch.bernoulli


# Rows


@pytest.mark.parametrize(
    "indices",
    [
        torch.tensor([4, 1]),
        np.array([4, 1]),
        [-2, 1],
        np.array([4, 1], dtype=np.uint8),
        slice(4, 0, -3),
    ],
)
def test_take_carries_everything_along(toy, indices):
    taken = toy.take(indices)
    assert taken.x[:, 0, 0].tolist() == [16.0, 4.0]
    assert taken.coords["obs_id"][1].tolist() == ["e", "b"]
    assert taken.coords["weight"][1].tolist() == [[8, 9], [2, 3]]
    assert taken.coords["column"][1].tolist() == ["left", "right"]
    assert taken.coords["unit"] == ((), "mm")
    assert taken.context.tolist() == [[4.0], [1.0]]
    assert taken.labels.tolist() == [2, 0]
    assert taken.dims == toy.dims
    assert taken.name == "toy"


def test_take_by_mask_and_slice(toy):
    mask = torch.tensor([True, False, False, False, False, True])
    assert toy.take(mask).labels.tolist() == [0, 2]
    head = toy.take(slice(0, 6, 2))
    assert head.labels.tolist() == [0, 1, 2]
    assert head.x.data_ptr() == toy.x.data_ptr()


@pytest.mark.parametrize(
    ("indices", "error", "message"),
    [
        ([6], IndexError, "toy has 6 data.*6 is out of bounds"),
        ([True, False], IndexError, "toy has 6 data"),
        ([0.5], TypeError, "integers or booleans"),
        (2, TypeError, r"data\.take\(\[i\]\)"),
        ([[1]], TypeError, "one-dimensional"),
        ([], ValueError, "no data are taken from toy"),
        (slice(6, 9), ValueError, "no data are taken"),
    ],
)
def test_take_refuses(toy, indices, error, message):
    with pytest.raises(error, match=message):
        toy.take(indices)


def test_split_is_a_partition_and_leaves_the_random_state_alone():
    data = Data(torch.arange(60.0).reshape(60, 1))
    before = torch.get_rng_state()
    train, test = data.split(seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert (len(train), len(test)) == (50, 10)
    ids = np.concatenate([train.coords["position"][1], test.coords["position"][1]])
    assert sorted(ids) == list(range(60))
    for part in (train, test):
        assert part.x.squeeze(1).tolist() == part.coords["position"][1].tolist()
        assert (np.diff(part.coords["position"][1]) > 0).all()
        assert part.coords["obs_id"][1].tolist() == list(range(len(part)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        assert torch.equal(data.split(seed=3)[1].x, test.x)
    assert not torch.equal(data.split(seed=4)[1].x, test.x)


@pytest.mark.parametrize(("test", "held_out"), [(1, 1), (0.25, 15), (59, 59), (np.int64(7), 7)])
def test_split_sizes(test, held_out):
    train, held = Data(torch.rand(60, 1)).split(test=test)
    assert (len(train), len(held)) == (60 - held_out, held_out)


@pytest.mark.parametrize(
    ("test", "error", "message"),
    [
        (0, ValueError, "test=0 holds out 0 of 60 data: expected 1 to 59"),
        (60, ValueError, "test=60 holds out 60 of 60"),
        (-1, ValueError, "test=-1"),
        (1.0, ValueError, "not a fraction between 0 and 1: for a count pass an int"),
        (-0.1, ValueError, "not a fraction"),
        (NAN, ValueError, "not a fraction"),
        (0.001, ValueError, "holds out 0 of 60"),
        (True, TypeError, "not True"),
        ("half", TypeError, "not 'half'"),
    ],
)
def test_split_refuses(test, error, message):
    with pytest.raises(error, match=message):
        Data(torch.rand(60, 1)).split(test=test)


def test_published_split():
    data = Data(torch.arange(10.0).reshape(10, 1), test=3)
    train, test = data.split(seed=5)
    assert test.x.squeeze().tolist() == [7.0, 8.0, 9.0]
    assert train.test is test.test is None
    assert len(data.split(test=4)[1]) == 4
    assert data.split(test=4)[1].x.squeeze().tolist() != [6.0, 7.0, 8.0, 9.0]


def test_recommended_count_becomes_a_fraction_of_what_is_taken():
    part = Data(torch.rand(60, 1), test_size=20).take(slice(0, 6))
    assert part.test_size == pytest.approx(1 / 3)
    assert len(part.split()[1]) == 2


# Binarising


def test_dynamic_binarisation_draws_from_the_global_generator():
    data = Data(torch.full((4000, 1), 0.3)).binarize("dynamic")
    assert data.draw is torch.bernoulli
    assert data.x.unique().tolist() == [pytest.approx(0.3)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, second = data.draw(data.x), data.draw(data.x)
        torch.manual_seed(0)
        assert torch.equal(data.draw(data.x), first)
    assert not torch.equal(first, second)
    assert first.mean().item() == pytest.approx(0.3, abs=4 * (0.21 / 4000) ** 0.5)
    assert data.take([0, 1]).draw is torch.bernoulli


def test_static_binarisation_is_reproducible_and_local():
    data = Data(torch.full((4000, 1), 0.3, dtype=torch.float64))
    state = torch.get_rng_state()
    static = data.binarize("static", seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(static.x, data.binarize("static", seed=1).x)
    assert not torch.equal(static.x, data.binarize("static", seed=2).x)
    assert static.x.dtype == torch.float64
    assert static.draw is None
    assert set(static.x.unique().tolist()) == {0.0, 1.0}
    assert static.x.mean().item() == pytest.approx(0.3, abs=4 * (0.21 / 4000) ** 0.5)


def test_threshold_eight_bits_and_integers():
    threshold = Data(torch.tensor([[0.0, 0.5, 0.51, 1.0]])).binarize("threshold")
    assert threshold.x.tolist() == [[0.0, 0.0, 1.0, 1.0]]
    image = Data(torch.tensor([[0, 127, 128, 255]], dtype=torch.uint8))
    assert image.binarize("threshold").x.tolist() == [[0.0, 0.0, 1.0, 1.0]]
    assert image.binarize("dynamic").x[0, 1].item() == pytest.approx(127 / 255)
    bits = Data(torch.tensor([[True, False]]))
    assert bits.binarize("static").x.tolist() == [[1.0, 0.0]]
    whole = Data(torch.tensor([[1, 0]])).binarize("dynamic")
    assert whole.x.dtype == torch.float32
    assert whole.draw(whole.x).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("how", ["dynamic", "static", "threshold"])
def test_binarising_keeps_missing_values(how):
    data = Data(torch.tensor([[NAN, 1.0, 0.0]])).binarize(how)
    with torch.random.fork_rng(devices=[]):
        x = data.x if data.draw is None else data.draw(data.x)
    assert x.isnan().tolist() == [[True, False, False]]
    assert x[0, 1:].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("x", [torch.tensor([[0, 1], [7, -1]]), torch.tensor([[0.0, NAN], [7, 9]])])
def test_binarising_names_the_first_value_outside(x):
    with pytest.raises(ValueError, match=r"value 7 at obs_id=1, x_dim_0=0 is not in \[0, 1\]"):
        Data(x).binarize("dynamic")


def test_binarising_by_an_unknown_method():
    with pytest.raises(ValueError, match="'fuzzy': expected 'dynamic', 'static' or 'threshold'"):
        Data(torch.rand(2, 2)).binarize("fuzzy")


# Conversion


def test_data_is_returned_as_it_is(toy):
    assert as_data(toy) is toy
    changed = as_data(toy, context=np.ones((6, 2)), name="new")
    assert changed.context.shape == (6, 2)
    assert changed.name == "new"
    assert changed.x is toy.x


@pytest.mark.parametrize(
    "obj",
    [
        torch.tensor([[1, 2], [3, 4]]),
        np.array([[1, 2], [3, 4]], dtype=np.int32),
        np.array([[1, 2], [3, 4]], dtype=">i8"),
        np.array([[3, 4], [1, 2]])[::-1],
        [[1, 2], [3, 4]],
        ((1, 2), (3, 4)),
        [torch.tensor([1, 2]), torch.tensor([3, 4])],
    ],
)
def test_arrays(obj):
    data = as_data(obj)
    assert data.x.dtype == torch.int64
    assert data.x.tolist() == [[1, 2], [3, 4]]


def test_read_only_and_masked_arrays():
    array = np.ones((2, 2), dtype=np.float32)
    array.flags.writeable = False
    assert as_data(array).x.dtype == torch.float32
    masked = np.ma.array([[1, 2], [3, 4]], mask=[[False, True], [False, False]])
    assert as_data(masked).x.isnan().tolist() == [[False, True], [False, False]]
    assert as_data(np.ma.array([[1, 2]])).x.dtype == torch.int64


@pytest.mark.parametrize(
    ("obj", "error", "message"),
    [
        (None, TypeError, "cannot take x from a NoneType; expected a tensor"),
        ("digits", TypeError, r"use pyrovae\.data\.load for names and paths"),
        ({"x": 1}, TypeError, "cannot take x from a dict"),
        ([[1, 2], [3]], ValueError, "not a rectangular array"),
        ([torch.zeros(2), torch.zeros(3)], ValueError, "tensors of several shapes"),
        ([[1, None]], TypeError, "dtype object.*mark missing ones with NaN"),
        ([["a"]], TypeError, "dtype <U1: expected real numbers"),
        (np.array([[1j]]), TypeError, "complex128"),
        ([1.0, 2.0], ValueError, r"reshape it to \(n, 1\)"),
        ([], ValueError, r"shape \(0,\)"),
        (pd.Series([1.0, 2.0]), ValueError, r"series\.to_frame\(\)"),
    ],
)
def test_conversion_refuses(obj, error, message):
    with pytest.raises(error, match=message):
        as_data(obj)


@pytest.mark.parametrize(
    "context",
    [
        [1, 2],
        np.array([1.0, 2.0]),
        torch.tensor([[1.0], [2.0]]),
        pd.Series([1, 2]),
        pd.DataFrame({"age": [1.0, 2.0]}),
        xr.DataArray([1.0, 2.0]),
    ],
)
def test_context(context):
    data = as_data(torch.zeros(2, 3), context=context)
    assert data.context.tolist() == [[1.0], [2.0]]
    assert data.context.dtype.is_floating_point


@pytest.mark.parametrize(
    ("context", "error", "message"),
    [
        ([1.0, NAN], ValueError, "context is nan at obs_id=1, column 0"),
        ([1.0], ValueError, r"context has shape \(1, 1\): expected \(2, c\)"),
        (np.zeros((2, 1, 1)), ValueError, r"expected \(2, c\)"),
        (
            pd.DataFrame({"sex": ["f", "m"]}),
            TypeError,
            "column 'sex' of context has dtype (str|object)",
        ),
        (["f", "m"], TypeError, "context has dtype <U1"),
        ("age", TypeError, "cannot take context from a str"),
    ],
)
def test_context_refused(context, error, message):
    with pytest.raises(error, match=message):
        as_data(torch.zeros(2, 3), context=context)


# Data frames


def test_data_frame():
    frame = pd.DataFrame({"a": [1, 2], "b": [3, 2**53 + 1]}, index=pd.Index(["u", "v"], name="id"))
    data = as_data(frame, name="frame")
    assert data.x.tolist() == [[1, 3], [2, 2**53 + 1]]
    assert data.x.dtype == torch.int64
    assert data.dims == ("column",)
    assert data.coords["column"][1].tolist() == ["a", "b"]
    assert data.coords["obs_id"][1].tolist() == ["u", "v"]
    assert data.coords["obs_id"][1].dtype.kind == "U"


@pytest.mark.parametrize(
    ("column", "dtype", "missing"),
    [
        (pd.array([1, None], dtype="Int64"), torch.float64, True),
        (pd.array([1, 2], dtype="Int64"), torch.int64, False),
        (pd.array([1.5, None], dtype="Float32"), torch.float32, True),
        (pd.array([1, None], dtype="int64[pyarrow]"), torch.float64, True),
        (pd.array([1, 2], dtype="int32[pyarrow]"), torch.int64, False),
        (pd.array([True, False], dtype="boolean"), torch.uint8, False),
        (pd.array([True, None], dtype="boolean"), torch.float64, True),
        (pd.arrays.SparseArray([1.0, NAN]), torch.float64, True),
        (np.array([1.0, NAN], dtype=np.float32), torch.float32, True),
        ([True, False], torch.uint8, False),
    ],
)
def test_data_frame_types(column, dtype, missing):
    data = as_data(pd.DataFrame({"a": column}))
    assert data.x.dtype == dtype
    assert data.x.isnan().squeeze().tolist() == [False, missing]


@pytest.mark.parametrize(
    ("column", "dtype"),
    [
        (pd.to_datetime(["2020-01-01", "2020-01-02"]), r"datetime64\[.s\]"),
        ([1j, 2], "complex128"),
        (np.array([1, "a"], dtype=object), "object"),
        (np.array([None, None], dtype=object), "object and no value"),
        (pd.to_timedelta([1, 2], unit="s"), "timedelta64"),
    ],
)
def test_data_frame_refuses_what_is_no_number(column, dtype):
    frame = pd.DataFrame({"fine": [1, 2], "bad": column})
    with pytest.raises(TypeError, match=f"column 'bad' of the data frame has dtype {dtype}"):
        as_data(frame)


def test_data_frame_without_columns():
    with pytest.raises(ValueError, match="no columns"):
        as_data(pd.DataFrame(index=[1, 2]))


# Tables of mixed columns


def mixed(**columns):
    return pd.DataFrame(
        {
            "age": [40.5, NAN, 61.0, 33.0],
            "visits": [0, 3, 1, 2],
            "change": [-1, 0, 2, 1],
            "smokes": [True, False, True, True],
            "town": ["Ulm", "Bonn", None, "Köln"],
            "sex": pd.Categorical(["f", "m", "m", "f"]),
            "stage": pd.Categorical(["II", "I", None, "III"], ["I", "II", "III", "IV"], ordered=True),
        }
        | columns,
        index=["p", "q", "r", "s"],
    )


def test_kinds_follow_from_the_dtypes():
    data = as_data(mixed())
    assert data.columns == (
        Column("age", "real"),
        Column("visits", "count"),
        Column("change", "real"),
        Column("smokes", "binary", (False, True)),
        Column("town", "categorical", ("Bonn", "Köln", "Ulm")),
        Column("sex", "binary", ("f", "m")),
        Column("stage", "ordinal", ("I", "II", "III", "IV")),
    )
    expected = [[40.5, 0, -1, 1, 2, 0, 1], [NAN, 3, 0, 0, 0, 1, 0], [61, 1, 2, 1, NAN, 1, NAN], [33, 2, 1, 1, 1, 0, 2]]
    np.testing.assert_array_equal(data.x.numpy(), expected)
    assert data.coords["column"][1].tolist() == list(mixed())
    assert repr(data) == (
        "Data(data: 4 × column 7, float64, 0.11 of values missing, 2 real, 1 count, 2 binary, 1 categorical, 1 ordinal)"
    )


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pd.array([1, None, 2], dtype="Int64"), Column("a", "count")),
        (pd.array([True, None, False], dtype="boolean"), Column("a", "binary", (False, True))),
        (np.array([True, None, False], dtype=object), Column("a", "binary", (False, True))),
        (pd.array(["x", None, "y"], dtype="string"), Column("a", "binary", ("x", "y"))),
        (np.array(["x", None, "y"], dtype=object), Column("a", "binary", ("x", "y"))),
        (pd.cut([1.0, 5.0, 9.0], [0, 3, 6, 9]), Column("a", "ordinal", ("(0, 3]", "(3, 6]", "(6, 9]"))),
        (pd.Categorical([2, 4, 7]), Column("a", "categorical", (2, 4, 7))),
        (np.array([0, 1, 2], dtype=np.uint8), Column("a", "count")),
    ],
)
def test_kinds_of_further_dtypes(column, expected):
    data = as_data(pd.DataFrame({"a": column}))
    assert data.columns == (expected,)
    known = data.x[~data.x.isnan()]
    assert known.tolist() in ([1, 2], [1, 0], [0, 1], [0, 1, 2])


def test_numbers_are_stored_as_before_their_columns_were_known():
    frame = pd.DataFrame({"a": [1.5, 2.5], "b": [3.5, 4.5]}).astype(np.float32)
    data = as_data(frame)
    assert data.x.dtype == torch.float32
    assert repr(data) == "Data(data: 2 × column 2, float32)"
    assert data.columns == (Column("a", "real"), Column("b", "real"))
    assert as_data(frame.to_numpy()).columns is None


def test_kinds_by_hand():
    frame = mixed(income=[10.0, 20.0, NAN, 5.0], grade=[3, 1, 2, 1], code=[7, 5, 7, 9])
    data = as_data(
        frame,
        kinds={
            "income": "positive",
            "grade": "ordinal",
            "code": "categorical",
            "change": ("ordinal", (-1, 0, 1, 2)),
            "town": ("ordinal", ("Köln", "Bonn", "Ulm")),
            "visits": "real",
        },
    )
    kinds = {c.name: (c.kind, c.levels) for c in data.columns}
    assert kinds["income"] == ("positive", ())
    assert kinds["grade"] == ("ordinal", (1, 2, 3))
    assert kinds["code"] == ("categorical", (5, 7, 9))
    assert kinds["visits"] == ("real", ())
    assert data.x[:, 2].tolist() == [0, 1, 3, 2]
    np.testing.assert_array_equal(data.x[:, 4], [2, 1, NAN, 0])
    assert data.x[:, -1].tolist() == [1, 0, 1, 2]


def test_new_data_by_the_columns_of_others():
    train = as_data(mixed())
    new = mixed()[::-1].iloc[:2, ::-1]
    data = as_data(new, columns=train.columns)
    assert data.columns == train.columns
    np.testing.assert_array_equal(data.x, train.x.flip(0)[:2])
    assert data.coords["obs_id"][1].tolist() == ["s", "r"]
    assert data.coords["column"][1].tolist() == train.coords["column"][1].tolist()
    assert as_data(data, columns=train.columns) is data
    assert as_data(train.x, columns=train.columns).columns == train.columns
    empty = as_data(mixed(town=[None] * 4, age=[None] * 4), columns=train.columns)
    assert empty.x[:, [0, 4]].isnan().all()


def test_parts_keep_their_columns():
    data = as_data(mixed())
    assert data.take([1, 2]).columns == data.split(seed=0, test=2)[1].columns == data.columns
    binary = as_data(pd.DataFrame({"a": [0, 1, 1]}))
    assert binary.binarize("threshold").columns == binary.binarize("dynamic").columns == binary.columns


def test_decoded():
    frame = mixed()
    decoded = decode(as_data(frame))
    pd.testing.assert_series_equal(decoded["stage"], frame["stage"])
    pd.testing.assert_series_equal(decoded["sex"], frame["sex"], check_categorical=False)
    pd.testing.assert_frame_equal(decoded[["age", "visits", "smokes"]], frame[["age", "visits", "smokes"]])
    assert decoded["town"].tolist()[:2] == ["Ulm", "Bonn"]
    assert decoded["town"].isna().tolist() == [False, False, True, False]
    again = as_data(decoded, columns=as_data(frame).columns)
    np.testing.assert_array_equal(again.x, as_data(frame).x)
    gaps = decode([[NAN, NAN]], {"a": "count", "b": ("binary", (False, True))})
    assert gaps.isna().all(axis=None)
    assert [str(t) for t in gaps.dtypes] == ["Int64", "boolean"]


TRAINED = as_data(mixed()).columns


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (
            lambda: as_data(mixed(town=["Ulm", "Rome", "Bonn", None]), columns=TRAINED),
            ValueError,
            "column 'town': the value 'Rome' in row 'q' is none of its levels: 'Bonn', 'Köln', 'Ulm'; map it",
        ),
        (
            lambda: as_data(mixed().drop(columns="sex"), columns=TRAINED),
            ValueError,
            "the data lack the column 'sex': add them",
        ),
        (
            lambda: as_data(mixed(shoe=1.0), columns=TRAINED),
            ValueError,
            "the data have the column 'shoe', which the training data had not: drop",
        ),
        (lambda: as_data(mixed(age=list("abcd")), columns=TRAINED), TypeError, "'age' .*is real: expected numbers"),
        (
            lambda: as_data(mixed(visits=[1, -2, 0, 0]), columns=TRAINED),
            ValueError,
            "'visits' is count: .*got -2 at obs_id=q",
        ),
        (lambda: as_data(mixed(), kinds={"age": "reel"}), ValueError, "kinds: column 'age': expected a kind of real"),
        (lambda: as_data(mixed(), kinds={"ago": "real"}), ValueError, "kinds: no column 'ago'; expected some of 'age'"),
        (lambda: as_data(mixed(), kinds="real"), TypeError, "kinds: expected a mapping"),
        (
            lambda: as_data(mixed(), kinds={"town": "ordinal"}),
            ValueError,
            "holds texts, whose order is not known: give",
        ),
        (lambda: as_data(mixed(), kinds={"town": "binary"}), ValueError, "expected 2 different levels, got 'Bonn', 'K"),
        (lambda: as_data(mixed(), kinds={"town": "real"}), TypeError, "'town' .*is real: expected numbers"),
        (
            lambda: as_data(mixed(), kinds={"change": "positive"}),
            ValueError,
            "positive: expected values above 0, got -1",
        ),
        (
            lambda: as_data(mixed(), kinds={"age": "count"}),
            ValueError,
            "'age' is count: .*got 40.5 at obs_id=p, column=age",
        ),
        (lambda: as_data(mixed(), kinds={"age": "real"}, columns=TRAINED), ValueError, "both given"),
        (
            lambda: as_data([[1.0]], kinds={"a": "real"}),
            ValueError,
            "kinds describe the columns of a DataFrame, got list",
        ),
        (lambda: as_data([[1.0]], columns=TRAINED), ValueError, r"a table of 7 columns, and a datum has shape \(1,\)"),
        (lambda: as_data([[2.0]], columns={"a": "binary"}), ValueError, "binary with 2 levels: expected codes 0 to 1"),
        (
            lambda: as_data([[0.5]], columns={"a": ("ordinal", 3)}),
            ValueError,
            "expected codes 0 to 2 or NaN, got 0.5 at",
        ),
        (
            lambda: as_data(mixed(name=list("abcd"))[["name"]] * 1, columns={"name": "real"}),
            TypeError,
            "'name' .*is real",
        ),
        (
            lambda: as_data(pd.DataFrame({"name": [f"n{i}" for i in range(101)]})),
            ValueError,
            "'name' holds 101 different texts: make it the index or drop it, or say that they are categories",
        ),
        (
            lambda: Data(torch.zeros(2, 3), columns=TRAINED),
            ValueError,
            r"7 columns are described, and a datum has shape \(3,\)",
        ),
        (lambda: decode(torch.zeros(2, 3), TRAINED), ValueError, r"expected an array \(n, 7\).*got \(2, 3\)"),
        (lambda: decode(torch.full((2, 7), 9.0), TRAINED), ValueError, "'smokes' is binary with 2 levels"),
        (lambda: decode(Data(torch.zeros(2, 3))), TypeError, "columns: expected those of a table"),
    ],
)
def test_tables_that_do_not_fit(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_data_frame_with_levels_and_repeated_names():
    index = pd.MultiIndex.from_tuples([("s", 1), ("t", 2)], names=["site", None])
    columns = pd.MultiIndex.from_tuples([("a", 0), ("a", 0)])
    data = as_data(pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], index=index, columns=columns))
    assert data.coords["site"][1].tolist() == ["s", "t"]
    assert data.coords["level_1"][1].tolist() == [1, 2]
    assert data.coords["obs_id"][1].tolist() == [0, 1]
    assert data.coords["column"][1].tolist() == ["a/0", "a/0"]
    assert data.x.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_context_must_have_the_index_of_the_data():
    frame = pd.DataFrame({"a": [1.0, 2.0]}, index=["u", "v"])
    context = pd.Series([5.0, 6.0], index=["v", "u"])
    with pytest.raises(ValueError, match=r"context\.loc\[data\.index\].*to_numpy"):
        as_data(frame, context=context)
    assert as_data(frame, context=context.loc[frame.index]).context.tolist() == [[6.0], [5.0]]
    assert as_data(frame, context=context.to_numpy()).context.tolist() == [[5.0], [6.0]]


# xarray


def test_data_array():
    array = xr.DataArray(
        np.arange(12.0).reshape(3, 2, 2),
        dims=("patient", "time", "lead"),
        coords={
            "patient": ["p", "q", "r"],
            "age": ("patient", [40, 50, 60]),
            "time": [0.1, 0.2],
            "hospital": "north",
        },
        name="ecg",
    )
    data = as_data(array)
    assert (data.name, data.dims, data.x.shape) == ("ecg", ("time", "lead"), (3, 2, 2))
    assert data.coords["obs_id"][1].tolist() == ["p", "q", "r"]
    assert data.coords["age"][0] == ("obs_id",)
    assert data.coords["time"][1].tolist() == [0.1, 0.2]
    assert data.coords["hospital"][1].item() == "north"
    assert "patient" not in data.coords
    assert torch.equal(as_data(array.to_dataset()).x, data.x)


def test_data_array_with_obs_id_elsewhere_and_with_levels():
    array = xr.DataArray(np.arange(6.0).reshape(2, 3), dims=("k", "obs_id"))
    data = as_data(array)
    assert (data.name, data.dims) == ("data", ("k",))
    assert data.x.tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    index = pd.MultiIndex.from_product([["s", "t"], [1]], names=["site", "visit"])
    coords = xr.Coordinates.from_pandas_multiindex(index, "row")
    stacked = as_data(xr.DataArray(np.zeros((2, 1)), dims=("row", "k"), coords=coords))
    assert stacked.coords["site"][1].tolist() == ["s", "t"]
    assert stacked.coords["obs_id"][1].tolist() == [0, 1]


def test_xarray_refused():
    with pytest.raises(ValueError, match=r"2 variables \['a', 'b'\]: expected exactly one"):
        as_data(xr.Dataset({"a": ("n", [1.0]), "b": ("n", [1.0])}))
    with pytest.raises(ValueError, match="no dimension"):
        as_data(xr.DataArray(1.0))


# torch's Datasets and DataLoaders


class Items(torch.utils.data.Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(torch.arange(6.0).reshape(3, 2))


def test_dataset():
    x, y = torch.rand(5, 2, 3), torch.arange(5)
    data = as_data(TensorDataset(x, y))
    assert torch.equal(data.x, x)
    assert data.labels.tolist() == [0, 1, 2, 3, 4]
    assert data.labels.dtype == np.int64
    assert as_data(TensorDataset(x)).labels is None
    arrays = as_data(Items([np.array([1, 2]), np.array([3, 4])]))
    assert arrays.x.tolist() == [[1, 2], [3, 4]]
    animals = as_data(Items([(torch.zeros(1), "cat"), (torch.ones(1), "goose")]))
    assert animals.labels.tolist() == ["cat", "goose"]


@pytest.mark.parametrize("labelled", [False, True])
def test_loader(labelled):
    x, y = torch.arange(14.0).reshape(7, 2), torch.arange(7)
    state = torch.get_rng_state()
    loader = DataLoader(TensorDataset(x, y) if labelled else Items(x), batch_size=3, shuffle=True)
    data = as_data(loader)
    assert torch.equal(torch.get_rng_state(), state)
    assert sorted(data.x[:, 0].tolist()) == x[:, 0].tolist()
    if labelled:
        assert data.x[:, 0].tolist() == [2 * label for label in data.labels]
    assert as_data(DataLoader(Stream(), batch_size=2)).x.shape == (3, 2)


@pytest.mark.parametrize(
    ("obj", "error", "message"),
    [
        (Stream(), TypeError, "Stream is not a map-style Dataset.*DataLoader"),
        (Items([]), ValueError, "Items is empty"),
        (Items([{"x": 1}]), TypeError, "item 0 is a mapping"),
        (Items([(1, 2, 3)]), ValueError, "item 0 has 3 parts"),
        (
            Items([torch.zeros(2), torch.zeros(3)]),
            ValueError,
            r"item 1 has shape \(3,\), item 0 \(2,\)",
        ),
        (Items([(torch.zeros(2), torch.zeros(2))]), ValueError, "scalar label.*context"),
        (Items([1.0, 2.0]), ValueError, r"reshape it to \(n, 1\)"),
        (DataLoader(Items([])), ValueError, "gave no batch"),
        (DataLoader(Items([torch.zeros(1)]), batch_size=None), ValueError, "does not batch"),
        (
            DataLoader(Items([torch.zeros(1), torch.zeros(2)]), batch_size=1),
            ValueError,
            r"batch 1 has shape \(1, 2\)",
        ),
    ],
)
def test_datasets_refused(obj, error, message):
    with pytest.raises(error, match=message):
        as_data(obj)


# IDX files


def idx(array: np.ndarray, code: int = 0x08) -> bytes:
    head = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize(("code", "dtype"), [(8, "u1"), (9, "i1"), (11, "i2"), (12, "i4"), (13, "f4"), (14, "f8")])
@pytest.mark.parametrize("zipped", [False, True])
def test_idx(tmp_path, code, dtype, zipped):
    array = np.arange(6, dtype=dtype).reshape(1, 3, 2)
    content = idx(array, code)
    (tmp_path / "file").write_bytes(gzip.compress(content) if zipped else content)
    result = read_idx(tmp_path / "file")
    assert result.dtype == np.dtype(dtype)
    assert result.dtype.isnative
    assert np.array_equal(result, array)


def test_idx_by_hand(tmp_path):
    (tmp_path / "file").write_bytes(b"\0\0\x0b\x02\0\0\0\x01\0\0\0\x02\x01\x00\xff\xfe")
    assert read_idx(tmp_path / "file").tolist() == [[256, -2]]


GOOD = idx(np.zeros((2, 3), dtype=np.uint8))
ZIPPED = gzip.compress(GOOD, mtime=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file: it starts with ''"),
        (b"PK\3\4" + GOOD, "not an IDX file: it starts with '50 4b 03 04', expected '00 00'"),
        (b"\0\0\x07\1" + GOOD[4:], "unknown IDX type 0x07: expected one of 0x08"),
        (b"\0\0\x08\0", "no dimensions"),
        (GOOD[:7], "ends within its header"),
        (GOOD[:-1], r"truncated: its header says 6 bytes of values for the shape \(2, 3\).* has 5"),
        (b"\0\0\x08\2" + b"\xff" * 8 + b"\1", "truncated: .*18,446,744,065,119,617,025 bytes"),
        (GOOD + b"\0", "goes on after the 6 bytes"),
        (ZIPPED[:-6], "damaged gzip file"),
        (ZIPPED[:10] + b"\xff\xff\xff", "damaged gzip file"),
        (b"\x1f\x8b", "damaged gzip file"),
        (gzip.compress(GOOD + bytes(1 << 20), mtime=0), "goes on after the 6 bytes"),
    ],
    ids=range(12),
)
def test_idx_refuses(tmp_path, content, message):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_idx(tmp_path / "file")


def test_idx_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file: .*absent"):
        read_idx(tmp_path / "absent")


# Named sets


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No data set is here, and nothing can be fetched."""
    import pooch

    def refuse(url, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.delenv("PYROVAE_DATA_DIR", raising=False)
    monkeypatch.setattr(pooch, "retrieve", refuse)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    for images in (_images.MNIST, _images.FASHION_MNIST):
        monkeypatch.setitem(images.__dict__, "folders", ())


def write_images(folder, train=5, test=2, suffix="", value=51):
    """Four small IDX files, of images whose every pixel is `value` plus their number."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.arange(train + test, dtype=np.uint8)
    images = np.broadcast_to((value + numbers)[:, None, None], (train + test, 28, 28)).copy()
    images[:, 0, 1] = 255
    parts = [images[:train], numbers[:train], images[train:], numbers[train:]]
    for file, part in zip(_images.FILES, parts, strict=True):
        content = idx(part)
        content = gzip.compress(content, mtime=0) if suffix else content
        (folder / f"{file}{suffix}").write_bytes(content)


def test_digits():
    data = load("digits")
    assert repr(data) == "Data(digits: 1,797 × pixel 64, int64, labels)"
    assert (data.x.min(), data.x.max(), data.x.sum()) == (0, 16, 561718)
    assert data.x[0, :8].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert data.labels[:10].tolist() == list(range(10))
    assert data.coords["pixel"][1].tolist() == list(range(64))
    for name in ("row", "column"):
        assert data.coords[name][0] == ("pixel",)
    assert (data.coords["row"][1][10], data.coords["column"][1][10]) == (1, 2)
    train, test = data.split(seed=0)
    assert (len(train), len(test)) == (1500, 297)


def test_digits_are_binarised_by_their_largest_value():
    dynamic = load("digits", binarize="dynamic")
    assert dynamic.draw is torch.bernoulli
    assert dynamic.x[0, 3].item() == 13 / 16
    static = [load("digits", binarize="static", seed=seed).x for seed in (0, 0, 1)]
    assert torch.equal(static[0], static[1])
    assert not torch.equal(static[0], static[2])
    with pytest.raises(ValueError, match=r"value 5 at obs_id=0, pixel=2 is not in \[0, 1\]"):
        load("digits").binarize("threshold")


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("by", ["directory", "itself", "environment"])
def test_images(nowhere, monkeypatch, tmp_path, name, suffix, by):
    write_images(tmp_path / name, suffix=suffix)
    assert not names()[name].local
    directory = {"directory": tmp_path, "itself": tmp_path / name, "environment": None}[by]
    if by == "environment":
        monkeypatch.setenv("PYROVAE_DATA_DIR", str(tmp_path))
    assert names(directory)[name].local
    data = load(name, directory=directory)
    assert repr(data) == f"Data({name}: 7 × pixel 784, float32, labels, published test 2)"
    assert data.x[0, :3].tolist() == [pytest.approx(0.2), 1.0, pytest.approx(0.2)]
    assert data.labels.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert (data.coords["row"][1][29], data.coords["column"][1][29]) == (1, 1)
    train, test = data.split()
    assert train.labels.tolist() == [0, 1, 2, 3, 4]
    assert test.labels.tolist() == [5, 6]
    assert load(name, directory=directory, binarize="threshold").x.sum() == 7


def test_a_folder_of_another_name_does_not_count(nowhere, tmp_path):
    write_images(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"not here.*no route to host.*PYROVAE_DATA_DIR"):
        load("mnist", directory=tmp_path)


def test_directory_comes_before_the_environment(nowhere, monkeypatch, tmp_path):
    write_images(tmp_path / "a" / "mnist", value=0)
    write_images(tmp_path / "b" / "mnist", value=51)
    monkeypatch.setenv("PYROVAE_DATA_DIR", str(tmp_path / "b"))
    assert load("mnist").x[0, 0].item() == pytest.approx(0.2)
    assert load("mnist", directory=tmp_path / "a").x[0, 0].item() == 0
    assert load("mnist", directory=tmp_path).x[0, 0].item() == pytest.approx(0.2)


def test_images_that_are_nowhere(nowhere, monkeypatch, tmp_path):
    message = (
        "looked in: no folder.*ossci-datasets.*could not be fetched.*Put train-images-idx3-ubyte, "
        "train-labels.*into a folder named 'mnist', and set PYROVAE_DATA_DIR.*directory="
    )
    with pytest.raises(FileNotFoundError, match=message):
        load("mnist")
    with pytest.raises(FileNotFoundError, match=r"directory='.*absent': no such folder"):
        load("mnist", directory=tmp_path / "absent")
    write_images(tmp_path / "mnist")
    (tmp_path / "mnist" / _images.FILES[3]).unlink()
    monkeypatch.setenv("PYROVAE_DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"looked in: {tmp_path}/mnist"):
        load("mnist")


def test_images_that_do_not_fit(nowhere, tmp_path):
    write_images(tmp_path / "mnist")
    labels = tmp_path / "mnist" / "t10k-labels-idx1-ubyte"
    labels.write_bytes(idx(np.zeros(3, dtype=np.uint8)))
    with pytest.raises(ValueError, match=r"holds 2 images, but the labels .* shape \(3,\)"):
        load("mnist", directory=tmp_path)
    pictures = tmp_path / "mnist" / "train-images-idx3-ubyte"
    pictures.write_bytes(idx(np.zeros((5, 8, 8), dtype=np.uint8)))
    with pytest.raises(ValueError, match=r"shape \(5, 8, 8\): expected 8-bit images of 28 x 28"):
        load("mnist", directory=tmp_path)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def test_fetching_checks_and_keeps(monkeypatch, tmp_path):
    import pooch

    monkeypatch.delenv("PYROVAE_DATA_DIR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    write_images(tmp_path / "server", suffix=".gz")
    contents = [(tmp_path / "server" / f"{file}.gz").read_bytes() for file in _images.FILES]
    sums = tuple(hashlib.md5(content).hexdigest() for content in contents)
    handler = functools.partial(Quiet, directory=tmp_path / "server")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/"
        images = _images.Images("small", url, sums)
        wrong = _images.Images("wrong", url, (sums[0], sums[0], sums[2], sums[3]))
        assert not _images.cached(images)
        fetched = _images.load_images(images)
        with pytest.raises(FileNotFoundError, match=r"could not be fetched .*hash of"):
            _images.load_images(wrong)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert len(fetched) == 7
    assert _images.cached(images)
    assert torch.equal(_images.load_images(images).x, fetched.x)


@pytest.mark.parametrize(
    ("name", "mean", "labels"),
    [("mnist", 0.1307, [5, 0, 4, 1, 9]), ("fashion-mnist", 0.2860, [9, 0, 0, 3, 0])],
)
def test_the_published_images_where_they_are_here(name, mean, labels):
    known = names()[name]
    assert "60,000 + 10,000" in known.description
    if not known.local:
        return
    data = load(name)
    train, test = data.split()
    assert data.x.shape == (70000, 784)
    assert (len(train), len(test)) == (60000, 10000)
    assert train.x.mean().item() == pytest.approx(mean, abs=5e-5)
    assert train.labels[:5].tolist() == labels
    assert sorted(set(data.labels)) == list(range(10))


def test_names():
    known = names()
    assert list(known) == ["digits", "mnist", "fashion-mnist"]
    assert known["digits"] == ("1,797 handwritten digits, 8 × 8 pixels, integers 0 to 16", True)


@pytest.mark.parametrize(
    ("name", "hint"), [("MNIST", "mnist"), ("fashion_mnist", "fashion-mnist"), ("digit", "digits")]
)
def test_unknown_names(name, hint):
    with pytest.raises(ValueError, match=rf"'{name}' \(did you mean '{hint}'\?\).*path to a file"):
        load(name)
    with pytest.raises(ValueError, match="'cifar': expected one of 'digits', 'mnist', 'fashion"):
        load("cifar")


# Files


def test_npy(tmp_path):
    np.save(tmp_path / "points.npy", np.eye(3))
    data = read(tmp_path / "points.npy")
    assert (data.name, data.x.dtype, data.x.tolist()) == (
        "points",
        torch.float64,
        np.eye(3).tolist(),
    )
    assert torch.equal(load(str(tmp_path / "points.npy")).x, data.x)
    assert load(tmp_path / "points.npy", binarize="dynamic").draw is torch.bernoulli


def test_load_takes_what_looks_like_a_path(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    np.save("points.npy", np.eye(3))
    assert load("points.npy").name == "points"
    with pytest.raises(FileNotFoundError, match=r"no such file: other\.npy"):
        load("other.npy")
    with pytest.raises(ValueError, match=r"suffix '\.txt': expected one of \.npy, \.npz, \.csv"):
        load(os.path.join("some", "file.txt"))
    (tmp_path / "here").touch()
    with pytest.raises(ValueError, match="suffix ''"):
        load("here")


@pytest.mark.parametrize("key", ["label", "labels"])
def test_npz(tmp_path, key):
    np.savez(tmp_path / "one.npz", anything=np.eye(2))
    assert read(tmp_path / "one.npz").x.tolist() == [[1, 0], [0, 1]]
    np.savez(tmp_path / "more.npz", x=np.eye(2), context=[3, 4], **{key: ["a", "b"]})
    data = read(tmp_path / "more.npz")
    assert data.context.tolist() == [[3.0], [4.0]]
    assert data.labels.tolist() == ["a", "b"]
    np.savez(tmp_path / "odd.npz", x=np.eye(2), y=np.eye(2))
    with pytest.raises(ValueError, match=r"arrays \['x', 'y'\]: expected one, or 'x'"):
        read(tmp_path / "odd.npz")


def write_csv(path, frame):
    frame.to_csv(path, index=False)


def write_parquet(path, frame):
    frame.to_parquet(path)


@pytest.mark.parametrize(
    ("suffix", "write"), [(".csv", write_csv), (".parquet", write_parquet)], ids=["csv", "parquet"]
)
@pytest.mark.parametrize("key", ["label", "labels"])
def test_tables(tmp_path, suffix, write, key):
    frame = pd.DataFrame({"a": [1.5, None], "obs_id": ["u", "v"], "b": [3, 4], key: ["c", "d"]})
    write(tmp_path / f"table{suffix}", frame)
    data = read(tmp_path / f"table{suffix}")
    assert data.coords["column"][1].tolist() == ["a", "b"]
    assert data.coords["obs_id"][1].tolist() == ["u", "v"]
    assert data.labels.tolist() == ["c", "d"]
    assert data.x[0].tolist() == [1.5, 3.0]
    assert data.x[1].isnan().tolist() == [True, False]
    write(tmp_path / f"text{suffix}", pd.DataFrame({"a": [1, 2], "city": ["Ulm", "Bonn"]}))
    text = read(tmp_path / f"text{suffix}")
    assert text.columns == (Column("a", "count"), Column("city", "binary", ("Bonn", "Ulm")))
    assert text.x.tolist() == [[1, 1], [2, 0]]
    write(tmp_path / f"text{suffix}", pd.DataFrame({"a": [1], "city": ["Bonn"]}))
    with pytest.raises(ValueError, match=r"column 'city' .*expected at least 2 different levels, got 'Bonn'; drop"):
        read(tmp_path / f"text{suffix}")


def test_parquet_keeps_its_index(tmp_path):
    pd.DataFrame({"a": [1, 2]}, index=[7, 9]).to_parquet(tmp_path / "t.parquet")
    data = read(tmp_path / "t.parquet")
    assert data.coords["obs_id"][1].tolist() == [7, 9]
    assert data.x.dtype == torch.int64


def test_csv_as_pandas_writes_it_and_without_header(tmp_path):
    pd.DataFrame({"a": [1, 2]}, index=[7, 9]).to_csv(tmp_path / "t.csv")
    data = read(tmp_path / "t.csv")
    assert data.coords["obs_id"][1].tolist() == [7, 9]
    assert data.coords["column"][1].tolist() == ["a"]
    (tmp_path / "bare.csv").write_text("0.5,1.5\n2.5,3.5\n")
    with pytest.raises(ValueError, match=r"numbers where its header should be \(0\.5, 1\.5"):
        read(tmp_path / "bare.csv")
    (tmp_path / "years.csv").write_text("1990,1991\n2.5,3.5\n")
    assert read(tmp_path / "years.csv").coords["column"][1].tolist() == ["1990", "1991"]


def write_netcdf(path, dataset):
    dataset.to_netcdf(path)


def write_zarr(path, dataset):
    dataset.to_zarr(path, consolidated=False)


@pytest.mark.parametrize(("suffix", "write"), [(".nc", write_netcdf), (".zarr", write_zarr)], ids=["netcdf", "zarr"])
def test_labelled_files(tmp_path, suffix, write):
    def path(name):
        return tmp_path / f"{name}{suffix}"

    x = xr.DataArray(
        np.arange(6.0).reshape(3, 2),
        dims=("plot", "species"),
        coords={"plot": [4, 5, 6], "area": ("plot", [0.5, 1.5, 2.5])},
    )
    write(path("one"), x.to_dataset(name="counts"))
    data = read(path("one"))
    assert (data.name, data.dims) == ("one", ("species",))
    assert torch.equal(data.x, torch.arange(6.0, dtype=torch.float64).reshape(3, 2))
    assert data.coords["obs_id"][1].tolist() == [4, 5, 6]
    assert data.coords["area"][1].tolist() == [0.5, 1.5, 2.5]
    more = xr.Dataset({"x": x, "context": (("c", "plot"), [[1, 2, 3], [4, 5, 6]]), "labels": ("plot", [7, 8, 9])})
    write(path("more"), more)
    data = read(path("more"))
    assert data.context.tolist() == [[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]
    assert data.labels.tolist() == [7, 8, 9]
    write(path("odd"), xr.Dataset({"a": x, "b": x}))
    with pytest.raises(ValueError, match=r"variables \['a', 'b'\]: expected exactly one, or 'x'"):
        read(path("odd"))
    write(path("astray"), xr.Dataset({"x": x, "labels": ("other", [1, 2])}))
    with pytest.raises(ValueError, match=r"'labels' has dimensions \('other',\): expected 'plot'"):
        read(path("astray"))


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".parquet", ".nc"])
def test_damaged_files(tmp_path, suffix):
    path = tmp_path / f"file{suffix}"
    with pytest.raises(FileNotFoundError, match=f"no such file: .*file{suffix}"):
        read(path)
    path.write_bytes(b"\x93\xff\0\1" * 100 if suffix != ".csv" else b"\xff\xfea,b\n\xfe")
    with pytest.raises(ValueError, match=f"file{suffix} cannot be read as .*it is damaged"):
        read(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be read as"):
        read(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        read(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".parquet", ".nc"])
def test_truncated_files(tmp_path, suffix):
    path = tmp_path / f"file{suffix}"
    array = np.random.default_rng(0).normal(size=(500, 4))
    if suffix == ".npy":
        np.save(path, array)
    elif suffix == ".npz":
        np.savez_compressed(path, array)
    elif suffix == ".parquet":
        pd.DataFrame(array, columns=list("abcd")).to_parquet(path)
    else:
        xr.DataArray(array, name="x").to_netcdf(path)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(ValueError, match="cannot be read as"):
        read(path)


def test_damaged_zarr(tmp_path):
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(ValueError, match="cannot be read as zarr"):
        read(tmp_path / "empty.zarr")
    (tmp_path / "file.zarr").touch()
    with pytest.raises(ValueError, match=r"file\.zarr is not a folder"):
        read(tmp_path / "file.zarr")
    write_zarr(tmp_path / "chunk.zarr", xr.Dataset({"x": (("n", "k"), np.ones((50, 4)))}))
    chunks = [path for path in (tmp_path / "chunk.zarr" / "x").rglob("*") if path.is_file()]
    for chunk in chunks:
        if chunk.name != "zarr.json":
            chunk.write_bytes(b"\1\2\3")
    with pytest.raises(ValueError, match="cannot be read as zarr"):
        read(tmp_path / "chunk.zarr")


def test_python_objects_are_never_read(tmp_path):
    objects = np.array([[{"a": 1}]], dtype=object)
    np.save(tmp_path / "o.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "o.npz", x=objects, allow_pickle=True)
    for name in ("o.npy", "o.npz"):
        with pytest.raises(ValueError, match="holds Python objects, which are not read"):
            read(tmp_path / name)


def test_parquet_without_its_library(monkeypatch, tmp_path):
    (tmp_path / "t.parquet").touch()

    def missing(path):
        raise ImportError("no engine")

    monkeypatch.setattr(pd, "read_parquet", missing)
    with pytest.raises(ImportError, match="needs pyarrow: pip install pyarrow"):
        read(tmp_path / "t.parquet")


def test_a_single_array_named_npz(tmp_path):
    with (tmp_path / "a.npz").open("wb") as file:
        np.save(file, np.eye(2))
    with pytest.raises(ValueError, match=r"rename it to \.npy"):
        read(tmp_path / "a.npz")


def test_importing_is_light():
    code = (
        "import sys, pyrovae.data._named, pyrovae.data._convert;"
        "heavy = {'pandas', 'xarray', 'sklearn', 'pooch', 'zarr'} & set(sys.modules);"
        "sys.exit(', '.join(heavy) or None)"
    )
    prelude = (
        "import sys, types, pathlib;"
        "package = types.ModuleType('pyrovae'); package.__path__ = [sys.argv[1]];"
        "sys.modules['pyrovae'] = package;"
    )
    folder = os.path.dirname(os.path.dirname(_images.__file__))
    run = subprocess.run([sys.executable, "-c", prelude + code, folder], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


class TestColumns:
    @pytest.fixture
    def path(self, tmp_path):
        path = tmp_path / "table.csv"
        pd.DataFrame({"height": [1.0, 2.0], "weight": [3.0, 4.0], "name": ["a", "b"], "label": [0, 1]}).to_csv(
            path, index=False
        )
        return path

    def test_some_columns_in_the_order_asked_for(self, path):
        data = load(str(path), columns=["weight", "height"])
        assert data.x.tolist() == [[3.0, 1.0], [4.0, 2.0]]
        assert data.coords["column"][1].tolist() == ["weight", "height"]
        assert data.labels.tolist() == [0, 1]

    def test_an_unknown_column_is_named_with_the_nearest(self, path):
        with pytest.raises(ValueError, match=r"no column 'hight' \(did you mean 'height'\?\): expected some of height"):
            load(str(path), columns=["hight"])

    def test_only_tables_have_columns(self, tmp_path):
        np.save(tmp_path / "x.npy", np.zeros((3, 2)))
        for name in (str(tmp_path / "x.npy"), "digits"):
            with pytest.raises(ValueError, match=r"columns can be chosen of \.csv and \.parquet files only"):
                load(name, columns=["a"])


def test_parts_of_numbered_data_count_anew_and_keep_their_positions():
    data = Data(torch.arange(10.0).reshape(10, 1))
    part = data.take([2, 5, 7]).take([0, 2])
    assert part.coords["obs_id"][1].tolist() == [0, 1]
    assert part.coords["position"][1].tolist() == [2, 7]
    assert part.numbered


def test_names_that_were_given_stay():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0]}, index=[10, 11, 12])
    part = as_data(frame).take([0, 2])
    assert part.coords["obs_id"][1].tolist() == [10, 12]
    assert "position" not in part.coords
