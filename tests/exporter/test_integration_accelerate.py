"""The accelerate tracker in a real Accelerator."""

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState

import epochwatch
from epochwatch.integrations.accelerate import EpochwatchTracker

from .conftest import Scrape, scrape

Start = Callable[..., epochwatch.Run]


@pytest.fixture(autouse=True)
def _clean_accelerate() -> Iterator[None]:
    """Accelerate keeps its state for the process."""
    yield
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


def accelerator_with(tracker: EpochwatchTracker) -> Accelerator:
    accelerator = Accelerator(cpu=True, log_with=tracker)
    accelerator.init_trackers("digits", config={"learning_rate": 0.1})
    return accelerator


def test_what_is_logged_is_seen_by_phase(start: Start) -> None:
    """Names say the phase; the loop's own words count steps and epochs, and log calls do not."""
    run = start()
    accelerator = accelerator_with(EpochwatchTracker(run))
    assert accelerator.get_tracker("epochwatch", unwrap=True) is run
    for epoch in run.epochs(total=2):
        for batch in run.batches([1, 2, 3]):
            run.step(loss=float(batch), samples=4)
        accelerator.log(
            {
                "train_loss": 2.0,
                "lr": 0.1,
                "epoch": epoch,
                "val_loss": 0.5,
                "val_accuracy": 0.75,
                "note": "x",
            },
            step=epoch,
        )
    accelerator.end_training()
    seen = scrape(run)
    assert seen.value("training_steps_total") == 6
    assert seen.value("training_epochs") == 2
    assert seen.value("training_loss", phase="train") == 2.0
    assert seen.value("training_loss", phase="validation") == 0.5
    assert seen.value("training_accuracy_ratio", phase="validation") == 0.75
    assert seen.value("training_metric", phase="train", name="lr") == 0.1
    told = {dict(labels)["name"] for name, labels in seen.samples if name == "training_metric"}
    assert told == {"lr"}
    assert seen.state() != ["finished"], "the run is the one who started it to end"


def test_each_log_counts_as_a_step_where_it_is_said_to(start: Start) -> None:
    """With log_per_step a call with a training loss is one step, with its rate and norm; others are not."""
    run = start()
    accelerator = accelerator_with(EpochwatchTracker(run, log_per_step=True))
    for step, loss in enumerate([torch.tensor(1.0), 3.0, math.nan]):
        accelerator.log({"loss": loss, "lr": 0.1, "grad_norm": 1.5, "temperature": 2}, step=step)
    accelerator.log({"eval_loss": 0.5}, step=3)
    seen = scrape(run)
    assert seen.value("training_steps_total") == 3
    assert seen.value("training_learning_rate", group="0") == 0.1
    assert seen.value("training_gradient_norm") == 1.5
    assert seen.value("training_metric", phase="train", name="temperature") == 2
    assert seen.value("training_nonfinite_total", kind="loss") == 1
    assert seen.value("training_loss", phase="validation") == 0.5


def test_a_run_of_the_trackers_own_ends_with_the_training(
    last_scrape: Callable[[int], Callable[[], Scrape]], free_port: int
) -> None:
    """A name is enough: the run starts with the trackers and finishes with `end_training`."""
    read = last_scrape(free_port)
    tracker = EpochwatchTracker("digits", port=free_port, addr="127.0.0.1", gpu=False)
    accelerator = accelerator_with(tracker)
    accelerator.log({"loss": 1.0})
    assert scrape(tracker.tracker).value("training_loss", phase="train") == 1.0
    accelerator.end_training()
    assert read().state() == ["finished"]


def test_what_cannot_be_logged_stays_out_of_the_training(start: Start) -> None:
    """Odd names and values are counted, and the rest of the call is kept."""
    run = start()
    accelerator = accelerator_with(EpochwatchTracker(run))
    accelerator.log({3: 1.0})  # type: ignore[dict-item]
    accelerator.log({"loss": [1.0, 2.0], "val_loss": 0.5})
    seen = scrape(run)
    assert seen.value("training_exporter_errors_total", where="integration") == 1
    assert seen.value("training_exporter_errors_total", where="loss") == 1
    assert seen.value("training_loss", phase="validation") == 0.5
