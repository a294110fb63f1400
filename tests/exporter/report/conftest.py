"""Histories with runs in them, for the tests of comparisons and reports."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from epochwatch.cli import main
from epochwatch.report.record import Facts, Head, Point, Raised
from epochwatch.report.store import History
from epochwatch.report.thinning import GrowingCurve

Curves = Mapping[str, Sequence[float]]
BEGAN = 1_795_000_000.0
HOUR = 3600.0


def curves(values: Curves) -> list[GrowingCurve]:
    """Gives a curve for each phase/metric, a value an epoch and ten steps an epoch."""
    grown = []
    for key, told in values.items():
        phase, _, metric = key.partition("/")
        curve = GrowingCurve(phase, metric)
        for epoch, value in enumerate(told, 1):
            curve.add(Point(10 * epoch, epoch, value))
        grown.append(curve)
    return grown


@pytest.fixture
def history(tmp_path: Path) -> History:
    """A history in a directory that is not there yet."""
    return History(tmp_path / "runs")


@pytest.fixture
def keep(history: History) -> Callable[..., str]:
    """Puts finished runs, an hour apart, into the history and gives their ids."""
    kept = 0

    def put(
        name: str = "digits",
        values: Curves | None = None,
        *,
        run_id: str = "",
        state: str = "finished",
        monitor: str = "validation/accuracy",
        mode: str = "max",
        facts: Facts | None = None,
        raised: Sequence[Raised] = (),
        planned: int | None = None,
    ) -> str:
        nonlocal kept
        kept += 1
        told = {"validation/accuracy": [0.5, 0.9, 0.8]} if values is None else values
        began = BEGAN + kept * HOUR
        epochs = max(map(len, told.values()), default=0)
        head = Head(
            run_id=run_id or f"{kept:012x}",
            name=name,
            state=state,
            started_at=began,
            seen_at=began + 600,
            ended_at=began + 600 if state in ("finished", "failed", "interrupted") else None,
            epochs=epochs,
            planned_epochs=planned,
            steps=10 * epochs,
            monitor=monitor,
            mode=mode,
        )
        history.put(head, facts or Facts(), curves(told), raised)
        return head.run_id

    return put


@pytest.fixture
def command(history: History) -> Callable[..., Result]:
    """Calls `epochwatch` on the history."""

    def call(*arguments: str, **environment: str) -> Result:
        env = {"EPOCHWATCH_HISTORY": str(history.directory), **environment}
        return CliRunner().invoke(main, list(arguments), env=env)

    return call


def same(one: float, other: float) -> bool:
    """Tells whether two values are the same, NaN included."""
    return one == other or (math.isnan(one) and math.isnan(other))
