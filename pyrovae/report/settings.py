"""The settings of a run as rows that read well."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr

__all__ = ["contents", "settings", "versions"]

NAMES = {
    "program": "program",
    "loss": "objective",
    "data": "data",
    "n": "training data",
    "n_validation": "validation data",
    "event_shape": "shape of a datum",
    "epochs": "epochs",
    "batch_size": "batch size",
    "optimizer": "optimiser",
    "lr": "learning rate",
    "schedule": "learning rate schedule",
    "clip_norm": "gradient norm clipped at",
    "patience": "patience (epochs)",
    "restarts": "restarts",
    "best_chain": "best restart",
    "seed": "seed",
}
HIDDEN = {"data_sum", "validation_sum", "versions"}


def _read(tree: xr.DataTree) -> dict[str, Any]:
    """The fit's settings; empty if the tree holds none."""
    try:
        found = json.loads(tree.attrs.get("settings", "null"))
    except (TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def settings(tree: xr.DataTree) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Rows on the fit, empty if the tree was made from a program without one, and rows on the draws."""
    found = {k: v for k, v in _read(tree).items() if k not in HIDDEN}
    best = found.pop("best_chain", None)
    if isinstance(best, int) and found.get("restarts", 1) != 1:
        found["best_chain"] = best + 1
    order = [k for k in NAMES if k in found] + [k for k in found if k not in NAMES]
    fit = [(NAMES.get(k, k.replace("_", " ")), str(found[k]) if k == "seed" else say(found[k])) for k in order]
    names = ("draws", "seed", "units") if fit else ("program", "data", "draws", "seed", "units")
    draws = [({"draws": "draws per datum", "seed": "seed of the draws"}.get(k, k), k) for k in names if k in tree.attrs]
    rows = [(name, str(tree.attrs[key]) if key == "seed" else say(tree.attrs[key])) for name, key in draws]
    if "posterior" in tree.children and "obs_id" in tree["posterior"].sizes:
        rows.insert(0, ("data in the tree", say(tree["posterior"].sizes["obs_id"])))
    return fit, rows


def versions(tree: xr.DataTree) -> list[tuple[str, str]]:
    """Versions of Python and the packages that decided the numbers."""
    found = _read(tree).get("versions")
    if isinstance(found, dict):
        return [(str(k), say(v)) for k, v in found.items()]
    library, version = (tree.attrs.get(f"inference_library{suffix}") for suffix in ("", "_version"))
    return [(str(library), str(version))] if library and version else []


def contents(tree: xr.DataTree) -> list[tuple[str, str, str]]:
    """Group, variables, and sizes, as the tree holds them."""
    return [
        (
            str(name),
            ", ".join(map(str, group.dataset.data_vars)),
            " · ".join(f"{d} {n:,}" for d, n in group.sizes.items()),
        )
        for name, group in tree.children.items()
    ]


def say(value: Any) -> str:
    """A setting as text.

    Examples
    --------
    >>> say(None), say(True), say(1500), say(0.002), say([8, 8])
    ('none', 'yes', '1,500', '0.002', '8 × 8')
    """
    if value is None:
        return "none"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{str(key).replace('_', ' ')} {say(one)}" for key, one in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return " × ".join(map(say, value)) if value else "a single number"
    return str(value)
