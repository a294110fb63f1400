"""The wait before the next attempt."""

from __future__ import annotations

import pytest

from alertbridge.backoff import delay_seconds


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (100, 60), (10**6, 60)]
)
def test_it_doubles_up_to_a_minute(failures: int, seconds: float) -> None:
    """The middle of the range doubles from one second to sixty."""
    assert delay_seconds(failures, 0.5) == seconds


def test_chance_spreads_it_by_half_both_ways() -> None:
    """The wait lies between half and one and a half of the middle."""
    assert delay_seconds(3, 0.0) == 2
    assert delay_seconds(3, 0.999) == pytest.approx(6, abs=0.01)
