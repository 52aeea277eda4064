"""The command line, run in this process with a few data and epochs, and once as a user would."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner, Result

import pyrovae as pv
from models import vae
from pyrovae.cli import app as commands
from pyrovae.cli import fit_command
from pyrovae.cli.model_file import parse_settings, read_model

VAE = str(Path(vae.__file__ or ""))
OURS = {"cli.json", "posterior.zarr", "report.html", "run.json"}

Run = Callable[..., Result]


def invoke(*args: str) -> Result:
    return CliRunner().invoke(commands.app, [*args])


@pytest.fixture
def counts(tmp_path: Path) -> Path:
    """60 vectors of five counts from 0 to 8."""
    path = tmp_path / "counts.npy"
    np.save(path, np.random.default_rng(0).binomial(8, 0.4, (60, 5)))
    return path


@pytest.fixture
def fit(counts: Path, tmp_path: Path) -> Run:
    """`pyrovae fit` of a small VAE to the counts; later options replace earlier ones."""

    def run(*args: str, model: str = VAE, sizes: bool = True, data: str = str(counts), report: bool = False) -> Result:
        small = ["--set", "hidden=(8,)", "--set", "latents=2"] if sizes else []
        tiny = ["--epochs", "2", "--draws", "20", "--out", str(tmp_path / "run")]
        return invoke("fit", model, "--data", data, *small, *tiny, *([] if report else ["--no-report"]), *args)

    return run


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"


def write(path: Path, source: str) -> str:
    path.write_text(source, encoding="utf-8")
    return str(path)


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()} if folder.exists() else set()


def weights(folder: Path) -> bytes:
    """The file of the weights (and of the history, with its times)."""
    (file,) = folder.glob("state-*.safetensors")
    return file.read_bytes()


def same_weights(one: Path, two: Path, program: Any) -> bool:
    a, b = ({k: v.clone() for k, v in pv.load(f, program).chains[0].items()} for f in (one, two))
    return a.keys() == b.keys() and all(bool((a[k] == b[k]).all()) for k in a)


def assert_says(result: Result, *fragments: str, code: int = 1) -> None:
    """The command failed with one readable message on stderr."""
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert not isinstance(result.exception, Exception) or isinstance(result.exception, SystemExit)
    for fragment in fragments:
        assert fragment in result.stderr, result.stderr


# help and lists


def test_version_is_the_package_s() -> None:
    assert invoke("--version").stdout.strip() == f"pyrovae {pv.__version__}"


def test_the_console_script_is_main() -> None:
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="pyrovae")
    assert script.value == "pyrovae.cli:main"
    assert callable(script.load())


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (["--help"], 0, ("fit", "report", "data")),
        (["fit", "--help"], 0, ("MODEL.py", "--epochs")),
        (["nonsense"], 2, ("No such command 'nonsense'",)),
    ],
    ids=["help", "fit-help", "unknown"],
)
def test_help_imports_nothing_heavy(arguments: list[str], exit_code: int, says: tuple[str, ...]) -> None:
    code = (
        f"import sys\nfrom pyrovae.cli import main\nsys.argv = ['pyrovae', *{arguments}]\n"
        f"try:\n    main()\nexcept SystemExit as end:\n    assert end.code == {exit_code}\n"
        "print('heavy:', sorted({'torch', 'pyro', 'arviz', 'xarray', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", check=True)
    assert "heavy: []" in done.stdout
    for text in says:
        assert text in done.stdout + done.stderr


@pytest.mark.parametrize("command", ["fit", "report", "data"])
@pytest.mark.parametrize("width", ["80", "120"])
def test_help_fits_the_terminal(command: str, width: str) -> None:
    result = CliRunner().invoke(commands.app, [command, "--help"], env={"COLUMNS": width, "TERMINAL_WIDTH": width})
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= int(width)


def test_data_lists_the_named_sets() -> None:
    lines = invoke("data").stdout.splitlines()
    assert lines[0].split() == ["name", "what", "on", "this", "machine"]
    digits = next(line for line in lines if line.startswith("digits"))
    assert "1,797" in digits
    assert digits.split()[-1] == "yes"
    assert {line.split()[0] for line in lines if line and line[0] != " "} == {"name", *pv.data.names()}


def test_data_describes_one() -> None:
    assert invoke("data", "digits").stdout.strip() == repr(pv.data.load("digits"))
    assert_says(invoke("data", "digts"), "unknown data set 'digts'", "did you mean 'digits'")


# fit, the whole way


def test_fit_writes_weights_draws_and_a_record(fit: Run, out: Path, counts: Path) -> None:
    result = fit("--seed", "3", "--lr", "0.01")
    assert result.exit_code == 0, result.output
    assert {n for n in names(out) if not n.startswith("state-")} == OURS - {"report.html"}
    record = json.loads((out / "cli.json").read_text(encoding="utf-8"))
    assert record["model"] == VAE
    assert record["set"] == {"hidden": [8], "latents": 2}
    assert record["data"] == str(counts)
    assert (record["epochs"], record["seed"], record["lr"]) == (2, 3, 0.01)
    assert "50 to train on, 10 held out" in result.stdout
    assert f"written to {out}" in result.stdout

    train, test = pv.data.load(counts).split(seed=0)
    saved = pv.load(out, vae.build(train, hidden=(8,), latents=2))
    assert saved.history.sizes["epoch"] == 2
    assert saved.settings["lr"] == 0.01
    with xr.open_datatree(out / "posterior.zarr", engine="zarr", consolidated=False) as tree:
        assert dict(tree["posterior"].sizes) == {"chain": 1, "draw": 20, "obs_id": 10, "z_dim_0": 2}
        np.testing.assert_array_equal(tree["posterior"]["obs_id"], test.coords["obs_id"][1])
        again = pv.posterior(saved, test, draws=20, seed=3)
        np.testing.assert_array_equal(tree["posterior"]["z"], again["posterior"]["z"])
        assert str(pv.diagnose(tree)) in result.stdout


def test_fit_writes_a_report(fit: Run, out: Path) -> None:
    result = fit(report=True)
    assert result.exit_code == 0, result.output
    assert {n for n in names(out) if not n.startswith("state-")} == OURS
    assert "vae on counts" in (out / "report.html").read_text(encoding="utf-8")


def test_fit_as_a_user_runs_it(counts: Path, tmp_path: Path) -> None:
    model = write(
        tmp_path / "mine.py",
        "from dataclasses import dataclass\nimport pyrovae as pv\nfrom beside import WIDTH\n"
        "@dataclass\nclass Sizes:\n    latents: int\n"
        "def build(data, *, latents=2):\n    q = Sizes(latents).latents\n    d = data.event_shape[0]\n"
        "    return pv.VAE(pv.priors.Normal(q), pv.likelihoods.Normal(pv.networks.MLP(q, (WIDTH,), d)),\n"
        "                  pv.guides.Normal(pv.networks.MLP(d, (), 2 * q)))\n",
    )
    write(tmp_path / "beside.py", "WIDTH = 4\n")
    command = ["fit", "mine.py", "--data", counts.name, "--out", "a/b", "--epochs", "2", "--draws", "20", "--no-report"]
    done = subprocess.run(
        [sys.executable, "-c", "from pyrovae.cli import main; main()", *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a" / "b" / "posterior.zarr").is_dir()
    assert "2 steps in" in done.stderr
    assert Path(model).read_text(encoding="utf-8")


def test_the_seed_decides_the_weights_and_not_the_split(fit: Run, counts: Path, tmp_path: Path) -> None:
    for folder, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        assert fit("--seed", seed, "--out", str(tmp_path / folder)).exit_code == 0
    program = vae.build(pv.data.load(counts), hidden=(8,), latents=2)
    assert same_weights(tmp_path / "a", tmp_path / "b", program)
    assert not same_weights(tmp_path / "a", tmp_path / "c", program)
    held_out = []
    for folder in ("a", "c"):
        with xr.open_datatree(tmp_path / folder / "posterior.zarr", engine="zarr", consolidated=False) as tree:
            held_out.append(tree["observed_data"]["x"].values)
    np.testing.assert_array_equal(*held_out)


def test_quiet_prints_nothing(fit: Run) -> None:
    result = fit("--quiet")
    assert result.exit_code == 0
    assert result.output == ""


def test_restarts_are_chains_and_test_is_the_size_held_out(fit: Run, out: Path) -> None:
    assert fit("--restarts", "2", "--test", "0.25", "--patience", "1").exit_code == 0
    with xr.open_datatree(out / "posterior.zarr", engine="zarr", consolidated=False) as tree:
        assert tree["posterior"].sizes["chain"] == 2
        assert tree["posterior"].sizes["obs_id"] == 15


@pytest.mark.parametrize("how", ["dynamic", "static", "threshold"])
def test_binarized_data_get_a_bernoulli(fit: Run, out: Path, tmp_path: Path, how: str) -> None:
    grey = tmp_path / "grey.npy"
    np.save(grey, np.random.default_rng(0).uniform(size=(30, 4)))
    assert fit("--binarize", how, data=str(grey)).exit_code == 0
    with xr.open_datatree(out / "posterior.zarr", engine="zarr", consolidated=False) as tree:
        assert set(np.unique(tree["observed_data"]["x"])) == {0.0, 1.0}


def test_very_many_data_get_fewer_draws_and_are_told(counts: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_command, "MOST_DRAWS", 10 * 200)
    command = ("fit", VAE, "--data", str(counts), "--out", str(out), "--epochs", "1", "--no-report")
    result = invoke(*command)
    assert "10 held-out data: 200 draws each, not 1,000" in result.stdout
    with xr.open_datatree(out / "posterior.zarr", engine="zarr", consolidated=False) as tree:
        assert tree["posterior"].sizes["draw"] == 200


# a folder that holds a run


def test_a_run_is_not_replaced_unasked(fit: Run, out: Path) -> None:
    assert fit().exit_code == 0
    before = weights(out)
    assert_says(fit("--seed", "1"), "holds a run", "--overwrite")
    assert weights(out) == before


@pytest.mark.parametrize("name", ["run.json", "report.html"])
def test_a_file_of_a_run_is_enough_to_be_refused(fit: Run, out: Path, name: str) -> None:
    out.mkdir()
    (out / name).write_text("{}")
    assert_says(fit(), "holds a run")
    assert names(out) == {name}


def test_overwrite_removes_our_files_only(fit: Run, out: Path) -> None:
    assert fit().exit_code == 0
    before = weights(out)
    mine = {"notes.txt", "state.safetensors", "posterior.nc", "checkpoint"}
    (out / "checkpoint").mkdir()
    for name in mine - {"checkpoint"}:
        (out / name).write_text("mine")
    (out / "checkpoint" / "mine.txt").write_text("mine")
    (out / "report.html").write_text("of the run before")
    result = fit("--overwrite", "--seed", "1")
    assert result.exit_code == 0, result.output
    assert weights(out) != before
    assert mine <= names(out)
    assert names(out / "checkpoint") == {"mine.txt"}
    assert "report.html" not in names(out)


def test_a_run_survives_an_overwrite_that_fails(fit: Run, out: Path, tmp_path: Path) -> None:
    assert fit().exit_code == 0
    before = weights(out), names(out)
    for bad in (["--set", "likelihood=bernoulli"], ["--lr=-1"], ["--set", "latents=0"], ["--test", "99"]):
        assert fit("--overwrite", *bad).exit_code == 1
    assert (weights(out), names(out) - {"checkpoint"}) == before


def test_a_file_in_the_place_of_the_folder(fit: Run, out: Path) -> None:
    out.write_text("mine")
    assert_says(fit(), "is a file", "--out")


# interruptions

STOPS = """
import pyrovae as pv
from pathlib import Path

FLAG = Path(__file__).with_name("stop")

class Stopping(pv.likelihoods.Normal):
    calls = 0

    def forward(self, z, context=None):
        self.calls += 1
        if self.calls > 30 and FLAG.exists():
            FLAG.unlink()
            raise KeyboardInterrupt
        return super().forward(z)

def build(data, *, latents=2):
    d = data.event_shape[0]
    encoder = pv.networks.MLP(d, (), 2 * latents)
    return pv.VAE(pv.priors.Normal(latents), Stopping(pv.networks.MLP(latents, (), d)), pv.guides.Normal(encoder))
"""


@pytest.fixture
def stopping(tmp_path: Path) -> str:
    """A model that is interrupted once, after some epochs."""
    write(tmp_path / "stop", "")
    return write(tmp_path / "stopping.py", STOPS)


def test_an_interrupted_run_goes_on_to_the_same_bits(
    fit: Run, out: Path, counts: Path, tmp_path: Path, stopping: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_command, "CHECKPOINT_SECONDS", 0.0)
    command = {"model": stopping, "sizes": False}
    assert_says(fit("--epochs", "40", **command), "interrupted", "--resume", code=130)
    assert names(out) == {"checkpoint"}
    assert_says(fit("--epochs", "40", **command), "interrupted run", "--resume to go on", "--overwrite")
    for other in (["--set", "latents=3"], ["--lr", "0.5"], ["--test", "20"]):
        assert_says(fit("--epochs", "40", "--resume", *other, **command), "checkpoint of a run with other settings")
    assert fit("--epochs", "40", "--resume", **command).exit_code == 0
    assert "checkpoint" not in names(out)
    assert fit("--epochs", "40", "--out", str(tmp_path / "whole"), **command).exit_code == 0
    program = read_model(Path(stopping)).build(pv.data.load(counts), {}, 0)
    assert pv.load(out, program).history.sizes["epoch"] == 40
    assert same_weights(out, tmp_path / "whole", program)


def test_the_first_epoch_is_kept_at_once(fit: Run, out: Path, stopping: str) -> None:
    assert_says(fit("--epochs", "40", model=stopping, sizes=False), "interrupted", "--resume", code=130)
    assert names(out) == {"checkpoint"}
    assert fit("--epochs", "2", "--overwrite", model=stopping, sizes=False).exit_code == 0
    assert "checkpoint" not in names(out)


def test_an_older_run_survives_an_interrupted_overwrite(fit: Run, out: Path, stopping: str) -> None:
    assert fit().exit_code == 0
    before = weights(out), names(out)
    assert_says(fit("--epochs", "40", "--overwrite", model=stopping, sizes=False), code=130)
    assert (weights(out), names(out) - {"checkpoint"}) == before


def test_an_interruption_after_the_fit(fit: Run, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pyrovae.draws.posterior", interrupted)
        assert_says(fit(), "interrupted", "--resume", code=130)
    assert fit("--resume").exit_code == 0
    assert "posterior.zarr" in names(out)
    assert_says(fit("--resume"), "no checkpoint to go on from", "--overwrite")


def test_resume_without_a_run_starts_one(fit: Run, out: Path) -> None:
    assert fit("--resume").exit_code == 0
    assert "run.json" in names(out)


def test_a_fit_that_diverges_is_kept_as_far_as_it_came(fit: Run, out: Path, tmp_path: Path) -> None:
    model = write(
        tmp_path / "diverges.py",
        "import pyro.distributions as dist\nimport torch\nimport pyrovae as pv\n"
        "class Diverges(torch.nn.Module):\n"
        "    def __init__(self, d):\n        super().__init__()\n        self.calls = 0\n"
        "        self.net = pv.networks.MLP(2, (), d)\n"
        "    def forward(self, z):\n        self.calls += 1\n"
        "        bad = float('nan') if self.calls > 20 else 0.\n"
        "        return dist.Normal(self.net(z) + bad, 1.).to_event(1)\n"
        "def build(data):\n    d = data.event_shape[0]\n"
        "    return pv.VAE(pv.priors.Normal(2), Diverges(d), pv.guides.Normal(pv.networks.MLP(d, (), 4)))\n",
    )
    result = fit("--epochs", "60", model=model, sizes=False)
    assert_says(result, "stopped being finite at epoch", "site 'x'", f"The fit so far is in {out}")
    assert {n for n in names(out) if not n.startswith("state-")} == {"run.json", "cli.json"}


# errors


def test_overwrite_and_resume_exclude_each_other(fit: Run) -> None:
    assert_says(fit("--overwrite", "--resume"), "give one of them", code=2)


@pytest.mark.parametrize("option", ["--epochs", "--batch-size", "--restarts", "--draws", "--patience"])
def test_numbers_out_of_range_are_usage_errors(fit: Run, option: str) -> None:
    assert_says(fit(option, "0"), option, code=2)


@pytest.mark.parametrize("missing", ["--data", "--out"])
def test_data_and_out_are_needed(missing: str) -> None:
    args = {"--data": "digits", "--out": "x"}
    rest = [part for key, value in args.items() if key != missing for part in (key, value)]
    assert_says(invoke("fit", VAE, *rest), missing, code=2)


@pytest.mark.parametrize(
    ("args", "fragments"),
    [
        (["--set", "latent=3"], ["build has no 'latent' (did you mean 'latents'?)", "guide='normal'", "latents=8"]),
        (["--set", "zzz=3"], ["build has no 'zzz'. Its hyperparameters: latents=8, hidden=(128, 128)"]),
        (["--set", "latents"], ["--set latents: expected KEY=VALUE"]),
        (["--set", "=3"], ["expected KEY=VALUE"]),
        (["--set", "latents=2"], ["--set latents is given twice"]),
        (["--set", "guide=flow"], ["vae.py, line", "guide: expected one of normal, multivariate_normal, got 'flow'"]),
        (["--set", "likelihood=poisson"], ["expected one of auto, bernoulli, binomial, normal, got 'poisson'"]),
        (["--set", "likelihood=bernoulli"], ["must lie in the support of Bernoulli"]),
        (["--test", "many"], ["--test many: expected a fraction such as 0.2, or a count such as 300"]),
        (["--test", "60"], ["holds out 60 of 60"]),
        (["--test", "1.5"], ["not a fraction between 0 and 1"]),
        (["--binarize", "static"], ["is not in [0, 1]"]),
        (["--lr=-1"], ["lr: expected a positive number, got -1.0"]),
        (["--data", "digts"], ["unknown data set 'digts'", "did you mean 'digits'"]),
        (["--data", "nowhere/x.csv"], ["no such file", "x.csv"]),
    ],
)
def test_errors_are_one_readable_message(fit: Run, out: Path, args: list[str], fragments: list[str]) -> None:
    assert_says(fit(*args), *fragments)
    assert names(out) == set()


@pytest.mark.parametrize(
    ("value", "fragments"),
    [
        ("latents=many", ["vae.py: --set latents: expected a whole number, got 'many'"]),
        ("hidden=8", ["vae.py: --set hidden: expected a tuple such as (64, 64), got 8"]),
        ("latents=0", ["vae.py, line", "got 0"]),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(fit: Run, value: str, fragments: list[str]) -> None:
    assert_says(fit("--set", value, sizes=False), *fragments)


@pytest.mark.parametrize(
    ("source", "fragments"),
    [
        ("x = 1\n", ["has no function build(data, **hyperparameters)"]),
        ("build = 1\n", ["has no function build"]),
        ("def build(:\n", ["model.py, line 1: SyntaxError"]),
        ("import os\nimport no_such_module\n", ["model.py, line 2: ModuleNotFoundError", "no_such_module"]),
        ("def build():\n    pass\n", ["build takes no data"]),
        ("def build(data, *, width, depth=2):\n    pass\n", ["build needs width", "--set width=…", "width, depth=2"]),
        ("def build(data):\n    return 3\n", ["expected a program", "got int"]),
        ("def build(data):\n    return {}['key']\n", ["model.py, line 2: KeyError: 'key'"]),
    ],
)
def test_faults_of_a_model_file(fit: Run, tmp_path: Path, source: str, fragments: list[str]) -> None:
    assert_says(fit(model=write(tmp_path / "model.py", source), sizes=False), *fragments)


def test_a_model_file_that_is_not_there(fit: Run, tmp_path: Path) -> None:
    assert_says(fit(model=str(tmp_path / "none.py")), "no such model file")
    assert_says(fit(model=write(tmp_path / "model.txt", "")), "expected a Python file")


def test_any_keyword_may_be_set_where_build_takes_any(fit: Run, out: Path, tmp_path: Path) -> None:
    model = write(
        tmp_path / "any.py",
        f"import sys\nsys.path.insert(0, {str(Path(VAE).parents[1])!r})\nfrom models import vae\n"
        "def build(data, **settings):\n    return vae.build(data, **settings)\n",
    )
    assert fit(model=model).exit_code == 0
    assert json.loads((out / "cli.json").read_text(encoding="utf-8"))["set"]["latents"] == 2
    sys.path.remove(str(Path(VAE).parents[1]))


def test_debug_shows_the_traceback(fit: Run) -> None:
    result = fit("--set", "latent=3", "--debug")
    assert isinstance(result.exception, ValueError)
    assert "build has no 'latent'" in str(result.exception)


def test_settings_are_literals_or_texts() -> None:
    pairs = [
        "a=1",
        "b=1e-3",
        "c=(4, 5)",
        "d=None",
        "e=True",
        "f=normal",
        "g='x=y'",
        "h=x=y",
        "i=",
        "j=-2",
        "k={'a': 1}",
    ]
    assert parse_settings(pairs) == {
        "a": 1,
        "b": 1e-3,
        "c": (4, 5),
        "d": None,
        "e": True,
        "f": "normal",
        "g": "x=y",
        "h": "x=y",
        "i": "",
        "j": -2,
        "k": {"a": 1},
    }


# report


def test_report_is_rewritten_from_the_draws(fit: Run, out: Path) -> None:
    said = fit(report=True).stdout
    before = (out / "report.html").read_text(encoding="utf-8")
    (out / "report.html").write_text("lost")
    result = invoke("report", str(out))
    assert result.exit_code == 0, result.output
    verdicts = result.stdout.rsplit("written:", 1)[0].strip()
    assert verdicts
    assert verdicts in said
    after = (out / "report.html").read_text(encoding="utf-8")
    assert "vae on counts" in after
    assert abs(len(after) - len(before)) < 0.02 * len(before)


def test_report_of_no_run(tmp_path: Path) -> None:
    assert_says(invoke("report", str(tmp_path)), "holds no posterior.zarr")
    assert_says(invoke("report", str(tmp_path / "none")), "holds no posterior.zarr")


def test_report_of_damaged_draws(tmp_path: Path) -> None:
    (tmp_path / "posterior.zarr").mkdir()
    assert_says(invoke("report", str(tmp_path)), "cannot be read")


def test_columns_of_a_table(fit: Run, out: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    rows = [f"{i % 5},{(i * 3) % 4},{'ab'[i % 2]}" for i in range(60)]
    table.write_text("\n".join(["first,second,kind", *rows]) + "\n")
    assert_says(fit(data=str(table)), "column 'kind'", "expected numbers")
    assert_says(fit("--columns", "first,secnd", data=str(table)), "no column 'secnd' (did you mean 'second'?)")
    assert fit("--columns", "second,first", data=str(table)).exit_code == 0
    import xarray as xr

    tree = xr.open_datatree(out / "posterior.zarr", engine="zarr", consolidated=False)
    assert tree["observed_data"]["column"].values.tolist() == ["second", "first"]


def test_runs_are_compared_by_held_out_evidence(fit: Run, tmp_path: Path) -> None:
    for name, epochs in (("a", "2"), ("b", "3")):
        assert fit("--out", str(tmp_path / name), "--epochs", epochs, "--draws", "40").exit_code == 0
    result = invoke("compare", str(tmp_path / "a"), str(tmp_path / "b"))
    assert result.exit_code == 0, result.output
    assert "elpd_diff" in result.output
    assert "bad_k" in result.output
    assert_says(invoke("compare", str(tmp_path / "a")), "at least two different runs")
    assert_says(invoke("compare", str(tmp_path / "a"), str(tmp_path)), "holds no posterior.zarr")
