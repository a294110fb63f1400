"""Better, the same or worse: by difference, never by ratio, and never fooled by a NaN."""

import math
from collections.abc import Sequence

import pytest

from epochwatch.errors import ComparisonError
from epochwatch.phrases import Words
from epochwatch.report.comparison import Value, compare, judge, known_mode, shared
from epochwatch.report.record import Head, Record
from epochwatch.report.wording import difference, sentence
from epochwatch.tolerance import Tolerance, parse

from .conftest import curves

NONE = Tolerance(0.0)


def record(monitor: str = "validation/loss", mode: str = "min", **values: Sequence[float]) -> Record:
    """Gives a run with curves; validation_loss=[...] is validation/loss."""
    grown = [
        curve.so_far() for curve in curves({key.replace("_", "/", 1): told for key, told in values.items()})
    ]
    head = Head("abc123", "digits", "finished", 0.0, 0.0, monitor=monitor, mode=mode)
    return Record(head, curves={(curve.phase, curve.metric): curve for curve in grown if curve is not None})


@pytest.mark.parametrize(
    ("reference", "candidate", "mode", "tolerance", "verdict"),
    [
        (1.0, 0.9, "min", "0", "better"),
        (1.0, 1.1, "min", "0", "worse"),
        (1.0, 1.0, "min", "0", "same"),
        (0.90, 0.92, "max", "0", "better"),
        (0.92, 0.90, "max", "0", "worse"),
        (0.920, 0.916, "max", "0.5%", "same"),
        (0.920, 0.915, "max", "0.5%", "worse"),
        (0.920, 0.916, "max", "0.005", "same"),
        (0.920, 0.914, "max", "0.005", "worse"),
        # Below zero, less is better still: a ratio would say the contrary.
        (-2.0, -2.2, "min", "5%", "better"),
        (-2.0, -1.8, "min", "5%", "worse"),
        (-2.0, -1.95, "min", "5%", "same"),
        (-2.0, 0.1, "min", "5%", "worse"),
        # A share of nothing is nothing.
        (0.0, 1e-9, "min", "50%", "worse"),
        (1.0, math.nan, "min", "50%", "worse"),
        (1.0, math.inf, "min", "50%", "worse"),
        (1.0, -math.inf, "min", "50%", "worse"),
        (math.nan, 5.0, "min", "0", "better"),
        (math.nan, math.nan, "max", "0", "worse"),
        (1e308, -1e308, "min", "1%", "better"),
    ],
)
def test_a_value_is_judged(
    reference: float, candidate: float, mode: str, tolerance: str, verdict: str
) -> None:
    """By its distance in the right direction; what is not finite is never good."""
    assert judge(reference, candidate, mode, parse(tolerance))[0] == verdict


def test_the_best_of_each_run_is_compared() -> None:
    """The best values and their epochs, by what the candidate monitored."""
    old = record(validation_loss=[1.0, 0.5, 0.7])
    new = record(validation_loss=[1.0, 0.6, 0.4])
    found = compare(old, new, tolerance=NONE)
    assert (found.metric, found.mode, found.verdict) == ("validation/loss", "min", "better")
    assert (found.reference, found.candidate) == (Value(0.5, 2), Value(0.4, 3))
    assert found.gain == pytest.approx(0.1)
    final = compare(old, new, tolerance=NONE, at="final")
    assert (final.reference, final.candidate) == (Value(0.7, 3), Value(0.4, 3))


def test_runs_of_different_lengths_are_also_compared_after_as_many_epochs() -> None:
    """A longer run may be better only because it is longer; the reader sees both."""
    short = record(validation_loss=[1.0, 0.5])
    long = record(validation_loss=[1.0, 0.9, 0.6, 0.4])
    found = compare(short, long, tolerance=NONE)
    assert found.verdict == "better"
    assert found.equal_epochs == (Value(0.5, 2), Value(0.9, 2))
    assert compare(short, short).equal_epochs is None


def test_a_run_that_diverged_after_its_best_says_so() -> None:
    """Its best counts, and the reader is warned; by its last value it is worse."""
    old, new = record(validation_loss=[1.0, 0.5]), record(validation_loss=[1.0, 0.4, math.nan])
    assert (compare(old, new).verdict, compare(old, new).diverged) == ("better", True)
    assert compare(old, new, at="final").verdict == "worse"


def test_a_run_without_a_finite_value_is_worse() -> None:
    """NaN from the first epoch on is worse than anything, and says NaN rather than a number."""
    found = compare(record(validation_loss=[2.0]), record(validation_loss=[math.nan, math.nan]))
    assert found.verdict == "worse"
    assert math.isnan(found.gain)
    assert difference(found) == "–"
    assert "2 → NaN" in sentence(found, Words.same("v1")).en


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (None, "run digits (abc123) never told validation/loss; it has train/loss, test/f1"),
        ("validation/lost", "never told validation/lost; it has "),
        ("test/f1", "is less or more of test/f1 better? Say --mode min or --mode max"),
    ],
)
def test_what_cannot_be_compared_is_told(metric: str | None, said: str) -> None:
    """A missing value names those that are there; an unknown direction asks for it."""
    new = record(monitor="validation/loss", test_f1=[0.5], train_loss=[1.0])
    with pytest.raises(ComparisonError) as error:
        compare(record(test_f1=[0.4], validation_loss=[1.0]), new, metric=metric)
    assert said in str(error.value)


def test_the_direction_of_a_value_is_known_from_its_name_or_from_a_run() -> None:
    """Losses, accuracies, and what one of the runs monitored."""
    assert known_mode("test/accuracy") == "max"
    assert known_mode("train/loss_ewma") == "min"
    assert known_mode("test/f1", record(), record(monitor="test/f1", mode="max")) == "max"


def test_all_values_in_common_are_compared() -> None:
    """Those of which the direction is known, each with its own verdict."""
    old = record(validation_loss=[1.0], validation_accuracy=[0.9], test_f1=[0.1])
    new = record(validation_loss=[2.0], validation_accuracy=[0.95], test_f1=[0.2], train_loss=[1.0])
    found = {one.metric: one.verdict for one in shared(old, new, NONE)}
    assert found == {"validation/loss": "worse", "validation/accuracy": "better"}


@pytest.mark.parametrize(
    ("old", "new", "metric", "said"),
    [
        ([0.9], [0.925], "accuracy", "▲ better than v1: accuracy 90.00% → 92.50%, +2.50 pp"),
        ([0.5], [0.4], "loss", "▲ better than v1: validation loss 0.5 → 0.4, -0.1 (-20.0%)"),
        ([-2.0], [-1.0], "loss", "▼ worse than v1: validation loss -2 → -1, +1 (+50.0%)"),
        ([0.0], [1.0], "loss", "▼ worse than v1: validation loss 0 → 1, +1"),
        ([0.5], [0.5], "loss", "≈ as good as v1: validation loss 0.5 → 0.5, +0 (+0.0%)"),
    ],
)
def test_a_comparison_is_one_sentence(old: list[float], new: list[float], metric: str, said: str) -> None:
    """Mark, verdict, both values and the difference, for a phone."""
    key = f"validation_{metric}"
    found = compare(record(**{key: old}), record(**{key: new}), metric=f"validation/{metric}")
    assert sentence(found, Words.same("v1")).en == said


@pytest.mark.parametrize(
    ("text", "tolerance"),
    [
        ("0.5%", Tolerance(0.005, True)),
        (" 2 % ", Tolerance(0.02, True)),
        ("0.005", Tolerance(0.005)),
        ("0", Tolerance(0.0)),
        (".5", Tolerance(0.5)),
        ("1e-3", Tolerance(0.001)),
    ],
)
def test_a_threshold_is_a_share_or_a_distance(text: str, tolerance: Tolerance) -> None:
    """With a per cent sign it is relative, without one absolute."""
    assert parse(text) == tolerance
    assert parse(str(tolerance)) == tolerance


@pytest.mark.parametrize("text", ["", "%", "-1", "-0.5%", "nan", "inf", "1e999", "0,5", "half", "5%%", "٥"])
def test_a_threshold_that_is_none_is_refused(text: str) -> None:
    """The error says what one looks like."""
    with pytest.raises(ValueError, match=r'as in "0.5%" or a distance as in "0.005", not below 0'):
        parse(text)
