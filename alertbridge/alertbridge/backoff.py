"""How long to wait before the next attempt. Pure: chance comes in as an argument."""

from __future__ import annotations

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 60.0


def delay_seconds(failures: int, chance: float, longest_seconds: float = LONGEST_SECONDS) -> float:
    """Takes how often it failed in a row (1 or more) and a number in [0, 1), gives the seconds to wait.

    The wait doubles from 1 s to the longest; the chance spreads it over half to one and a half of that, so that many
    bridges do not come back at the same moment.
    """
    step = min(longest_seconds, FIRST_SECONDS * 2.0 ** (min(failures, 30) - 1))
    return step * (0.5 + chance)
