"""The curve: what is asked of Prometheus, how its answer is read, and how it is drawn."""

from __future__ import annotations

import json
import math
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alertbridge.curve import BARS, GAP, WIDTH, Curve, curve_query, parse_answer, sparkline
from alertbridge.webhook import Notification

NAN = float("nan")
INF = float("inf")


def about(labels: dict[str, str], status: str = "firing") -> Notification:
    """Takes labels, gives a notification of one alert with them."""
    alert = {"status": status, "labels": labels, "starts_at": datetime(2026, 11, 22, tzinfo=timezone.utc)}
    return Notification.model_validate(
        {"version": "4", "status": status, "alerts": [alert], "group_key": "g", "common_labels": labels}
    )


def answer(*series: tuple[dict[str, str], list[tuple[float, str]]]) -> bytes:
    """Gives what Prometheus answers to a range vector."""
    result = [{"metric": metric, "values": values} for metric, values in series]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}).encode()


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ((), ""),
        ((1.0,), BARS[3]),
        ((1.0, 1.0, 1.0), BARS[3] * 3),
        ((1.0, 2.0, 3.0), "▁▃▇"),
        ((3.0, 2.0, 1.0), "▇▃▁"),
        ((-3.0, -2.0, -1.0), "▁▃▇"),
        ((1.0, NAN, 2.0, INF, -INF), "▁·▇··"),
        ((NAN, NAN), "··"),
        ((1000.0, 100.0, 10.0, 1.0), "▇▅▃▁"),
        ((5e-324, 0.0), BARS[3] * 2),
        ((-1.7e308, 1.7e308), "▁▇"),
    ],
)
def test_values_become_bars(values: tuple[float, ...], bars: str) -> None:
    """The lowest value is the lowest bar, what is not finite is a gap, a wide span is logarithmic."""
    assert sparkline(values) == bars


@given(st.lists(st.floats(), max_size=200), st.integers(1, 40))
def test_any_values_give_at_most_width_bars(values: list[float], width: int) -> None:
    """Whatever the values are, there are bars and gaps, never more than asked for."""
    bars = sparkline(values, width)

    assert len(bars) == min(len(values), width)
    assert set(bars) <= {*BARS, GAP}


def test_a_single_nan_among_many_values_stays_visible() -> None:
    """When several values share a bar, one that is not finite makes it a gap."""
    assert sparkline([1.0] * 50 + [NAN] + [1.0] * 49, 10) == BARS[3] * 5 + GAP + BARS[3] * 4


def test_a_validation_curve_shows_its_last_epochs_and_a_training_curve_all() -> None:
    """Epochs have a bar each, so the old ones go; a loss that changes all the time is averaged instead."""
    values = tuple(float(value) for value in range(100, 0, -1))

    assert Curve("validation", values).shown == values[-WIDTH:]
    assert Curve("train", values).shown == values
    assert len(Curve("train", values).bars()) == WIDTH


def test_the_best_value_is_the_lowest_finite_one() -> None:
    """NaN and -Inf are never the best; without a finite value there is none."""
    assert Curve("train", (3.0, NAN, 2.0, -INF)).best == 2.0
    assert Curve("train", (NAN,)).best is None


@pytest.mark.parametrize(
    ("labels", "query"),
    [
        ({"run": "r0"}, 'training_loss{run="r0",phase=~"validation|train"}[1d]'),
        ({"run": "r0", "phase": "train"}, 'training_loss{run="r0",phase="train"}[1d]'),
        ({"run": "r0", "phase": "x"}, 'training_loss{run="r0",phase=~"validation|train"}[1d]'),
        ({"run": "r0", "rank": "3"}, 'training_loss{run="r0",phase=~"validation|train",rank="3"}[1d]'),
        ({"run": 'a"} or up{b="'}, 'training_loss{run="a\\"} or up{b=\\"",phase=~"validation|train"}[1d]'),
        ({"run": "a\n\\"}, 'training_loss{run="a\\n\\\\",phase=~"validation|train"}[1d]'),
        ({"run": ""}, None),
        ({"job": "node"}, None),
    ],
)
def test_the_query_asks_for_one_run_and_cannot_be_broken_out_of(
    labels: dict[str, str], query: str | None
) -> None:
    """A run's name is quoted; what is about no run is not asked for."""
    assert curve_query(about(labels)) == query


def test_nothing_is_asked_for_what_is_over() -> None:
    """A resolved notification is short and has no curve."""
    assert curve_query(about({"run": "r0"}, status="resolved")) is None


def test_repeated_scrapes_of_one_epoch_are_one_value() -> None:
    """A gauge that stands still between epochs gives one value an epoch; NaN is kept, once."""
    samples = [(1.0, "3"), (2.0, "3"), (3.0, "2"), (4.0, "NaN"), (5.0, "NaN"), (6.0, "+Inf"), (7.0, "2")]

    curve = parse_answer(answer(({"phase": "validation"}, samples)))

    assert curve is not None
    assert curve.phase == "validation"
    assert [repr(value) for value in curve.values] == ["3.0", "2.0", "nan", "inf", "2.0"]


def test_the_validation_loss_goes_before_the_training_loss() -> None:
    """A run that has both is judged by its validation loss; one without it by its training loss."""
    train = ({"phase": "train"}, [(1.0, "9"), (2.0, "8")])
    validation = ({"phase": "validation"}, [(1.0, "7"), (2.0, "6")])

    assert parse_answer(answer(train, validation)) == Curve("validation", (7.0, 6.0))
    assert parse_answer(answer(train)) == Curve("train", (9.0, 8.0))


def test_a_restarted_run_is_one_curve_of_its_lowest_rank() -> None:
    """The processes of one rank follow each other; other ranks do not come in between."""
    first = ({"phase": "validation", "rank": "2", "instance": "a"}, [(1.0, "9"), (3.0, "8")])
    second = ({"phase": "validation", "rank": "2", "instance": "b"}, [(9.0, "7"), (8.0, "7.5")])
    other = ({"phase": "validation", "rank": "10", "instance": "c"}, [(2.0, "1"), (4.0, "1.5")])

    assert parse_answer(answer(other, second, first)) == Curve("validation", (9.0, 8.0, 7.5, 7.0))


@pytest.mark.parametrize("samples", [[], [(1.0, "3")], [(1.0, "3"), (2.0, "3")]])
def test_a_single_value_is_no_curve(samples: list[tuple[float, str]]) -> None:
    """Before the second epoch there is nothing to draw."""
    assert parse_answer(answer(({"phase": "validation"}, samples))) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"data": null}',
        b'{"data": {"result": 3}}',
        b'{"data": {"result": [3]}}',
        b'{"data": {"result": [{"metric": {"phase": "train"}, "values": [["x", "y"]]}]}}',
        b'{"data": {"result": [{"metric": {"phase": "train"}, "values": [[1]]}]}}',
        b'{"data": {"result": [{"metric": {"phase": "train"}, "values": [[1, null]]}]}}',
    ],
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    """Whatever else comes back is a ValueError, never another exception."""
    with pytest.raises(ValueError, match=r"."):
        parse_answer(body)


KEYS = st.sampled_from(["data", "result", "metric", "values", "phase"])
JSON = st.recursive(
    st.none() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner),
)


@given(JSON)
def test_no_json_raises_anything_else(value: Any) -> None:
    """Any JSON is either a curve, no curve or a ValueError."""
    try:
        curve = parse_answer(json.dumps(value).encode())
    except ValueError:
        return
    assert curve is None or all(isinstance(value, float) or math.isnan(value) for value in curve.values)
