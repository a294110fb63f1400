"""Puts accepted webhooks into the outbox: those that tell something new."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Literal

from sqlalchemy import BindParameter, Connection, bindparam, insert, select, text

from alertbridge.identity import STALE_SECONDS, Absence, Copy, is_duplicate, is_stale
from alertbridge.outbox.arrival import Arrival
from alertbridge.outbox.tables import notifications, resolved, seen
from alertbridge.outbox.upsert import upsert

# By group, then by telling and Alertmanager.
Copies = dict[str, dict[tuple[str, str], Copy]]
# By alert key and Alertmanager, when it told the end.
Ends = dict[str, dict[str, float]]
Verdict = Literal["stored", "duplicate", "stale"]
# Below every store's limit of bound values in one statement.
CHUNK = 500

# Made once: to build a statement costs more than to run it, and these run for each webhook.
_KEYS: BindParameter[str] = bindparam("keys", expanding=True)
_COPIES = select(seen).where(seen.c.group_key.in_(_KEYS))
_ENDED = select(resolved).where(resolved.c.key.in_(_KEYS), resolved.c.seen_at > bindparam("since"))
_NEWS = insert(notifications)
# One row after the other, in the order given.
_TURNS = text("SELECT pg_advisory_xact_lock(turn) FROM unnest(CAST(:turns AS bigint[])) AS turn")


def put(connection: Connection, arrivals: Sequence[Arrival], absence: Absence | None = None) -> list[Verdict]:
    """Takes webhooks in the order in which they came, stores the news, gives what became of each."""
    _take_turns(connection, arrivals)
    copies = _copies(connection, arrivals)
    ended = _ended(connection, arrivals)
    rows: list[dict[str, Any]] = []
    verdicts: list[Verdict] = []
    for arrival in arrivals:
        known = copies.setdefault(arrival.group_key, {})
        if is_duplicate(known.values(), arrival.sending, absence):
            verdicts.append("duplicate")
        elif (row := _row(arrival, ended)) is None:
            verdicts.append("stale")
        else:
            verdicts.append("stored")
            rows.append(row)
        _note(arrival, known, ended, verdicts[-1])
    if rows:
        connection.execute(_NEWS, rows)
    _remember(connection, arrivals, copies)
    return verdicts


def _take_turns(connection: Connection, arrivals: Sequence[Arrival]) -> None:
    """Makes replicas judge an alert group's webhooks one after the other, until the transaction ends.

    On SQLite the transaction itself does that.
    """
    if connection.dialect.name == "postgresql":
        # In one order everywhere: two replicas that lock groups crosswise would wait for each other.
        turns = sorted({_turn(arrival.group_key) for arrival in arrivals})
        connection.execute(_TURNS, {"turns": turns})


def _turn(group_key: str) -> int:
    """Gives a number of 64 bits, signed as PostgreSQL's locks want it."""
    return int.from_bytes(bytes.fromhex(group_key)[:8], "big", signed=True)


def _note(arrival: Arrival, known: dict[tuple[str, str], Copy], ended: Ends, verdict: Verdict) -> None:
    place, now = (arrival.key, arrival.source), arrival.received_at
    if verdict == "stored":
        known[place] = Copy(arrival.key, arrival.source, now, now, bool(arrival.says_repeat))
    else:
        earlier = known.get(place) or Copy(arrival.key, arrival.source, now, None)
        known[place] = replace(earlier, sent_at=now)
    for key in arrival.resolved:
        ended.setdefault(key, {})[arrival.source] = now


def _row(arrival: Arrival, ended: Ends) -> dict[str, Any] | None:
    stale = {
        id(alert)
        for key, alert in arrival.firing.items()
        if is_stale(ended.get(key, {}), arrival.source, arrival.received_at)
    }
    body = arrival.body
    if stale:
        news = tuple(alert for alert in arrival.notification.alerts if id(alert) not in stale)
        if not news:
            return None
        status = "firing" if any(not alert.ended for alert in news) else "resolved"
        body = arrival.notification.model_copy(update={"alerts": news, "status": status}).to_json()
    return {
        "receiver": arrival.receiver,
        "group_hash": arrival.group_hash,
        "critical": int(arrival.critical),
        "body": body,
        "received_at": arrival.received_at,
        "state": "waiting",
        "path": "",
    }


def _copies(connection: Connection, arrivals: Sequence[Arrival]) -> Copies:
    copies: Copies = {}
    for keys in _chunks({arrival.group_key for arrival in arrivals}):
        for row in connection.execute(_COPIES, {"keys": keys}):
            copy = Copy(row.key, row.source, row.sent_at, row.accepted_at, row.repeated)
            copies.setdefault(row.group_key, {})[row.key, row.source] = copy
    return copies


def _ended(connection: Connection, arrivals: Sequence[Arrival]) -> Ends:
    since = min(arrival.received_at for arrival in arrivals) - STALE_SECONDS
    ended: Ends = {}
    for keys in _chunks({key for arrival in arrivals for key in arrival.firing}):
        for row in connection.execute(_ENDED, {"keys": keys, "since": since}):
            ended.setdefault(row.key, {})[row.source] = row.seen_at
    return ended


def _remember(connection: Connection, arrivals: Sequence[Arrival], copies: Copies) -> None:
    told = {(one.group_key, one.key, one.source) for one in arrivals}
    upsert(connection, seen, [_seen_row(group, copies[group][key, source]) for group, key, source in told])
    ends = {(key, arrival.source): arrival.received_at for arrival in arrivals for key in arrival.resolved}
    upsert(
        connection,
        resolved,
        [{"key": key, "source": source, "seen_at": seen_at} for (key, source), seen_at in ends.items()],
    )


def _seen_row(group: str, copy: Copy) -> dict[str, Any]:
    return {
        "key": copy.telling,
        "source": copy.source,
        "group_key": group,
        "sent_at": copy.sent_at,
        "accepted_at": copy.accepted_at,
        "repeated": copy.repeated,
    }


def _chunks(keys: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(sorted(keys))
    while chunk := list(islice(remaining, CHUNK)):
        yield chunk
