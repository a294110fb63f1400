"""Keeps one job's book and its state file alike, so that /metrics goes on over a restart of the scheduler."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ..errors import StateError
from ..troubles import Troubles
from .catalogue import OUTCOMES, PATTERNS
from .ended import Ended
from .jobbook import JobBook
from .jobspec import JobSpec
from .state import JobState, ended_state
from .statefile import StateFile


class Keeper:
    """The book and the file of one job. Any thread may change them.

    A file that can no longer be written stops neither the schedule nor a run: what is known stays in the book, and
    the failure is reported.

    Raises:
        StateError: If the directory cannot be used, or a newer epochwatch wrote the file.
    """

    def __init__(self, spec: JobSpec, directory: Path, troubles: Troubles) -> None:
        self.book = JobBook(spec)
        self._file = StateFile(directory, spec.name)
        self._troubles = troubles
        self._changing = threading.Lock()
        # What could not be written, oldest first: the file is behind by so much.
        self._unwritten: list[Callable[[JobState], JobState]] = []
        self._stamp = self._file.stamp()
        self.state = self._file.read()
        fill(self.book, self.state)

    def change(self, change: Callable[[JobState], JobState]) -> JobState:
        """Changes what is known, in the file and in the book, and gives it."""
        with self._changing:
            try:
                self.state = self._file.update(lambda state: change(self._caught_up(state)), self.state)
                self._unwritten.clear()
            except StateError as error:
                self._troubles.report("job_state", str(error))
                self._unwritten.append(change)
                self.state = change(self.state)
            self._stamp = self._file.stamp()
            fill(self.book, self.state)
            return self.state

    def _caught_up(self, state: JobState) -> JobState:
        if state is self.state:  # the file says nothing
            return state
        for change in self._unwritten:
            state = change(state)
        return state

    def ended(self, ended: Ended) -> None:
        """Takes how a run ended."""
        self.change(lambda state: ended_state(state, ended))

    def refresh(self) -> None:
        """Takes up what another process has written, as a run by hand does."""
        with self._changing:
            if self._file.stamp() in (self._stamp, None):
                return
            try:
                self.state = self._caught_up(self._file.read(self.state))
            except StateError as error:
                self._troubles.report("job_state", str(error))
            self._stamp = self._file.stamp()
            fill(self.book, self.state)


def fill(book: JobBook, state: JobState) -> None:
    """Writes what is known of a job into its book."""
    book.next_start_at = state.next_start
    book.last_start_at = state.last_start
    book.last_end_at = state.last_end
    book.last_success_at = state.last_success
    book.last_outcome = state.last_outcome
    book.last_exit_code = state.last_exit_code
    book.last_duration_seconds = state.last_duration_seconds
    book.runs = Counter({**dict.fromkeys(OUTCOMES, 0), **state.runs})
    if book.state == "idle":  # the run that goes on counts by itself
        book.matches = Counter({**dict.fromkeys(PATTERNS, 0), **state.log_matches})
