"""What the bridge bears: webhooks accepted a second, each on disk before its 202; the way to the robot; memory.

Real processes: `alertbridge serve` and the sandbox robot. The clients run in this process and take part of the same
cores. The rounds of each measurement are made on a fresh outbox, while the sender tells the backlog within
DingTalk's own limit; the number given is the median of the rounds.

    PYTHONPATH=examples python bench/bridge.py [--quick]
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import requests

from alertbridge.outbox.arrival import Arrival
from alertbridge.outbox.database import Database
from alertbridge.outbox.put import put
from alertbridge.secret import Secret
from alertbridge.webhook import parse
from demo.group import Group
from demo.stack import ROOT, Service, Stack, bridge_config, wait_until
from demo.watch import metric

CONNECTIONS = (1, 8, 64)
STORED = 100_000
TOKEN, SECRET = "4f2a9c0d5e7b813f6a60", "SEC7b1e0c4f9a2d4c5e8f3a"
EXAMPLE = (ROOT / "tests/alertbridge/fixtures/webhook-firing-0.25.0.json").read_text()
NO_LIMIT = {"messages": 100_000, "per_seconds": 1.0}

# What is to be reached on two cores.
LEAST_PER_SECOND, LONGEST_P99_MS, LONGEST_TO_ROBOT_MS, MOST_MEMORY_MB = 500, 40, 20, 80


@dataclass(frozen=True)
class Round:
    """One round of posting: how many a second were answered 202, and how long the answers took, milliseconds."""

    per_second: float
    p50_ms: float
    p99_ms: float


@contextmanager
def running(limits: dict[str, float] | None = None, stored: int = 0) -> Iterator[tuple[Group, Service]]:
    """Starts a robot and a bridge with an outbox of its own, which may hold something already."""
    with tempfile.TemporaryDirectory() as directory, Stack(Path(directory)) as stack:
        unlimited = ("--messages", "1000000", "--per-seconds", "1")
        group = Group(stack.sandbox(token=TOKEN, secret=SECRET, options=unlimited), TOKEN, SECRET)
        config = bridge_config(group.webhook, group.secret)
        config["receivers"]["default"]["robots"][0]["limits"] = limits or {}
        if stored:
            group.mode("busy")
            fill(Secret(f"sqlite:///{directory}/alertbridge.db"), stored)
        yield group, stack.bridge(config)


def bodies() -> Iterator[str]:
    """Gives webhooks of ever new alert groups, like one that Alertmanager really sent."""
    series = time.time_ns()
    for number in count():
        yield EXAMPLE.replace("r0", f"run-{series}-{number}").replace(
            json.loads(EXAMPLE)["alerts"][0]["fingerprint"], f"{number:016x}"
        )


def fill(storage: Secret, number: int) -> None:
    """Puts so many webhooks into an outbox."""
    database = Database(storage)
    database.open()
    made = bodies()
    now = time.time()
    for _ in range(number // 1000):
        texts = [next(made) for _ in range(1000)]
        with database.write() as connection:
            put(connection, [Arrival.of("default", "bench", parse(text), text, now) for text in texts])
    database.close()


async def post_all(bridge: Service, connections: int, seconds: float) -> Round:
    """Posts over so many connections at once, each waiting for its answer before the next webhook."""
    host, _, port = bridge.url.removeprefix("http://").partition(":")
    made, taken_ms = bodies(), []
    until = time.perf_counter() + seconds

    async def one_connection() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        while (began := time.perf_counter()) < until:
            body = next(made).encode()
            head = (
                f"POST /dingtalk/default/send HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            )
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            content = await reader.readexactly(int(length))
            if b" 202 " not in answer[:20] or b"stored" not in content:
                raise SystemExit(f"not accepted: {answer!r} {content!r}")
            taken_ms.append((time.perf_counter() - began) * 1000)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(one_connection() for _ in range(connections)))
    centiles = quantiles(taken_ms, n=100)
    return Round(len(taken_ms) / (time.perf_counter() - began), centiles[49], centiles[98])


def accepted(connections: int, rounds: int, seconds: float) -> Round:
    """Gives the median round over so many connections."""
    made = []
    for _ in range(rounds):
        with running() as (_, bridge):
            asyncio.run(post_all(bridge, connections, 1.0))
            made.append(asyncio.run(post_all(bridge, connections, seconds)))
    return Round(*(median(getattr(one, name) for one in made) for name in Round.__annotations__))


def to_the_robot(messages: int) -> tuple[float, float]:
    """Gives, for an idle bridge, the median milliseconds from posting a webhook to the robot's receiving the message,
    and the mean ones from receiving the webhook to the robot's errcode 0.
    """
    taken_ms = []
    with running(NO_LIMIT) as (group, bridge), requests.Session() as session:
        for number, body in zip(range(messages), bodies(), strict=False):
            time.sleep(0.1)
            sent_at = time.time()
            session.post(
                f"{bridge.url}/dingtalk/default/send",
                data=body.encode(),
                headers={"Content-Type": "application/json"},
                timeout=5,
            ).raise_for_status()
            shown = wait_until(lambda: group.messages()[number:], 10, "the message")  # noqa: B023
            taken_ms.append((shown[0]["received_at"] - sent_at) * 1000)
        wait_until(lambda: delivery(bridge, "count") == messages, 10, "the last answer")
        return median(taken_ms), 1000 * delivery(bridge, "sum") / messages


def delivery(bridge: Service, what: str) -> float:
    return metric(bridge.url, f"alertbridge_delivery_seconds_{what}")


def memory_mb(stored: int) -> float:
    """Gives the bridge's memory some seconds after a start, with so many webhooks waiting in its outbox."""
    with running(stored=stored) as (_, bridge):
        asyncio.run(post_all(bridge, 8, 1.0))
        time.sleep(5)
        requests.get(f"{bridge.url}/metrics", timeout=30)
        assert bridge.process is not None
        status = Path(f"/proc/{bridge.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def main() -> int:
    quick = "--quick" in sys.argv[1:]
    rounds, seconds = (1, 3.0) if quick else (5, 8.0)
    missed = []

    def say(text: str, *targets: tuple[bool, str]) -> None:
        failed = [target for reached, target in targets if not reached]
        missed.extend(failed)
        print(text, f"   MISSED: {', '.join(failed)}" if failed else "   within target" if targets else "")

    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    for connections in CONNECTIONS:
        made = accepted(connections, rounds, seconds)
        targets: list[Any] = []
        if connections == 8:
            targets = [
                (made.per_second >= LEAST_PER_SECOND, f"{LEAST_PER_SECOND}/s"),
                (made.p99_ms <= LONGEST_P99_MS, f"p99 {LONGEST_P99_MS} ms"),
            ]
        say(
            f"{connections:>3} connections: {made.per_second:5.0f} webhooks/s durable, p50 {made.p50_ms:.1f} ms, "
            f"p99 {made.p99_ms:.1f} ms",
            *targets,
        )
    to_robot, to_answer = to_the_robot(20 if quick else 100)
    say(
        f"idle: {to_robot:.1f} ms from the webhook to the robot (median), {to_answer:.1f} ms to errcode 0 (mean)",
        (to_robot <= LONGEST_TO_ROBOT_MS, f"{LONGEST_TO_ROBOT_MS} ms"),
    )
    for stored in (0, STORED):
        memory = memory_mb(stored)
        say(
            f"memory with {stored:,} webhooks waiting: {memory:.0f} MB",
            (memory <= MOST_MEMORY_MB, f"{MOST_MEMORY_MB} MB"),
        )
    return len(missed)


if __name__ == "__main__":
    sys.exit(main())
