"""The Hugging Face callback in real trainings of a tiny model."""

import gc
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

import epochwatch
from epochwatch.integrations.huggingface import EpochwatchCallback

from .conftest import Scrape, scrape, wait_until

Start = Callable[..., epochwatch.Run]


@pytest.fixture(scope="module", autouse=True)
def _quick_collection() -> Iterator[None]:
    """Each Trainer makes a full garbage collection; what the imports brought need not be gone through again."""
    gc.freeze()
    yield
    gc.unfreeze()


class Known(torch.nn.Module):
    """Its loss is the mean of its batch, so that every test knows what must be seen."""

    def __init__(self, with_loss: bool = True) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        self.with_loss = with_loss

    def forward(self, values: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        # The weight is in it for the gradient only: (1, 1), of norm sqrt(2).
        logits = values.unsqueeze(1) + (self.weight.sum() - self.weight.detach().sum())
        return {"loss": logits.mean(), "logits": logits} if self.with_loss else {"logits": logits}


class Summing(Known):
    """Divides by the items of the whole step, as language models do."""

    accepts_loss_kwargs = True

    def forward(self, values: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any = None) -> Any:
        output = super().forward(values, labels)
        items = len(values) if num_items_in_batch is None else num_items_in_batch
        return {**output, "loss": output["logits"].sum() / items}


class At(TrainerCallback):
    """Calls a function at one event of the training."""

    def __init__(self, event: str, call: Callable[[Any], object]) -> None:
        def react(args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            call(state)

        setattr(self, event, react)


def samples(values: list[float]) -> list[dict[str, Any]]:
    return [{"values": value, "labels": 0} for value in values]


def trainer_for(
    tmp_path: Path,
    *callbacks: TrainerCallback,
    values: list[float] | None = None,
    model: torch.nn.Module | None = None,
    **options: Any,
) -> Trainer:
    """Gives a Trainer that prints nothing and does not shuffle."""
    given = {name: options.pop(name) for name in ("compute_metrics", "compute_loss_func") if name in options}
    settings = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 1,
        "save_strategy": "no",
        "logging_steps": 1,
        "lr_scheduler_type": "linear",
        "learning_rate": 0.5,
        **options,
    }
    arguments = TrainingArguments(
        output_dir=str(tmp_path), report_to="none", use_cpu=True, disable_tqdm=True, **settings
    )
    trainer = Trainer(
        model=model or Known(),
        args=arguments,
        train_dataset=samples([1.0, 2.0, 3.0, 6.0] if values is None else values),
        eval_dataset=samples([0.5, 1.5]),
        callbacks=list(callbacks),
        **given,
    )
    trainer._get_train_sampler = lambda *args: None  # type: ignore[method-assign]  # in the order given
    return trainer


def test_a_training_is_seen_on_the_endpoint(start: Start, tmp_path: Path) -> None:
    """Steps, samples, epochs, rate, gradient norm, losses, accuracy and checkpoints come from the callback alone."""
    run = start()
    trainer_for(
        tmp_path,
        EpochwatchCallback(run),
        num_train_epochs=3,
        per_device_train_batch_size=2,
        eval_strategy="epoch",
        save_strategy="epoch",
        compute_metrics=lambda prediction: {"accuracy": 0.75, "f1": 0.5},
    ).train()
    seen = scrape(run)
    counted = {"steps_total": 6, "global_step": 6, "samples_total": 12, "epochs": 3, "planned_epochs": 3}
    for name, value in counted.items():
        assert seen.value(f"training_{name}") == value, name
    assert seen.value("training_loss", phase="train") == pytest.approx(3.0)
    assert seen.value("training_loss", phase="validation") == pytest.approx(1.0)
    assert seen.value("training_loss_best_epoch", phase="validation") == 1
    assert seen.value("training_accuracy_ratio", phase="validation") == 0.75
    assert seen.value("training_metric", phase="validation", name="f1") == 0.5
    assert seen.value("training_learning_rate", group="0") == pytest.approx(0.5 / 6)
    assert seen.value("training_gradient_norm") == pytest.approx(math.sqrt(2))
    assert seen.value("training_last_checkpoint_timestamp_seconds") is not None
    assert seen.value("training_phase_seconds_total", phase="evaluate") > 0
    told = {dict(labels)["name"] for name, labels in seen.samples if name == "training_metric"}
    assert told == {"f1"}
    assert not [sample for sample in seen.samples if sample[0] == "training_exporter_errors_total"]


def test_a_nan_that_the_trainer_hides_is_seen(start: Start, tmp_path: Path) -> None:
    """The Trainer logs finite losses only (logging_nan_inf_filter); the endpoint shows and counts the NaN."""
    run = start()
    trainer = trainer_for(
        tmp_path, EpochwatchCallback(run), values=[1.0, math.nan, 3.0], num_train_epochs=1, max_grad_norm=0.0
    )
    trainer.train()
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(logged) == 3
    assert all(map(math.isfinite, logged))
    seen = scrape(run)
    assert seen.value("training_nonfinite_total", kind="loss") == 1
    assert math.isnan(seen.value("training_loss", phase="train") or 0.0)


@pytest.mark.parametrize("model", [Known, Summing], ids=["mean of each batch", "sum over the step's items"])
def test_accumulated_batches_are_one_step(model: type[Known], start: Start, tmp_path: Path) -> None:
    """With gradient accumulation a step's loss is that of all its samples, however the model divides."""
    run = start()
    trainer_for(
        tmp_path,
        EpochwatchCallback(run),
        model=model(),
        num_train_epochs=1,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
    ).train()
    seen = scrape(run)
    assert seen.value("training_steps_total") == 1
    assert seen.value("training_samples_total") == 4
    assert seen.value("training_loss", phase="train") == pytest.approx(3.0)


def loss_apart(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> torch.Tensor:
    return outputs["logits"].mean()


def test_a_loss_that_the_model_does_not_give_is_read_from_the_log(start: Start, tmp_path: Path) -> None:
    """With a loss function of its own, the Trainer's logged loss is shown."""
    run = start()
    trainer_for(
        tmp_path,
        EpochwatchCallback(run),
        model=Known(with_loss=False),
        compute_loss_func=loss_apart,
        values=[1.0, 5.0],
        num_train_epochs=1,
    ).train()
    seen = scrape(run)
    assert seen.value("training_loss", phase="train") == pytest.approx(5.0)
    assert seen.value("training_steps_total") == 2


def test_attached_to_the_trainer_every_loss_is_seen_before_the_filter(start: Start, tmp_path: Path) -> None:
    """With `attach`, a NaN is seen even where the model does not give the loss."""
    run = start()
    callback = EpochwatchCallback(run)
    trainer = trainer_for(
        tmp_path,
        model=Known(with_loss=False),
        compute_loss_func=loss_apart,
        values=[1.0, math.nan, 5.0],
        num_train_epochs=1,
    )
    callback.attach(trainer)
    trainer.train()
    seen = scrape(run)
    assert seen.value("training_nonfinite_total", kind="loss") == 1
    assert seen.value("training_steps_total") == seen.value("training_samples_total") == 3


def test_an_epoch_counts_once_it_was_evaluated(start: Start, tmp_path: Path) -> None:
    """While the evaluation of an epoch goes on it does not count, or it would be one without a better loss."""
    run = start()
    epochs: list[float | None] = []
    states: list[list[str]] = []

    def look(state: Any) -> None:
        seen = scrape(run)
        epochs.append(seen.value("training_epochs"))
        states.append(seen.state())

    trainer_for(
        tmp_path, EpochwatchCallback(run), At("on_prediction_step", look), eval_strategy="epoch"
    ).train()
    assert epochs == [0, 1]
    assert states == [["evaluating"], ["evaluating"]]
    assert scrape(run).value("training_epochs") == 2


def test_a_resumed_training_goes_on_where_it_was(start: Start, tmp_path: Path) -> None:
    """Steps, epochs and the best validation loss survive in the Trainer's checkpoint."""
    options = {"eval_strategy": "epoch", "save_strategy": "epoch"}
    trainer_for(tmp_path, EpochwatchCallback(start("first")), **options).train()
    run = start("second")
    begun: list[Scrape] = []
    trainer_for(
        tmp_path,
        EpochwatchCallback(run),
        At("on_epoch_begin", lambda state: begun.append(scrape(run))),
        num_train_epochs=3,
        **options,
    ).train(resume_from_checkpoint=str(tmp_path / "checkpoint-8"))
    assert begun[0].value("training_epochs") == 2
    assert begun[0].value("training_global_step") == 8
    assert begun[0].value("training_loss_best_epoch", phase="validation") == 1
    seen = scrape(run)
    assert (seen.value("training_epochs"), seen.value("training_global_step")) == (3, 12)
    assert seen.value("training_steps_total") == 4
    assert seen.value("training_loss_best_epoch", phase="validation") == 1


def test_a_run_of_the_callbacks_own_ends_with_the_training(
    tmp_path: Path, last_scrape: Callable[[int], Callable[[], Scrape]], free_port: int
) -> None:
    """A name is enough: the run starts with the training, knows its plan, and finishes with it."""
    read = last_scrape(free_port)
    callback = EpochwatchCallback("digits", port=free_port, addr="127.0.0.1", gpu=False)
    see = At("on_step_end", lambda state: wait_until(lambda: scrape(callback.watch.run)))
    trainer_for(tmp_path, callback, see).train()
    seen = read()
    assert seen.state() == ["finished"]
    assert seen.value("training_planned_epochs") == 2
    assert seen.value("training_planned_steps") == 8


def test_trouble_in_a_hook_stays_out_of_the_training(start: Start, tmp_path: Path) -> None:
    """A model that gives something odd as its loss to onlookers is trained all the same; the trouble is counted."""

    class Odd(Known):
        def forward(self, values: torch.Tensor, labels: torch.Tensor) -> Any:
            output = super().forward(values, labels)
            return {**output, "loss": Shy(output["loss"])} if self.training else output

    class Shy:
        """A loss that only the Trainer may use."""

        def __init__(self, loss: torch.Tensor) -> None:
            self.loss = loss

        def __truediv__(self, other: float) -> torch.Tensor:
            return self.loss / other

    run = start()
    trainer = trainer_for(tmp_path, EpochwatchCallback(run), model=Odd())
    trainer.train()
    assert trainer.state.global_step == 8
    seen = scrape(run)
    assert seen.value("training_steps_total") == 8
    assert seen.value("training_exporter_errors_total", where="integration") == 8
    assert seen.value("training_loss", phase="train") == pytest.approx(6.0)


def test_a_run_that_cannot_be_served_leaves_the_training_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An address of another machine is told in the log, and the training goes on unwatched."""
    trainer = trainer_for(tmp_path, EpochwatchCallback("digits", addr="203.0.113.9", gpu=False))
    trainer.train()
    assert trainer.state.global_step == 8
    assert "the training goes on without being watched: cannot serve on addr" in caplog.text
