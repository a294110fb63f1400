"""A run that goes on where another process stopped."""

import json
import math
from collections.abc import Callable

import pytest

import epochwatch

from .conftest import Scrape, scrape

torch = pytest.importorskip("torch")

Start = Callable[..., epochwatch.Run]


def trained(start: Start) -> epochwatch.Run:
    """Gives a run of five epochs whose validation loss was best in the second."""
    run = start(epochs=30)
    for epoch in run.epochs(total=5):
        for _ in range(4):
            run.step(loss=2.0 - epoch * 0.1, lr=0.1)
        run.log("validation", loss=[1.0, 0.5, 0.6, 0.7, math.nan][epoch], accuracy=0.5 + epoch * 0.1)
    return run


def resumed(start: Start, state: object) -> epochwatch.Run:
    run = start(epochs=30)
    run.load_state_dict(state)
    return run


def test_best_value_epoch_average_and_steps_survive(start: Start, tmp_path: object) -> None:
    """Through torch.save and a new process' eyes, the history is where it was; the process' counters start anew."""
    torch.save({"watch": trained(start).state_dict()}, f"{tmp_path}/checkpoint.pt")
    before = scrape(trained(start))
    after = scrape(resumed(start, torch.load(f"{tmp_path}/checkpoint.pt", weights_only=True)["watch"]))
    same = [
        ("training_epochs", {}),
        ("training_global_step", {}),
        ("training_loss_best", {"phase": "validation"}),
        ("training_loss_best_epoch", {"phase": "validation"}),
        ("training_loss_best", {"phase": "train"}),
        ("training_loss_ewma", {"phase": "train"}),
        ("training_accuracy_best_ratio", {"phase": "validation"}),
    ]
    for name, labels in same:
        assert after.value(name, **labels) == before.value(name, **labels) is not None
    assert after.value("training_steps_total") == 0
    assert (
        before.value("training_global_step"),
        before.value("training_loss_best_epoch", phase="validation"),
    ) == (20, 2)


def plateau_epochs(seen: Scrape) -> float:
    """Gives what TrainingLossPlateau compares with the patience."""
    return (seen.value("training_epochs") or 0) - (
        seen.value("training_loss_best_epoch", phase="validation") or 0
    )


def test_a_resumed_run_is_no_plateau(start: Start) -> None:
    """Epochs and best epoch come back together, and the loop goes on with the next epoch by itself."""
    run = resumed(start, trained(start).state_dict())
    assert plateau_epochs(scrape(run)) == 3
    epochs = run.epochs()
    assert next(epochs) == 5
    run.log("validation", loss=0.3)
    next(epochs)
    assert plateau_epochs(scrape(run)) == 0


def test_only_the_loop_after_a_resume_goes_on(start: Start) -> None:
    """What a checkpoint says counts for one loop: the next, as for the next fold, begins at 0 again."""
    run = resumed(start, trained(start).state_dict())
    scrape(run)
    assert list(run.epochs(7)) == [5, 6]
    assert list(run.epochs(3)) == [0, 1, 2]


def test_a_resumed_loop_may_be_told_where_to_begin(start: Start) -> None:
    """An epoch given by hand wins over the checkpoint's."""
    assert list(resumed(start, trained(start).state_dict()).epochs(7, start=4)) == [4, 5, 6]


def test_a_resumed_run_keeps_its_standard(start: Start) -> None:
    """A loss worse than the best before the resume is no new best."""
    run = resumed(start, trained(start).state_dict())
    run.log("validation", loss=0.55)
    seen = scrape(run)
    assert seen.value("training_loss_best", phase="validation") == 0.5
    assert seen.value("training_loss", phase="validation") == 0.55


def test_the_state_is_plain_data(start: Start) -> None:
    """It goes through JSON as it is, before the first step too."""
    for run in (start(), trained(start)):
        state = run.state_dict()
        # NaN is not in strict JSON, but the last validation loss was one.
        assert json.loads(json.dumps(state)).keys() == state.keys()


def broken(**changes: object) -> dict[str, object]:
    phase = {
        "loss": 1.0,
        "accuracy": None,
        "loss_best": [1.0, 2],
        "accuracy_best": [None, None],
        "ewma": [1.0, 0.5],
    }
    return {"version": 1, "epochs": 3, "global_step": 9, "phases": {"validation": phase}} | changes


def test_the_broken_states_below_are_broken_by_their_change_alone(start: Start) -> None:
    """Without a change the state loads."""
    assert scrape(resumed(start, broken())).value("training_epochs") == 3


@pytest.mark.parametrize(
    "state",
    [
        None,
        [],
        {},
        broken(version=2),
        broken(epochs="3"),
        broken(epochs=-1),
        broken(global_step=None),
        broken(phases=[]),
        broken(phases={"validation": {}}),
        broken(phases={"validation": {**broken()["phases"]["validation"], "ewma": [1.0, 7.0]}}),  # type: ignore[index]
        broken(phases={"validation": {**broken()["phases"]["validation"], "loss_best": "x"}}),  # type: ignore[index]
    ],
    ids=lambda state: str(state)[:40],
)
def test_a_broken_state_changes_nothing(state: object, start: Start) -> None:
    """What is not a state is counted and leaves the run at its beginning; nothing raises."""
    seen = scrape(resumed(start, state))
    assert (seen.value("training_epochs"), seen.value("training_global_step")) == (0, 0)
    assert "training_loss_best" not in seen.names()
    assert seen.value("training_exporter_errors_total", where="load_state_dict") == 1
