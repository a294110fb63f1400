"""Tells apart what is new, what is the same webhook once more, and what comes too late. Pure.

Alertmanager pairs send everything twice, a lost answer makes one Alertmanager send again, and a pair may send
"firing" after the other one has sent "resolved" (seen in 3 of 3 runs with group_interval below 15 s). None of
that is to be told. A repeat after repeat_interval and an alert that fires anew are.

The body of a retry is that of a repeat to the last byte (tried with 0.25 and 0.28; from 0.32 on it gives its reason),
so that only what came before and the time can tell. In doubt it is told: once too often is better than never.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from alertbridge.webhook import Alert, Notification

REPEAT_REASON = "repeat interval elapsed"
# Nobody repeats within a minute on purpose, and an Alertmanager that has just begun to fail retries within seconds.
RETRY_SECONDS = 60.0
# One that has failed for minutes pauses for 60 s, half of that more or less by chance.
# Source: cenkalti/backoff's defaults, which Alertmanager's RetryStage uses.
LONGEST_PAUSE_SECONDS = 95.0
# However often the answer gets lost, by then it is told again.
CHAIN_SECONDS = 180.0
# How long an Alertmanager that gives its reasons is believed that it sends the same thing for the first time.
FIRST_SECONDS = 3600.0
# The members of a pair flush in their own time: up to a group_interval (5 m by default) and 15 s apart.
PAIR_SECONDS = 330.0
STALE_SECONDS = 300.0
# Two behind one address may look like one, and wait 15 s for each other. Later than this, one that has said
# "resolved" means what it says.
OWN_STALE_SECONDS = 20.0
# What was noted further in the future than this is of a clock that has been set back since, and proves nothing.
SKEW_SECONDS = 5.0
# Between the commit of a webhook and its answer.
ANSWER_SECONDS = 5.0


@dataclass(frozen=True)
class Copy:
    """A telling as one Alertmanager last sent it.

    Attributes:
        telling: its key, of the alerts and their states.
        accepted_at: when it was last taken as news, if it was.
        repeated: whether it said of itself then that it was a repeat.
    """

    telling: str
    source: str
    sent_at: float
    accepted_at: float | None
    repeated: bool = False

    @property
    def newest_at(self) -> float:
        return max(self.sent_at, self.accepted_at or 0.0)


@dataclass(frozen=True)
class Sending:
    """A telling that comes in now. `says_repeat` is None if this Alertmanager gives no reasons."""

    telling: str
    source: str
    at: float
    says_repeat: bool | None = None


@dataclass(frozen=True)
class Absence:
    """From its last sign of life to its start the bridge may have taken something without answering."""

    since: float
    until: float

    def follows(self, at: float) -> bool:
        """Takes when something was accepted, gives whether its answer may have been lost in this absence."""
        return self.since - ANSWER_SECONDS <= at < self.until


def is_duplicate(copies: Iterable[Copy], sending: Sending, absence: Absence | None = None) -> bool:
    """Takes what was sent of an alert group, gives whether what is sent of it now is no news.

    The first copy from another Alertmanager of what was told already is a duplicate. So is a retry: the same as the
    last that this Alertmanager said of the group, as soon after it as only a retry comes.
    """
    copies = [copy for copy in copies if copy.newest_at <= sending.at + SKEW_SECONDS]
    told = max(
        (copy for copy in copies if copy.telling == sending.telling and copy.accepted_at is not None),
        key=_accepted_at,
        default=None,
    )
    if told is None or (sending.says_repeat and not told.repeated):
        # Whoever says that it repeats has had an answer to the first.
        return False
    own = [copy for copy in copies if copy.source == sending.source]
    same = next((copy for copy in own if copy.telling == sending.telling), None)
    if same is None or same.sent_at < _accepted_at(told):
        return sending.at - _accepted_at(told) < PAIR_SECONDS
    if any(copy.sent_at > same.sent_at for copy in own):
        return False
    if sending.says_repeat is False:
        return sending.at - _accepted_at(told) < FIRST_SECONDS
    return _is_retry(_accepted_at(told), same.sent_at, sending.at, absence)


def _is_retry(told_at: float, last_sent_at: float, at: float, absence: Absence | None) -> bool:
    """Gives whether the same follows fast enough; a time in which nobody could answer does not count."""
    longest_pause = RETRY_SECONDS
    if absence is not None and absence.follows(told_at):
        told_at = absence.until
        longest_pause = LONGEST_PAUSE_SECONDS if last_sent_at < absence.until else RETRY_SECONDS
    return at - max(told_at, last_sent_at) < longest_pause and at - told_at < CHAIN_SECONDS


def _accepted_at(copy: Copy) -> float:
    return copy.accepted_at or 0.0


def is_stale(ends: Mapping[str, float], source: str, now: float) -> bool:
    """Takes when each Alertmanager told the end of an alert, gives whether `source` says too late that it fires.

    An Alertmanager that has told the end itself and says later that the same alert fires is right: it had lost
    sight of Prometheus, took the alert for over, and hears of it again, with the same startsAt.
    """
    ends = {teller: at for teller, at in ends.items() if at <= now + SKEW_SECONDS}
    own = ends.get(source)
    if own is not None:
        return now - own < OWN_STALE_SECONDS
    return any(now - ended_at < STALE_SECONDS for ended_at in ends.values())


def telling_key(receiver: str, notification: Notification) -> str:
    """Gives the same text for the same alerts in the same states, told to the same receiver.

    Of those that max_alerts leaves out there is only their number: when it changes, that is news too.
    """
    alerts = sorted(f"{alert.identity} {alert.status}" for alert in notification.alerts)
    left_out = [f"and {notification.truncated_alerts} more"] if notification.truncated_alerts else []
    return _digest(receiver, notification.group_key, *alerts, *left_out)


def group_key(receiver: str, notification: Notification) -> str:
    """Gives the same text for all that is told of one alert group to one receiver."""
    return _digest(receiver, notification.group_key)


def alert_key(receiver: str, alert: Alert) -> str:
    """Gives the same text for one occurrence of an alert at one receiver, firing or resolved."""
    return _digest(receiver, alert.identity)


def group_hash(notification: Notification) -> str:
    """Gives a short name for the alert group. Alertmanager's own has no bound and may hold any character."""
    return _digest(notification.group_key)


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\x00".join(parts).encode(), digest_size=16).hexdigest()
