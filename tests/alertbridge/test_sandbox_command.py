"""`alertbridge sandbox` as a process: what it prints, how it ends."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from alertbridge import Delivered, DingTalk, Never
from alertbridge.sandbox.command import sandbox

COMMAND = [str(Path(sys.executable).with_name("alertbridge")), "sandbox"]
SECRET = "SEC7b1e0c4f9a2d4c5e8f3a"


@contextmanager
def running(*options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """A sandbox process and what its greeting says."""
    process = subprocess.Popen(
        [*COMMAND, "--listen", "127.0.0.1:0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        greeting = []
        while not greeting or "Ctrl-C" not in greeting[-1]:
            line = process.stdout.readline()
            assert line, "".join(greeting)
            greeting.append(line)
        text = "".join(greeting)
        page = re.search(r"http://\S+/$", greeting[0].strip())
        assert page is not None
        yield process, {"page": page[0], **dict(re.findall(r"(DINGTALK_\w+)=(.+)", text)), "text": text}
    finally:
        process.kill()
        process.communicate()


def test_what_it_prints_can_be_used_as_it_is() -> None:
    """The printed webhook takes a signed message, which is printed with its mentions; SIGTERM ends it with 0."""
    with running("--token", "tok/en", "--secret", SECRET) as (process, greeting):
        robot = DingTalk(greeting["DINGTALK_WEBHOOK"], SECRET)
        assert robot.send("Training", "**digits** reached 98.1 %") == Delivered("0")
        assert isinstance(DingTalk(greeting["DINGTALK_WEBHOOK"], "SECwrong").send("Training", "x"), Never)
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=10)
        assert process.returncode == 0
    assert "Training  (dingtalk)\n  │ digits reached 98.1 %\n" in printed
    assert "not taken, errcode 310000: sign is not that of this timestamp and this secret" in printed
    assert SECRET not in printed + greeting["text"]


def test_a_hanging_call_does_not_hold_up_the_end() -> None:
    """Ctrl-C ends the sandbox at once, whatever it keeps waiting."""
    with running() as (process, greeting):
        host, port = greeting["page"].removeprefix("http://").rstrip("/").split(":")
        body = b'{"mode":"hang"}'
        with socket.create_connection((host, int(port))) as control:
            control.sendall(b"PUT /api/mode HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            assert control.recv(4096).startswith(b"HTTP/1.0 200")
        with socket.create_connection((host, int(port))) as caller:
            caller.sendall(
                b"POST /robot/send?access_token=sandbox HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
            )
            caller.settimeout(0.3)
            with pytest.raises(TimeoutError):
                caller.recv(1)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=3)
            assert process.returncode == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--listen", "8070"], "--listen 8070: write HOST:PORT, for example 127.0.0.1:8070"),
        (["--listen", "127.0.0.1:x"], "--listen 127.0.0.1:x: write HOST:PORT, for example 127.0.0.1:8070"),
        (
            ["--listen", "127.0.0.1:99999"],
            "--listen 127.0.0.1:99999: write HOST:PORT, for example 127.0.0.1:8070",
        ),
        (["--token", ""], "--token must not be empty"),
    ],
)
def test_a_wrong_option_is_said(options: list[str], message: str) -> None:
    """What cannot be used is said in one line."""
    run = CliRunner().invoke(sandbox, options)
    assert (run.exit_code, run.output) == (1, f"Error: {message}\n")


def test_a_taken_port_is_said() -> None:
    """A port that another process has is named, with the option that changes it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        run = CliRunner().invoke(sandbox, ["--listen", address])
    expected = f"Error: cannot listen on {address}: Address already in use; choose another --listen\n"
    assert (run.exit_code, run.output) == (1, expected)
