"""Best values, averages, spikes, histograms and stall timeouts, as arithmetic."""

import math
import random

import pytest

from epochwatch.trends import Best, Durations, Ewma, Pace, Spikes, is_better


@pytest.mark.parametrize(
    ("candidate", "best", "mode", "better"),
    [
        (0.99, 1.0, "min", True),
        (0.9999, 1.0, "min", False),  # exactly the margin is not better
        (0.99989, 1.0, "min", True),
        (1.0, 1.0, "min", False),
        (-1.0, -1.0, "min", False),
        (-1.00005, -1.0, "min", False),
        (-1.0002, -1.0, "min", True),
        (-0.99995, -1.0, "min", False),  # torch's relative rule alone would call this better
        (-0.0002, 0.0, "min", True),
        (0.0, 0.0, "min", False),
        (-1e-5, 1e-9, "min", True),
        (0.91, 0.9, "max", True),
        (0.90005, 0.9, "max", False),
        (-0.5, -1.0, "max", True),
        (-0.99995, -1.0, "max", False),
        (math.nan, 1.0, "min", False),
        (-math.inf, 1.0, "min", False),
        (math.inf, 1.0, "max", False),
    ],
)
def test_better_means_better_by_the_margin(candidate: float, best: float, mode: str, better: bool) -> None:
    """The margin is relative above 0 and absolute at 0 and below; NaN and infinities are never better."""
    assert better is is_better(candidate, best, mode)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_better_agrees_with_torchs_scheduler_above_zero(mode: str) -> None:
    """For positive values the rule is ReduceLROnPlateau's."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)])
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode=mode)
    chance = random.Random(7)
    for _ in range(500):
        best = chance.uniform(1e-3, 10)
        candidate = best * chance.choice([1, 1 - 1e-4, 1 + 1e-4, chance.uniform(0.999, 1.001)])
        expected = scheduler._is_better(candidate, best)
        if math.isclose(candidate, best * (1 - 1e-4)) or math.isclose(candidate, best * (1 + 1e-4)):
            continue  # a rounding error decides there
        assert expected == is_better(candidate, best, mode)


def test_the_best_keeps_the_epoch_of_the_last_real_improvement() -> None:
    """Noise below the margin does not move the best epoch, and NaN at first is no best."""
    best = Best()
    for epoch, loss in enumerate([math.nan, 1.0, 0.5, 0.49999, 0.6, math.inf], start=1):
        best.update(loss, epoch)
    assert (best.value, best.epoch) == (0.5, 3)


def test_the_average_is_corrected_for_its_start() -> None:
    """The first value is the average; later ones weigh as Adam's corrected moment does."""
    ewma = Ewma(alpha=0.1)
    assert ewma.value is None
    ewma.update([5.0])
    assert ewma.value == pytest.approx(5.0)
    ewma.update([1.0, 2.0])
    moment = ((0.1 * 5.0) * 0.9 + 0.1 * 1.0) * 0.9 + 0.1 * 2.0
    assert ewma.value == pytest.approx(moment / (1 - 0.9**3))


def test_batches_do_not_change_the_average() -> None:
    """One batch of many gives what many batches of one give."""
    values = [random.Random(1).gauss(2, 0.5) for _ in range(300)]
    at_once, one_by_one = Ewma(0.02), Ewma(0.02)
    at_once.update(values)
    for value in values:
        one_by_one.update([value])
    assert at_once.value == pytest.approx(one_by_one.value)


def noisy(count: int, level: float = 2.0) -> list[float]:
    chance = random.Random(3)
    return [chance.gauss(level, 0.05) for _ in range(count)]


def test_spikes_keep_the_average_exactly() -> None:
    """Young or settled, in one batch or many, the shared average is the one the plain formula gives."""
    losses = [*noisy(2000), 9.0, *noisy(500)]
    plain, spikes = Ewma(0.02), Spikes(Ewma(0.02))
    plain.update(losses)
    for start in range(0, len(losses), 256):
        spikes.update(losses[start : start + 256])
    assert spikes.average.value == pytest.approx(plain.value, rel=1e-9)
    assert spikes.count == 1


def test_a_spike_is_counted_once_and_does_not_hide_the_next() -> None:
    """Two lone outliers in noise count as two."""
    spikes = Spikes(Ewma(0.02))
    spikes.update([*noisy(300), 9.0, *noisy(20), 9.0, *noisy(100)])
    assert spikes.count == 2


@pytest.mark.parametrize(
    ("losses", "why"),
    [
        (noisy(1000), "plain noise"),
        ([2.0] * 300 + [2.1] * 10, "z is endless, but the rise is 5 %"),
        ([*noisy(300), 0.1], "a fall is no spike"),
        ([3.0 - 0.005 * step for step in range(400)], "a steady fall"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_spike(losses: list[float], why: str) -> None:
    """A spike needs 6 standard deviations, 20 % and an upward direction."""
    spikes = Spikes(Ewma(0.02))
    spikes.update(losses)
    assert spikes.count == 0


def test_spikes_are_muted_at_first_and_on_demand() -> None:
    """The first hundred steps and the hundred after a mute do not count, batches or not."""
    spikes = Spikes(Ewma(0.02))
    spikes.update([*noisy(50), 50.0, *noisy(200)])
    assert spikes.count == 0
    spikes.mute()
    spikes.update(noisy(60))
    spikes.update([*noisy(39), 50.0])
    assert spikes.count == 0
    spikes.update([*noisy(200), 50.0])
    assert spikes.count == 1


def test_a_lasting_rise_is_learned() -> None:
    """A change of level counts for as long as it is news, not for ever."""
    spikes = Spikes(Ewma(0.02))
    spikes.update([*noisy(300), *noisy(2000, level=4.0)])
    counted = spikes.count
    assert 1 <= counted < 200
    assert spikes.average.value == pytest.approx(4.0, abs=0.1)
    spikes.update(noisy(1000, level=4.0))
    assert spikes.count == counted


@pytest.mark.parametrize(
    ("seconds", "filled"),
    [
        ([0.0005], {0: 1}),
        ([0.001], {0: 1}),
        ([0.002, 0.002], {1: 2}),
        ([0.002, 5000.0], {1: 1, 14: 1}),
        ([], {}),
    ],
)
def test_durations_fall_into_their_buckets(seconds: list[float], filled: dict[int, int]) -> None:
    """A bound belongs to the bucket below it; beyond the last bound there is one more bucket."""
    durations = Durations()
    durations.update(seconds)
    assert filled == {index: count for index, count in enumerate(durations.counts) if count}
    assert durations.sum == pytest.approx(sum(seconds))


@pytest.mark.parametrize(
    ("seconds", "timeout"),
    [([], 1800.0), ([0.1] * 50, 300.0), ([60.0, 60.0, 900.0], 1200.0)],
    ids=["nothing known", "quick steps", "slow steps, one slower"],
)
def test_the_stall_timeout_is_learned_from_the_median(seconds: list[float], timeout: float) -> None:
    """20 times the median, 300 s at least, and half an hour while nothing is known."""
    pace = Pace()
    pace.recent_seconds.extend(seconds)
    assert timeout == pace.stall_timeout_seconds()
