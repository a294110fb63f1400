"""A run that goes on where another process stopped."""

import json
import logging
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import epochwatch

from .conftest import Scrape, scrape

torch = pytest.importorskip("torch")

Start = Callable[..., epochwatch.Run]
DOCS = Path(__file__).parents[2] / "docs"


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


def test_an_epoch_that_was_ended_is_not_made_again(start: Start) -> None:
    """Saved at the end of the body, behind epoch_end and however often that is said, it is complete."""
    run = start(epochs=4)
    for _ in run.epochs():
        run.step(loss=1.0)
        run.epoch_end()
        last = run.state_dict()
        run.epoch_end()
        best = run.state_dict()
        break
    assert last == best
    assert list(resumed(start, best).epochs(4)) == [1, 2, 3]


@pytest.mark.parametrize("page", ["quickstart.md", "quickstart.zh-CN.md"])
def test_the_documented_resume_makes_every_epoch_once(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop of the quick start, broken off in an epoch and run again, makes that one twice and every other once."""
    for name, value in {"PORT": "0", "ADDR": "127.0.0.1", "GPU": "false"}.items():
        monkeypatch.setenv(f"EPOCHWATCH_{name}", value)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    (code,) = (block for block in blocks if "load_state_dict" in block)
    begun: list[float] = []

    def train_and_validate(run: epochwatch.Run, model: object) -> None:
        with run._books.recorder.reading() as ledger:
            begun.append(ledger.epochs)
        run.step(loss=1.0)
        if len(begun) == 4:
            raise RuntimeError("broken off")

    world = {
        "epochwatch": epochwatch,
        "torch": torch,
        "model": torch.nn.Linear(1, 1),
        "checkpoint": tmp_path / "last.pt",
        "train_and_validate": train_and_validate,
    }
    with pytest.raises(RuntimeError, match="broken off"):
        exec(code, dict(world))
    exec(code, dict(world))
    assert begun == [0, 1, 2, 3, *range(3, 90)]


def test_an_epoch_that_goes_on_is_made_again(start: Start) -> None:
    """Saved among its batches an epoch is not complete, and the loop itself is not disturbed by that."""
    run = start(epochs=3)
    states = []
    for _ in run.epochs():
        for _ in run.batches([1, 2]):
            run.step(loss=1.0)
            states.append(run.state_dict())
    assert [state["epochs"] for state in states] == [0, 0, 1, 1, 2, 2]
    assert list(resumed(start, states[3]).epochs(3)) == [1, 2]


@pytest.mark.parametrize("place", ["behind the batches", "among the batches", "behind epoch_end"])
def test_a_forgotten_end_of_an_epoch_is_said(
    place: str, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """A state of an epoch whose batches are done, but whose end was not told, is advised about; once."""
    run = start(epochs=3)
    with caplog.at_level(logging.WARNING, "epochwatch"):
        for _ in run.epochs():
            for _ in run.batches([1, 2]):
                run.step(loss=1.0)
                if place == "among the batches":
                    run.state_dict()
            run.log("validation", loss=1.0)
            if place == "behind epoch_end":
                run.epoch_end()
            if place != "among the batches":
                run.state_dict()
    advice = [message for message in caplog.messages if "call run.epoch_end() before" in message]
    assert len(advice) == (place == "behind the batches")
    assert scrape(run).value("training_epochs") == 3


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
