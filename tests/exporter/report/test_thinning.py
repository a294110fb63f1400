"""A curve stays within bounds and keeps its shape."""

import math
import random

import pytest

from epochwatch.report.record import Extreme, Point
from epochwatch.report.thinning import GrowingCurve, thin


def points(values: list[float]) -> list[Point]:
    """Gives values as points of an epoch each."""
    return [Point(10 * place, place + 1, value) for place, value in enumerate(values)]


@pytest.mark.parametrize("count", [1, 2, 9, 10, 11, 100, 1001])
def test_at_most_so_many_points_stay_in_their_order(count: int) -> None:
    """First and last, lowest and highest stay; what is few enough stays as it is."""
    generator = random.Random(count)
    whole = points([generator.gauss(0, 1) for _ in range(count)])
    kept = thin(whole, 10)
    assert len(kept) <= 10
    assert (kept[0], kept[-1]) == (whole[0], whole[-1])
    assert kept == sorted(kept, key=lambda point: point.step)
    assert min(point.value for point in kept) == min(point.value for point in whole)
    assert max(point.value for point in kept) == max(point.value for point in whole)
    assert set(kept) <= set(whole)
    if count <= 10:
        assert kept == whole


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_a_lone_value_that_is_not_finite_stays(odd: float) -> None:
    """One NaN or infinity among a thousand values is still there, and costs no extreme."""
    values = [math.sin(place / 30) for place in range(1000)]
    values[437] = odd
    kept = [point.value for point in thin(points(values), 20)]
    assert any(repr(value) == repr(odd) for value in kept)
    assert min(filter(math.isfinite, kept)) == min(filter(math.isfinite, values))
    assert max(filter(math.isfinite, kept)) == max(filter(math.isfinite, values))


def test_a_growing_curve_is_bounded_and_knows_all_its_extremes() -> None:
    """However long a run is, its curve has a bounded number of points and the true best with its epoch."""
    curve = GrowingCurve("validation", "loss", limit=50)
    for place in range(10_000):
        curve.add(Point(place, place + 1, -5.0 if place == 7777 else 1 / (place + 1)))
        assert len(curve.so_far().points) < 100
    curve.finish()
    kept = curve.so_far()
    assert len(kept.points) <= 50
    assert kept.best("min") == Extreme(-5.0, 7778)
    assert kept.best("max") == Extreme(1.0, 1)
    assert kept.final == 1 / 10_000


def test_only_what_the_store_lacks_is_unsaved() -> None:
    """Points that were saved are not given again, unless thinning has replaced them."""
    curve = GrowingCurve("train", "loss", limit=5)
    curve.add(Point(1, 1, 1.0))
    assert curve.unsaved == (True, [Point(1, 1, 1.0)])
    curve.saved(1)
    curve.add(Point(2, 2, 0.5))
    assert curve.unsaved == (False, [Point(2, 2, 0.5)])
    for step in range(3, 11):
        curve.add(Point(step, step, 1 / step))
    from_scratch, left = curve.unsaved
    assert from_scratch
    assert len(left) <= 5


def test_a_curve_without_a_finite_value_has_no_best() -> None:
    """NaN alone is a curve whose best nobody knows."""
    curve = GrowingCurve("validation", "loss")
    curve.add(Point(1, 1, math.nan))
    told = curve.so_far()
    assert (told.best("min"), told.best("max")) == (None, None)
    assert math.isnan(told.final)
