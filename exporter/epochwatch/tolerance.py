"""How much worse a value may be before it counts as worse: absolute, or relative to what it is held against."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_WRITTEN = re.compile(r"(?P<number>([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?)\s*(?P<percent>%?)")


@dataclass(frozen=True)
class Tolerance:
    """A distance; `relative` ones are a share of the magnitude they are held against.

    Attributes:
        amount: Of at least 0; a share (0.005 for half a percent) if it is relative.
    """

    amount: float
    relative: bool = False

    def margin(self, reference: float) -> float:
        """Gives the distance from `reference` in its own unit; by its magnitude, as values may be below zero."""
        return self.amount * abs(reference) if self.relative else self.amount

    def __str__(self) -> str:
        return f"{self.amount * 100:.6g}%" if self.relative else f"{self.amount:g}"


def parse(text: str) -> Tolerance:
    """Takes "0.5%" or "0.005" and gives what it means.

    Raises:
        ValueError: If it is neither, or not finite.
    """
    written = _WRITTEN.fullmatch(text.strip())
    amount = float(written["number"]) if written else math.inf
    if written is None or not math.isfinite(amount):
        raise ValueError('must be a share as in "0.5%" or a distance as in "0.005", not below 0')
    return Tolerance(amount / 100, relative=True) if written["percent"] else Tolerance(amount)
