"""Sorts the names under which frameworks log values into phases and the names epochwatch knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..ledger import TRAIN

VALIDATION = "validation"
_PHASES = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "eval", "evaluation", "dev"), VALIDATION),
    "test": "test",
}
_PREFIXED = re.compile(rf"({'|'.join(_PHASES)})[_/.: -]+(.+)", re.IGNORECASE)
# The last three are what torchmetrics calls accuracy in a MetricCollection.
_ACCURACIES = {"acc", "accuracy", "binaryaccuracy", "multiclassaccuracy", "multilabelaccuracy"}


def by_phase(values: Mapping[str, Any], phase: str) -> dict[str, dict[str, Any]]:
    """Takes values by logged name, as in `val_acc`, and gives them by phase and epochwatch's name.

    Texts, and whatever else is no value, are left out; `phase` is that of names without a prefix.
    """
    sorted_values: dict[str, dict[str, Any]] = {}
    for logged, value in values.items():
        if isinstance(value, str | bytes | bool | Mapping) or value is None:
            continue
        found = _PREFIXED.fullmatch(logged)
        prefix, name = found.groups() if found else ("", logged)
        known = _PHASES.get(prefix.lower(), phase)
        sorted_values.setdefault(known, {})[metric_name(name)] = value
    return sorted_values


def metric_name(name: str) -> str:
    """Takes a logged name without its phase and gives `loss` or `accuracy` where it means that."""
    lowered = name.lower()
    if lowered in _ACCURACIES:
        return "accuracy"
    return lowered if lowered == "loss" else name


def without_forks(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves out Lightning's `x_step` and `x_epoch` where `x` itself is there."""
    return {
        name: value
        for name, value in values.items()
        if not (name.endswith(("_step", "_epoch")) and name.rsplit("_", 1)[0] in values)
    }


def batch_size(batch: Any) -> int | None:
    """Gives the first dimension of the first array in a batch, however nested; None if there is none."""
    shape = getattr(batch, "shape", None)
    if shape is not None:
        return int(shape[0]) if len(shape) else None
    if isinstance(batch, Mapping):
        batch = list(batch.values())
    if isinstance(batch, list | tuple):
        return next((size for size in map(batch_size, batch) if size is not None), None)
    return None
