"""Puts accepted webhooks into the outbox: those that tell something new."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal

from sqlalchemy import BindParameter, Connection, bindparam, insert, select

from alertbridge.identity import STALE_SECONDS, Copy, is_duplicate, is_stale
from alertbridge.outbox.arrival import Arrival
from alertbridge.outbox.tables import notifications, resolved, seen
from alertbridge.outbox.upsert import upsert

# By alert key and Alertmanager, when it told the end.
Ends = dict[str, dict[str, float]]
Verdict = Literal["stored", "duplicate", "stale"]
# Below every store's limit of bound values in one statement.
CHUNK = 500

# Made once: to build a statement costs more than to run it, and these run for each webhook.
_KEYS: BindParameter[str] = bindparam("keys", expanding=True)
_COPIES = select(seen).where(seen.c.key.in_(_KEYS))
_ENDED = select(resolved).where(resolved.c.key.in_(_KEYS), resolved.c.seen_at > bindparam("since"))
_NEWS = insert(notifications)


def put(connection: Connection, arrivals: Sequence[Arrival]) -> list[Verdict]:
    """Takes webhooks in the order in which they came, stores the news, gives what became of each."""
    copies = _copies(connection, arrivals)
    ended = _ended(connection, arrivals)
    rows: list[dict[str, Any]] = []
    verdicts: list[Verdict] = []
    for arrival in arrivals:
        known = copies.setdefault(arrival.key, {})
        now = arrival.received_at
        duplicate = is_duplicate(known.values(), arrival.source, now, arrival.says_repeat)
        earlier = known.get(arrival.source)
        accepted_at = (earlier.accepted_at if earlier else None) if duplicate else now
        known[arrival.source] = Copy(arrival.source, now, accepted_at)
        row = None if duplicate else _row(arrival, ended)
        for key in arrival.resolved:
            ended.setdefault(key, {})[arrival.source] = now
        verdicts.append("duplicate" if duplicate else "stale" if row is None else "stored")
        if row is not None:
            rows.append(row)
    if rows:
        connection.execute(_NEWS, rows)
    _remember(connection, arrivals, copies)
    return verdicts


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


def _copies(connection: Connection, arrivals: Sequence[Arrival]) -> dict[str, dict[str, Copy]]:
    copies: dict[str, dict[str, Copy]] = {}
    for keys in _chunks({arrival.key for arrival in arrivals}):
        for row in connection.execute(_COPIES, {"keys": keys}):
            copies.setdefault(row.key, {})[row.source] = Copy(row.source, row.sent_at, row.accepted_at)
    return copies


def _ended(connection: Connection, arrivals: Sequence[Arrival]) -> Ends:
    since = min(arrival.received_at for arrival in arrivals) - STALE_SECONDS
    ended: Ends = {}
    for keys in _chunks({key for arrival in arrivals for key in arrival.firing}):
        for row in connection.execute(_ENDED, {"keys": keys, "since": since}):
            ended.setdefault(row.key, {})[row.source] = row.seen_at
    return ended


def _remember(
    connection: Connection, arrivals: Sequence[Arrival], copies: dict[str, dict[str, Copy]]
) -> None:
    told = {(arrival.key, arrival.source): copies[arrival.key][arrival.source] for arrival in arrivals}
    upsert(
        connection,
        seen,
        [
            {"key": key, "source": source, "sent_at": copy.sent_at, "accepted_at": copy.accepted_at}
            for (key, source), copy in told.items()
        ],
    )
    ends = {(key, arrival.source): arrival.received_at for arrival in arrivals for key in arrival.resolved}
    upsert(
        connection,
        resolved,
        [{"key": key, "source": source, "seen_at": seen_at} for (key, source), seen_at in ends.items()],
    )


def _chunks(keys: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(sorted(keys))
    while chunk := list(islice(remaining, CHUNK)):
        yield chunk
