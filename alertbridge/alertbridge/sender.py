"""Tells one receiver's notifications, one message after the other: claim, render, send, settle.

The loop is `step(now)`, which does at most one message and says when it wants to be called again. `worker` has the
thread that does so; tests call it with a clock of their own.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from alertbridge.errors import StoreError
from alertbridge.message import Message
from alertbridge.metrics import Metrics
from alertbridge.outbox.claim import Claim, Wait
from alertbridge.outbox.outbox import Outbox
from alertbridge.outbox.robotstate import RobotPlan
from alertbridge.outbox.settle import Attempt, Settled
from alertbridge.robots.outcome import Delivered, Later, Limited, Never, Outcome, Robot
from alertbridge.secret import mask

log = logging.getLogger(__name__)

QUOTA_WARNING = 0.8
# How long a critical alert may have to wait for a look, while ordinary ones are held back.
REST_SECONDS = 0.25


@dataclass(frozen=True)
class Member:
    """One of a receiver's robots: the client, how the outbox knows it, and how long it is left alone at most."""

    robot: Robot
    plan: RobotPlan
    lock_seconds: float
    longest_pause_seconds: float = 3600.0


@dataclass(frozen=True)
class _Attempted:
    """How an attempt ended and when, which the outbox is to know before its lease is over."""

    claim: Claim
    member: Member
    outcome: Outcome
    attempt: Attempt
    at: float
    lease_until: float


class Sender:
    """Takes a receiver's robots and the outbox, tells what waits.

    Args:
        members: by the outbox's name of each robot.
        tell: makes the message for a claim and its webhooks, as the robot can take it.
        fallback: the receiver that is told what these robots refuse.
        told: called with the name of a receiver whose outbox got something new.
        clock: seconds since the epoch.
        chance: gives numbers in [0, 1), to spread retries.
    """

    def __init__(
        self,
        receiver: str,
        members: Mapping[str, Member],
        outbox: Outbox,
        tell: Callable[[Claim, Iterable[str], Robot], Message],
        metrics: Metrics,
        *,
        fallback: str | None,
        told: Callable[[str], None],
        clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self.receiver = receiver
        self._members = members
        self._outbox = outbox
        self._tell = tell
        self._metrics = metrics
        self._fallback = fallback
        self._told = told
        self._clock = clock
        self._chance = chance
        self._resting_until = 0.0
        self._kept: _Attempted | None = None

    def step(self, now: float) -> float | None:
        """Sends one message if one may be sent now; gives the seconds to wait, or None to wait for news.

        Raises:
            StoreError: the outbox cannot be used now; nothing is lost.
        """
        kept = self._kept
        if kept is not None:
            try:
                return self._settle(kept)
            except StoreError:
                # Beyond the lease it is kept only while the store can do nothing else either.
                if now < kept.lease_until:
                    raise
        # Longer than that it rests only by a clock that has been set back.
        if 0 < self._resting_until - now <= REST_SECONDS:
            return self._resting_until - now
        claim = self._outbox.claim(self.receiver, [member.plan for member in self._members.values()], now)
        if kept is not None:
            self._kept = None
            log.error(
                "receiver %s: what became of message %s cannot be written down; it may be told twice",
                self.receiver,
                kept.claim.uuid,
            )
        if isinstance(claim, Wait):
            return self._rest(claim, now)
        return self._settle(self._attempted(claim, now))

    def _rest(self, wait: Wait, now: float) -> float | None:
        if wait.until is None:
            return None
        # No robot can be called now, so a flood of webhooks is not to cause a look at the backlog for each.
        self._resting_until = min(wait.until, now + REST_SECONDS)
        return max(0.0, wait.until - now)

    def _attempted(self, claim: Claim, now: float) -> _Attempted:
        member = self._members[claim.robot]
        more_calls: list[int] = []
        outcome = self._send(claim, member, more_calls)
        at = self._clock()
        attempt = replace(self._attempt(outcome, member, at), more_calls=tuple(more_calls))
        return _Attempted(claim, member, outcome, attempt, at, now + self._outbox.lease_seconds)

    def _settle(self, made: _Attempted) -> float:
        """Writes down how an attempt ended, or keeps it while the store cannot be used, lest it be made again."""
        self._kept = None
        try:
            settled = self._outbox.settle(
                made.claim, made.attempt, made.at, others=frozenset(self._members), fallback=self._fallback
            )
        except StoreError:
            self._kept = made
            raise
        self._count(made.claim, made.member, made.outcome, settled, made.at)
        calls = 1 + len(made.attempt.more_calls)
        self._watch_quota(made.member, settled.month_calls - calls, settled.month_calls)
        if settled.fallback:
            self._told(settled.fallback)
        return 0.0

    def _send(self, claim: Claim, member: Member, more_calls: list[int]) -> Outcome:
        def again() -> bool:
            call = self._outbox.reserve(member.plan, self._clock())
            more_calls.extend([] if call is None else [call])
            return call is not None

        try:
            message = self._tell(claim, self._outbox.bodies(claim), member.robot)
            return member.robot.send(message, again=again)
        except StoreError as error:
            return Later(reason=str(error), errcode="internal")
        except Exception as error:
            # A defect of ours must not stop the receiver; the message stays and is tried again.
            log.exception("receiver %s: message %s could not be sent", self.receiver, claim.uuid)
            return Later(
                reason=mask(f"internal error: {type(error).__name__}: {error}"),
                errcode="internal",
                doubtful=True,
            )

    def _attempt(self, outcome: Outcome, member: Member, now: float) -> Attempt:
        month = member.plan.month(now)
        if isinstance(outcome, Delivered):
            return Attempt("delivered", outcome.errcode, month=month)
        errcode, reason = outcome.errcode or "none", mask(outcome.reason)
        if isinstance(outcome, Later):
            pause = min(outcome.pause_seconds or 0.0, member.longest_pause_seconds)
            return Attempt(
                "later",
                errcode,
                reason,
                pause_seconds=pause,
                month=month,
                chance=self._chance(),
                unanswered=outcome.unanswered,
                doubtful=outcome.doubtful,
            )
        if isinstance(outcome, Limited):
            pause = member.lock_seconds if outcome.pause_seconds is None else outcome.pause_seconds
            return Attempt(
                "limited", errcode, reason, pause_seconds=pause, month=month, chance=self._chance()
            )
        return Attempt("never", errcode, reason, month=month)

    def _count(
        self, claim: Claim, member: Member, outcome: Outcome, settled: Settled, answered_at: float
    ) -> None:
        channel = member.robot.channel
        if isinstance(outcome, Delivered):
            self._metrics.messages.labels(self.receiver, channel, "delivered").inc()
            for received_at in claim.received_at:
                self._metrics.delivery.observe(max(0.0, answered_at - received_at))
            return
        self._metrics.errors.labels(self.receiver, outcome.errcode or "none").inc()
        kind = {Later: "later", Limited: "limited", Never: "refused"}[type(outcome)]
        if settled.state == "dead":
            self._metrics.messages.labels(self.receiver, channel, "dead").inc()
            rest = f"receiver {settled.fallback} tells it" if settled.fallback else "it is a dead letter"
            reason = mask(outcome.reason)
            log.error(
                "receiver %s, robot %s: given up: %s; %s", self.receiver, member.robot.name, reason, rest
            )
        else:
            self._metrics.messages.labels(self.receiver, channel, kind).inc()
            log.warning(
                "receiver %s, robot %s: attempt %d: %s: %s",
                self.receiver,
                member.robot.name,
                claim.attempt,
                kind,
                mask(outcome.reason),
            )

    def _watch_quota(self, member: Member, before: int, month_calls: int) -> None:
        quota = member.plan.monthly
        # The store counts under a lock, so exactly one attempt of all replicas crosses each mark.
        if any(before < mark <= month_calls for mark in (math.ceil(quota * QUOTA_WARNING), quota)):
            log.warning(
                "receiver %s, robot %s: %d of the month's %d messages are used",
                self.receiver,
                member.robot.name,
                month_calls,
                quota,
            )
