"""What the loop's books say at a scrape, when clocks jump and threads share a run."""

import threading

import pytest

from epochwatch import catalogue as c
from epochwatch.books import Books
from epochwatch.ranks import Place
from epochwatch.settings import Settings
from epochwatch.sources import TrainingSource

RUN_INFO = ("id", "pytorch", "2.4", "host", "1", "")


class Clocks:
    """The system's clock, which can be set, and one that only runs."""

    def __init__(self) -> None:
        self.unix = 1_700_000_000.0
        self.running = 50.0

    def pass_(self, seconds: float) -> None:
        self.unix += seconds
        self.running += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def books(clocks: Clocks) -> Books:
    return Books(Settings(run="digits"), now=lambda: clocks.unix, clock=lambda: clocks.running)


def values(books: Books) -> dict[c.Metric, float]:
    """Gives the readings that have no labels of their own."""
    return {
        reading.metric: reading.value
        for reading in TrainingSource(books, Place(), RUN_INFO).collect()
        if not reading.labels and isinstance(reading.value, float)
    }


@pytest.mark.parametrize("jump", [-86_400.0, 0.0, 3600.0])
def test_a_jump_of_the_system_clock_is_no_stall(jump: float, books: Books, clocks: Clocks) -> None:
    """Progress and checkpoints are as old as they are, whatever the system's clock was set to meanwhile."""
    books.recorder.step(loss=1.0)
    books.timeline.enter("checkpointing")
    books.timeline.checkpoint_made()
    books.timeline.enter("training")
    clocks.pass_(10)
    clocks.unix += jump
    seen = values(books)
    assert clocks.unix - seen[c.LAST_PROGRESS_TIMESTAMP_SECONDS] == pytest.approx(10)
    assert clocks.unix - seen[c.LAST_CHECKPOINT_TIMESTAMP_SECONDS] == pytest.approx(10)
    assert sum(books.timeline.spent_seconds().values()) == pytest.approx(10)


def test_steps_of_several_threads_are_all_counted(books: Books) -> None:
    """Threads that share a run lose no step, with a scrape in between."""

    def train() -> None:
        for _ in range(5000):
            books.recorder.step(loss=1.0, samples=2, tokens=3)

    threads = [threading.Thread(target=train) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        values(books)
    seen = values(books)
    assert (seen[c.STEPS_TOTAL], seen[c.SAMPLES_TOTAL], seen[c.TOKENS_TOTAL]) == (20_000, 40_000, 60_000)
    assert not books.troubles.counts
