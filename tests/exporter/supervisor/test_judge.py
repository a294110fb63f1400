"""What is made of the end of an attempt."""

import signal

import pytest

from epochwatch.supervisor.ended import Outcome
from epochwatch.supervisor.judge import Evidence, judge
from epochwatch.supervisor.testimony import Kept, heard

VERDICTS = [
    (Evidence(0), Outcome.SUCCESS, 0, None, "finished"),
    (Evidence(1), Outcome.FAILURE, 1, None, "exit code 1"),
    (Evidence(255), Outcome.FAILURE, 255, None, "exit code 255"),
    (Evidence(-9), Outcome.SIGNAL, 137, 9, "killed by SIGKILL"),
    (Evidence(-11), Outcome.SIGNAL, 139, 11, "segmentation fault (SIGSEGV)"),
    (Evidence(139), Outcome.SIGNAL, 139, 11, "segmentation fault (SIGSEGV)"),
    (Evidence(-40), Outcome.SIGNAL, 168, 40, "killed by signal 40"),
    # Memory of the machine: the counter and a kill go together.
    (Evidence(-9, oom_kills=1), Outcome.SIGNAL, 137, 9, "killed by SIGKILL"),
    (
        Evidence(-9, oom_kills=1, oom_kill_at_end=True),
        Outcome.HOST_OOM,
        137,
        9,
        "killed by the kernel for want of memory",
    ),
    (
        Evidence(137, oom_kills=1, oom_kill_at_end=True),
        Outcome.HOST_OOM,
        137,
        9,
        "killed by the kernel for want of memory",
    ),
    (
        Evidence(1, oom_kills=1, log_says_killed=True),
        Outcome.HOST_OOM,
        1,
        None,
        "killed by the kernel for want of memory",
    ),
    (Evidence(1, oom_kills=1), Outcome.FAILURE, 1, None, "exit code 1"),
    (Evidence(1, log_says_killed=True), Outcome.FAILURE, 1, None, "exit code 1"),
    (Evidence(0, oom_kills=3), Outcome.SUCCESS, 0, None, "finished"),
    # Memory of the GPU: what saw the exception knows better than the log.
    (Evidence(1, log_says_cuda_oom=True), Outcome.CUDA_OOM, 1, None, "CUDA out of memory"),
    (Evidence(1, run_says="cuda_oom"), Outcome.CUDA_OOM, 1, None, "CUDA out of memory"),
    (Evidence(1, log_says_cuda_oom=True, run_says="other"), Outcome.FAILURE, 1, None, "exit code 1"),
    (Evidence(-6, log_says_cuda_oom=True), Outcome.CUDA_OOM, 134, 6, "CUDA out of memory"),
    (Evidence(-9, log_says_cuda_oom=True), Outcome.SIGNAL, 137, 9, "killed by SIGKILL"),
    (Evidence(0, log_says_cuda_oom=True), Outcome.SUCCESS, 0, None, "finished"),
    # Ended from outside.
    (Evidence(-2, stopped_by=2), Outcome.SIGNAL, 130, 2, "interrupted by hand (SIGINT)"),
    (Evidence(1, stopped_by=2), Outcome.SIGNAL, 1, None, "interrupted by hand (SIGINT)"),
    (Evidence(-9, stopped_by=15), Outcome.SIGNAL, 137, 9, "ended from outside (SIGTERM)"),
    (Evidence(0, stopped_by=15), Outcome.SUCCESS, 0, None, "ended from outside (SIGTERM)"),
    # The time was up, whatever the command made of it.
    (Evidence(-15, timeout_seconds=28_800), Outcome.TIMEOUT, 143, 15, "time-out: not done within 8 h"),
    (Evidence(0, timeout_seconds=90), Outcome.TIMEOUT, 124, None, "time-out: not done within 1 min 30 s"),
    (
        Evidence(-9, timeout_seconds=60, oom_kills=1),
        Outcome.TIMEOUT,
        137,
        9,
        "time-out: not done within 1 min",
    ),
]


@pytest.mark.parametrize(("evidence", "outcome", "exit_code", "number", "cause"), VERDICTS, ids=str)
def test_verdicts(
    evidence: Evidence, outcome: Outcome, exit_code: int, number: int | None, cause: str
) -> None:
    """Outcome, code passed out, signal and cause of every kind of end."""
    verdict = judge(evidence)
    found = (verdict.outcome, verdict.exit_code, verdict.signal, verdict.cause.en)
    assert found == (outcome, exit_code, number, cause)
    assert verdict.cause.zh


def test_every_outcome_but_skipped_has_a_verdict() -> None:
    """The table above is not missing one."""
    assert {outcome for _, outcome, *_ in VERDICTS} == set(Outcome) - {Outcome.SKIPPED}


STARTED = {"word": "started", "run": "digits"}
FAILED = {"word": "told", "run": "digits", "event": "TrainingFailed"}
FINISHED = {"word": "told", "run": "digits", "event": "TrainingFinished"}
INTERRUPTED = {"word": "told", "run": "digits", "event": "TrainingInterrupted"}


@pytest.mark.parametrize(
    ("said", "outcome", "stopped", "enough"),
    [
        ([], Outcome.FAILURE, False, False),
        ([STARTED], Outcome.FAILURE, False, False),
        ([STARTED, FAILED], Outcome.FAILURE, False, True),
        ([STARTED, FAILED], Outcome.CUDA_OOM, False, True),
        ([STARTED, FAILED, STARTED], Outcome.FAILURE, False, False),
        ([STARTED, FINISHED], Outcome.SUCCESS, False, True),
        ([STARTED, FINISHED], Outcome.SIGNAL, False, False),
        ([STARTED, FINISHED], Outcome.FAILURE, False, False),
        ([STARTED, INTERRUPTED], Outcome.SIGNAL, True, True),
        ([STARTED, INTERRUPTED], Outcome.SIGNAL, False, False),
        ([STARTED, FAILED], Outcome.TIMEOUT, False, False),
    ],
)
def test_what_was_told_makes_only_its_like_superfluous(
    said: list[dict[str, str]], outcome: Outcome, stopped: bool, enough: bool
) -> None:
    """A failure that people know of is not told twice; that a run had finished does not excuse a crash after it."""
    assert heard(said).suffices(outcome, stopped) == enough


def test_the_kind_of_the_last_failure_counts() -> None:
    """Of several ranks the one that ran out of memory; what a run before caught is forgotten."""
    oom, other = {"word": "failed", "kind": "cuda_oom"}, {"word": "failed", "kind": "other"}
    assert heard([STARTED, other, oom, other]).kind == "cuda_oom"
    assert heard([STARTED, oom, STARTED]).kind == ""
    assert heard([STARTED, oom, STARTED, other]).kind == "other"


def test_runs_are_known_by_name_the_last_one_last() -> None:
    """Ranks of one run are one, and a sweep's runs are several."""
    said = [STARTED, STARTED, {"word": "started", "run": "b"}, STARTED, {"strange": "line"}]
    assert heard(said).runs == ("b", "digits")


def test_signals_without_names_are_told_by_number() -> None:
    """The table's 40 is one."""
    with pytest.raises(ValueError, match="40 is not a valid Signals"):
        signal.Signals(40)


def test_runs_in_a_history_are_known_whatever_comes_after() -> None:
    """What was not said is empty, what says too little is none, and a newer run's further words are passed over."""
    said = [
        {
            "word": "kept",
            "run": "digits",
            "run_id": "a1",
            "directory": "/runs",
            "language": "zh",
            "colour": "red",
        },
        {"word": "kept", "run": "digits", "directory": "/runs"},
        STARTED,
        {"word": "kept", "run": "digits", "run_id": "b2", "directory": "/runs", "baseline": "v1"},
    ]
    assert heard(said).kept == (
        Kept("digits", "a1", "/runs", language="zh"),
        Kept("digits", "b2", "/runs", baseline="v1"),
    )
