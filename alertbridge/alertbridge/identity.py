"""Tells apart what is new, what is the same webhook once more, and what comes too late. Pure.

Alertmanager pairs send everything twice, a lost answer makes one Alertmanager send again, and a pair may send
"firing" after the other one has sent "resolved" (seen in 3 of 3 runs with group_interval below 15 s). None of
that is to be told. A repeat after repeat_interval and an alert that fires anew are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from alertbridge.webhook import Alert, Notification

# Alertmanager retries after 0.5 s and at most 60 s later; nobody repeats within a minute on purpose ...
RETRY_SECONDS = 60.0
# ... and 0.32 and newer say so when they do.
RETRY_OF_REPEAT_SECONDS = 5.0
REPEAT_REASON = "repeat interval elapsed"
# The members of a pair wait up to 15 s for each other, and flush once more after that.
PAIR_SECONDS = 300.0
STALE_SECONDS = 300.0
# Two behind one address may look like one. Later than this, one that has said "resolved" means what it says.
OWN_STALE_SECONDS = 30.0


@dataclass(frozen=True)
class Copy:
    """When one Alertmanager last sent a telling, and when a copy from it was last accepted as new."""

    source: str
    sent_at: float
    accepted_at: float | None


def is_duplicate(copies: Iterable[Copy], source: str, now: float, says_repeat: bool = False) -> bool:
    """Takes earlier copies of the same telling, gives whether the one that `source` sends now is no news.

    The first copy from another Alertmanager of what was told already is a duplicate, and so is one that
    follows the same Alertmanager's last copy as fast as only a retry does. Else it is a repeat.
    """
    copies = list(copies)
    told = [copy.accepted_at for copy in copies if copy.accepted_at is not None]
    if not told:
        return False
    own = next((copy.sent_at for copy in copies if copy.source == source), None)
    if own is not None and own >= max(told):
        return now - own < (RETRY_OF_REPEAT_SECONDS if says_repeat else RETRY_SECONDS)
    return now - max(told) < PAIR_SECONDS


def is_stale(ends: Mapping[str, float], source: str, now: float) -> bool:
    """Takes when each Alertmanager told the end of an alert, gives whether `source` says too late that it fires.

    An Alertmanager that has told the end itself and says later that the same alert fires is right: it had lost
    sight of Prometheus, took the alert for over, and hears of it again, with the same startsAt.
    """
    own = ends.get(source)
    if own is not None:
        return now - own < OWN_STALE_SECONDS
    return any(now - ended_at < STALE_SECONDS for ended_at in ends.values())


def telling_key(receiver: str, notification: Notification) -> str:
    """Gives the same text for the same alerts in the same states, told to the same receiver."""
    alerts = sorted(f"{alert.identity} {alert.status}" for alert in notification.alerts)
    return _digest(receiver, notification.group_key, *alerts)


def alert_key(receiver: str, alert: Alert) -> str:
    """Gives the same text for one occurrence of an alert at one receiver, firing or resolved."""
    return _digest(receiver, alert.identity)


def group_hash(notification: Notification) -> str:
    """Gives a short name for the alert group. Alertmanager's own has no bound and may hold any character."""
    return _digest(notification.group_key)


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\x00".join(parts).encode(), digest_size=16).hexdigest()
