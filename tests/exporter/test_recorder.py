"""From recorded facts to totals and trends."""

import itertools
import math
import threading
from collections.abc import Callable, Iterator

import pytest

from epochwatch.books import Books
from epochwatch.landing import Landing
from epochwatch.ledger import EpochEnd, EpochStart, Ledger, Pause
from epochwatch.recorder import BATCH, STUCK_LIMIT, Recorder
from epochwatch.settings import Settings

torch = pytest.importorskip("torch")


class Clock:
    """A clock that only moves when told."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def pass_(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def books(clock: Clock) -> Books:
    return Books(Settings(run="digits"), clock=clock, now=lambda: 1.8e9 + clock())


@pytest.fixture
def read(books: Books) -> Callable[[], Ledger]:
    """Folds what is pending and gives the ledger, as a scrape does."""

    def reader() -> Ledger:
        with books.recorder.reading() as ledger:
            ledger.take_train_loss()
        return ledger

    return reader


def test_steps_add_up(books: Books, read: Callable[[], Ledger]) -> None:
    """Steps, samples and tokens are totals, however the batches fall."""
    for _ in range(3 * BATCH + 7):
        books.recorder.step(loss=2.0, samples=32, tokens=1024)
    ledger = read()
    steps = 3 * BATCH + 7
    assert (steps, 32 * steps, 1024 * steps) == (ledger.steps, ledger.samples, ledger.tokens)


LOOPS = {
    "steps": lambda recorder: recorder.step(loss=2.0),
    "reports": lambda recorder: recorder.report("train", {"loss": 2.0}),
    "a report before each step": lambda recorder: (
        recorder.report("train", {"accuracy": 0.5}),
        recorder.step(loss=2.0),
    ),
    "ends of epochs": lambda recorder: recorder.add(EpochEnd(0.0)),
    "steps without a readable loss": lambda recorder: recorder.step(loss=torch.zeros(2)),
}


@pytest.mark.parametrize("body", LOOPS.values(), ids=LOOPS)
def test_pending_facts_stay_few(body: Callable[[Recorder], object], books: Books) -> None:
    """A loop nobody scrapes does not grow, whatever it calls, and it is training."""
    for _ in range(10 * BATCH):
        body(books.recorder)
        assert len(books.recorder._pending) <= BATCH + 64
    assert books.timeline.state == "training"


def test_the_loss_is_the_mean_since_the_last_reading(books: Books, read: Callable[[], Ledger]) -> None:
    """Each reading shows the mean of the steps since the one before, and keeps it while there are none."""
    for loss in (1.0, 3.0):
        books.recorder.step(loss=loss)
    assert read().phases["train"].loss == 2.0
    assert read().phases["train"].loss == 2.0
    books.recorder.step(loss=5.0)
    assert read().phases["train"].loss == 5.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_nonfinite_loss_is_shown_counted_and_forgotten(
    bad: float, books: Books, read: Callable[[], Ledger]
) -> None:
    """NaN and infinities show as they are, count, and poison neither average nor best nor the next reading."""
    for loss in (1.0, bad, 3.0):
        books.recorder.step(loss=loss, grad_norm=bad)
    books.recorder.report("validation", {"loss": bad})
    ledger = read()
    assert not math.isfinite(ledger.phases["train"].loss or 0.0)
    assert ledger.nonfinite == {"loss": 2, "gradient": 3, "metric": 0}
    assert ledger.phases["train"].ewma.value == pytest.approx((1.0 * 0.98 + 3.0) / 1.98)
    assert ledger.phases["validation"].loss_best.value is None
    books.recorder.step(loss=4.0)
    assert read().phases["train"].loss == 4.0


def test_the_last_rate_and_norm_are_kept(books: Books, read: Callable[[], Ledger]) -> None:
    """A step that leaves them out does not take them away."""
    books.recorder.step(lr=[0.1, 0.01], grad_norm=3)
    books.recorder.step()
    assert (read().learning_rates, read().gradient_norm) == ({"0": 0.1, "1": 0.01}, 3.0)


def test_a_report_belongs_to_the_epoch_it_was_made_in(books: Books, read: Callable[[], Ledger]) -> None:
    """Within an epoch a report counts for that one, after its end for the one completed."""
    recorder = books.recorder
    recorder.add(EpochStart(books.clock(), 4))
    recorder.report("validation", {"loss": 1.0})
    recorder.add(EpochEnd(books.clock()))
    recorder.report("test", {"loss": 1.0})
    ledger = read()
    assert ledger.epochs == 5
    assert 5 == ledger.phases["validation"].loss_best.epoch == ledger.phases["test"].loss_best.epoch


def test_without_helpers_steps_open_an_epoch(books: Books, read: Callable[[], Ledger]) -> None:
    """A loop that only calls step, log and epoch_end gets the same epochs."""
    for loss in (3.0, 2.0, 2.5):
        books.recorder.step(loss=loss)
        books.recorder.report("validation", {"loss": loss})
        books.recorder.add(EpochEnd(books.clock()))
    ledger = read()
    best = ledger.phases["validation"].loss_best
    assert (ledger.epochs, best.epoch, best.value) == (3, 2, 2.0)


def test_the_train_phase_competes_with_its_epoch_means(books: Books, read: Callable[[], Ledger]) -> None:
    """The best train loss is that of an epoch, not of a lucky step."""
    for losses in ((1.0, 3.0), (0.1, 9.9), (1.5, 1.5)):
        for loss in losses:
            books.recorder.step(loss=loss)
        books.recorder.add(EpochEnd(books.clock()))
    best = read().phases["train"].loss_best
    assert (best.value, best.epoch) == (1.5, 3)


def test_a_long_first_epoch_has_a_best_before_its_end(books: Books, read: Callable[[], Ledger]) -> None:
    """Until an epoch has ended, means of 500 steps compete, so that a run of one epoch is seen to diverge."""
    recorder = books.recorder
    for loss, best in ((3.0, 3.0), (2.0, 2.0), (math.nan, 2.0), (9.0, 2.0)):
        for _ in range(500):
            recorder.step(loss=loss)
        assert read().phases["train"].loss_best.value == best
    ledger = read()
    train = ledger.phases["train"]
    assert (train.loss_best.epoch, train.ewma.value) == (1, pytest.approx(9.0, abs=0.01))


def test_later_epochs_compete_with_their_means(books: Books, read: Callable[[], Ledger]) -> None:
    """Once an epoch has ended, a good stretch of the next is no best of its own."""
    recorder = books.recorder
    recorder.step(loss=3.0)
    recorder.add(EpochEnd(books.clock()))
    for loss in (1.0, 9.0):
        for _ in range(500):
            recorder.step(loss=loss)
    recorder.add(EpochEnd(books.clock()))
    best = read().phases["train"].loss_best
    assert (best.value, best.epoch) == (3.0, 1)


def test_the_time_between_steps_is_the_steps_duration(
    books: Books, clock: Clock, read: Callable[[], Ledger]
) -> None:
    """Evaluation, checkpoints and the time before the first step are nobody's step."""
    recorder = books.recorder
    recorder.step(loss=1.0)
    clock.pass_(0.5)
    recorder.step(loss=1.0)
    clock.pass_(100)
    recorder.report("validation", {"loss": 1.0})
    clock.pass_(0.5)
    recorder.step(loss=1.0)
    clock.pass_(50)
    recorder.add(Pause(clock()))
    clock.pass_(0.25)
    recorder.step(loss=1.0)
    ledger = read()
    assert (sum(ledger.durations.counts), ledger.durations.sum) == (3, 1.25)


def test_own_metrics_are_bounded(books: Books, read: Callable[[], Ledger]) -> None:
    """Fifty names are kept, ten thousand others are counted and refused."""
    for index in range(10_000):
        books.recorder.report("validation", {f"m{index}": 1.0})
    books.recorder.report("validation", {"m3": 7.0})
    metrics = read().phases["validation"].metrics
    assert (len(metrics), metrics["m3"]) == (50, 7.0)
    assert books.troubles.counts["metric_names"] == 10_000 - 50


def test_phases_are_bounded(books: Books, read: Callable[[], Ledger]) -> None:
    """Twenty phases are kept, train always among them; further ones are counted and refused."""
    for index in range(100):
        books.recorder.report(f"phase {index}", {"loss": 1.0})
    assert len(read().phases) == 20
    assert books.troubles.counts["phases"] == 81


def test_an_accuracy_in_percent_is_refused(books: Books, read: Callable[[], Ledger]) -> None:
    """A ratio above 1 is counted and dropped, and the best stays what it was."""
    books.recorder.report("validation", {"accuracy": 0.93})
    books.recorder.report("validation", {"accuracy": 93.0})
    phase = read().phases["validation"]
    assert (phase.accuracy, phase.accuracy_best.value) == (0.93, 0.93)
    assert books.troubles.counts["accuracy"] == 1


def test_negative_samples_are_refused(books: Books, read: Callable[[], Ledger]) -> None:
    """A counter never falls: what is below 0 is counted and left out, the rest is added."""
    for samples in (32, -5, 32):
        books.recorder.step(samples=samples)
    assert read().samples == 64
    assert books.troubles.counts["samples"] == 1


def test_own_metrics_and_loss_scale_of_a_step(books: Books, read: Callable[[], Ledger]) -> None:
    """Further values of a step are the train phase's; the loss scale has a place of its own."""
    books.recorder.step(loss=1.0, accuracy=0.5, loss_scale=65536.0, perplexity=2.7)
    ledger = read()
    assert (ledger.loss_scale, ledger.phases["train"].accuracy) == (65536.0, 0.5)
    assert ledger.phases["train"].metrics == {"perplexity": 2.7}


def test_a_rising_rate_mutes_spikes(books: Books, read: Callable[[], Ledger]) -> None:
    """A jump of the loss after a warm restart is not a spike; the same jump later is."""
    alternating = itertools.cycle([2.0, 2.1])
    for _ in range(400):
        books.recorder.step(loss=next(alternating), lr=0.1)
    books.recorder.step(loss=8.0, lr=0.2)
    assert read().spikes.count == 0
    for _ in range(400):
        books.recorder.step(loss=next(alternating), lr=0.2)
    books.recorder.step(loss=8.0, lr=0.2)
    assert read().spikes.count == 1


def in_flight(books: Books) -> Landing:
    """Records a step whose loss is still on its way from a device."""
    landing = Landing()
    books.reader._copies["cuda:0"] = []  # type: ignore[assignment]  # the reader has met a device
    books.recorder.step(lr=0.1)
    *rest, (at, _, lr, norm, samples, tokens, metrics) = books.recorder._pending
    books.recorder._pending[:] = [*rest, (at, landing, lr, norm, samples, tokens, metrics)]
    return landing


def test_facts_wait_in_order_for_a_value_on_its_way(books: Books, read: Callable[[], Ledger]) -> None:
    """A loss still on the device holds back what came after it, and nothing is out of order once it lands."""
    landing = in_flight(books)
    books.recorder.add(EpochEnd(books.clock()))
    books.recorder.step(loss=7.0)
    assert (read().steps, read().epochs) == (0, 0)
    landing.land(3.0)
    ledger = read()
    assert (ledger.steps, ledger.epochs, ledger.phases["train"].loss_best.value) == (2, 1, 3.0)


def test_reports_behind_a_value_that_never_lands_stay_few(books: Books, read: Callable[[], Ledger]) -> None:
    """A device that does not answer does not make a loop grow that calls log alone."""
    in_flight(books)
    for _ in range(2 * STUCK_LIMIT):
        books.recorder.report("validation", {"loss": 1.0})
        assert len(books.recorder._pending) <= STUCK_LIMIT + 64
    assert read().phases["validation"].loss == 1.0


def test_a_value_that_never_lands_is_given_up(books: Books, read: Callable[[], Ledger]) -> None:
    """A device that does not answer costs its values, not the steps' count and not the memory."""
    in_flight(books)
    for _ in range(2 * STUCK_LIMIT):
        books.recorder.step(loss=1.0)
    ledger = read()
    assert ledger.steps == 2 * STUCK_LIMIT + 1
    assert not books.recorder._pending


def test_the_loop_never_waits_for_a_reader(books: Books) -> None:
    """While a scrape holds the ledger, steps go on."""
    with books.recorder.reading():
        loop = threading.Thread(target=lambda: [books.recorder.step(loss=1.0) for _ in range(5 * BATCH)])
        loop.start()
        loop.join(10)
        assert not loop.is_alive()
    with books.recorder.reading() as ledger:
        assert ledger.steps == 5 * BATCH


def test_a_reader_gives_up_on_a_held_ledger(books: Books) -> None:
    """A reader that cannot have the ledger within a second fails instead of hanging the scrape."""
    with (
        books.recorder.reading(),
        pytest.raises(TimeoutError, match="held the ledger for"),
        books.recorder.reading(),
    ):
        pass


def test_steps_after_the_end_are_counted_and_dropped(books: Books, read: Callable[[], Ledger]) -> None:
    """After the run nothing is taken, nothing grows and nothing raises."""
    books.recorder.step(loss=1.0)
    read()
    books.close("finished")
    for _ in range(1000):
        books.recorder.step(loss=2.0)
    books.recorder.report("validation", {"loss": 2.0})
    assert read().steps == 1
    assert len(books.recorder._pending) <= 64
    assert books.troubles.counts["step"] > 0


def test_nothing_a_loop_hands_over_raises(books: Books, read: Callable[[], Ledger]) -> None:
    """Whatever is given as a value, the step counts and the loop goes on."""

    class Hostile:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError(name)

    def values() -> Iterator[object]:
        yield from ("nan", None, object(), [], {}, b"", Hostile(), lambda: 1.0)

    for value in values():
        books.recorder.step(value, value, value, value, value, own=value)
        books.recorder.report("validation", {"loss": value, "accuracy": value, "own": value})
    assert read().steps == 8


def test_the_cost_is_estimated_from_the_calls(clock: Clock) -> None:
    """What a step takes is measured at some of them and multiplied by their number."""
    ticks = itertools.count()
    books = Books(Settings(run="digits"), clock=lambda: next(ticks) * 1e-6)
    for _ in range(10):
        books.recorder.step(loss=1.0)
    with books.recorder.reading():
        pass
    assert books.recorder.update_seconds == pytest.approx(10 * 1e-6, rel=0.5)
