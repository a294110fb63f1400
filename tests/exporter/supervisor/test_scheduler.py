"""A scheduler starts its jobs on time, never two of one at once, and says which starts made no run."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from epochwatch.errors import StateError
from epochwatch.events import Event
from epochwatch.supervisor.aftermath import Aftermath
from epochwatch.supervisor.collector import JobCollector
from epochwatch.supervisor.herald import JobHerald
from epochwatch.supervisor.jobbook import JobBook
from epochwatch.supervisor.jobspec import JobSpec
from epochwatch.supervisor.lock import run_lock
from epochwatch.supervisor.nursery import Nursery
from epochwatch.supervisor.runner import Runner
from epochwatch.supervisor.scheduledjob import ScheduledJob
from epochwatch.supervisor.scheduler import Scheduler
from epochwatch.supervisor.signals import Signals
from epochwatch.supervisor.statefile import StateFile
from epochwatch.troubles import Troubles

from .conftest import is_running


class Told:
    """Stands where a courier does, and keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def start(self) -> None:
        pass

    def offer(self, event: Event) -> None:
        self.events.append(event)

    def close(self, deadline: float) -> None:
        pass


class Bench:
    """Schedulers over one state directory, on a clock that the test sets."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now = at("04T12:00")
        self.told = Told()
        self.nursery = Nursery()
        self.troubles = Troubles()
        self.books: list[JobBook] = []
        self.schedulers: list[Scheduler] = []

    def scheduler(self, *specs: JobSpec) -> Scheduler:
        books: list[JobBook] = []
        scheduler = Scheduler(self._job, books, now=lambda: self.now)
        self.schedulers.append(scheduler)
        scheduler.take_up(specs, self.now)
        self.books = books
        return scheduler

    def spec(self, command: str = "true", **fields: object) -> JobSpec:
        named = {"name": "nightly", "schedule": "0 2 * * *", "timezone": "Asia/Shanghai", **fields}
        return JobSpec(command=("sh", "-c", command), **named)

    def step(self, scheduler: Scheduler, moment: str, *, wait: bool = True) -> None:
        self.now = at(moment)
        scheduler.step(self.now)
        if wait:
            assert all(job.wait(30) for job in scheduler.jobs.values())

    def metrics(self) -> dict[str, float]:
        registry = CollectorRegistry()
        registry.register(JobCollector(self.books, on_error=self.troubles.report_exception))
        lines = generate_latest(registry).decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name.removeprefix("training_job_"): float(value) for name, _, value in pairs}

    def metric(self, name: str, job: str = "nightly", **labels: str) -> float | None:
        inside = ",".join(f'{key}="{value}"' for key, value in {"job_name": job, **labels}.items())
        return self.metrics().get(f"{name}{{{inside}}}")

    def _job(self, spec: JobSpec, on_end: Callable[[], None]) -> ScheduledJob:
        herald = JobHerald([self.told])

        def make_runner(book: JobBook) -> Runner:
            aftermath = Aftermath(self.nursery, self.troubles)
            return Runner(
                book.spec, book, herald, self.nursery, aftermath, self.troubles, now=lambda: self.now
            )

        return ScheduledJob(
            spec, self.directory, herald, self.troubles, make_runner, now=lambda: self.now, on_end=on_end
        )


def at(text: str) -> float:
    return datetime.fromisoformat(f"2026-05-{text}").replace(tzinfo=ZoneInfo("Asia/Shanghai")).timestamp()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "state")
    yield made
    for scheduler in made.schedulers:
        for job in scheduler.jobs.values():
            job.signal(signal.SIGKILL)
            job.wait(10)
        scheduler.let_go()


def test_a_job_runs_on_time_and_only_then(bench: Bench, tmp_path: Path) -> None:
    """The promise is there before the first run, and moves on when a run has really started."""
    scheduler = bench.scheduler(bench.spec(f"echo ran >> {tmp_path}/out"))

    assert bench.metric("next_start_timestamp_seconds") == at("05T02:00")
    assert bench.metric("last_start_timestamp_seconds") is None
    bench.step(scheduler, "05T01:59:59")
    assert not (tmp_path / "out").exists()
    bench.step(scheduler, "05T02:00:00")
    bench.step(scheduler, "05T02:00:01")
    bench.step(scheduler, "05T14:00:00")

    assert (tmp_path / "out").read_text() == "ran\n"
    assert bench.metric("next_start_timestamp_seconds") == at("06T02:00")
    assert bench.metric("last_start_timestamp_seconds") == at("05T02:00")
    assert bench.metric("runs_total", outcome="success") == 1
    assert bench.metric("last_exit_code") == 0
    assert [event.name for event in bench.told.events] == ["TrainingJobFinished"]


def test_a_start_while_the_last_run_goes_on_is_left_out(bench: Bench) -> None:
    """Never two of one job: the start is counted, told once with the reason, and its promise is not kept."""
    scheduler = bench.scheduler(bench.spec("sleep 60"))
    bench.step(scheduler, "05T02:00", wait=False)
    until(lambda: bench.metric("next_start_timestamp_seconds") == at("06T02:00"))
    bench.step(scheduler, "06T02:00", wait=False)
    bench.step(scheduler, "06T02:05", wait=False)

    assert bench.metric("runs_total", outcome="skipped") == 1
    assert bench.metric("next_start_timestamp_seconds") == at("06T02:00")
    (event,) = bench.told.events
    assert (event.name, event.severity) == ("TrainingJobMissedStart", "critical")
    assert event.said.en == "did not start: its last run is still going on, for 1 d now"
    assert event.said.zh == "没有启动：上一次运行尚未结束，已运行 1 天"
    assert [line.en for line in event.lines][:2] == [
        "was to start at 2026-05-06 02:00 CST",
        "next start: 2026-05-07 02:00 CST",
    ]
    # The rule that finds it out too stays quiet until the next start has had its chance.
    assert event.lasting_seconds == 24 * 3600 + 600


def test_a_run_of_hours_under_a_schedule_of_minutes_is_told_once(bench: Bench) -> None:
    """Each start left out is counted, and people hear of the first."""
    scheduler = bench.scheduler(bench.spec("sleep 60", schedule="* * * * *"))
    bench.step(scheduler, "04T12:01", wait=False)
    until(lambda: bench.metric("next_start_timestamp_seconds") == at("04T12:02"))
    for minute in range(2, 12):
        bench.step(scheduler, f"04T12:{minute:02}", wait=False)

    assert bench.metric("runs_total", outcome="skipped") == 10
    assert [event.name for event in bench.told.events] == ["TrainingJobMissedStart"]


def test_the_next_start_after_one_left_out_runs(bench: Bench) -> None:
    """Once the long run is over, the schedule goes on and the promise with it."""
    scheduler = bench.scheduler(bench.spec("sleep 60"))
    bench.step(scheduler, "05T02:00", wait=False)
    until(lambda: bench.metric("next_start_timestamp_seconds") == at("06T02:00"))
    bench.step(scheduler, "06T02:00", wait=False)
    scheduler.jobs["nightly"].signal(signal.SIGKILL)
    assert scheduler.jobs["nightly"].wait(10)
    bench.step(scheduler, "07T02:00", wait=False)
    until(lambda: bench.metric("next_start_timestamp_seconds") == at("08T02:00"))

    assert bench.metric("runs_total", outcome="signal") == 1
    assert bench.metric("runs_total", outcome="skipped") == 1


def test_a_run_of_another_process_counts_as_running(bench: Bench) -> None:
    """A run by hand, or one that has outlived its scheduler, keeps the scheduled one from starting."""
    scheduler = bench.scheduler(bench.spec())
    other = run_lock(bench.directory, "nightly")
    assert other.acquire()
    bench.step(scheduler, "05T02:00")
    other.release()

    assert bench.metric("runs_total", outcome="skipped") == 1
    assert bench.metric("runs_total", outcome="success") == 0


def test_what_a_run_by_hand_writes_is_taken_up(bench: Bench) -> None:
    """After a failed night, a run by hand that succeeds is seen in the scheduler's metrics."""
    scheduler = bench.scheduler(bench.spec("exit 3"))
    bench.step(scheduler, "05T02:00")
    assert bench.metric("last_exit_code") == 3
    StateFile(bench.directory, "nightly").update(
        lambda state: replace(state, last_exit_code=0, last_success=at("05T09:00"))
    )
    bench.step(scheduler, "05T10:00")

    assert bench.metric("last_exit_code") == 0
    assert bench.metric("last_success_timestamp_seconds") == at("05T09:00")
    assert bench.metric("next_start_timestamp_seconds") == at("06T02:00")


def test_metrics_survive_a_restart_of_the_scheduler(bench: Bench) -> None:
    """Another scheduler over the same state shows the same past and the same promise."""
    first = bench.scheduler(bench.spec("echo 'CUDA out of memory' >&2; exit 1"))
    bench.step(first, "05T02:00")
    before = bench.metrics()
    first.let_go()
    bench.now = at("05T03:00")
    bench.scheduler(bench.spec("echo 'CUDA out of memory' >&2; exit 1"))

    volatile = ("cpu_seconds_total", "info")
    kept = {name: value for name, value in before.items() if not name.startswith(volatile)}
    assert kept.items() <= bench.metrics().items()
    assert before['last_exit_code{job_name="nightly"}'] == 1


@pytest.mark.parametrize(
    ("returns", "runs", "next_start", "told"),
    [
        ("05T01:30", 0, "05T02:00", []),
        ("05T02:09", 1, "06T02:00", ["TrainingJobFinished"]),
        ("05T09:00", 0, "05T02:00", ["TrainingJobMissedStart"]),
    ],
)
def test_a_machine_that_was_off(
    bench: Bench, returns: str, runs: int, next_start: str, told: list[str]
) -> None:
    """A start is made up for within its grace; after it, it is missed, told once, and stays promised."""
    bench.scheduler(bench.spec()).let_go()
    bench.now = at(returns)
    scheduler = bench.scheduler(bench.spec())
    bench.step(scheduler, returns)
    bench.step(scheduler, returns)

    assert bench.metric("runs_total", outcome="success") == runs
    assert bench.metric("next_start_timestamp_seconds") == at(next_start)
    assert [event.name for event in bench.told.events] == told


def test_a_missed_start_is_told_once_over_restarts(bench: Bench) -> None:
    """A scheduler that comes up a second time does not tell the same start again."""
    for moment in ("04T12:00", "05T09:00", "05T10:00"):
        bench.now = at(moment)
        scheduler = bench.scheduler(bench.spec())
        bench.step(scheduler, moment)
        scheduler.let_go()

    (event,) = bench.told.events
    assert event.said.en == "did not start: nothing was there to start it"
    assert event.lines[0].en == "was to start at 2026-05-05 02:00 CST"


def test_a_command_that_cannot_start_is_a_missed_start(bench: Bench) -> None:
    """It is no run: the promise stays, no exit code is made up, and the reason is told."""
    spec = JobSpec("nightly", ("/no/such/program",), schedule="0 2 * * *", timezone="Asia/Shanghai")
    scheduler = bench.scheduler(spec)
    bench.step(scheduler, "05T02:00")
    bench.step(scheduler, "05T02:01")

    (event,) = bench.told.events
    assert event.name == "TrainingJobMissedStart"
    assert event.said.en == "cannot be started: /no/such/program: no such file"
    assert bench.metric("next_start_timestamp_seconds") == at("05T02:00")
    assert bench.metric("last_exit_code") is None
    assert bench.metric("last_start_timestamp_seconds") is None


def test_two_schedulers_on_one_state(bench: Bench) -> None:
    """The second one is refused, is told by whom, and leaves the first one's jobs alone."""
    first = bench.scheduler(bench.spec())
    with pytest.raises(StateError) as refused:
        bench.scheduler(bench.spec(name="other"), bench.spec())
    assert str(refused.value) == (
        f"job nightly is scheduled by process {os.getpid()} already, with the state in {bench.directory}: end that "
        "one, or give this one another --state-dir"
    )
    first.let_go()
    bench.scheduler(bench.spec(name="other"), bench.spec())


def test_a_run_that_outlives_its_scheduler_is_seen_to_its_end(bench: Bench) -> None:
    """It counts as running while it holds its lock; then it is told, once, that nobody saw how it ended."""
    bench.scheduler(bench.spec()).let_go()
    orphan = run_lock(bench.directory, "nightly")
    assert orphan.acquire()
    StateFile(bench.directory, "nightly").update(lambda state: replace(state, last_start=at("05T02:00")))
    bench.now = at("05T03:00")
    scheduler = bench.scheduler(bench.spec())
    bench.step(scheduler, "05T03:00")
    assert bench.metric("state", state="running") == 1
    orphan.release()
    told = len(bench.told.events)
    bench.step(scheduler, "05T03:10")
    bench.step(scheduler, "05T03:20")

    (event,) = bench.told.events[told:]
    assert (event.name, event.severity) == ("TrainingJobFailed", "critical")
    assert event.said.en == "its end was not seen: the machine or its supervisor went down"
    assert event.lines[0].zh == "启动于 2026-05-05 02:00 CST"
    assert bench.metric("state", state="idle") == 1
    assert bench.metric("last_exit_code") == -1
    assert bench.metric("last_end_timestamp_seconds") == at("05T03:10")
    assert bench.metric("runs_total", outcome="failure") == 1
    assert bench.metric("last_duration_seconds") is None


def test_several_jobs_run_side_by_side(bench: Bench, tmp_path: Path) -> None:
    """Two jobs that are due at once run at once, and each has its own metrics."""
    meet = f"touch {tmp_path}/$0; until [ -e {tmp_path}/$1 ]; do sleep 0.05; done"
    specs = [
        JobSpec(mine, ("sh", "-c", meet, mine, other), schedule="0 2 * * *", timezone="Asia/Shanghai")
        for mine, other in (("a", "b"), ("b", "a"))
    ]
    scheduler = bench.scheduler(*specs)
    bench.step(scheduler, "05T02:00")

    assert [bench.metric("runs_total", job, outcome="success") for job in ("a", "b")] == [1, 1]


def test_a_state_that_cannot_be_written_stops_nothing(bench: Bench, tmp_path: Path) -> None:
    """With the directory gone, the run is made and shown all the same, and the trouble is counted."""
    scheduler = bench.scheduler(bench.spec(f"echo ran >> {tmp_path}/out"))
    for path in bench.directory.iterdir():
        path.unlink()
    bench.directory.rmdir()
    bench.directory.write_text("in the way")
    bench.step(scheduler, "05T02:00")

    assert (tmp_path / "out").read_text() == "ran\n"
    assert bench.metric("runs_total", outcome="success") == 1
    assert bench.metric("next_start_timestamp_seconds") == at("06T02:00")
    assert bench.troubles.counts["job_state"] > 0


def test_what_a_full_disk_kept_from_being_written_is_written_later(bench: Bench, tmp_path: Path) -> None:
    """With room again, the next change brings the start and the end along: not made twice, not taken for cut off."""
    scheduler = bench.scheduler(bench.spec(f"echo ran >> {tmp_path}/out"))
    in_the_way = bench.directory / f"nightly.job.{os.getpid()}.tmp"
    in_the_way.mkdir()
    bench.step(scheduler, "05T02:00")
    assert bench.troubles.counts["job_state"] > 0
    in_the_way.rmdir()
    scheduler.change_to([bench.spec(f"echo ran >> {tmp_path}/out", grace_seconds=60)], at("05T02:01"))
    bench.step(scheduler, "05T02:02")

    assert (tmp_path / "out").read_text() == "ran\n"
    state = StateFile(bench.directory, "nightly").read()
    assert (state.last_start, state.next_start, state.runs["success"]) == (at("05T02:00"), at("06T02:00"), 1)
    assert state.runs == {"success": 1}
    assert [event.name for event in bench.told.events] == ["TrainingJobFinished"]


def test_a_clock_that_is_set_back_while_a_job_runs(bench: Bench) -> None:
    """Its end lies before its start then; it has ended all the same, and nobody hears that it was cut off."""
    scheduler = bench.scheduler(bench.spec("sleep 0.5"))
    bench.step(scheduler, "05T02:00", wait=False)
    bench.now = at("05T01:00")
    assert scheduler.jobs["nightly"].wait(30)
    for minute in range(1, 5):
        bench.step(scheduler, f"05T01:0{minute}")
    assert [event.name for event in bench.told.events] == ["TrainingJobFinished"]
    assert bench.metric("runs_total", outcome="failure") == 0


def test_secrets_that_a_job_gets_by_its_file_are_told_to_nobody(bench: Bench) -> None:
    """They are masked in the last lines as those of the scheduler's own environment are."""
    spec = bench.spec("echo in with $DB_PASSWORD; exit 1", env={"DB_PASSWORD": "correct-horse-battery"})
    bench.step(bench.scheduler(spec), "05T02:00")
    (event,) = bench.told.events
    assert [line.en for line in event.lines if line.en.startswith("in with")] == ["in with ***"]


def test_no_thread_for_a_run_is_a_missed_start_of_that_job_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of processes, which another job may have reached, ends neither the scheduler nor later runs."""
    start = threading.Thread.start

    def refused(thread: threading.Thread) -> None:
        if thread.name == "epochwatch-job-nightly":
            raise RuntimeError("can't start new thread")
        start(thread)

    scheduler = bench.scheduler(bench.spec(), bench.spec(name="other"))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        bench.step(scheduler, "05T02:00")
    assert bench.metric("runs_total", "other", outcome="success") == 1
    missed = [event for event in bench.told.events if event.name == "TrainingJobMissedStart"]
    assert ["no thread can be made" in event.said.en for event in missed] == [True]
    bench.step(scheduler, "06T02:00")
    assert bench.metric("runs_total", outcome="success") == 1


def test_a_run_that_nobody_can_watch_is_ended(bench: Bench, nap: str) -> None:
    """A mistake of ours after the start leaves no training running beside the next one."""
    scheduler = bench.scheduler(bench.spec())
    job = scheduler.jobs["nightly"]
    runner = Runner(
        bench.spec(nap),
        job.book,
        JobHerald([bench.told]),
        bench.nursery,
        Aftermath(bench.nursery, bench.troubles),
        bench.troubles,
    )

    def fail(at: float) -> None:
        raise LookupError("a mistake")

    with pytest.raises(LookupError), contextlib.closing(Signals()) as signals:
        runner.run(signals, on_start=fail)
    until(lambda: not is_running(nap))


def test_a_mistake_in_reading_the_file_again_ends_nothing(bench: Bench) -> None:
    """Whatever it raises, the jobs stay as they are, and what runs goes on."""
    scheduler = bench.scheduler(bench.spec())

    def mistaken() -> list[JobSpec]:
        signals.put(signal.SIGTERM)
        raise LookupError("a mistake")

    with contextlib.closing(Signals()) as signals:
        signals.put(signal.SIGHUP)
        scheduler.serve(signals, mistaken)
    assert list(scheduler.jobs) == ["nightly"]


def test_a_file_read_again(bench: Bench) -> None:
    """Jobs come, go and change; what did not change keeps its promise, and what runs is not disturbed."""
    scheduler = bench.scheduler(bench.spec("sleep 60"), bench.spec(name="old"), bench.spec(name="same"))
    bench.step(scheduler, "05T02:00", wait=False)
    until(lambda: bench.metric("state", state="running") == 1)
    changed = bench.spec("true", schedule="0 5 * * *")
    scheduler.change_to([changed, bench.spec(name="same"), bench.spec(name="new")], at("05T03:00"))

    assert sorted(scheduler.jobs) == ["new", "nightly", "same"]
    assert bench.metric("state", state="running") == 1
    assert bench.metric("next_start_timestamp_seconds") == at("05T05:00")
    assert bench.metric("next_start_timestamp_seconds", "new") == at("06T02:00")
    assert bench.metric("next_start_timestamp_seconds", "same") == at("06T02:00")
    assert bench.metric("next_start_timestamp_seconds", "old") is None
    scheduler.jobs["nightly"].signal(signal.SIGKILL)
    assert scheduler.jobs["nightly"].wait(10)
    bench.step(scheduler, "05T05:00")
    assert bench.metric("runs_total", outcome="success") == 1


def test_serving_until_told_to_end(bench: Bench) -> None:
    """SIGTERM goes to the run, whose end is waited for; nothing is left behind."""
    scheduler = bench.scheduler(bench.spec("trap 'exit 7' TERM; while :; do sleep 0.1; done"))
    bench.now = at("05T02:00")
    signals = Signals()
    thread = threading.Thread(target=scheduler.serve, args=(signals,))
    thread.start()
    until(lambda: bench.metric("state", state="running") == 1)
    time.sleep(0.3)  # the shell sets its trap
    signals.put(signal.SIGTERM)
    thread.join(20)
    signals.close()

    assert not thread.is_alive()
    assert bench.metric("last_exit_code") == 7
    assert bench.metric("state", state="idle") == 1


def test_a_run_that_does_not_end_is_killed(bench: Bench) -> None:
    """After its grace, what ignores SIGTERM gets SIGKILL."""
    scheduler = bench.scheduler(
        bench.spec("trap '' TERM; while :; do sleep 0.1; done", stop_grace_seconds=0.5)
    )
    bench.now = at("05T02:00")
    signals = Signals()
    thread = threading.Thread(target=scheduler.serve, args=(signals,))
    thread.start()
    until(lambda: bench.metric("state", state="running") == 1)
    time.sleep(0.3)
    signals.put(signal.SIGTERM)
    thread.join(20)
    signals.close()

    assert not thread.is_alive()
    assert bench.metric("last_exit_code") == 137


def test_how_long_to_sleep(bench: Bench) -> None:
    """Until the next start, but never so long that a clock that was set goes unnoticed."""
    scheduler = bench.scheduler(bench.spec())

    assert scheduler.seconds_to_next(at("04T12:00")) == 10
    assert scheduler.seconds_to_next(at("05T01:59:57")) == 3
    assert scheduler.seconds_to_next(at("05T02:00")) == 0.05


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
