"""The running program: real processes, a real robot stand-in, and kill -9."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from flask import Flask

from alertbridge.listening import listening, port_of
from alertbridge.outbox.database import Database
from alertbridge.sandbox.app import create_app as create_sandbox
from alertbridge.sandbox.call import Limit, Rules
from alertbridge.sandbox.serving import SandboxServer
from alertbridge.secret import Secret

Body = Callable[..., str]
TOKEN, SECRET, PASSWORD = "4f2a9c0d5e7b813f6a60", "SEC7b1e0c4f9a2d4c5e8f3a", "hook-me-up-8842"
COMMAND = str(Path(sys.executable).with_name("alertbridge"))
JSON = {"Content-Type": "application/json"}


def until(check: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)
    return found


@dataclass
class Group:
    """A sandbox robot on a fixed port, which can be down and up."""

    port: int
    server: SandboxServer | None = None

    @property
    def webhook(self) -> str:
        return f"http://127.0.0.1:{self.port}/robot/send?access_token={TOKEN}"

    def up(self) -> None:
        rules = Rules(tokens=(Secret(TOKEN),), secret=Secret(SECRET), limit=Limit(1000, 60, 600))
        self.server = SandboxServer(create_sandbox(rules), f"127.0.0.1:{self.port}")
        self.server.start()

    def down(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None

    def messages(self) -> list[dict[str, Any]]:
        answer = requests.get(f"http://127.0.0.1:{self.port}/api/messages", timeout=5).json()
        return list(answer["messages"])


@dataclass
class Served:
    """`alertbridge serve` in a directory of its own, started and killed as a test likes."""

    directory: Path
    config: dict[str, Any]
    process: subprocess.Popen[str] | None = None
    url: str = ""
    printed: list[str] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.directory / "log"

    def write(self, config: Any) -> None:
        (self.directory / "alertbridge.yml").write_text(
            config if isinstance(config, str) else yaml.safe_dump(config, allow_unicode=True)
        )

    def start(self) -> Served:
        if not (self.directory / "alertbridge.yml").exists():
            self.write(self.config)
        with self.log.open("a") as log:
            seen = self.log.stat().st_size
            self.process = subprocess.Popen(
                [COMMAND, "serve", "--config", "alertbridge.yml", "--listen", "127.0.0.1:0"],
                cwd=self.directory,
                stdout=log,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        found = until(lambda: self._address(seen), "the address it listens on")
        self.url = found.group(1)
        return self

    def _address(self, seen: int) -> re.Match[str] | None:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        return re.search(r"alertbridge listens on (http://127\.0\.0\.1:\d+)", self.log.read_text()[seen:])

    def signal(self, number: signal.Signals) -> int | None:
        assert self.process is not None
        self.process.send_signal(number)
        return None if number == signal.SIGHUP else self.process.wait(20)

    def send(self, body: str, receiver: str = "default", **options: Any) -> requests.Response:
        return requests.post(
            f"{self.url}/dingtalk/{receiver}/send", data=body.encode(), headers=JSON, timeout=10, **options
        )

    def metrics(self) -> str:
        return requests.get(f"{self.url}/metrics", timeout=5).text

    def command(self, *arguments: str) -> str:
        done = subprocess.run(
            [COMMAND, *arguments, "--config", "alertbridge.yml"],
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr


@pytest.fixture
def group() -> Iterator[Group]:
    """A robot that is down."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        made = Group(probe.getsockname()[1])
    yield made
    made.down()


@pytest.fixture
def bridge(tmp_path: Path, group: Group) -> Iterator[Served]:
    """A bridge, not yet started, with the group's robot as receiver `default`."""
    robot = {"dingtalk": {"webhook": group.webhook, "secret": SECRET, "timeout_seconds": 2}}
    served = Served(tmp_path, {"language": "en", "receivers": {"default": {"robots": [robot]}}})
    yield served
    if served.process is not None and served.process.poll() is None:
        served.process.kill()
        served.process.wait()


def test_a_webhook_is_delivered_and_its_end_too(bridge: Served, group: Group, webhook_body: Body) -> None:
    """What fires and what resolves is shown in the group, in order."""
    group.up()
    bridge.start()
    assert bridge.send(webhook_body()).status_code == 202
    until(lambda: len(group.messages()) == 1, "the message")
    assert bridge.send(webhook_body(status="resolved")).status_code == 202
    until(lambda: len(group.messages()) == 2, "the resolved message")
    assert bridge.signal(signal.SIGTERM) == 0


def test_kill_9_between_accept_and_delivery_loses_nothing(
    bridge: Served, group: Group, webhook_body: Body
) -> None:
    """What was answered 202 is delivered once by the next process, although the first never reached the robot."""
    bridge.start()
    assert bridge.send(webhook_body()).status_code == 202
    bridge.signal(signal.SIGKILL)

    group.up()
    bridge.start()
    until(lambda: group.messages(), "the message")
    until(
        lambda: 'outbox_messages{receiver="default",state="delivered"} 1.0' in bridge.metrics(),
        "its settling",
    )
    assert len(group.messages()) == 1


def test_kill_9_at_any_time_loses_and_repeats_nothing(
    bridge: Served, group: Group, webhook_body: Body
) -> None:
    """Killed again and again while it accepts and sends, it shows every accepted alert once."""
    group.up()
    accepted = 0
    for round_number in range(3):
        bridge.start()
        for number in range(8):
            answer = bridge.send(webhook_body(f"Alert{round_number}x{number}"))
            accepted += answer.status_code == 202
        time.sleep(0.03 * round_number)
        bridge.signal(signal.SIGKILL)
    bridge.start()
    until(lambda: 'state="waiting"} 0.0' in bridge.metrics(), "an empty outbox", 60)
    until(lambda: 'state="sending"} 0.0' in bridge.metrics(), "an empty outbox", 60)

    told = [set(re.findall(r"Alert\dx\d", message["text"])) for message in group.messages()]
    assert accepted == 24
    assert len(set().union(*told)) == 24
    assert sum(len(names) for names in told) == 24


def test_a_wrong_secret_is_a_dead_letter_with_its_reason(
    bridge: Served, group: Group, webhook_body: Body
) -> None:
    """A refused signature is counted with its errcode and listed with its reason, and sent after a retry."""
    group.up()
    bridge.config["receivers"]["default"]["robots"][0]["dingtalk"]["secret"] = "SEC-not-this-one"
    bridge.start()
    bridge.send(webhook_body())
    dead = 'alertbridge_messages_total{channel="dingtalk",outcome="dead",receiver="default"} 1.0'
    until(lambda: dead in bridge.metrics(), "the dead letter")
    assert 'alertbridge_errors_total{errcode="310000",receiver="default"} 1.0' in bridge.metrics()
    listed = bridge.command("outbox", "list")
    assert "dead" in listed
    assert "310000" in listed

    bridge.config["receivers"]["default"]["robots"][0]["dingtalk"]["secret"] = SECRET
    bridge.write(bridge.config)
    assert requests.post(f"{bridge.url}/-/reload", timeout=5).status_code == 200
    assert bridge.command("outbox", "retry", "--all") == "1 dead letters wait to be sent again\n"
    until(lambda: len(group.messages()) == 1, "the message")


def test_a_bad_file_keeps_the_old_configuration(bridge: Served, group: Group, webhook_body: Body) -> None:
    """A reload of a wrong file says what is wrong, shows in the metrics, and changes nothing."""
    group.up()
    bridge.start()
    bridge.write("receivers: {default: {robts: []}}\n")

    answer = requests.post(f"{bridge.url}/-/reload", timeout=5)
    assert answer.status_code == 400
    assert (
        "alertbridge.yml:1: receivers.default.robts: unknown key; did you mean 'robots'?"
        in answer.json()["error"]
    )
    assert "alertbridge_config_last_reload_successful 0.0" in bridge.metrics()
    bridge.send(webhook_body())
    until(lambda: group.messages(), "the message")


def test_sighup_reloads(bridge: Served, group: Group, webhook_body: Body) -> None:
    """After SIGHUP a new receiver is there."""
    group.up()
    bridge.start()
    bridge.config["receivers"]["second"] = bridge.config["receivers"]["default"]
    bridge.write(bridge.config)
    assert bridge.send(webhook_body(), "second").status_code == 404
    bridge.signal(signal.SIGHUP)
    until(lambda: bridge.send(webhook_body(), "second").status_code == 202, "the new receiver")
    until(lambda: group.messages(), "the message")


def test_sigterm_lets_a_send_end(bridge: Served, group: Group, webhook_body: Body) -> None:
    """A message that is on its way at SIGTERM is delivered and settled before the process ends."""
    group.up()
    bridge.start()
    requests.put(f"http://127.0.0.1:{group.port}/api/mode", json={"mode": "ok"}, timeout=5)
    bridge.send(webhook_body())
    assert bridge.signal(signal.SIGTERM) == 0
    listed = bridge.command(
        "outbox", "list", "--state", "delivered", "--state", "waiting", "--state", "sending"
    )
    assert len(group.messages()) == listed.count("delivered")


def test_no_secret_is_told_anywhere(bridge: Served, group: Group, webhook_body: Body) -> None:
    """Token, signing secret and password stand in no log, error, metric, listing or message, whatever goes wrong."""
    bridge.config["auth"] = {"basic": {"username": "am", "password": PASSWORD}}
    bridge.start()
    bridge.send(webhook_body("Down"), auth=("am", PASSWORD))
    answers = [bridge.send(webhook_body(), auth=("am", "wrong")).text, bridge.send(webhook_body()).text]
    until(lambda: 'outcome="later",receiver="default"} 1.0' in bridge.metrics(), "a failure")
    group.up()
    until(lambda: group.messages(), "the message")
    bridge.config["receivers"]["default"]["robots"][0]["dingtalk"]["webhook"] = (
        f"nonsense?access_token={TOKEN}"
    )
    bridge.write(bridge.config)
    answers.append(requests.post(f"{bridge.url}/-/reload", auth=("am", PASSWORD), timeout=5).text)
    answers += [bridge.command("check-config"), bridge.command("outbox", "list"), bridge.metrics()]
    bridge.signal(signal.SIGTERM)

    everything = "\n".join([*answers, bridge.log.read_text(), str(group.messages())])
    assert "no robot address" in everything
    for secret in (TOKEN, SECRET, PASSWORD):
        assert secret not in everything


def test_a_robot_that_is_no_group_is_said(bridge: Served) -> None:
    """A bridge whose robot is not at the vendor's address says at its start that nothing reaches a group."""
    bridge.start()
    said = bridge.log.read_text()

    assert (
        "receiver default: its robot is at 127.0.0.1, a proxy or the sandbox, so nothing of dingtalk" in said
    )
    assert "DINGTALK_WEBHOOK and DINGTALK_SECRET in .env" in said


def test_a_taken_port_is_said(bridge: Served) -> None:
    """A port that something else listens on ends the start with one clear line."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        bridge.write(bridge.config)
        said = bridge.command("serve", "--listen", f"127.0.0.1:{port}")
    expected = f"Error: cannot listen on 127.0.0.1:{port}: Address already in use; choose another --listen"
    assert said.splitlines()[-1] == expected
    assert "Traceback" not in said


def declared(bridge: Served, size: int, **options: Any) -> int:
    """Gives the answer to a request that only says how large its body is: a refusal must not wait for the body."""
    request = requests.Request("POST", f"{bridge.url}/v1/alerts/default", **options).prepare()
    lines = [f"{name}: {value}" for name, value in request.headers.items() if name != "Content-Length"]
    head = "\r\n".join(
        ["POST /v1/alerts/default HTTP/1.1", "Host: x", *lines, f"Content-Length: {size}", "", ""]
    )
    return int(raw(bridge, head).split()[1])


def raw(bridge: Served, request: str) -> str:
    """Sends these characters, gives the answer, or "" if there is none within two seconds."""
    address = ("127.0.0.1", int(bridge.url.rpartition(":")[2]))
    with socket.create_connection(address, timeout=2) as connection:
        connection.sendall(request.encode("latin-1"))
        answer = b""
        try:
            while chunk := connection.recv(65_536):
                answer += chunk
        except (TimeoutError, ConnectionResetError):
            return answer.decode("latin-1")
    return answer.decode("latin-1")


HEAD = "POST /v1/alerts/default HTTP/1.1\r\nHost: x\r\n"


def test_what_proxies_and_servers_read_differently_is_refused(bridge: Served) -> None:
    """No second request is smuggled in the body of the first, and what is no HTTP is answered 4xx or 501."""
    bridge.start()
    smuggled = "0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    both = raw(bridge, f"{HEAD}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{smuggled}")
    assert both.startswith("HTTP/1.1 400 ")
    assert both.count("HTTP/1.1 ") == 1
    for broken, status in (
        ("Content-Length: -5\r\n\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        ("Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        ("Transfer-Encoding: gzip\r\n\r\n", 501),
        ("Content-Length : 5\r\n\r\n", 400),
    ):
        assert raw(bridge, HEAD + broken).split()[1] == str(status), broken


def test_a_webhook_that_is_too_large_does_not_go_unnoticed(bridge: Served, group: Group) -> None:
    """Alertmanager never sends it again, so the bridge tells the group, once; strangers cannot cause that."""
    bridge.config["auth"] = {"basic": {"username": "am", "password": PASSWORD}}
    group.up()
    bridge.start()
    for stranger in ({}, {"auth": ("am", "wrong")}):
        assert declared(bridge, 9_000_000, **stranger) == declared(bridge, 20_000_000, **stranger) == 403
    assert bridge.send("x" * 60_000, auth=("am", "wrong")).status_code == 403
    assert 'refused_total{reason="too_large",receiver="default"} 0.0' in bridge.metrics()
    # One the application refuses, one that is not even read, one for nobody.
    for size, receiver, status in ((9_000_000, "default", 413), (20_000_000, "default", 413), (9, "x", 404)):
        assert bridge.send("x" * size, receiver, auth=("am", PASSWORD)).status_code == status
    assert 'refused_total{reason="too_large",receiver="default"} 2.0' in bridge.metrics()
    assert 'refused_total{reason="invalid",receiver="default"} 0.0' in bridge.metrics()
    [told] = until(group.messages, "the message")
    assert "larger than 8388608 bytes" in told["text"]


def test_slow_clients_do_not_stop_the_others(bridge: Served, group: Group, webhook_body: Body) -> None:
    """Two hundred clients that never end their request take nobody's place."""
    group.up()
    bridge.start()
    address = ("127.0.0.1", int(bridge.url.rpartition(":")[2]))
    slow = [socket.create_connection(address, timeout=5) for _ in range(200)]
    for connection in slow:
        connection.sendall(b"POST /v1/alerts/default HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nx")
    begin = time.monotonic()
    assert bridge.send(webhook_body()).status_code == 202
    assert time.monotonic() - begin < 2
    until(lambda: group.messages(), "the message")
    for connection in slow:
        connection.close()


def test_a_client_that_sends_a_byte_now_and_then_is_closed() -> None:
    """A request must be whole in time, however lively its connection; others are not disturbed."""
    server = listening(Flask("whole"), "127.0.0.1:0", 1_000_000, idle_seconds=1)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        address = ("127.0.0.1", server.effective_port)
        with socket.create_connection(address, timeout=5) as dripping:
            dripping.sendall(b"POST /v1/alerts/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
            dripping.settimeout(0.05)
            begin = time.monotonic()
            while time.monotonic() - begin < 10:
                try:
                    dripping.sendall(b"x")
                    if dripping.recv(1) == b"":
                        break
                except TimeoutError:
                    continue
                except OSError:
                    break
            assert 0.9 < time.monotonic() - begin < 5
        assert requests.get(f"http://127.0.0.1:{server.effective_port}/", timeout=5).status_code == 404
    finally:
        server.close()
        thread.join(10)
    assert not thread.is_alive()


def test_a_host_of_several_addresses_is_served_on_each() -> None:
    """`*`, or a localhost that is IPv4 and IPv6, has a port to announce and is bounded in time like any other."""
    server = listening(Flask("several"), "*:0", 1024)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert requests.get(f"http://127.0.0.1:{port_of(server)}/", timeout=5).status_code == 404
    finally:
        server.close()
        thread.join(10)
    assert not thread.is_alive()


def test_a_receiver_that_is_configured_no_more_is_warned_of(
    bridge: Served, group: Group, webhook_body: Body
) -> None:
    """What waits for it stays in the outbox, is seen in /metrics, and goes out once the receiver is back."""
    bridge.start()
    assert bridge.send(webhook_body()).status_code == 202
    bridge.signal(signal.SIGKILL)
    bridge.write({**bridge.config, "receivers": {"other": bridge.config["receivers"]["default"]}})
    bridge.start()
    until(
        lambda: "receiver default is not in the configuration, and 1 notifications" in bridge.log.read_text(),
        "it",
    )
    waiting = r'alertbridge_outbox_messages\{receiver="default",state="(waiting|sending)"\} 1\.0'
    assert re.search(waiting, bridge.metrics())
    group.up()
    bridge.write(bridge.config)
    bridge.signal(signal.SIGHUP)
    until(lambda: group.messages(), "the message")


def test_send_test_says_what_the_robot_answered(bridge: Served, group: Group) -> None:
    """`send-test` shows success, and failure with errcode and reason."""
    group.up()
    bridge.write(bridge.config)
    assert re.fullmatch(
        r"dingtalk-\w+ of default: delivered \(errcode 0\)\n", bridge.command("send-test", "default")
    )
    assert "test of the alert bridge" in group.messages()[0]["text"]
    bridge.config["receivers"]["default"]["robots"][0]["dingtalk"]["secret"] = "SEC-not-this-one"
    bridge.write(bridge.config)
    assert "not delivered: 310000: DingTalk" in bridge.command("send-test", "default")
    assert "Error: there is no receiver 'x'; known receivers: default" in bridge.command("send-test", "x")


def test_render_shows_a_message_offline(bridge: Served, tmp_path: Path, webhook_body: Body) -> None:
    """`render FILE` needs no robot and sends nothing."""
    bridge.write(bridge.config)
    (tmp_path / "body.json").write_text(webhook_body("TrainingFailed", run="digits"))
    shown = bridge.command("render", "body.json")
    assert "digits" in shown.splitlines()[0]
    receiver = {**bridge.config["receivers"]["default"], "kind": "action_card"}
    bridge.write({**bridge.config, "receivers": {"default": receiver}})
    assert re.search(r"^\[.+\] http", bridge.command("render", "body.json"), re.MULTILINE)
    (tmp_path / "body.json").write_text("{")
    assert bridge.command("render", "body.json") == (
        "Error: the body is not JSON: EOF while parsing an object at line 1 column 1\n"
    )


def test_check_config_says_what_it_makes(bridge: Served) -> None:
    """`check-config` lists receivers and robots, or the mistakes with exit code 1."""
    bridge.write(bridge.config)
    assert re.fullmatch(
        r"receiver default: dingtalk-\w+; template training\nthe configuration is good\n",
        bridge.command("check-config"),
    )
    bridge.write("language: xx")
    said = bridge.command("check-config")
    assert said.startswith("Error: alertbridge.yml:1: language: must be 'zh' or 'en'")


def test_outbox_commands_want_numbers_or_all(bridge: Served) -> None:
    """retry and drop do nothing without being told what."""
    bridge.write(bridge.config)
    assert f"there is no outbox at {bridge.directory}/" in bridge.command("outbox", "list")
    assert not list(bridge.directory.glob("*.db*"))
    bridge.start()
    for verb, state in (("retry", "a dead letter"), ("drop", "dead or waiting")):
        assert f"Error: none of 98, 99 is {state}; " in bridge.command("outbox", verb, "98", "99")
        assert "give the numbers that `alertbridge outbox list` shows, or --all" in bridge.command(
            "outbox", verb
        )
    assert bridge.command("outbox", "list") == "nothing in the outbox is waiting or sending or dead\n"
    nobodys = bridge.command("outbox", "list", "--receiver", "nobody")
    assert nobodys == "nothing of receiver 'nobody' in the outbox is waiting or sending or dead\n"


@pytest.mark.parametrize("arguments", [["list"], ["retry", "--all"], ["drop", "--all"]])
def test_the_outbox_needs_no_configuration_if_its_storage_is_given(
    tmp_path: Path, arguments: list[str]
) -> None:
    """Whoever knows where the store is looks into it without a configuration file or a robot's address."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DINGTALK_")}
    Database(Secret(f"sqlite:///{tmp_path}/outbox.db")).open()
    done = subprocess.run(
        [COMMAND, "outbox", *arguments, "--storage", f"sqlite:///{tmp_path}/outbox.db"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.match(r"nothing in the outbox|0 dead letters|0 notifications", done.stdout)


@pytest.mark.parametrize("package", ["flask", "sqlalchemy", "yaml", "pydantic", "jinja2", "waitress"])
def test_without_the_extra_the_command_says_what_to_install(package: str) -> None:
    """Where only the training side is installed the command ends in one line, not in a traceback."""
    script = f"import sys; sys.modules['{package}'] = None; from alertbridge.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        f"alertbridge: the package {package} is not installed; the bridge needs more than the training side: "
        "pip install 'epochwatch[bridge]'\n"
    )
