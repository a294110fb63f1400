"""Hugging Face transformers: a callback for the Trainer.

    Trainer(..., callbacks=[EpochwatchCallback("bert-reviews")])

The Trainer's own log shows an average in place of a NaN or infinite loss (`logging_nan_inf_filter`, on by
default). So each loss is read where the model gives it, before that filter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback

from ..run import Run
from .hooked import HookedRun, guarded

STATE_KEY = "epochwatch"
_SPEEDS = ("_runtime", "_per_second", "_time", "_seen")


class EpochwatchCallback(TrainerCallback):  # type: ignore[misc]  # transformers is not there for every type check
    """Watches `Trainer.train`: steps, epochs, evaluation, checkpoints, and that it finishes.

    The Trainer tells no callback of an exception. What ended the process is known at its exit; to have it at once,
    and in notebooks, put `with epochwatch.start(...) as run:` around `train` and give that run.

    Args:
        run: The run's name, or a run that `epochwatch.start` gave.
        **settings: What `epochwatch.start` takes; epochs and steps are the Trainer's.

    Raises:
        SettingsError: If a setting is wrong.
    """

    def __init__(self, run: Run | str | None = None, **settings: Any) -> None:
        self.watch = HookedRun(run, settings)
        self._attached = False
        self._hook: Any = None
        self._losses: list[Any] = []
        self._summed = False
        self._factor = 1
        self._samples = 0
        self._rates: list[float] | None = None
        self._norm: Any = None
        self._loss_seen = False

    def attach(self, trainer: Any) -> None:
        """Reads the loss from the Trainer itself: for label smoothing, `compute_loss_func`, `torch_compile`.

        There the model does not give the loss that is trained on, or is not to be hooked into.
        """
        training_step = trainer.training_step

        def watched_step(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            loss = training_step(model, inputs, *args, **kwargs)
            self._keep(loss, inputs)
            return loss

        trainer.training_step = watched_step
        if self not in trainer.callback_handler.callbacks:
            trainer.add_callback(self)
        # The Trainer has divided each loss for accumulation: they add up.
        self._attached = self._summed = True

    @guarded
    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        epochs = math.ceil(args.num_train_epochs) if args.max_steps <= 0 else None
        self.watch.begin(epochs, state.max_steps)
        saved = state.stateful_callbacks.get(STATE_KEY, {}).get("attributes")
        self.watch.resume(int(state.epoch or 0), state.global_step, saved, epochs)
        self._forget_hook()
        if not self._attached and not args.torch_compile and args.n_gpu <= 1:
            self._hook = model.register_forward_hook(self._after_forward, with_kwargs=True)
            # The Trainer multiplies by this what the model has divided by the items of all ranks.
            self._factor = args.world_size if getattr(args, "average_tokens_across_devices", False) else 1

    @guarded
    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.watch.epoch_begins()

    @guarded
    def on_optimizer_step(
        self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any
    ) -> None:
        # Now, because the scheduler has moved on when the step ends.
        self._rates = [group["lr"] for group in optimizer.param_groups]
        if getattr(optimizer, "step_was_skipped", False):
            self.watch.run.skipped_step("amp_overflow")

    @guarded
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.watch.back()
        losses, samples = self._losses, self._samples
        self._losses, self._samples = [], 0
        self._loss_seen = bool(losses)
        loss: Any = sum(losses[1:], losses[0]) if losses else None
        if len(losses) > 1 and not self._summed:
            loss = loss / len(losses)
        self.watch.run.step(loss=loss, lr=self._rates, grad_norm=self._norm, samples=samples or None)
        self._norm = None
        if control.should_save:
            self._remember(state)

    @guarded
    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        # It is told after its step; the next one carries it.
        self._norm = logs.get("grad_norm")
        if not self._loss_seen and "loss" in logs:
            self.watch.run.log("train", loss=logs["loss"])

    @guarded
    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.watch.evaluates()

    @guarded
    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        self.watch.back()
        told = {name: value for name, value in metrics.items() if not name.endswith(_SPEEDS)}
        told.pop("epoch", None)
        self.watch.validated(told)
        self._remember(state)

    @guarded
    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        self.watch.back()

    @guarded
    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.watch.saves()  # it is said when all is written
        self.watch.back()

    @guarded
    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # The epoch stays open: it is evaluated after this hook, and must not count as one without a better loss before.
        if control.should_save:
            self._remember(state)

    @guarded
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._forget_hook()
        if float(state.epoch or 0.5).is_integer():  # else the last one was not completed
            self.watch.epoch_ends()
        self.watch.end()

    @guarded
    def _after_forward(self, module: Any, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
        if not module.training:
            return
        loss = output.get("loss") if isinstance(output, Mapping) else output[0]
        self._summed = kwargs.get("num_items_in_batch") is not None
        if loss is not None and loss.numel() == 1:
            self._keep(loss.detach() * self._factor if self._summed and self._factor > 1 else loss, kwargs)

    @guarded
    def _keep(self, loss: Any, inputs: Mapping[str, Any]) -> None:
        self._losses.append(loss.detach())
        self._samples += self.watch.samples(inputs)

    def _remember(self, state: Any) -> None:
        # The Trainer writes this dict into every checkpoint and gives it back after a resume.
        state.stateful_callbacks[STATE_KEY] = {"args": {}, "attributes": self.watch.run.state_dict()}

    def _forget_hook(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
