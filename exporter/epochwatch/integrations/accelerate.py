"""Hugging Face accelerate: a tracker for the Accelerator.

    with epochwatch.start("diffusion", epochs=20) as run:
        accelerator = Accelerator(log_with=EpochwatchTracker(run))
        accelerator.init_trackers("diffusion")

`accelerator.log` becomes values of a phase. It is called on the main process only and as often as a script likes, so
steps and epochs are told by the loop itself, on every rank: `run.epochs`, `run.batches`, `run.step`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accelerate.tracking import GeneralTracker

from ..ledger import TRAIN
from ..run import Run
from .hooked import HookedRun, guarded
from .naming import by_phase

_RATES = ("lr", "learning_rate")
_COUNTS = ("epoch", "step")


class EpochwatchTracker(GeneralTracker):  # type: ignore[misc]  # accelerate is not there for every type check
    """Takes what is logged through an Accelerator.

    Args:
        run: The run's name, or a run that `epochwatch.start` gave.
        log_per_step: Whether `accelerator.log` is called with a training loss exactly once for each optimizer step.
            Each such call then counts as a step, and the loop need not call `run.step`.
        **settings: What `epochwatch.start` takes.

    Raises:
        SettingsError: If a setting is wrong.
    """

    name = "epochwatch"
    requires_logging_directory = False
    main_process_only = False

    def __init__(self, run: Run | str | None = None, *, log_per_step: bool = False, **settings: Any) -> None:
        self.watch = HookedRun(run, settings)
        self._log_per_step = log_per_step
        super().__init__()

    @property
    def tracker(self) -> Run:
        """The run, started if it was not."""
        self.start()
        return self.watch.run

    @guarded
    def start(self) -> None:
        """Starts the run; accelerate calls it from `init_trackers`."""
        self.watch.begin(None, None)

    @guarded
    def log(self, values: Mapping[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Takes what `accelerator.log` is given; names such as `val_loss` say their phase, others are training's."""
        self.start()
        told = {name: value for name, value in values.items() if name not in _COUNTS}
        phases = by_phase(told, TRAIN)
        trained = phases.get(TRAIN, {})
        if self._log_per_step and "loss" in trained:
            rates = [trained.pop(name) for name in _RATES if name in trained]
            self.watch.run.step(
                loss=trained.pop("loss"),
                lr=rates[0] if rates else None,
                grad_norm=trained.pop("grad_norm", None),
            )
        for phase, named in phases.items():
            if named:
                self.watch.run.log(phase, **named)

    @guarded
    def finish(self) -> None:
        """Ends the run, unless it was started outside; accelerate calls it from `end_training`."""
        self.watch.end()
