"""The Lightning callback in real trainings of a tiny module."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

import epochwatch
from epochwatch.integrations.lightning import EpochwatchCallback

from .conftest import Scrape, scrape, wait_until

pytestmark = [
    # Lightning 2.6 uses a class that torch 2.13 has deprecated.
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"),
    # Advice for real trainings: more loader workers, and a shorter logging interval for few batches.
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no"),
]

Start = Callable[..., epochwatch.Run]
LOCAL = {"port": 0, "addr": "127.0.0.1", "gpu": False}


class Known(lightning.LightningModule):
    """Its loss is the mean of its batch, so that every test knows what must be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = batch[0].mean() + (self.weight.sum() - self.weight.detach().sum())
        self.log("train_value", loss.detach(), on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", 1.0 / (1 + self.current_epoch))
        self.log("val_acc", 0.75)
        self.log("roughness", 0.5, on_step=True, on_epoch=True)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.5)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.1)
        return [optimizer], [{"scheduler": schedule, "interval": "epoch"}]


class At(Callback):
    """Calls a function at one hook of the training."""

    def __init__(self, hook: str, call: Callable[..., object]) -> None:
        setattr(self, hook, lambda trainer, module, *args, **kwargs: call(trainer))


class ByHand(Known):
    """Steps its optimizer itself, every `every` batches; Lightning need not know of it."""

    def __init__(self, every: int = 1, told: bool = False, own: bool = False) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.every, self.told, self.own = every, told, own

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        if self.every and (batch_idx + 1) % self.every == 0:
            optimizer = self.mine if self.own else self.optimizers(use_pl_optimizer=self.told)
            optimizer.step()
            optimizer.zero_grad()
        return loss

    def configure_optimizers(self) -> Any:
        self.mine = torch.optim.SGD(self.parameters(), lr=0.5)
        return None if self.own else self.mine


def loader(values: list[float], batch_size: int = 1) -> DataLoader:
    return DataLoader(TensorDataset(torch.tensor(values)), batch_size=batch_size)


def fit(tmp_path: Path, *callbacks: Callback, values: list[float] | None = None, **options: Any) -> Any:
    """Trains a Known module with nothing printed and gives the Trainer."""
    batch_size, checkpoint = options.pop("batch_size", 1), options.pop("ckpt_path", None)
    module = options.pop("module", None) or Known()
    settings = {"max_epochs": 2, "enable_checkpointing": False, **options}
    trainer = lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=list(callbacks),
        **settings,
    )
    values = [1.0, 2.0, 3.0, 6.0] if values is None else values
    trainer.fit(module, loader(values, batch_size), loader([1.0, 1.0]), ckpt_path=checkpoint)
    return trainer


def test_a_fit_is_seen_on_the_endpoint(start: Start, tmp_path: Path) -> None:
    """Steps, samples, epochs, rate, gradient norm, losses and accuracy come from the Trainer's hooks alone."""
    run = start()
    callback = EpochwatchCallback(run, gradient_norm=True)
    saver = ModelCheckpoint(dirpath=tmp_path, save_top_k=-1, every_n_epochs=1)
    fit(tmp_path, callback, saver, max_epochs=3, enable_checkpointing=True, batch_size=2)
    seen = scrape(run)
    counted = {"steps_total": 6, "global_step": 6, "samples_total": 12, "epochs": 3, "planned_epochs": 3}
    for name, value in counted.items():
        assert seen.value(f"training_{name}") == value, name
    assert seen.value("training_loss", phase="train") == pytest.approx(3.0)
    assert seen.value("training_loss", phase="validation") == pytest.approx(1 / 3)
    assert seen.value("training_loss_best_epoch", phase="validation") == 3
    assert seen.value("training_accuracy_ratio", phase="validation") == 0.75
    assert seen.value("training_metric", phase="validation", name="roughness") == 0.5
    assert seen.value("training_learning_rate", group="0") == pytest.approx(0.5 * 0.1**2)
    assert seen.value("training_gradient_norm") == pytest.approx(math.sqrt(2))
    assert seen.value("training_last_checkpoint_timestamp_seconds") is not None
    assert seen.value("training_phase_seconds_total", phase="checkpoint") > 0
    assert seen.value("training_phase_seconds_total", phase="evaluate") > 0
    assert not [sample for sample in seen.samples if sample[0] == "training_exporter_errors_total"]


def test_accumulated_batches_are_one_step(start: Start, tmp_path: Path) -> None:
    """With gradient accumulation a step's loss is the mean of its batches, the last, shorter step's too."""
    run = start()
    fit(
        tmp_path,
        EpochwatchCallback(run),
        values=[1.0, 3.0, 8.0],
        max_epochs=1,
        accumulate_grad_batches=2,
    )
    seen = scrape(run)
    assert seen.value("training_steps_total") == 2
    assert seen.value("training_samples_total") == 3
    assert seen.value("training_loss", phase="train") == pytest.approx((2.0 + 8.0) / 2)


@pytest.mark.parametrize(
    ("module", "steps", "loss"),
    [
        (ByHand(told=True), 4, 3.0),
        (ByHand(), 4, 3.0),
        (ByHand(told=True, every=2), 2, 3.0),
        (ByHand(every=2), 2, 3.0),
        (ByHand(every=4), 1, 3.0),
        (ByHand(every=0), 0, None),
    ],
    ids=["of Lightning", "of torch", "of Lightning, accumulated", "of torch, accumulated", "once", "never"],
)
def test_a_step_by_hand_is_seen(
    module: ByHand, steps: int, loss: float | None, start: Start, tmp_path: Path
) -> None:
    """With manual optimization a step is where an optimizer is stepped, whether Lightning is told of it or not."""
    run = start()
    callback = EpochwatchCallback(run, gradient_norm=True)
    fit(tmp_path, callback, module=module, max_epochs=1)
    seen = scrape(run)
    assert seen.value("training_steps_total") == steps
    assert seen.value("training_samples_total") == 4 * bool(steps)
    assert seen.value("training_loss", phase="train") == loss
    assert seen.value("training_learning_rate", group="0") == (0.5 if steps else None)
    norm = seen.value("training_gradient_norm")
    assert norm == (pytest.approx(module.every * math.sqrt(2)) if steps else None)
    assert not [sample for sample in seen.samples if sample[0] == "training_exporter_errors_total"]
    assert not module.mine._optimizer_step_post_hooks


@pytest.mark.filterwarnings("ignore:`LightningModule.configure_optimizers` returned `None`")
def test_each_batch_is_a_step_where_no_optimizer_is_known(start: Start, tmp_path: Path) -> None:
    """A module that keeps its optimizer to itself is seen to train all the same."""
    run = start()
    fit(tmp_path, EpochwatchCallback(run), module=ByHand(own=True, every=2), max_epochs=1)
    seen = scrape(run)
    assert (seen.value("training_steps_total"), seen.value("training_samples_total")) == (4, 4)
    assert seen.value("training_loss", phase="train") == 3.0


def test_steps_by_hand_survive_in_a_checkpoint(start: Start, tmp_path: Path) -> None:
    """A resumed fit counts on from the steps that Lightning was not told of."""
    saved = tmp_path / "by-hand.ckpt"
    # A ModelCheckpoint would wait for a step.
    saver = At("on_train_end", lambda trainer: trainer.save_checkpoint(saved))
    fit(tmp_path, EpochwatchCallback(start("first")), saver, module=ByHand())
    run = start("second")
    fit(tmp_path, EpochwatchCallback(run), module=ByHand(), max_epochs=3, ckpt_path=saved)
    seen = scrape(run)
    assert (seen.value("training_epochs"), seen.value("training_global_step")) == (3, 12)


def test_the_sanity_check_is_no_validation(start: Start, tmp_path: Path) -> None:
    """What Lightning tries out before the first epoch does not become the first validation loss."""
    run = start()
    seen: list[Scrape] = []
    fit(tmp_path, EpochwatchCallback(run), At("on_train_start", lambda trainer: seen.append(scrape(run))))
    assert seen[0].value("training_loss", phase="validation") is None
    assert seen[0].state() == ["starting"]


def test_each_state_of_the_loop_is_seen(start: Start, tmp_path: Path) -> None:
    """The run is evaluating during validation and training during batches."""
    run = start()
    states: dict[str, list[str]] = {}

    def look(name: str) -> Callback:
        return At(name, lambda trainer: states.update({name: scrape(run).state()}))

    hooks = ("on_train_batch_start", "on_validation_batch_end", "on_train_end")
    fit(tmp_path, EpochwatchCallback(run), *map(look, hooks), num_sanity_val_steps=0)
    assert states == {
        "on_train_batch_start": ["training"],
        "on_validation_batch_end": ["evaluating"],
        "on_train_end": ["training"],
    }


def test_a_loss_that_is_not_finite_is_seen(start: Start, tmp_path: Path) -> None:
    """A NaN among the losses is counted and shown."""
    run = start()
    fit(tmp_path, EpochwatchCallback(run), values=[1.0, math.nan, 2.0], max_epochs=1)
    seen = scrape(run)
    assert seen.value("training_nonfinite_total", kind="loss") == 1
    assert math.isnan(seen.value("training_loss", phase="train") or 0.0)


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_resumed_fit_goes_on_where_it_was(start: Start, tmp_path: Path) -> None:
    """Steps, epochs and the best validation loss survive in Lightning's checkpoint."""
    saver = ModelCheckpoint(dirpath=tmp_path, filename="last-one")
    fit(tmp_path, EpochwatchCallback(start("first")), saver, enable_checkpointing=True)
    assert (tmp_path / "last-one.ckpt").exists()
    run = start("second")
    best: list[Scrape] = []
    fit(
        tmp_path,
        EpochwatchCallback(run),
        At("on_train_epoch_start", lambda trainer: best.append(scrape(run))),
        ModelCheckpoint(dirpath=tmp_path / "next"),
        max_epochs=3,
        enable_checkpointing=True,
        ckpt_path=tmp_path / "last-one.ckpt",
    )
    assert best[0].value("training_epochs") == 2
    assert best[0].value("training_global_step") == 8
    assert best[0].value("training_loss_best", phase="validation") == pytest.approx(0.5)
    assert best[0].value("training_loss_best_epoch", phase="validation") == 2
    seen = scrape(run)
    assert (seen.value("training_epochs"), seen.value("training_global_step")) == (3, 12)
    assert seen.value("training_steps_total") == 4


@pytest.mark.parametrize(
    ("error", "raised", "state", "failures"),
    [
        (RuntimeError("CUDA out of memory"), RuntimeError, "failed", 1),
        (KeyboardInterrupt(), SystemExit, "interrupted", 0),
        (None, None, "finished", 0),
    ],
    ids=["failed", "interrupted", "finished"],
)
def test_the_end_of_a_fit_is_told_as_what_it_was(
    error: BaseException | None,
    raised: type[BaseException] | None,
    state: str,
    failures: int,
    tmp_path: Path,
    last_scrape: Callable[[int], Callable[[], Scrape]],
    free_port: int,
) -> None:
    """A run that the callback started ends with the fit, in the state that the fit's end means."""
    read = last_scrape(free_port)
    callback = EpochwatchCallback("digits", **{**LOCAL, "port": free_port})

    def interrupt(trainer: Any) -> None:
        wait_until(lambda: scrape(callback.watch.run))
        if error is not None:
            raise error

    if raised is None:
        fit(tmp_path, callback, At("on_train_batch_end", interrupt))
    else:
        with pytest.raises(raised):
            fit(tmp_path, callback, At("on_train_batch_end", interrupt))
    assert read().state() == [state]
    assert read().value("training_exceptions_total", kind="cuda_oom") == failures


class Hostile:
    """A batch that does not like to be looked at."""

    def __init__(self, values: list[Any]) -> None:
        self.values = torch.stack([value[0] for value in values])

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.values

    @property
    def shape(self) -> Any:
        raise RuntimeError("do not look")


def test_trouble_in_a_hook_stays_out_of_the_training(start: Start, tmp_path: Path) -> None:
    """A batch that raises when its size is asked costs the sample count only, and is counted."""
    run = start()
    trainer = lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        max_epochs=1,
        default_root_dir=tmp_path,
        callbacks=[EpochwatchCallback(run)],
    )
    hostile = DataLoader(TensorDataset(torch.ones(4)), batch_size=2, collate_fn=Hostile)
    module = Known()
    module.log = lambda *args, **kwargs: None  # type: ignore[method-assign]  # Lightning would look at the batch too
    trainer.fit(module, hostile)
    seen = scrape(run)
    assert trainer.global_step == 2 == seen.value("training_steps_total")
    assert seen.value("training_samples_total") == 0
    assert seen.value("training_exporter_errors_total", where="integration") == 2


def test_a_run_that_cannot_be_served_leaves_the_fit_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An address of another machine is told in the log, and the training goes on unwatched."""
    trainer = fit(tmp_path, EpochwatchCallback("digits", addr="203.0.113.9", port=0, gpu=False))
    assert trainer.global_step == 8
    assert "the training goes on without being watched: cannot serve on addr" in caplog.text


def test_a_run_ended_by_someone_else_leaves_the_fit_alone(start: Start, tmp_path: Path) -> None:
    """The training outlives its run."""
    run = start()
    trainer = fit(tmp_path, EpochwatchCallback(run), At("on_train_batch_start", lambda _: run.finish()))
    assert trainer.global_step == 8
