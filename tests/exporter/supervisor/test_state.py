"""What is known of a job outlives the scheduler, and is never invented."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from epochwatch.errors import StateError
from epochwatch.supervisor.ended import Ended, Outcome
from epochwatch.supervisor.state import JobState, counted, cut_off, ended_state, is_open
from epochwatch.supervisor.statefile import StateFile, default_directory, states

FULL = JobState(
    schedule="0 2 * * *",
    timezone="Asia/Shanghai",
    grace_seconds=600.0,
    next_start=1_800_000_000.0,
    settled=1_799_900_000.5,
    missed_told=1_799_800_000.0,
    last_start=1_799_900_000.5,
    last_end=1_799_903_600.0,
    last_success=1_799_903_600.0,
    last_outcome="success",
    last_exit_code=0,
    last_duration_seconds=3599.5,
    runs={"success": 3, "cuda_oom": 1},
    log_matches={"traceback": 2},
)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """Every field comes back as it was, and nothing else lies in the directory."""
    StateFile(tmp_path / "state", "夜间训练").write(FULL)

    assert StateFile(tmp_path / "state", "夜间训练").read() == FULL
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["夜间训练.job.json"]
    assert states(tmp_path / "state") == {"夜间训练": FULL}


def test_a_job_that_never_ran_is_unknown(tmp_path: Path) -> None:
    """Without a file nothing is known."""
    assert StateFile(tmp_path, "nightly").read() == JobState()


def test_every_cut_of_a_file_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file cut anywhere is set aside and said; no value of it is believed."""
    file = StateFile(tmp_path, "nightly")
    file.write(FULL)
    whole = file.path.read_bytes().rstrip()

    for length in range(0, len(whole), 7):
        file.path.write_bytes(whole[:length])
        assert file.read() == JobState()
        assert not file.path.exists()

    assert "what it said of the runs of nightly is lost" in caplog.text
    assert list(tmp_path.glob("nightly.job.damaged-*"))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda content: [content], "it has no version"),
        (lambda content: {**content, "version": None}, "it has no version"),
        (lambda content: {**content, "version": True}, "it has no version"),
        (lambda content: {**content, "next_start": "tomorrow"}, "next_start cannot be 'tomorrow'"),
        (lambda content: {**content, "next_start": float("nan")}, "next_start cannot be nan"),
        (lambda content: {**content, "runs": {"success": -1}}, "runs cannot be {'success': -1}"),
        (lambda content: {**content, "schedule": 3}, "schedule cannot be 3"),
        (lambda content: {**content, "last_exit_code": False}, "last_exit_code cannot be False"),
    ],
)
def test_odd_contents_are_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change: Callable[[dict[str, object]], object], why: str
) -> None:
    """A value of the wrong kind makes the whole file suspect."""
    file = StateFile(tmp_path, "nightly")
    file.write(FULL)
    file.path.write_text(json.dumps(change(json.loads(file.path.read_text()))))

    assert file.read() == JobState()
    assert why in caplog.text


def test_a_newer_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A file of a later version is neither read nor overwritten; the error says what to do."""
    file = StateFile(tmp_path, "nightly")
    file.path.write_text(newer := json.dumps({"version": 2, "job": "nightly", "moons": []}))

    for attempt in (file.read, lambda: file.update(lambda state: state), lambda: states(tmp_path)):
        with pytest.raises(StateError, match=r"written by a newer epochwatch \(version 2 .* knows 1\)"):
            attempt()
    assert file.path.read_text() == newer


def test_unknown_keys_of_the_same_version_are_ignored(tmp_path: Path) -> None:
    """A key that a later release may add does not spoil the rest."""
    file = StateFile(tmp_path, "nightly")
    file.write(FULL)
    file.path.write_text(json.dumps({**json.loads(file.path.read_text()), "moons": 2}))

    assert file.read() == FULL


def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    """What cannot be written is an error that names the file; the old one stays, and no leavings do."""
    file = StateFile(tmp_path, "nightly")
    file.write(FULL)
    script = (
        "import resource, sys; from pathlib import Path; from epochwatch.supervisor.state import JobState\n"
        "from epochwatch.supervisor.statefile import StateFile\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "StateFile(Path(sys.argv[1]), 'nightly').write(JobState())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=False
    )

    assert f"StateError: {file.path} cannot be used: File too large" in done.stderr
    assert file.read() == FULL
    assert list(tmp_path.iterdir()) == [file.path]


@pytest.mark.parametrize("job", ["a/b", ".hidden", "训" * 80])
def test_names_that_no_file_can_have(tmp_path: Path, job: str) -> None:
    """A job whose name cannot be a file's is refused."""
    with pytest.raises(StateError, match="cannot name a file"):
        StateFile(tmp_path, job)


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """The error says which directory, why, and which option to use."""
    (tmp_path / "taken").write_text("")

    with pytest.raises(StateError, match=r"taken.* cannot be used: .*--state-dir"):
        StateFile(tmp_path / "taken" / "state", "nightly")


def test_updates_of_two_processes_both_count(tmp_path: Path) -> None:
    """Two processes that count at the same time lose no run."""
    script = (
        "import sys; from pathlib import Path; from epochwatch.supervisor.ended import Outcome; "
        "from epochwatch.supervisor.state import counted; "
        "from epochwatch.supervisor.statefile import StateFile\n"
        "file = StateFile(Path(sys.argv[1]), 'nightly')\n"
        "for _ in range(40): file.update(lambda state: counted(state, Outcome(sys.argv[2])))"
    )
    others = [
        subprocess.Popen([sys.executable, "-c", script, tmp_path, outcome])
        for outcome in ("success", "failure")
    ]

    assert [other.wait(60) for other in others] == [0, 0]
    assert StateFile(tmp_path, "nightly").read().runs == {"success": 40, "failure": 40}


def test_a_writer_killed_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    """kill -9 in the middle of writing loses no more than the last change, and damages nothing."""
    script = (
        "import sys; from pathlib import Path; from epochwatch.supervisor.ended import Outcome\n"
        "from epochwatch.supervisor.state import counted\n"
        "from epochwatch.supervisor.statefile import StateFile\n"
        "file = StateFile(Path(sys.argv[1]), 'nightly')\n"
        "while True: print(file.update(lambda state: counted(state, Outcome.SUCCESS)).runs['success'], flush=True)"
    )
    reached = 0
    for written in (1, 7, 20):
        writer = subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        with writer.stdout:
            for _ in range(written):
                reached = int(writer.stdout.readline())
            writer.kill()
            reached = max([reached, *map(int, writer.stdout.read().split("\n")[:-1])])
        writer.wait()
        assert StateFile(tmp_path, "nightly").read().runs["success"] in (reached, reached + 1)

    assert not list(tmp_path.glob("*damaged*"))


def test_who_still_knows_does_not_forget_with_the_file(tmp_path: Path) -> None:
    """A file that is deleted or damaged under a running scheduler is written anew from what that knows."""
    file = StateFile(tmp_path, "nightly")

    assert file.update(lambda state: counted(state, Outcome.SUCCESS), FULL).runs["success"] == 4
    file.path.write_text("{")
    assert file.update(lambda state: counted(state, Outcome.SUCCESS), FULL).runs["success"] == 4
    assert file.update(lambda state: counted(state, Outcome.SUCCESS), FULL).runs["success"] == 5


def test_counting_leaves_the_rest() -> None:
    """One more run of an outcome changes that count only."""
    assert counted(FULL, Outcome.SKIPPED) == replace(FULL, runs={"success": 3, "cuda_oom": 1, "skipped": 1})


def test_the_end_of_a_run_is_kept() -> None:
    """A failure leaves the last success, and counts the run and what its log had."""
    ended = Ended(Outcome.TIMEOUT, 124, 1_800_000_000, 1_800_000_060, matches={"nccl": 3, "traceback": 1})

    assert ended_state(FULL, ended) == replace(
        FULL,
        last_end=1_800_000_060,
        last_outcome="timeout",
        last_exit_code=124,
        last_duration_seconds=60,
        runs={"success": 3, "cuda_oom": 1, "timeout": 1},
        log_matches={"traceback": 3, "nccl": 3},
    )
    assert ended_state(FULL, replace(ended, outcome=Outcome.SUCCESS)).last_success == 1_800_000_060


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"EPOCHWATCH_STATE_DIR": "/srv/state", "HOME": "/root"}, "/srv/state"),
        ({"XDG_STATE_HOME": "/var/state", "HOME": "/root"}, "/var/state/epochwatch"),
        ({"HOME": "/home/wang"}, "/home/wang/.local/state/epochwatch"),
    ],
)
def test_where_state_is_kept(environ: dict[str, str], expected: str) -> None:
    """The environment says where; else it is the user's own directory for state."""
    assert default_directory(environ) == Path(expected)


def test_damaged_files_are_told_in_a_listing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A listing shows the other jobs, and leaves the damaged file where it is."""
    StateFile(tmp_path, "good").write(FULL)
    (tmp_path / "bad.job.json").write_text('{"version": 1, "jo')

    with caplog.at_level(logging.WARNING):
        assert states(tmp_path) == {"good": FULL}
    assert "bad.job.json is damaged" in caplog.text
    assert (tmp_path / "bad.job.json").exists()


@pytest.mark.parametrize("at", [FULL.last_start - 3600, FULL.last_start, FULL.last_start + 60])
def test_a_run_that_has_ended_is_over_whatever_the_clock_says(at: float) -> None:
    """A clock that was set back while it ran leaves no run open for ever."""
    running = replace(FULL, last_end=None)
    assert not is_open(ended_state(running, Ended(Outcome.SUCCESS, 0, FULL.last_start, at)))
    assert not is_open(cut_off(running, at))
