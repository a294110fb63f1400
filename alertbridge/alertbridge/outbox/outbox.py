"""The outbox: what was accepted stays here until a robot has shown it.

Verbs: `put` (webhook in, durable before it returns), `claim` (next message out, leased), `settle` (how it
ended).
"""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO

from alertbridge.errors import StoreError, StoreUnavailable
from alertbridge.identity import Absence
from alertbridge.outbox import claim as claiming
from alertbridge.outbox import heartbeat, upkeep
from alertbridge.outbox import put as putting
from alertbridge.outbox import settle as settling
from alertbridge.outbox.arrival import Arrival
from alertbridge.outbox.claim import Claim, Wait
from alertbridge.outbox.database import Database
from alertbridge.outbox.put import Verdict
from alertbridge.outbox.robotstate import RobotPlan, RobotState, robot_states
from alertbridge.outbox.settle import Attempt, Settled

LEASE_SECONDS = 90.0
HORIZON_SECONDS = 86_400.0
# Alertmanager tries again at least once a minute, so a store that stays full is noticed again in time.
REFUSED_SECONDS = 60.0
# How long a webhook waits for those before it. Alertmanager comes again with what was not stored.
TURN_SECONDS = 15.0
# A store that took longer to fail is itself the reason, and not one of the webhooks.
DOUBT_SECONDS = 3.0


@dataclass(eq=False)
class _Ticket:
    arrival: Arrival
    verdict: Verdict = "stored"
    done: bool = False
    error: StoreError | None = None


@dataclass
class _Pending:
    tickets: list[_Ticket] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, ticket: _Ticket) -> None:
        with self.lock:
            self.tickets.append(ticket)

    def withdraw(self, ticket: _Ticket) -> None:
        with self.lock:
            if ticket in self.tickets:
                self.tickets.remove(ticket)

    def take_all(self) -> list[_Ticket]:
        with self.lock:
            taken, self.tickets = self.tickets, []
            return taken


class Outbox:
    """Takes a database, gives the verbs; safe to use from many threads and processes.

    Args:
        lease_seconds: how long an attempt may take before another may begin; above any robot's time-out.
        horizon_seconds: how long after its first attempt a message is tried again.
        turn_seconds: how long a webhook waits for those before it.
    """

    def __init__(
        self,
        database: Database,
        *,
        lease_seconds: float = LEASE_SECONDS,
        horizon_seconds: float = HORIZON_SECONDS,
        turn_seconds: float = TURN_SECONDS,
    ) -> None:
        self.database = database
        self.lease_seconds = lease_seconds
        self.horizon_seconds = horizon_seconds
        self._turn_seconds = turn_seconds
        self._pending = _Pending()
        self._committing = threading.Lock()
        self._alone: IO[bytes] | None = None
        self._absence: Absence | None = None
        self._refused: tuple[float, StoreError] | None = None

    def open(self, now: float | None = None) -> int:
        """Makes the store ready; gives how many messages a crashed process had left in the middle.

        Args:
            now: seconds since the epoch; by this machine's clock if absent.

        Raises:
            StoreError: it cannot be used; StoreTooNew, StoreCorrupt say why for good.
        """
        self.database.open()
        now = time.time() if now is None else now
        with self.database.read() as connection:
            alive_at = heartbeat.last_alive(connection)
        self._absence = None if alive_at is None else Absence(alive_at, now)
        if not self._is_alone():
            return 0
        with self.database.write() as connection:
            return upkeep.release_leases(connection, now)

    def close(self) -> None:
        self.database.close()
        if self._alone is not None:
            self._alone.close()
            self._alone = None

    def put(self, arrival: Arrival) -> Verdict:
        """Takes a webhook, gives what became of it once that is on disk.

        Webhooks that come while another one is being committed share the next commit: the first of them
        to get the turn commits for all.

        Raises:
            StoreError: it is not stored.
        """
        ticket = _Ticket(arrival)
        self._pending.add(ticket)
        if not self._committing.acquire(timeout=self._turn_seconds):
            self._pending.withdraw(ticket)
            reason = f"the outbox has not stored the webhooks of {self._turn_seconds:g} s ago yet"
            raise self._refuse(arrival, StoreUnavailable(reason, outside=reason))
        try:
            if not ticket.done:
                self._commit(self._pending.take_all())
        finally:
            self._committing.release()
        if ticket.error is not None:
            raise ticket.error
        return ticket.verdict

    def _refuse(self, arrival: Arrival, error: StoreError) -> StoreError:
        self._refused = (arrival.received_at, error)
        return error

    def _commit(self, tickets: list[_Ticket]) -> None:
        begun = time.monotonic()
        try:
            with self.database.write() as connection:
                verdicts = putting.put(connection, [ticket.arrival for ticket in tickets], self._absence)
        except StoreError as error:
            if len(tickets) == 1 or time.monotonic() - begun > DOUBT_SECONDS:
                for ticket in tickets:
                    ticket.error, ticket.done = self._refuse(ticket.arrival, error), True
                return
            # One of them may be the reason; the others are not to suffer for it.
            for ticket in tickets:
                self._commit([ticket])
            return
        except BaseException:
            for ticket in tickets:
                ticket.error, ticket.done = StoreError("the webhook was not stored, see the log"), True
            raise
        self._refused = None
        for ticket, verdict in zip(tickets, verdicts, strict=True):
            ticket.verdict, ticket.done = verdict, True

    def beat(self, receiver: str, now: float) -> None:
        """Notes a heartbeat of a receiver's monitoring.

        Raises:
            StoreError: it is not noted.
        """
        with self.database.write() as connection:
            heartbeat.beat(connection, receiver, now)

    def last_beat(self, receiver: str) -> float | None:
        """Gives when the last heartbeat came, to whichever replica."""
        with self.database.read() as connection:
            return heartbeat.last_beat(connection, receiver)

    def note_silence(self, receiver: str, since: float | None) -> None:
        """Notes that people were told of a silence and since when it lasts, or that it is over.

        Raises:
            StoreError: it is not noted.
        """
        with self.database.write() as connection:
            heartbeat.note_silence(connection, receiver, since)

    def silent_since(self, receiver: str) -> float | None:
        """Gives since when the silence lasts that people were told of, by whichever replica."""
        with self.database.read() as connection:
            return heartbeat.silent_since(connection, receiver)

    def claim(self, receiver: str, plans: Sequence[RobotPlan], now: float) -> Claim | Wait:
        """Takes a receiver and its robots, gives the next message with a lease, or how long to wait.

        Raises:
            StoreError: the store cannot be used now.
        """
        if not self._has_work(receiver):
            return Wait(None)
        with self.database.write() as connection:
            return claiming.claim(connection, receiver, plans, now, self.lease_seconds)

    def bodies(self, claim: Claim) -> Iterator[str]:
        """Takes a claim, gives the webhooks that it tells, oldest first, few at a time.

        Raises:
            StoreError: the store cannot be read now.
        """
        with self.database.read() as connection:
            yield from claiming.bodies(connection, claim.message_id)

    def reserve(self, plan: RobotPlan, now: float) -> int | None:
        """Takes a robot that is being called, gives one more call of it for `Attempt.more_calls`.

        None: there is no room for it now, or the store cannot say so.
        """
        try:
            with self.database.write() as connection:
                return claiming.reserve(connection, plan, now, self.lease_seconds)
        except StoreError:
            return None

    def _has_work(self, receiver: str) -> bool:
        # A look costs no turn of the one writer.
        with self.database.read() as connection:
            return upkeep.has_work(connection, receiver)

    def settle(
        self, claim: Claim, attempt: Attempt, now: float, *, others: frozenset[str], fallback: str | None
    ) -> Settled:
        """Takes a claim and how the attempt ended, gives what became of the message.

        Raises:
            StoreError: nothing is written; after the lease it is tried again, with the same msgUuid.
        """
        with self.database.write() as connection:
            return settling.settle(
                connection,
                claim,
                attempt,
                now,
                others=others,
                horizon_seconds=self.horizon_seconds,
                fallback=fallback,
            )

    def check(self, now: float) -> None:
        """Reads a little, and remembers whether the last webhook could be stored.

        Nothing is written to find out: whoever can reach the port may ask as often as he likes.

        Raises:
            StoreError: the store cannot be used now, or could not a moment ago.
        """
        refused = self._refused
        if refused is not None and abs(now - refused[0]) < REFUSED_SECONDS:
            raise refused[1]
        with self.database.read() as connection:
            upkeep.has_work(connection, "")

    def robot_states(self, plans: Sequence[RobotPlan], now: float) -> list[RobotState]:
        with self.database.read() as connection:
            return robot_states(connection, plans, now, self.lease_seconds)

    def counts(self) -> list[upkeep.Count]:
        with self.database.read() as connection:
            return upkeep.counts(connection)

    def robot_notes(self) -> dict[str, upkeep.RobotNote]:
        with self.database.read() as connection:
            return upkeep.robot_notes(connection)

    def entries(
        self, states: Sequence[str], receiver: str | None = None, limit: int = 100
    ) -> list[upkeep.Entry]:
        with self.database.read() as connection:
            return upkeep.entries(connection, states, receiver, limit)

    def retry(self, ids: Sequence[int] | None) -> int:
        with self.database.write(patient=True) as connection:
            return upkeep.retry(connection, ids)

    def drop(self, ids: Sequence[int] | None) -> int:
        with self.database.write(patient=True) as connection:
            return upkeep.drop(connection, ids)

    def sweep(self, now: float, longest_window_seconds: float) -> int:
        """Forgets what is over, and notes that this bridge is alive; gives how many rows were deleted.

        Raises:
            StoreError: nothing is forgotten or noted.
        """
        with self.database.write() as connection:
            heartbeat.note_alive(connection, now)
            return upkeep.sweep(connection, now, longest_window_seconds)

    def _is_alone(self) -> bool:
        """Whether no other process serves this store; if so, none can begin to without our knowing.

        The lock dies with its process, even one killed with -9. PostgreSQL is shared by design: leases
        run out.
        """
        if self.database.path is None:
            return False
        lock = self.database.path.with_name(self.database.path.name + ".lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            return False
        self._alone = lock
        return True
