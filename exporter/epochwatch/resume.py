"""What of the ledger survives a restart: plain data out for a checkpoint, plain data in after a resume."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .ledger import TRAIN, Ledger, Phase, new_phase
from .trends import Best

VERSION = 1


def save(ledger: Ledger) -> dict[str, Any]:
    """Takes the ledger and gives what a resumed run must know; numbers, texts and dicts only."""
    return {
        "version": VERSION,
        "epochs": ledger.epochs,
        "global_step": ledger.resumed_steps + ledger.steps,
        "phases": {name: _saved_phase(phase) for name, phase in ledger.phases.items()},
    }


def load(ledger: Ledger, state: Mapping[str, Any]) -> None:
    """Takes what `save` gave into a ledger; nothing is changed if any of it is wrong.

    Raises:
        ValueError: If the state is of another version or holds something else than `save` puts there.
    """
    if not isinstance(state, Mapping) or state.get("version") != VERSION:
        raise ValueError("is not what run.state_dict() gave; the run counts from zero")
    try:
        epochs, steps = _count(state["epochs"]), _count(state["global_step"])
        phases = {str(name): dict(saved) for name, saved in state["phases"].items()}
        loaded = {name: _phase_of(new_phase(name, ledger.min_delta), saved) for name, saved in phases.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"lacks or garbles {error}; the run counts from zero") from error
    ledger.phases.update(loaded)
    ledger.spikes.average = ledger.phase(TRAIN).ewma
    ledger.epochs = epochs
    ledger.resumed_steps = steps - ledger.steps
    ledger.spikes.mute()


def _saved_phase(phase: Phase) -> dict[str, Any]:
    return {
        "loss": phase.loss,
        "accuracy": phase.accuracy,
        "loss_best": [phase.loss_best.value, phase.loss_best.epoch],
        "accuracy_best": [phase.accuracy_best.value, phase.accuracy_best.epoch],
        "ewma": [phase.ewma.mean, phase.ewma.weight],
    }


def _phase_of(phase: Phase, saved: Mapping[str, Any]) -> Phase:
    phase.loss, phase.accuracy = _number(saved["loss"]), _number(saved["accuracy"])
    _restore(phase.loss_best, *saved["loss_best"])
    _restore(phase.accuracy_best, *saved["accuracy_best"])
    mean, weight = map(_number, saved["ewma"])
    if mean is None or weight is None or not (math.isfinite(mean) and 0 <= weight <= 1):
        raise TypeError("'ewma'")
    phase.ewma.mean, phase.ewma.weight = mean, weight
    return phase


def _restore(best: Best, value: Any, epoch: Any) -> None:
    best.value = _number(value)
    best.epoch = None if epoch is None else _count(epoch)


def _number(value: Any) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise TypeError(f"number {value!r}")
    return None if value is None else float(value)


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"count {value!r}")
    return value
