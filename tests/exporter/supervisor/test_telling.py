"""Who is told of a job's end: each end once, by the training itself or by the supervisor for one that cannot speak."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.exporter.conftest import wait_until
from tests.exporter.event_receiver import Receiver

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
Supervise = Callable[..., "subprocess.Popen[bytes]"]

TRAINING = """
import os, signal, sys, time
import epochwatch
with epochwatch.start("digits", epochs=2, port=0, addr="127.0.0.1", gpu=False) as run:
    for epoch in run.epochs():
        run.step(loss=1.0)
    {end}
"""


@pytest.fixture
def alertmanager() -> Iterator[Receiver]:
    """Takes alerts on loopback."""
    listening = Receiver()
    yield listening
    listening.close()


def told(alertmanager: Receiver) -> list[str]:
    """Gives the names of the events of ends that were told."""
    names = [alert["labels"]["alertname"] for alert in alertmanager.alerts()]
    return [name for name in names if name not in ("TrainingStarted", "TrainingNewBest")]


@pytest.mark.parametrize(
    ("end", "code", "name"),
    [
        ("pass", 0, "TrainingFinished"),
        ("raise ValueError('no')", 1, "TrainingFailed"),
        ("raise RuntimeError('CUDA out of memory. Tried to allocate 2 GiB')", 1, "TrainingFailed"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, "TrainingJobFailed"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", 139, "TrainingJobFailed"),
        ("os._exit(7)", 7, "TrainingJobFailed"),
    ],
)
def test_each_end_is_told_once(
    run: Run, alertmanager: Receiver, tmp_path: Path, end: str, code: int, name: str
) -> None:
    """By the training where it can speak, else by its supervisor; with the run's name and the job's on it."""
    script = tmp_path / "train.py"
    script.write_text(TRAINING.format(end=end))
    flags = ["--job", "nightly", "--alertmanager-url", alertmanager.url]
    done = run(flags, [sys.executable, str(script)])
    assert (done.returncode, told(alertmanager)) == (code, [name]), done.stderr.decode()
    labels = alertmanager.alerts()[-1]["labels"]
    assert (labels["run"], labels["job_name"], labels["event"]) == ("digits", "nightly", "true")


def test_an_end_that_the_training_could_not_tell_is_told_for_it(
    run: Run, alertmanager: Receiver, tmp_path: Path
) -> None:
    """A training whose own receiver is not there has told nobody."""
    script = tmp_path / "train.py"
    failing = TRAINING.format(end="raise ValueError('no')")
    script.write_text(failing.replace('"digits",', '"digits", alertmanager_url="http://127.0.0.1:9",'))
    run(["--alertmanager-url", alertmanager.url], [sys.executable, str(script)])
    assert told(alertmanager) == ["TrainingJobFailed"]
    alert = alertmanager.alerts()[-1]
    assert alert["annotations"]["summary"] == "train: exit code 1"
    assert alert["annotations"]["description"].splitlines()[-1] == "ValueError: no"


def test_a_second_run_in_one_command_that_dies_is_told(
    run: Run, alertmanager: Receiver, tmp_path: Path
) -> None:
    """That an earlier run has told its end does not make up for the last one's silence."""
    script = tmp_path / "sweep.py"
    script.write_text(
        TRAINING.format(end="pass")
        + "run = epochwatch.start('second', port=0, addr='127.0.0.1', gpu=False)\n"
        + "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run(["--alertmanager-url", alertmanager.url], [sys.executable, str(script)])
    assert told(alertmanager) == ["TrainingFinished", "TrainingJobFailed"]
    assert alertmanager.alerts()[-1]["labels"]["run"] == "second"


def test_a_training_whose_time_is_up_leaves_the_telling_to_the_supervisor(
    run: Run, alertmanager: Receiver, tmp_path: Path
) -> None:
    """It could tell an interruption only, and the reason is known outside."""
    script = tmp_path / "train.py"
    script.write_text(TRAINING.format(end="time.sleep(60)"))
    flags = ["--timeout", "3s", "--alertmanager-url", alertmanager.url]
    done = run(flags, [sys.executable, str(script)])
    assert (done.returncode, told(alertmanager)) == (143, ["TrainingJobFailed"])
    assert alertmanager.alerts()[-1]["annotations"]["summary"] == "train: time-out: not done within 3 s"


@pytest.mark.parametrize(
    ("speaks", "name"), [(True, "TrainingInterrupted"), (False, "TrainingJobInterrupted")]
)
def test_an_end_that_was_asked_for_is_no_failure(
    supervise: Supervise, alertmanager: Receiver, tmp_path: Path, speaks: bool, name: str
) -> None:
    """SIGTERM to the supervisor reaches the command, and one of both says what happened."""
    script = tmp_path / "train.py"
    ready = tmp_path / "ready"
    waiting = f"open({str(ready)!r}, 'w').close(); [time.sleep(0.1) for _ in range(600)]"
    script.write_text(TRAINING.format(end=waiting) if speaks else f"import time\n{waiting}\n")
    process = supervise(["--alertmanager-url", alertmanager.url], [sys.executable, str(script)])
    wait_until(ready.exists)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    assert told(alertmanager) == [name]
    assert alertmanager.alerts()[-1]["labels"]["severity"] == "info"


def test_a_command_without_epochwatch_is_told_with_its_last_lines_and_no_secret(
    run: Run, alertmanager: Receiver
) -> None:
    """The failure has exit code, time, command and the end of the output, colours and overdrawn progress left out."""
    script = (
        "printf 'step 1\\r\\033[32mstep 2\\033[0m\\n'; echo \"login with $API_TOKEN\"; "
        "echo 'https://robot/send?access_token=abcdef123456'; exit 3"
    )
    flags = ["--job", "nightly", "--alertmanager-url", alertmanager.url]
    run(flags, ["sh", "-c", script], API_TOKEN="tops3cret-value")
    (alert,) = alertmanager.alerts()
    assert alert["annotations"]["summary"] == "nightly: exit code 3"
    assert alert["annotations"]["summary_zh"] == "nightly：退出码 3"
    assert alert["annotations"]["dashboard"].startswith("/d/epochwatch-jobs?var-job_name=nightly&")
    assert alert["annotations"]["runbook_url"].endswith("#trainingjobfailed")
    lines = alert["annotations"]["description"].splitlines()
    assert lines[0].startswith("exit code 3 after ")
    assert lines[1].startswith("command: sh -c ")
    assert lines[2:] == ["step 2", "login with ***", "https://robot/send?access_token=***"]
    assert "tops3cret" not in str(alertmanager.bodies)
    assert "abcdef123456" not in str(alertmanager.bodies)


def test_a_robot_is_told_without_a_stack(run: Run, alertmanager: Receiver) -> None:
    """With --notify the end goes straight to the robot of the environment."""
    done = run(
        ["--job", "nightly", "--notify", "dingtalk", "--language", "en"],
        ["sh", "-c", "kill -9 $$"],
        DINGTALK_WEBHOOK=alertmanager.webhook,
        DINGTALK_SECRET="SECabc",
    )
    assert done.returncode == 137
    assert alertmanager.titles() == ["🔴 CRITICAL nightly: killed by SIGKILL"]


def test_each_restart_is_told_and_the_end_once(run: Run, alertmanager: Receiver, tmp_path: Path) -> None:
    """Two attempts that fail are warnings, the third that succeeds is the end."""
    count = tmp_path / "count"
    script = f"echo x >> {count}; [ $(wc -l < {count}) -ge 3 ]"
    flags = ["--job", "nightly", "--restarts", "5", "--restart-delay", "0.1s"]
    done = run([*flags, "--alertmanager-url", alertmanager.url], ["sh", "-c", script])
    assert done.returncode == 0
    assert told(alertmanager) == ["TrainingJobRestarted", "TrainingJobRestarted", "TrainingJobFinished"]
    first = alertmanager.alerts()[0]
    assert first["labels"]["severity"] == "warning"
    assert first["annotations"]["summary"] == "nightly: exit code 1; starting again in 0 s (restart 1 of 5)"
    assert len({alert["labels"]["run_id"] for alert in alertmanager.alerts()}) == 1


def test_a_receiver_that_hangs_changes_neither_exit_code_nor_much_time(
    run: Run, alertmanager: Receiver
) -> None:
    """The flush at the end is bounded."""
    alertmanager.hanging.set()
    began = time.monotonic()
    assert run(["--alertmanager-url", alertmanager.url], ["sh", "-c", "exit 3"]).returncode == 3
    assert time.monotonic() - began < 15
