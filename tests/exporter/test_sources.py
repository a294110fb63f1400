"""What the loop's books say at a scrape, when clocks jump and threads share a run."""

import itertools
import threading
from collections.abc import Iterator

import pytest

from epochwatch import catalogue as c
from epochwatch.books import Books
from epochwatch.loops import Batches, Part
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


def part_seconds(source: TrainingSource) -> dict[str, float]:
    """Gives the seconds of each part of the step as a scrape shows them."""
    return {
        reading.labels[0]: reading.value
        for reading in source.collect()
        if reading.metric is c.STEP_PART_SECONDS_TOTAL and isinstance(reading.value, float)
    }


def test_no_part_of_the_step_ever_falls(books: Books, clocks: Clocks) -> None:
    """A scrape that comes while a batch is waited for finds no counter lower than the one before: no reset."""
    source = TrainingSource(books, Place(), RUN_INFO)
    scrapes: list[dict[str, float]] = []

    def loader() -> Iterator[int]:
        for batch in range(100):
            clocks.pass_(5.0)
            if batch % 3 == 2:
                scrapes.append(part_seconds(source))
            yield batch

    for _ in Batches(loader(), "train", books):
        clocks.pass_(0.5)
        with Part("optimizer", books):
            clocks.pass_(0.25)
            scrapes.append(part_seconds(source))
        books.recorder.step(loss=1.0)
    falls = [(a, b) for a, b in itertools.pairwise(scrapes) if any(b[part] < a[part] for part in a)]
    assert not falls
    expected = dict.fromkeys(c.PARTS, 0.0) | {"data_wait": 500.0, "optimizer": 25.0, "other": 50.0}
    assert part_seconds(source) == pytest.approx(expected)


def test_other_by_hand_is_part_of_the_rest(books: Books, clocks: Clocks) -> None:
    """Seconds that the loop itself calls "other" are not counted twice."""
    source = TrainingSource(books, Place(), RUN_INFO)
    for _ in Batches([1, 2], "train", books):
        clocks.pass_(1.0)
        with Part("other", books):
            clocks.pass_(2.0)
        assert part_seconds(source)["other"] >= 2.0
        books.recorder.step(loss=1.0)
    assert part_seconds(source)["other"] == pytest.approx(6.0)
