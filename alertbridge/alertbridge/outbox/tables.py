"""The outbox's tables as they are now. How they came to be is in `migrations`.

A *notification* is one accepted webhook. A *message* is what goes to a robot: the waiting notifications
of one alert group, or of many groups as a digest. Its content and `uuid` are fixed once it is made, so
that every attempt is the same message to a robot that remembers msgUuid. Times are seconds since the
epoch.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, MetaData, Table, Text

metadata = MetaData()

# SQLite numbers rows by itself only in a column of exactly this type.
RowId = BigInteger().with_variant(Integer(), "sqlite")

notifications = Table(
    "notifications",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("receiver", Text, nullable=False),
    Column("group_hash", Text, nullable=False),
    # 1 if a critical alert fires in it, else 0; a number because the stores order and aggregate those alike.
    Column("critical", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("received_at", Double, nullable=False),
    # When it was first in a message; the horizon of retries counts from here.
    Column("tried_at", Double),
    # waiting | sending | delivered | dead
    Column("state", Text, nullable=False),
    Column("message_id", RowId),
    Column("settled_at", Double),
    # Receivers that could not deliver it before, separated by spaces: a fallback never goes in a circle.
    Column("path", Text, nullable=False),
    Index("notifications_by_state", "receiver", "state", "group_hash", "id", "critical", "received_at"),
    Index("notifications_by_message", "message_id"),
    Index("notifications_by_settled", "state", "settled_at"),
)

messages = Table(
    "messages",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("uuid", Text, nullable=False),
    Column("receiver", Text, nullable=False),
    Column("critical", Integer, nullable=False),
    # open | delivered | dead
    Column("state", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    # While it is being sent; past it, whoever comes first takes the message over.
    Column("lease_until", Double),
    Column("attempts", Integer, nullable=False),
    # Of the last attempt.
    Column("robot", Text, nullable=False),
    # Robots that refused it for good, separated by spaces.
    Column("refused_by", Text, nullable=False),
    # Whether some attempt may have been shown. If so it goes out again as it is, through the same robot.
    Column("unanswered", Boolean, nullable=False),
    Column("errcode", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("settled_at", Double),
    # How many answers left open whether this message is at fault, or the robot.
    Column("doubts", Integer, nullable=False),
    # Of this message alone, whatever its robot could take.
    Column("not_before", Double),
    Index("messages_by_state", "receiver", "state"),
)

robots = Table(
    "robots",
    metadata,
    # A hash of the address: the same robot in two receivers has one budget, and no token is stored.
    Column("robot", Text, primary_key=True),
    Column("paused_until", Double, nullable=False),
    Column("limited", Boolean, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("month", Text, nullable=False),
    Column("month_messages", Integer, nullable=False),
)

# One row for each call of a robot within its window.
calls = Table(
    "calls",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("robot", Text, nullable=False),
    Column("started_at", Double, nullable=False),
    # Absent while the call runs: it may reach the robot at any time until then.
    Column("finished_at", Double),
    Index("calls_by_robot", "robot", "started_at"),
)

# One row, locked while a message is chosen, so that replicas keep each group's order.
receivers = Table("receivers", metadata, Column("receiver", Text, primary_key=True))

# What was last told of each group by each Alertmanager: to know duplicates from repeats. Keys are hexadecimal,
# but for those of heartbeats, which are kept for good.
HEARTBEATS = "heartbeat of "
seen = Table(
    "seen",
    metadata,
    Column("key", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("sent_at", Double, nullable=False),
    Column("accepted_at", Double),
    Column("group_key", Text, nullable=False),
    Column("repeated", Boolean, nullable=False),
    Index("seen_by_time", "sent_at"),
    Index("seen_by_group", "group_key"),
)

# Alerts seen resolved, by which Alertmanager: to know a stale firing.
resolved = Table(
    "resolved",
    metadata,
    Column("key", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("seen_at", Double, nullable=False),
    Index("resolved_by_time", "seen_at"),
)

schema_version = Table("schema_version", metadata, Column("version", Integer, primary_key=True))
