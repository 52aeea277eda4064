"""The rooms and the import direction, read from the sources: nothing is imported to check it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "pyrovae"

# A module imports only from columns to its left, or from its own part.
COLUMNS = (
    {"data", "distributions", "schedules"},  # and every helper, `_*.py` at the top of the package
    {"networks"},
    {"priors", "likelihoods", "guides"},
    {"program"},
    {"structure"},
    {"vae"},
    {"objectives"},
    {"svi"},
    {"description"},
    {"draws"},
    {"diagnostics"},
    {"repair"},
    {"plots"},
    {"report"},
    {"cli"},
)
OUTSIDE = {"models", "analysis", "tests", "benchmarks"}
EXECUTES_WHEN_READ = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
MODEL_LINES = 150


class Import(NamedTuple):
    module: str  # absolute; with the imported name where that is a module of ours or unknown
    line: int


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def package_of(path: Path) -> list[str]:
    """The package that a relative import in this file starts from."""
    return list(path.relative_to(ROOT).parent.parts)


def is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def nodes_at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes, functions' bodies included, less those under `if TYPE_CHECKING`."""
    yield node
    if isinstance(node, ast.If) and is_type_checking(node.test):
        children = iter(node.orelse)
    else:
        children = ast.iter_child_nodes(node)
    for child in children:
        yield from nodes_at_run_time(child)


def imports(source: str, package: list[str]) -> list[Import]:
    """Every import of a source as an absolute name, `from a import b` as `a.b`."""
    found = []
    for node in nodes_at_run_time(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            found += [Import(".".join([*base, alias.name]), node.lineno) for alias in node.names]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in {"import_module", "__import__"} and isinstance(node.args[0].value, str):
                found.append(Import(node.args[0].value, node.lineno))
    return found


def column(part: str) -> int | None:
    """Where a part stands in the line; None if it has no place."""
    if part.startswith("_"):
        return 0
    return next((i for i, parts in enumerate(COLUMNS) if part in parts), None)


def modules() -> set[str]:
    """The parts that exist: `pyrovae/x.py` and `pyrovae/x/`."""
    top = ROOT / PACKAGE
    return {p.stem for p in top.glob("*.py")} | {p.name for p in top.iterdir() if p.is_dir()}


def wrong_imports(source: str, package: list[str], part: str, parts: set[str]) -> list[str]:
    """What is wrong with the imports of a module that belongs to `part`, a line for each."""
    faults = []
    place = column(part)
    if place is None:
        return [f"{part!r} has no place in COLUMNS: give it one"]
    for module, line in imports(source, package):
        names = module.split(".")
        if names[0] in OUTSIDE:
            faults.append(f"line {line}: the library imports {module}; it may know nothing outside")
        if names[0] != PACKAGE or part in {"cli", "__main__"}:
            continue
        name = names[1] if len(names) > 1 else ""
        if name == part or (name.startswith("__") and name != "__main__"):
            continue
        if name not in parts:
            faults.append(
                f"line {line}: {module} comes through {PACKAGE}/__init__.py, which imports all; "
                "import it from the module that defines it"
            )
            continue
        target = column(name)
        if target is None or (target >= place and not (target == place == 0)):
            faults.append(f"line {line}: {part} imports {module}, which does not stand to its left")
    return faults


LIBRARY = [p for p in sources(PACKAGE) if p != ROOT / PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", LIBRARY, ids=relative)
def test_library_imports_from_its_left_only(path: Path) -> None:
    part = path.relative_to(ROOT / PACKAGE).parts[0].removesuffix(".py")
    faults = wrong_imports(read(path), package_of(path), part, modules())
    assert not faults, "\n".join([relative(path), *faults])


def test_the_package_itself_imports_nothing_outside() -> None:
    path = ROOT / PACKAGE / "__init__.py"
    found = imports(read(path), package_of(path))
    assert not [i for i in found if i.module.split(".")[0] in OUTSIDE]


@pytest.mark.parametrize("path", sources("models"), ids=relative)
def test_models_import_the_library_only(path: Path) -> None:
    found = imports(read(path), package_of(path))
    wrong = [i for i in found if i.module.split(".")[0] in OUTSIDE - {"models"}]
    assert not wrong, f"{relative(path)}: a model imports {wrong}"


@pytest.mark.parametrize("path", sources("analysis"), ids=relative)
def test_analyses_import_library_and_models_only(path: Path) -> None:
    found = imports(read(path), package_of(path))
    wrong = [i for i in found if i.module.split(".")[0] in OUTSIDE - {"models", "analysis"}]
    assert not wrong, f"{relative(path)}: an analysis imports {wrong}"


@pytest.mark.parametrize("path", sources("models") + sources("analysis"), ids=relative)
def test_every_model_and_analysis_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(read(path))), f"{relative(path)} has no docstring"


@pytest.mark.parametrize("path", sources("models"), ids=relative)
def test_a_model_is_short(path: Path) -> None:
    lines = len(read(path).splitlines())
    assert lines <= MODEL_LINES, (
        f"{relative(path)} has {lines} lines, at most {MODEL_LINES} are meant: what of it belongs in the library?"
    )


@pytest.mark.parametrize("path", sources(PACKAGE), ids=relative)
def test_every_public_module_says_what_it_is(path: Path) -> None:
    inside = path.relative_to(ROOT / PACKAGE)
    names = [*inside.parts[:-1], *([] if inside.stem == "__init__" else [inside.stem])]
    public = not any(name.startswith("_") for name in names)
    assert not public or ast.get_docstring(ast.parse(read(path))), f"{relative(path)} has no docstring"


def unpickling(source: str, package: list[str]) -> list[str]:
    """Where a source could run code that lies in a file it reads."""
    tree = ast.parse(source)
    faults = []
    for module, line in imports(source, package):
        if module.split(".")[0] in EXECUTES_WHEN_READ or module in {"torch.load", "torch.save"}:
            faults.append(f"line {line}: imports {module}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = getattr(node.value, "id", None)
            if (owner == "torch" and node.attr in {"load", "save"}) or "pickle" in node.attr:
                faults.append(f"line {node.lineno}: {ast.unparse(node)}")
        elif (
            isinstance(node, ast.keyword)
            and node.arg == "allow_pickle"
            and getattr(node.value, "value", None) is not False
        ):
            faults.append(f"line {node.value.lineno}: {ast.unparse(node)}")
    return faults


@pytest.mark.parametrize("path", sources(PACKAGE), ids=relative)
def test_the_library_reads_nothing_that_executes(path: Path) -> None:
    faults = unpickling(read(path), package_of(path))
    assert not faults, "\n".join([relative(path), "runs hold safetensors and JSON only", *faults])


# The rules themselves, on small sources whose answer is known.

PARTS = {name for parts in COLUMNS for name in parts} | {"_checks", "__init__", "__main__"}


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("svi", "import torch\nfrom pyrovae.program import Program"),
        ("svi", "from . import objectives, _checks"),
        ("svi", "from ._checks import positive"),
        ("guides", "from pyrovae.guides.normal import Normal"),
        ("priors", "def f():\n    from pyrovae.networks import MLP"),
        ("priors", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .vae import VAE"),
        ("data", "from ._checks import positive"),
        ("report", "from pyrovae import plots, __version__"),
        ("cli", "import pyrovae as pv"),
    ],
)
def test_the_rule_allows(part: str, source: str) -> None:
    assert wrong_imports(source, [PACKAGE], part, PARTS) == []


@pytest.mark.parametrize(
    ("part", "source", "says"),
    [
        ("svi", "from pyrovae.posterior import draw", "posterior"),
        ("svi", "import models.vae", "models"),
        ("svi", "from analysis import x", "analysis"),
        ("svi", "def f():\n    from .cli import main", "line 2"),
        ("svi", "def f():\n    from . import plots", "plots"),
        ("svi", "import pyrovae", "__init__"),
        ("svi", "from pyrovae import fit", "__init__"),
        ("svi", "import importlib\nimportlib.import_module('pyrovae.report')", "report"),
        ("guides", "from pyrovae.priors import Normal", "left"),
        ("_checks", "from .svi import fit", "left"),
        ("data", "from .networks import MLP", "left"),
        ("svi", "if TYPE_CHECKING:\n    pass\nelse:\n    from .report import write", "line 4"),
        ("surprise", "", "no place"),
    ],
)
def test_the_rule_refuses(part: str, source: str, says: str) -> None:
    faults = wrong_imports(source, [PACKAGE], part, PARTS)
    assert len(faults) == 1
    assert says in faults[0]


def test_relative_imports_are_resolved() -> None:
    source = "from .. import svi\nfrom ..vae import VAE\nfrom .base import f\nfrom . import g"
    assert [i.module for i in imports(source, [PACKAGE, "plots"])] == [
        "pyrovae.svi",
        "pyrovae.vae.VAE",
        "pyrovae.plots.base.f",
        "pyrovae.plots.g",
    ]


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load('x', weights_only=True)",
        "from torch import load",
        "pd.read_pickle('x')",
        "np.load('x', allow_pickle=True)",
    ],
)
def test_code_in_files_is_found(source: str) -> None:
    assert unpickling(source, [PACKAGE])


def test_plain_arrays_may_be_read() -> None:
    source = "from safetensors.torch import load_file\nnp.load('x', allow_pickle=False)"
    assert unpickling(source, [PACKAGE]) == []
