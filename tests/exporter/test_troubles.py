"""What a failure that comes with every step leaves in the log: little, and every kind of it."""

import logging

import pytest

from epochwatch.books import Books
from epochwatch.settings import Settings
from epochwatch.troubles import LINES_LIMIT, LINES_SECONDS, Troubles

torch = pytest.importorskip("torch")


class Clock:
    """A clock that only moves when told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.mark.parametrize(
    ("give", "where", "said"),
    [
        (
            lambda books, step: books.recorder.step(loss=1.0, accuracy=50.0 + step / 10),
            "accuracy",
            "must be a ratio from 0 to 1, got 50; is it in percent?",
        ),
        (
            lambda books, step: books.recorder.step(loss=1.0, samples=-1 - step),
            "samples",
            "must be a count of at least 0, got -100",
        ),
        (
            lambda books, step: books.recorder.step(loss=torch.zeros(step + 2)),
            "loss",
            "is a Tensor of shape (2,); give one number, as in loss.mean()",
        ),
    ],
    ids=["an accuracy in percent", "a count below 0", "a loss of every shape"],
)
def test_a_value_that_is_wrong_at_every_step_is_one_line(
    give: object, where: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """However different the values are, it is the same failure: said once, counted each time it is looked at."""
    books = Books(Settings(run="digits"))
    with caplog.at_level(logging.WARNING, "epochwatch"):
        for turn in range(5):
            for step in range(100):
                give(books, 100 * turn + step)  # type: ignore[operator]
            with books.recorder.reading():
                pass
    assert caplog.messages == [f"{where}: {said}"]
    assert books.troubles.counts[where] >= 5


def test_failures_that_take_turns_have_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    """Texts that change each time cost their place 10 lines in 10 minutes, and other places nothing."""
    clock = Clock()
    troubles = Troubles(clock=clock)
    with caplog.at_level(logging.WARNING, "epochwatch"):
        for number in range(1000):
            troubles.report_exception("log", KeyError(number))
        troubles.report("cuda", "the device is far behind")
        assert len(caplog.messages) == LINES_LIMIT + 1
        clock.seconds += LINES_SECONDS
        for number in range(1000):
            troubles.report_exception("log", KeyError(number))
    assert len(caplog.messages) == 2 * LINES_LIMIT + 1
    assert troubles.counts == {"log": 2000, "cuda": 1}


def test_a_failure_that_comes_back_is_said_again(caplog: pytest.LogCaptureFixture) -> None:
    """After another kind of failure the first one is news."""
    troubles = Troubles(clock=Clock())
    with caplog.at_level(logging.WARNING, "epochwatch"):
        for text in ("refused", "refused", "timed out", "refused"):
            troubles.report("events", text)
    assert caplog.messages == ["events: refused", "events: timed out", "events: refused"]
