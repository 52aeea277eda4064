"""What importing the package imports, and that names which are imported late are names like any others."""

from __future__ import annotations

import ast
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import pyrovae as pv

HEAVY = {"arviz", "arviz_base", "arviz_plots", "arviz_stats", "h5netcdf", "h5py", "IPython", "jinja2", "matplotlib"}
HEAVY |= {"pandas", "PIL", "pooch", "rich", "scipy", "sklearn", "typer", "xarray", "zarr"}
HEAVY |= {"sympy"}  # which the compiler of torch brings


def imported(*lines: str) -> list[set[str]]:
    """The packages that a fresh process has imported after each of these lines."""
    tell = "told.append(sorted({name.partition('.')[0] for name in sys.modules}))"
    code = "\n".join(
        ["import json, sys", "told = []", *(f"{line}\n{tell}" for line in lines), "print(json.dumps(told))"]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", check=True)
    return [set(names) for names in json.loads(done.stdout)]


def test_the_package_alone_imports_nothing_heavy() -> None:
    (found,) = imported("import pyrovae; dir(pyrovae); pyrovae.__version__")
    assert found & (HEAVY | {"torch", "pyro", "numpy", "zuko"}) == set()


def test_nothing_is_imported_before_it_is_needed() -> None:
    pyro, fit, draws, diagnostics = imported(
        "import pyro",
        "from pyrovae import Data, Program, VAE, fit, guides, likelihoods, load, networks, objectives, priors",
        "from pyrovae import decode, describe, posterior, schedules",
        "from pyrovae import correct, diagnose, diagnostics",
    )
    assert (fit - pyro) & HEAVY == set()
    assert (draws - pyro) & HEAVY == {"pandas", "xarray"}
    assert (diagnostics - pyro) & {"arviz_plots", "IPython", "jinja2", "matplotlib", "sklearn", "zarr"} == set()


@pytest.mark.parametrize("name", pv.__all__)
def test_a_public_name_is_found(name: str) -> None:
    assert name in dir(pv)
    value = getattr(pv, name)
    assert value is getattr(pv, name)
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        assert pickle.loads(pickle.dumps(value)) is value


def test_all_names_are_imported_at_once_with_a_star() -> None:
    names: dict[str, object] = {}
    exec("from pyrovae import *", names)
    assert set(pv.__all__) <= names.keys()


def test_type_checkers_see_every_public_name() -> None:
    tree = ast.parse(Path(pv.__file__).read_text(encoding="utf-8"))
    (block,) = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    seen = {alias.name: n.module for n in block.body if isinstance(n, ast.ImportFrom) for alias in n.names}
    assert seen == pv._WHERE | dict.fromkeys(pv._MODULES, "pyrovae")
    assert sorted(seen) == dir(pv) == sorted(pv.__all__)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'pyrovae' has no attribute 'vea'"):
        _ = pv.vea
