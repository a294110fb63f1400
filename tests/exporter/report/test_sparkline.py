"""A curve as bars for a phone."""

import math

import pytest

from epochwatch.report.sparkline import WIDTH, sparkline


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([], ""),
        ([5.0], "▅"),
        ([2.0, 2.0], "▅▅"),
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], "▁▂▃▅▆▇"),
        ([-3.0, -1.0], "▁▇"),
        ([1.0, math.nan, 2.0, math.inf], "▁·▇·"),
        ([math.nan, math.nan], "··"),
        ([1e308, -1e308], "▇▁"),
    ],
)
def test_a_value_is_a_bar(values: list[float], bars: str) -> None:
    """The lowest and the highest span the bars; what is not finite is a gap."""
    assert sparkline(values) == bars


def test_many_values_are_as_many_bars_as_fit() -> None:
    """A peak among many values is still seen, and so is a lone NaN."""
    values = [0.5] * 60
    values[2] = 0.9
    values[40] = math.nan
    bars = sparkline(values)
    assert len(bars) == WIDTH
    assert bars.startswith("▇▁▁")
    assert bars.count("·") == 1
