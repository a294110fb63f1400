"""Whatever a user calls a run finds it, and what is not there is answered with what is."""

import pytest

from epochwatch.errors import UnknownRunError
from epochwatch.report.record import Head
from epochwatch.report.reference import find, find_baseline, previous


def head(run_id: str, name: str, at: float, state: str = "finished") -> Head:
    return Head(run_id=run_id, name=name, state=state, started_at=at, seen_at=at)


HEADS = [
    head("cafe04", "digits", 4.0),
    head("cafe03", "digits", 3.0, state="failed"),
    head("beef02", "resnet-imagenet", 2.0),
    head("digits2", "digits", 1.0),
]
BASELINES = {"v1.0": "digits2", "gone": "000000", "v2.0": "beef02"}


@pytest.mark.parametrize(
    ("reference", "run_id"),
    [
        ("cafe03", "cafe03"),
        ("digits", "cafe04"),
        ("digits~0", "cafe04"),
        ("digits~1", "cafe03"),
        ("digits~2", "digits2"),
        ("v1.0", "digits2"),
        ("beef", "beef02"),
    ],
)
def test_a_run_is_found(reference: str, run_id: str) -> None:
    """By id, name, counted back, baseline, or the beginning of its id."""
    assert find(reference, HEADS, BASELINES).run_id == run_id


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("cafe", "'cafe' begins the ids of several runs: cafe04, cafe03; give more of it"),
        ("bee", "no run or baseline is called 'bee'; known are: "),
        ("resnet-imagenett", "known are: resnet-imagenet, "),
        ("digits~3", "digits~3 is not there: the history has 3 of 'digits', the oldest is digits~2"),
        ("digit~1", "no run is called 'digit'; known are: digits, "),
        ("gone", "no run or baseline is called 'gone'"),
        ("", "no run or baseline is called ''"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(reference: str, said: str) -> None:
    """The error names what looks most like it first."""
    with pytest.raises(UnknownRunError) as error:
        find(reference, HEADS, BASELINES)
    assert said in str(error.value)


def test_an_empty_history_says_so() -> None:
    """With no run at all there is nothing to name."""
    with pytest.raises(UnknownRunError, match="the history is empty"):
        find("digits", [], {})


def test_a_baseline_that_does_not_exist_names_the_known_ones_nearest_first() -> None:
    """Baselines are what a user meant, not runs; without any it says how to set one."""
    with pytest.raises(UnknownRunError) as error:
        find_baseline("v2", HEADS, {"v1.0": "digits2", "v2.0": "beef02", "nightly": "cafe04"})
    assert str(error.value) == "there is no baseline 'v2'; known baselines: v2.0, v1.0, nightly"
    with pytest.raises(UnknownRunError, match="none yet: epochwatch baseline set NAME RUN"):
        find_baseline("v2", HEADS, {})


def test_the_previous_run_is_the_last_one_that_finished() -> None:
    """A failed run before this one is no measure for it, nor is a run of another name."""
    assert previous(HEADS[0], HEADS) == HEADS[3]
    assert previous(HEADS[3], HEADS) is None
    assert previous(HEADS[2], HEADS) is None
