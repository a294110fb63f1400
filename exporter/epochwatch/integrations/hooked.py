"""A run that a framework's hooks drive, where the loop is not the user's to edit.

Hooks come one by one, so what is a `with` block or a `for` in a loop of one's own is opened by one hook here
and closed by another. Whatever fails in a hook is counted as `integration`, logged, and kept from the training.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import wraps
from itertools import repeat
from typing import Any, TypeVar, cast

from .. import resume
from ..errors import SettingsError
from ..run import Run, inert, start
from ..settings import Settings
from ..troubles import LOGGER
from .naming import VALIDATION, batch_size, by_phase


class HookedRun:
    """One run between a framework's first hook and its last.

    Args:
        run: A run that the user started and will end, or the name of one to start when the training begins.
        settings: What `epochwatch.start` takes, for a run started here; checked at once.

    Raises:
        SettingsError: If a setting is wrong, or settings come with a run that is started already.
    """

    def __init__(self, run: Run | str | None, settings: Mapping[str, Any]) -> None:
        if isinstance(run, Run):
            if settings:
                raise SettingsError(
                    f"{', '.join(settings)}: give these to epochwatch.start, which made the run that is passed here"
                )
            self.run, self._name = run, run.name
        else:
            self._name = Settings.read({"run": run, **settings}, os.environ).run
            self.run = inert(self._name)
        self._own = not isinstance(run, Run)
        self._settings = dict(settings)
        self._aside = ExitStack()
        self._evaluation: Iterator[None] | None = None
        self._epochs: Iterator[int] = iter(())
        self._begun = False
        self._in_epoch = False

    def begin(self, epochs: int | None, steps: int | None) -> None:
        """Starts the run, unless it goes on already; the plan is what the framework says."""
        if self._begun:
            return
        self._begun = True
        if self._own:
            plan = {"epochs": epochs or None, "steps": steps or None}
            try:
                self.run = start(self._name, **{**plan, **self._settings})
            except Exception as error:
                LOGGER.error("the training goes on without being watched: %s", error)

    def resume(self, epochs: int, steps: int, saved: Mapping[str, Any] | None, planned: int | None) -> None:
        """Takes how far the training is: from a checkpoint, with what the run said then, if it was watched."""
        if epochs or steps:
            known = saved or {"version": resume.VERSION, "phases": {}}
            self.run.load_state_dict({**known, "epochs": epochs, "global_step": steps})
        self._epochs = self.run.epochs(planned, start=epochs)

    def epoch_begins(self) -> None:
        """Begins the next epoch, and ends the one before if that was left open."""
        self.back()
        next(self._epochs, None)
        self._in_epoch = True

    def epoch_ends(self) -> None:
        """Ends the epoch, if one is open."""
        self.back()
        if self._in_epoch:
            self._in_epoch = False
            self.run.epoch_end()

    def evaluates(self) -> None:
        """Begins an evaluation, and is the sign of life of each of its batches."""
        if self._evaluation is None:
            self.back()
            evaluation = iter(self.run.batches(repeat(None), VALIDATION))
            self._evaluation = evaluation
            self._aside.callback(evaluation.close)  # type: ignore[attr-defined]  # a generator
        next(self._evaluation)

    def saves(self) -> None:
        """Begins a checkpoint; it is complete when the next hook comes."""
        self.back()
        self._aside.enter_context(self.run.phase("checkpointing"))

    def back(self) -> None:
        """Ends an evaluation or a checkpoint, if the loop is in one."""
        self._evaluation = None
        self._aside.close()

    def validated(self, values: Mapping[str, Any]) -> None:
        """Takes the values of an evaluation by the names under which they were logged."""
        for known, named in by_phase(values, VALIDATION).items():
            self.run.log(known, **named)

    def samples(self, batch: Any) -> int:
        """Gives how many samples a batch has; 0 for one that does not say."""
        try:
            return batch_size(batch) or 0
        except Exception as error:
            self.failed(error)
            return 0

    def end(self, error: BaseException | None = None) -> None:
        """Ends the run that was started here; one from outside is ended by who started it."""
        if error is None:
            self.back()
        # An evaluation or a checkpoint that failed is not completed.
        self._aside.pop_all()
        self._evaluation = None
        if self._begun and self._own:
            run, self.run = self.run, inert(self._name)
            run.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)
        elif isinstance(error, KeyboardInterrupt):
            # Lightning turns it into SystemExit(1), which would look like a failure.
            self.run.finish("interrupted")
        # Not a loop any more: its run may count the epochs of another.
        self._epochs = iter(())
        self._begun = self._in_epoch = False

    def failed(self, error: Exception) -> None:
        """Counts and logs what went wrong in a hook."""
        self.run._books.troubles.report_exception("integration", error)


Hook = TypeVar("Hook", bound=Callable[..., None])


def guarded(hook: Hook) -> Hook:
    """Keeps whatever goes wrong in a hook from the training; its object has the run as `watch`."""

    @wraps(hook)
    def safe(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            hook(self, *args, **kwargs)
        except Exception as error:
            self.watch.failed(error)

    return cast("Hook", safe)
