"""A scheduler in front of a terminal (tmux, `docker run -it`): its jobs leave that alone, its keys do what they do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from .conftest import is_running
from .scheduling import Scheduling
from .terminal_user import SHELL, TerminalUser

Sit = Callable[..., TerminalUser]


@pytest.fixture
def sit() -> Iterator[Sit]:
    """Puts somebody before a command."""
    users: list[TerminalUser] = []

    def starter(command: list[str] | tuple[str, ...]) -> TerminalUser:
        users.append(TerminalUser(command))
        return users[-1]

    yield starter
    for user in users:
        user.close()


def test_two_jobs_at_once_leave_the_terminal_as_it_is(scheduling: Scheduling, sit: Sit) -> None:
    """It is neither theirs nor made raw, they have nothing to read, and Ctrl-C is the scheduler's."""
    talk = "wc -c; tty; echo one; echo two >&2"
    scheduling.write(a=talk, b=f"{talk}; sleep 0.5")
    scheduling.make_due("a")
    scheduling.make_due("b")
    user = sit(scheduling.command())
    user.look_for(b"0\r\nnot a tty\r\none\r\ntwo\r\n")
    during = user.attributes()
    scheduling.until(lambda: scheduling.has_run("a") and scheduling.has_run("b"))

    assert (during, user.attributes()) == (user.found, user.found)
    user.type(b"\x03")
    assert user.wait() == 0


def test_ctrl_c_reaches_what_runs(scheduling: Scheduling, sit: Sit) -> None:
    """The job gets SIGINT, may save, and the scheduler ends with its end."""
    scheduling.write(a="trap 'echo saved; exit 0' INT; echo ready; while :; do sleep 0.1; done")
    scheduling.make_due("a")
    user = sit(scheduling.command())
    user.look_for(b"ready\r\n")
    user.type(b"\x03")
    user.look_for(b"saved\r\n")

    assert user.wait() == 0


def test_ctrl_c_twice_kills_what_runs(scheduling: Scheduling, sit: Sit, nap: str) -> None:
    """What does not listen to the first is gone after the second."""
    scheduling.write(a=f"trap 'echo no' INT; {nap} & echo ready; while :; do sleep 0.1; done")
    scheduling.make_due("a")
    user = sit(scheduling.command())
    user.look_for(b"ready\r\n")
    user.type(b"\x03")
    user.look_for(b"no\r\n")
    user.type(b"\x03")

    assert user.wait() == 0
    assert not is_running(nap)


def test_suspended_and_taken_up_again(scheduling: Scheduling, sit: Sit) -> None:
    """Ctrl-Z stops the scheduler and what it runs, and gives the shell its terminal; `fg` goes on with both."""
    scheduling.write(a="echo $$ > pid; n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.05; done")
    scheduling.make_due("a")
    user = sit(SHELL)
    user.look_for(b"shell> ")
    user.type(f"cd {scheduling.directory}; {' '.join(scheduling.command())}\r".encode())
    user.look_for(b"tick 3\r\n")
    user.type(b"\x1a")
    user.look_for(b"shell> ")
    job = psutil.Process(int((scheduling.directory / "pid").read_text()))

    scheduling.until(lambda: job.status() == psutil.STATUS_STOPPED)
    user.type(b"echo $((6 * 7))\r")
    assert b"tick" not in user.look_for(b"\n42\r\n")
    user.type(b"fg\r")
    user.look_for(b"tick")
    user.look_for(b"tick")
    user.type(b"\x03")
    user.look_for(b"shell> ")
    user.type(b"echo code $?\r")
    user.look_for(b"code 0")
    assert not job.is_running()


def test_a_terminal_that_hangs_up_ends_no_job(scheduling: Scheduling, sit: Sit, tmp_path: Path) -> None:
    """To a scheduler of a file the hang-up says to read it again; what runs goes on, heard or not."""
    unheard = "for n in 1 2 3 4 5; do echo $n; sleep 0.1; done"
    scheduling.write(
        a=f"cd {tmp_path}; echo ready; until [ -e gone ]; do sleep 0.05; done; {unheard}; touch done"
    )
    scheduling.make_due("a")
    user = sit(scheduling.command())
    user.look_for(b"ready\r\n")
    user.hang_up()
    (tmp_path / "gone").touch()
    scheduling.until(lambda: scheduling.has_ended("a"))

    assert (tmp_path / "done").exists()


def test_one_job_of_the_command_line(scheduling: Scheduling, sit: Sit) -> None:
    """`epochwatch run --schedule` leaves the terminal alone too."""
    scheduling.write(a="true")
    scheduling.make_due("a")
    program, _, _, *options = scheduling.command()
    when = ["--job", "a", "--schedule", scheduling.schedule, "--timezone", "UTC"]
    where = ["--state-dir", str(scheduling.state)]
    user = sit([program, "run", *when, *where, *options, "--", "sh", "-c", "tty; sleep 0.5"])
    user.look_for(b"not a tty\r\n")

    assert user.attributes() == user.found
    user.type(b"\x03")
    assert user.wait() == 0
