"""Ends in the history of runs what a training left open because it died, and has its report made."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Lock

from ..errors import HistoryError
from ..troubles import Troubles
from .ended import Ended, Outcome
from .nursery import Nursery
from .testimony import Kept

REPORTS_SECONDS = 5.0


class Aftermath:
    """What comes after deaths, for all jobs of a supervisor; from any thread.

    A history that cannot be written is reported, and is nothing to a job.
    """

    def __init__(self, nursery: Nursery, troubles: Troubles) -> None:
        self._nursery = nursery
        self._troubles = troubles
        self._making: list[subprocess.Popen[bytes]] = []
        self._lock = Lock()

    def conclude(self, kept: Kept, ended: Ended, environ: Mapping[str, str]) -> str:
        """Takes a run that was kept, the end of the command it was in, and that command's environment.

        A run that has ended by itself stays as it is, and so does one whose command came to a good end all the same.
        What was still making a report ended with the command, so one that is not there is made here.

        Returns:
            The address of the report on a run that this has ended; empty if there is none.
        """
        # Not at the module's head: a supervisor of trainings that keep nothing has no use for SQLite.
        from ..report.closing import link_to
        from ..report.making import usual_place
        from ..report.store import History

        state = "interrupted" if ended.stopped else "failed"
        cause = ended.cause.zh if kept.language == "zh" else ended.cause.en
        history = History(Path(kept.directory))
        closed = False
        try:
            if ended.outcome is not Outcome.SUCCESS:
                closed = history.conclude(kept.run_id, state, ended.ended_at, cause)
            if history.has_ended(kept.run_id) and not usual_place(history, kept.run_id).exists():
                self._report(kept, environ)
        except (HistoryError, OSError) as error:
            self._troubles.report("history", f"run {kept.run_id} may stay open, or without a report: {error}")
        return link_to(kept.report_url or None, kept.run, kept.run_id) if closed else ""

    def _report(self, kept: Kept, environ: Mapping[str, str]) -> None:
        from ..report import process

        options = {
            "EPOCHWATCH_BASELINE": kept.baseline or None,
            "EPOCHWATCH_THRESHOLD": kept.threshold,
            "EPOCHWATCH_LANGUAGE": kept.language,
        }
        making = self._nursery.assist(
            lambda: process.start(Path(kept.directory), kept.run_id, options, environ)
        )
        with self._lock:
            self._making = [making, *(one for one in self._making if one.poll() is None)]

    def close(self) -> None:
        """Waits for the reports that are being made, 5 seconds at most; they are finished all the same after that."""
        deadline = time.monotonic() + REPORTS_SECONDS
        for making in self._making:
            with contextlib.suppress(subprocess.TimeoutExpired):
                making.wait(max(0.0, deadline - time.monotonic()))
