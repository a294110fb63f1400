"""A training that is kept in a history and dies: its supervisor says there how, and has the report made."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.exporter.conftest import wait_until
from tests.exporter.event_receiver import Receiver

from epochwatch.report.record import Head
from epochwatch.report.store import History

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
Supervise = Callable[..., "subprocess.Popen[bytes]"]

TRAINING = """
import os, signal, sys, time
from pathlib import Path
import epochwatch
from epochwatch.errors import HistoryError
from epochwatch.report.store import History

def kept():
    try:
        return len(History(Path({history!r})).heads())
    except HistoryError:
        return 0

before = kept()
run = epochwatch.start("digits", port=0, addr="127.0.0.1", gpu=False, history={history!r}, report_url="https://lab/runs")
for epoch in run.epochs(2):
    run.step(loss=1.0)
    run.log("validation", loss=0.5)
while kept() == before:
    time.sleep(0.05)
{end}
"""


@pytest.fixture
def alertmanager() -> Iterator[Receiver]:
    """Takes alerts on loopback."""
    listening = Receiver()
    yield listening
    listening.close()


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], list[str]]:
    """Gives the command of a training that comes to an end of one's own."""

    def written(end: str) -> list[str]:
        path = tmp_path / "train.py"
        path.write_text(TRAINING.format(history=str(tmp_path / "runs"), end=end))
        return [sys.executable, str(path)]

    return written


def reports(directory: Path) -> list[str]:
    return [path.read_text() for path in (directory / "runs" / "reports").glob("*.html")]


def runs(directory: Path) -> list[Head]:
    return History(directory / "runs").heads()


@pytest.mark.parametrize(
    ("end", "flags", "failure"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", [], "killed by SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", [], "segmentation fault (SIGSEGV)"),
        ("os._exit(7)", [], "exit code 7"),
        (
            "signal.signal(15, signal.SIG_IGN); time.sleep(60)",
            ["--timeout", "6s", "--stop-grace", "0.2s"],
            "time-out: not done within 6 s",
        ),
    ],
)
def test_a_death_is_in_the_history_with_its_cause_and_has_a_report(
    run: Run,
    script: Callable[[str], list[str]],
    alertmanager: Receiver,
    tmp_path: Path,
    end: str,
    flags: list[str],
    failure: str,
) -> None:
    """It is no run that has vanished, and the message links the report as any other does."""
    done = run([*flags, "--alertmanager-url", alertmanager.url], script(end), EPOCHWATCH_LANGUAGE="en")
    (head,) = runs(tmp_path)
    assert (head.state, head.ended_at is not None) == ("failed", True), done.stderr.decode()
    assert History(tmp_path / "runs").record(head.run_id).facts.failure == failure
    wait_until(lambda: reports(tmp_path), 60)
    (report,) = reports(tmp_path)
    assert failure in report
    (alert,) = [
        alert for alert in alertmanager.alerts() if alert["labels"]["alertname"] == "TrainingJobFailed"
    ]
    assert alert["annotations"]["report_url"] == f"https://lab/runs/digits-{head.run_id}.html"


def test_each_attempt_is_a_run_of_its_own(
    run: Run, script: Callable[[str], list[str]], tmp_path: Path
) -> None:
    """Those before the last one have died as well."""
    run(["--restarts", "1", "--restart-delay", "0.1s"], script("os.kill(os.getpid(), signal.SIGKILL)"))
    assert [head.state for head in runs(tmp_path)] == ["failed", "failed"]
    wait_until(lambda: len(reports(tmp_path)) == 2, 60)


@pytest.mark.parametrize(
    ("end", "code", "state", "failure"),
    [
        ("run.finish()", 0, "finished", ""),
        ("raise ValueError('no')", 1, "failed", "ValueError: no"),
        ("run.finish(); os._exit(3)", 3, "finished", ""),
    ],
)
def test_what_a_run_says_of_its_end_stands(
    run: Run,
    script: Callable[[str], list[str]],
    tmp_path: Path,
    end: str,
    code: int,
    state: str,
    failure: str,
) -> None:
    """Whatever became of the command after it."""
    assert run([], script(end)).returncode == code
    (head,) = runs(tmp_path)
    assert (head.state, History(tmp_path / "runs").record(head.run_id).facts.failure) == (state, failure)


def test_a_run_that_was_stopped_is_interrupted(
    supervise: Supervise, script: Callable[[str], list[str]], tmp_path: Path
) -> None:
    """A training that a signal through the supervisor ends at once has not failed."""
    end = f"signal.signal(15, signal.SIG_DFL); open({str(tmp_path / 'ready')!r}, 'w').close(); time.sleep(60)"
    process = supervise([], script(end))
    wait_until((tmp_path / "ready").exists, 30)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    assert [head.state for head in runs(tmp_path)] == ["interrupted"]


def test_a_history_that_is_damaged_is_nothing_to_the_job(
    run: Run, script: Callable[[str], list[str]], tmp_path: Path
) -> None:
    """It is said, and the exit code and the message are what they are without one."""
    damage = f"open({str(tmp_path / 'runs' / 'history.db')!r}, 'wb').write(b'x' * 5000)"
    done = run([], script(f"{damage}; os.kill(os.getpid(), signal.SIGKILL)"))
    assert done.returncode == 137
    assert "may stay open, or without a report: the history" in done.stderr.decode()


def test_a_report_that_is_not_there_is_made(
    run: Run, script: Callable[[str], list[str]], tmp_path: Path
) -> None:
    """What was still making it when the command ended was ended with it."""
    removed = f"[path.unlink() for path in Path({str(tmp_path / 'runs' / 'reports')!r}).glob('*.html')]"
    assert run([], script(f"run.finish(); {removed}")).returncode == 0
    wait_until(lambda: reports(tmp_path), 60)
    assert [head.state for head in runs(tmp_path)] == ["finished"]
