"""The thread that repeats a step."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from alertbridge.errors import StoreUnavailable
from alertbridge.worker import Worker


@pytest.fixture
def started() -> Iterator[Callable[..., Worker]]:
    """Starts workers and ends them."""
    made: list[Worker] = []

    def start(step: Callable[[float], float | None], **options: float) -> Worker:
        worker = Worker("test", step, time.time, **options)  # type: ignore[arg-type]
        made.append(worker)
        worker.start()
        return worker

    yield start
    for worker in made:
        worker.ask_to_stop()
        assert worker.join(5)


def test_it_steps_again_at_once_while_there_is_work(started: Callable[..., Worker]) -> None:
    """A step that gives 0 is repeated without sleeping."""
    work, done = list(range(100)), threading.Event()

    def step(now: float) -> float | None:
        if work:
            work.pop()
            return 0.0
        done.set()
        return None

    started(step, poll_seconds=60)
    assert done.wait(5)


def test_waking_ends_its_sleep(started: Callable[..., Worker]) -> None:
    """News are seen at once, although it would sleep for a minute."""
    steps = threading.Semaphore(0)

    def step(now: float) -> None:
        steps.release()

    worker = started(step, poll_seconds=60)
    assert steps.acquire(timeout=5)
    begin = time.monotonic()
    worker.wake()
    assert steps.acquire(timeout=5)
    assert time.monotonic() - begin < 1


def test_news_during_a_step_are_not_slept_over(started: Callable[..., Worker]) -> None:
    """A wake that comes while the step runs makes it run once more."""
    entered, go_on, again = threading.Event(), threading.Event(), threading.Event()

    def step(now: float) -> None:
        if entered.is_set():
            again.set()
        entered.set()
        go_on.wait(5)

    worker = started(step, poll_seconds=60)
    assert entered.wait(5)
    worker.wake()
    go_on.set()
    assert again.wait(5)


def test_trouble_is_logged_once_and_its_end(
    started: Callable[..., Worker], caplog: pytest.LogCaptureFixture
) -> None:
    """The same failure again and again is one line; that it works again is another."""
    caplog.set_level(logging.INFO)
    failures, fine = [1, 2], threading.Event()

    def step(now: float) -> None:
        if failures:
            failures.pop()
            raise StoreUnavailable("the disk is full, access_token=abcdef")
        fine.set()

    worker = started(step)
    assert fine.wait(10)
    worker.ask_to_stop()
    worker.join(5)
    assert [record.message for record in caplog.records] == [
        "test: the disk is full, access_token=***",
        "test: works again",
    ]
