"""`epochwatch run` in front of a terminal: it is there for the command as if nobody stood between."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import RUN, is_running
from .terminal_user import SHELL, TerminalUser

Sit = Callable[..., TerminalUser]

KEYS = """
import sys, time
print("ready", flush=True)
for line in sys.stdin:
    print("got", repr(line), flush=True)
"""
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGINT, lambda number, frame: print("saving", flush=True))
child = subprocess.Popen("{nap}".split())
print("ready", flush=True)
while True:
    time.sleep(0.1)
"""


@pytest.fixture
def sit() -> Iterator[Sit]:
    """Puts somebody before a supervised command."""
    users: list[TerminalUser] = []

    def starter(script: str, flags: tuple[str, ...] = (), **options: int) -> TerminalUser:
        users.append(TerminalUser([*RUN, *flags, "--", sys.executable, "-c", script], **options))
        return users[-1]

    yield starter
    for user in users:
        user.close()


def test_the_command_has_a_terminal_of_the_same_size(sit: Sit) -> None:
    """All three streams are one, it is the controlling one, and a change of the window's size arrives."""
    user = sit(
        "import os, signal, sys, time\n"
        "def show(*_): print('size', os.get_terminal_size().columns, flush=True)\n"
        "signal.signal(signal.SIGWINCH, show)\n"
        "print([os.isatty(n) for n in (0, 1, 2)], open('/dev/tty').isatty(), os.tcgetpgrp(0) == os.getpgrp())\n"
        "show()\n"
        "while True: time.sleep(0.1)\n",
        columns=97,
    )
    assert b"[True, True, True] True True" in user.look_for(b"size 97")
    user.resize(30, 133)
    user.look_for(b"size 133")


def test_progress_bars_pass_untouched(sit: Sit) -> None:
    """Carriage returns stay what they are; the real terminal makes the newline's one, once."""
    user = sit("import sys; sys.stdout.write('a\\r 10%\\r 20%\\nend\\n\\x1b[31mred\\xe4\\xb8')")
    assert user.look_for(b"red") == b"a\r 10%\r 20%\r\nend\r\n\x1b[31m"
    assert user.wait() == 0


def test_lines_are_typed_into_the_command(sit: Sit) -> None:
    """What is typed is echoed once and read as lines; the end of input is one too."""
    user = sit(KEYS)
    user.look_for(b"ready\r\n")
    user.type(b"hello\r")
    assert user.look_for(b"got 'hello\\n'") == b"hello\r\n"
    user.type(b"\x04")
    assert user.wait() == 0


def test_the_terminal_is_left_as_it_was_found(sit: Sit) -> None:
    """Echo and line editing are back after the end, whatever it was."""
    user = sit("import os; print('ready', flush=True); input(); os.kill(os.getpid(), 9)")
    user.look_for(b"ready")
    user.type(b"\r")
    assert user.wait() == 137
    assert user.attributes() == user.found


def test_ctrl_c_once_lets_the_command_end_itself(sit: Sit) -> None:
    """The command gets one SIGINT, cleans up, and its exit code comes out."""
    user = sit(
        "import sys, time\n"
        "try:\n"
        "    print('ready', flush=True)\n"
        "    while True: time.sleep(0.1)\n"
        "except KeyboardInterrupt:\n"
        "    time.sleep(0.5); print('saved', flush=True); sys.exit(5)\n"
    )
    user.look_for(b"ready")
    user.type(b"\x03")
    user.look_for(b"saved")
    assert user.wait() == 5


def test_ctrl_c_twice_kills_the_command_and_all_it_started(sit: Sit, nap: str) -> None:
    """The first is the command's, who may ignore it; the second leaves nothing."""
    user = sit(STUBBORN.format(nap=nap))
    user.look_for(b"ready")
    user.type(b"\x03")
    user.look_for(b"saving")
    user.type(b"\x03")
    assert user.wait() == 137
    assert not is_running(nap)


def test_a_command_that_lets_go_of_its_terminal_is_not_hung_up_on(sit: Sit, tmp_path: Path) -> None:
    """It runs on with all its streams closed."""
    script = "import os, time; [os.close(n) for n in (0, 1, 2)]; time.sleep(1); open({!r}, 'w').close(); os._exit(6)"
    user = sit(script.format(str(tmp_path / "done")))
    assert user.wait() == 6
    assert (tmp_path / "done").exists()


def test_a_pipeline_keeps_keys_and_bytes(sit: Sit) -> None:
    """With the output in a pipe only the other streams are a terminal, and Ctrl-C still reaches the command."""
    read_end, write_end = os.pipe()
    user = sit(
        "import os, time\n"
        "print([os.isatty(n) for n in (0, 1, 2)], flush=True)\n"
        "print('\\r50%', end='', flush=True); os.write(2, b'ready')\n"
        "while True: time.sleep(0.1)\n",
        stdout=write_end,
    )
    os.close(write_end)
    user.look_for(b"ready")
    user.type(b"\x03")
    assert user.wait() == 130
    with os.fdopen(read_end, "rb") as piped:
        assert piped.read() == b"[True, False, True]\n\r50%"


def test_suspended_and_taken_up_again(tmp_path: Path) -> None:
    """Ctrl-Z gives the shell its terminal back and stops the command; `fg` goes on with it."""
    script = tmp_path / "count.py"
    script.write_text(
        "import time\nfor n in range(1000):\n    print('tick', n, flush=True); time.sleep(0.05)\n"
    )
    user = TerminalUser(SHELL)
    try:
        user.look_for(b"shell> ")
        command = [*RUN, "--", sys.executable, str(script)]
        user.type(" ".join(command).encode() + b"\r")
        user.look_for(b"tick 3")
        user.type(b"\x1a")
        user.look_for(b"shell> ")
        user.type(b"echo $((6 * 7))\r")
        assert b"tick" not in user.look_for(b"42\r\n")
        user.type(b"fg\r")
        user.look_for(b"tick")
        user.look_for(b"tick")
        user.type(b"\x03")
        user.look_for(b"KeyboardInterrupt")
        user.look_for(b"shell> ")
        user.type(b"echo code $?\r")
        user.look_for(b"code 130")
    finally:
        user.close()


def test_in_the_background_it_does_not_touch_the_terminal(tmp_path: Path) -> None:
    """`epochwatch run ... &` runs on while the shell has the keys."""
    user = TerminalUser(SHELL)
    try:
        user.look_for(b"shell> ")
        command = [*RUN, "--", "sh", "-c", "'sleep 0.5; echo do''ne'"]
        user.type(" ".join(command).encode() + b" &\r")
        user.look_for(b"done")
        user.type(b"wait; echo code $?\r")
        user.look_for(b"code 0")
    finally:
        user.close()
