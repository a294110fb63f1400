"""What became of telling an event once, as a value, and what every way to tell one can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from .events import Event


@dataclass(frozen=True)
class Told:
    """The other side has taken it."""


@dataclass(frozen=True)
class Later:
    """It did not work now and may work later, not before `pause_seconds` have passed if that is given."""

    reason: str
    pause_seconds: float = 0.0


@dataclass(frozen=True)
class Refused:
    """It will not be taken, however often it is sent."""

    reason: str


Outcome: TypeAlias = Told | Later | Refused


class Channel(Protocol):
    """A way to tell events. Used from one thread only; holds no secret in its name.

    Attributes:
        spacing_seconds: How long to leave between two events, unless one is urgent.
        merges: Whether what several ranks of a job tell alike is shown once.
    """

    name: str
    spacing_seconds: float
    merges: bool

    def tell(self, event: Event) -> Outcome:
        """Tells an event; blocks for a bounded time and does not raise for whatever the other side does."""

    def retire(self, before: float) -> None:
        """Takes back what earlier runs of the same name told before a time (seconds since the epoch)."""

    def close(self) -> None:
        """Closes its connections."""
