"""`epochwatch run` for system cron and by hand: one at a time, remembered, published, promised."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from epochwatch.supervisor.command import run as epochwatch_run
from epochwatch.supervisor.state import JobState
from epochwatch.supervisor.statefile import StateFile

Supervise = Callable[..., "subprocess.Popen[bytes]"]
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


def textfile(directory: Path, name: str = "nightly") -> dict[str, float]:
    """Gives the samples that node_exporter would show; the labels' values stand behind the names."""
    path = directory / f"epochwatch_{name}.prom"
    return {
        " ".join(
            [
                sample.name.removeprefix("training_job_"),
                *(sample.labels[key] for key in sample.labels if key != "job_name"),
            ]
        ): sample.value
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
    }


@pytest.fixture
def cron(tmp_path: Path) -> list[str]:
    """The flags of a crontab's line."""
    (tmp_path / "textfile").mkdir()
    places = ["--state-dir", str(tmp_path / "state"), "--textfile", str(tmp_path / "textfile")]
    return ["--job", "nightly", *places, "--expected-schedule", "0 2 * * *", "--timezone", "UTC"]


def test_a_line_of_a_crontab(run: Run, cron: list[str], tmp_path: Path) -> None:
    """The exit code is the command's, the file has the end and the next promise, and counters go on over runs."""
    assert run(cron, ["sh", "-c", "exit 3"]).returncode == 3
    first = textfile(tmp_path / "textfile")
    assert run(cron, ["true"]).returncode == 0
    second = textfile(tmp_path / "textfile")

    assert first["last_exit_code"] == 3
    assert "last_success_timestamp_seconds" not in first
    assert first["next_start_timestamp_seconds"] % 86_400 == 7200
    assert 0 < first["next_start_timestamp_seconds"] - time.time() <= 86_400
    assert first["start_grace_seconds"] == 600
    assert (second["runs_total failure"], second["runs_total success"]) == (1, 1)
    assert second["last_exit_code"] == 0
    assert second["last_success_timestamp_seconds"] >= second["last_start_timestamp_seconds"]


def test_the_file_shows_a_run_from_its_start(supervise: Supervise, cron: list[str], tmp_path: Path) -> None:
    """While it runs, the file already has the start and the next promise."""
    process = supervise(cron, ["sleep", "60"])
    path = tmp_path / "textfile" / "epochwatch_nightly.prom"
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    shown = textfile(tmp_path / "textfile")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)

    assert shown["state running"] == 1
    assert abs(shown["last_start_timestamp_seconds"] - time.time()) < 60
    assert "last_exit_code" not in shown
    assert textfile(tmp_path / "textfile")["last_exit_code"] == 143


def test_never_two_at_once(supervise: Supervise, run: Run, cron: list[str], tmp_path: Path) -> None:
    """The second start is refused with 75, said, counted and shown; the first one is not disturbed."""
    first = supervise(cron, ["sh", "-c", "echo started; sleep 60"])
    assert first.stdout is not None
    assert first.stdout.readline() == b"started\n"
    second = run(cron, ["touch", str(tmp_path / "second")])
    shown = textfile(tmp_path / "textfile")
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=30)

    assert second.returncode == 75
    assert (
        f"job nightly did not start: its last run is still going on, for 0 s now (process {first.pid})"
        in (second.stderr.decode().replace("for 1 s", "for 0 s").replace("for 2 s", "for 0 s"))
    )
    assert not (tmp_path / "second").exists()
    assert (shown["runs_total skipped"], shown["state running"]) == (1, 1)
    assert textfile(tmp_path / "textfile")["runs_total skipped"] == 1


def test_a_job_without_a_name_may_run_twice(supervise: Supervise, run: Run, tmp_path: Path) -> None:
    """Two trainings of one script are nobody's mistake, and nothing is written for them."""
    home = str(tmp_path / "home")
    first = supervise([], ["sh", "-c", "echo started; sleep 60"], HOME=home)
    assert first.stdout is not None
    assert first.stdout.readline() == b"started\n"

    assert run([], ["sh", "-c", "exit 0"], HOME=home).returncode == 0
    assert not (tmp_path / "home").exists()


def test_a_named_job_without_a_place_for_its_state(run: Run) -> None:
    """Where nobody asked for a state, a run is made without; where somebody did, it is refused before it begins."""
    loose = run(["--job", "nightly"], ["echo", "ran"], XDG_STATE_HOME="/proc/none")
    strict = run(["--job", "nightly", "--state-dir", "/proc/none"], ["echo", "ran"])

    assert (loose.returncode, loose.stdout) == (0, b"ran\n")
    assert (
        b"nightly is run all the same, but a second one is not kept away: /proc/none/epochwatch"
        in loose.stderr
    )
    assert (strict.returncode, strict.stdout) == (2, b"")
    assert b"/proc/none cannot be used" in strict.stderr


def test_a_command_that_cannot_start_keeps_the_promise(run: Run, cron: list[str], tmp_path: Path) -> None:
    """The exit code is a shell's; the start that was promised stays missed, and no run is made up."""
    promised = JobState(schedule="0 2 * * *", timezone="UTC", next_start=7200.0, settled=0.0)
    StateFile(tmp_path / "state", "nightly").write(promised)

    assert run(cron, ["/no/such/program"]).returncode == 127
    shown = textfile(tmp_path / "textfile")
    assert shown["next_start_timestamp_seconds"] == 7200
    assert "last_exit_code" not in shown


def test_a_run_by_hand_keeps_a_schedulers_promise(run: Run, tmp_path: Path) -> None:
    """After a missed night, a run by hand without any schedule moves the promise on, and that ends the alert."""
    missed = JobState(schedule="0 2 * * *", timezone="Asia/Shanghai", next_start=64_800.0, settled=70_000.0)
    StateFile(tmp_path, "nightly").write(missed)

    assert run(["--job", "nightly", "--state-dir", str(tmp_path)], ["true"]).returncode == 0
    state = StateFile(tmp_path, "nightly").read()
    assert state.next_start is not None
    assert state.next_start > time.time()
    assert state.next_start % 86_400 == 64_800
    assert (state.schedule, state.last_outcome) == ("0 2 * * *", "success")


def test_a_run_that_was_cut_off_counts(run: Run, cron: list[str], tmp_path: Path) -> None:
    """A run that a power cut ended is counted as failed by the next one, which goes on from there."""
    StateFile(tmp_path / "state", "nightly").write(JobState(last_start=1000.0, last_duration_seconds=5.0))

    assert run(cron, ["true"]).returncode == 0
    shown = textfile(tmp_path / "textfile")
    assert (shown["runs_total failure"], shown["runs_total success"]) == (1, 1)


def test_the_next_start_is_not_forgotten_by_a_state_cut_in_half(
    run: Run, cron: list[str], tmp_path: Path
) -> None:
    """A damaged state is said and set aside; the run is made and promises anew."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state/nightly.job.json").write_text('{"version": 1, "job": "nigh')
    done = run(cron, ["true"])

    assert done.returncode == 0
    assert b"nightly.job.json is damaged" in done.stderr
    assert textfile(tmp_path / "textfile")["next_start_timestamp_seconds"] > time.time()
    assert json.loads((tmp_path / "state/nightly.job.json").read_text())["runs"] == {"success": 1}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--schedule", "@daily", "--textfile", "/tmp"], "give one or the other"),
        (["--job", "a/b"], "must not have a / in it"),
        (["--grace", "soon"], "must be a span of time"),
        (["--schedule", "0 0 30 2 *"], "schedule '0 0 30 2 *' never comes"),
        (["--expected-schedule", "@daily", "--timezone", "Asia/Beijing"], "did you mean 'Asia/Shanghai'?"),
        (["--schedule", ""], "schedule must be a text"),
    ],
)
def test_wrong_flags(flags: list[str], said: str) -> None:
    """What cannot be right is refused, with what to write instead."""
    done = CliRunner().invoke(epochwatch_run, [*flags, "echo", "ran"])

    assert done.exit_code == 2
    assert said in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--schedule", "0 0 30 2 *"], "schedule '0 0 30 2 *' never comes"),
        (["--expected-schedule", "@daily", "--timezone", "Asia/Beijing"], "did you mean 'Asia/Shanghai'?"),
        (
            ["--textfile", "/no/such/place"],
            "--textfile /no/such/place is no directory; give the one that node_exporter",
        ),
        (["--pushgateway", "ftp://x"], "--pushgateway must be an address such as http://pushgateway:9091"),
    ],
)
def test_places_that_cannot_be(run: Run, tmp_path: Path, flags: list[str], said: str) -> None:
    """A place to publish to that cannot be right is refused before anything runs."""
    done = run([*flags, "--state-dir", str(tmp_path)], ["echo", "ran"])

    assert done.returncode == 2
    assert done.stdout == b""
    assert said in " ".join(done.stderr.decode().split())


def test_a_job_that_stays(supervise: Supervise, tmp_path: Path) -> None:
    """With --schedule the command waits for its time, and SIGTERM ends the waiting with 0."""
    flags = ["--job", "nightly", "--schedule", "0 2 * * *", "--state-dir", str(tmp_path)]
    process = supervise(flags, [sys.executable, "-c", "print('ran')"])
    assert process.stderr is not None
    assert b"metrics at" in process.stderr.readline()
    assert b"job nightly: next start" in process.stderr.readline()
    os.kill(process.pid, signal.SIGTERM)
    out, _ = process.communicate(timeout=30)

    assert (process.returncode, out) == (0, b"")
    assert StateFile(tmp_path, "nightly").read().next_start is not None
