"""Lightning (`lightning` or `pytorch_lightning`): a callback for the Trainer.

Trainer(callbacks=[EpochwatchCallback("resnet-imagenet")])
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

# Both packages hold the same code with classes of their own; the one that the script uses is loaded already.
if "lightning.pytorch" not in sys.modules and "pytorch_lightning" in sys.modules:
    from pytorch_lightning import Callback
else:
    try:
        from lightning.pytorch import Callback
    except ModuleNotFoundError:
        from pytorch_lightning import Callback

from ..run import Run
from .hooked import HookedRun, guarded
from .naming import without_forks


class EpochwatchCallback(Callback):  # type: ignore[misc]  # Lightning is not there for every type check
    """Watches `Trainer.fit`: steps, epochs, validation, checkpoints, and how it ends.

    Args:
        run: The run's name, or a run that `epochwatch.start` gave and whose `with` block is around `fit`.
        gradient_norm: Whether to compute the global L2 norm of the gradient at every step, before clipping and
            without waiting for the device. Each rank of a sharded model would see its own part only.
        **settings: What `epochwatch.start` takes; epochs and steps are the Trainer's.

    Raises:
        SettingsError: If a setting is wrong.
    """

    def __init__(self, run: Run | str | None = None, *, gradient_norm: bool = False, **settings: Any) -> None:
        super().__init__()
        self.watch = HookedRun(run, settings)
        self._computes_norm = gradient_norm
        self._saved: Mapping[str, Any] | None = None
        self._loss_sum: Any = None
        self._losses = 0
        self._samples = 0
        self._steps = 0
        self._hooks: list[Any] = []
        self._looked = self._stepped = False
        self._rates: list[float] | None = None
        self._norm: Any = None
        self._not_validation: set[str] = set()
        self._validation: set[str] = set()

    @guarded
    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        epochs, steps = trainer.max_epochs, trainer.max_steps
        self.watch.begin(epochs if epochs and epochs > 0 else None, steps if steps > 0 else None)

    @guarded
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.watch.back()
        self._steps = trainer.global_step
        if not pl_module.automatic_optimization:
            self._hook_into_optimizers(trainer, pl_module)
        epochs = trainer.max_epochs
        planned = epochs if epochs and epochs > 0 else None
        # The Trainer knows of none where the optimizers are stepped by hand.
        steps = trainer.global_step or (self._saved or {}).get("global_step", 0)
        self.watch.resume(trainer.current_epoch, steps, self._saved, planned)
        self._saved = None

    @guarded
    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.watch.epoch_begins()

    @guarded
    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.watch.back()

    @guarded
    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self._look_at_step(trainer, pl_module)
        self._looked = True

    def _look_at_step(self, trainer: Any, pl_module: Any) -> None:
        # Now, because schedulers have moved on when the batch ends.
        self._rates = [group["lr"] for known in trainer.optimizers for group in known.param_groups]
        if self._computes_norm:
            gradients = [weight.grad for weight in pl_module.parameters() if weight.grad is not None]
            norms = torch._foreach_norm(gradients)
            self._norm = torch.linalg.vector_norm(torch.stack([norm.to(norms[0].device) for norm in norms]))

    @guarded
    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if loss is not None:
            # Nobody knows how many batches there will be until the next step.
            self._loss_sum = loss if self._loss_sum is None else self._loss_sum + loss
            self._losses += 1
        self._samples += self.watch.samples(batch)
        if not self._is_step(trainer, pl_module):
            return  # gradients are accumulated
        mean = self._loss_sum / self._losses if self._losses > 1 else self._loss_sum
        samples, self._samples = self._samples, 0
        self._loss_sum, self._losses = None, 0
        if mean is not None and pl_module.automatic_optimization and trainer.accumulate_grad_batches > 1:
            # Lightning has divided each for the backward pass.
            mean = mean * trainer.accumulate_grad_batches
        self.watch.run.step(loss=mean, lr=self._rates, grad_norm=self._norm, samples=samples or None)

    def _is_step(self, trainer: Any, pl_module: Any) -> bool:
        """Tells whether an optimizer was stepped in the batch that ends; each is, where none can be asked."""
        unknown = not pl_module.automatic_optimization and not self._hooks
        stepped = unknown or self._stepped or trainer.global_step != self._steps
        self._steps, self._stepped = trainer.global_step, False
        return stepped

    def _hook_into_optimizers(self, trainer: Any, pl_module: Any) -> None:
        """Has the optimizers say when they are stepped: one of `optimizers(use_pl_optimizer=False)` tells no hook."""
        self._forget_hooks()
        after_step = partial(self._after_step, trainer, pl_module)
        for optimizer in trainer.optimizers:
            # Lightning puts one that is never stepped where the module configures none.
            if hasattr(optimizer, "register_step_post_hook") and type(optimizer).__name__ != "_MockOptimizer":
                self._hooks.append(optimizer.register_step_post_hook(after_step))

    @guarded
    def _after_step(self, trainer: Any, pl_module: Any, *step: Any) -> None:
        if not self._looked:
            self._look_at_step(trainer, pl_module)
        self._looked, self._stepped = False, True

    def _forget_hooks(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    @guarded
    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self._not_validation = set(trainer.callback_metrics) - self._validation
        self.watch.evaluates()

    @guarded
    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *args: Any, **kwargs: Any) -> None:
        self.watch.evaluates()

    @guarded
    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.watch.back()
        if trainer.sanity_checking:
            return
        self._validation |= set(trainer.callback_metrics) - self._not_validation
        metrics = without_forks(trainer.callback_metrics)
        self.watch.validated({name: value for name, value in metrics.items() if name in self._validation})

    @guarded
    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.watch.epoch_ends()

    @guarded
    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        self.watch.saves()

    @guarded
    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        self._forget_hooks()
        self.watch.end()

    @guarded
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._forget_hooks()
        self.watch.end(exception)

    def state_dict(self) -> dict[str, Any]:
        """Gives what the run must know after a resume, for Lightning's checkpoint."""
        return self.watch.run.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes that back before the run has started."""
        self._saved = state_dict or None
