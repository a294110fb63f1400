"""Keeps a run in the history while it goes on, and has its report made at the end; on a thread of its own.

Whatever the disk does, the training thread only leaves notes. What cannot be kept now is kept later; what cannot be
kept at all is counted and said once.
"""

from __future__ import annotations

import contextlib
import queue
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from .books import Books
from .collector import Reading, Source
from .errors import HistoryError, UnknownRunError
from .events import Event
from .gpu_use import GpuTally
from .ledger import Ledger, Report
from .phrases import Closing
from .portrait import End, Identity, Portrait
from .report import process
from .report.account import account
from .report.closing import REPORTS, closing, file_name, link_to
from .report.record import Facts, Head, Raised
from .report.reference import find_baseline
from .report.store import RAISED_LIMIT, History
from .sketch import Sketch
from .supervised import Supervised

LOOK_SECONDS = 10.0
# That the run is still there is said so often where there is nothing else to say.
SIGN_SECONDS = 60.0
BUSY_SECONDS = 2.0
CLOSING_SECONDS = 2.0
REPORT_SECONDS = 60.0
RAISED = ("TrainingEvent", "TrainingFailed", "TrainingInterrupted")

Note = Callable[[], None] | None


class Historian:
    """Keeps one run.

    Args:
        devices: The sources that read the GPUs.
        mask: Takes secrets out of a text.
        environ: Of the process that makes the report.
        supervised: The supervisor, which ends the run in the history if its process can not.
    """

    def __init__(
        self,
        books: Books,
        identity: Identity,
        devices: Sequence[Source],
        mask: Callable[[str], str],
        environ: Mapping[str, str],
        *,
        supervised: Supervised | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._books = books
        self._identity = identity
        self._devices = devices
        self._environ = environ
        self._supervised = supervised
        self._clock = clock
        settings = books.settings
        self._directory = settings.history or Path()
        # As it is now: the training may change its working directory.
        self._place = self._directory.absolute()
        self._history = History(self._place, BUSY_SECONDS)
        self._portrait = Portrait(books, identity, mask)
        self._last: tuple[Head, Facts] | None = None
        self._sketch = Sketch(books.troubles)
        self._gpus = GpuTally()
        self._raised: deque[Raised] = deque(maxlen=RAISED_LIMIT)
        self._notes: queue.SimpleQueue[Note] = queue.SimpleQueue()
        self._closing = Closing()
        self._concluded = threading.Event()
        self._put_at = -SIGN_SECONDS
        self._put_epochs = -1
        self._thread = threading.Thread(target=self._run, name="epochwatch-historian", daemon=True)
        books.ledger.at_report = self._reported

    def start(self) -> None:
        """Starts the thread; the run is in the history from now on."""
        self._notes.put(self._begin)
        self._thread.start()

    def epoch_ended(self, ledger: Ledger) -> None:
        """Takes a ledger, held by the caller, whose epoch has just ended."""
        with self._counted():
            self._sketch.epoch_ended(ledger)

    def resumed(self, ledger: Ledger) -> None:
        """Takes a ledger, held by the caller, that goes on from a checkpoint."""
        with self._counted():
            self._sketch.resumed(ledger)

    def told(self, event: Event) -> None:
        """Takes an event, secrets masked."""
        if event.name in RAISED:
            said = [event.said, *(event.lines if event.name == "TrainingEvent" else ())]
            en, zh = ": ".join(words.en for words in said), "：".join(words.zh for words in said)
            self._raised.append(Raised(event.at, event.name, event.severity, en, zh))

    def conclude(self, state: str, at: float, failure: str = "") -> None:
        """Takes how the run ended."""
        self._notes.put(lambda: self._conclude(End(state, at, failure)))
        self._notes.put(None)

    @property
    def link(self) -> str:
        """Gives the address of the report; empty if it is served nowhere, or nothing could be kept yet."""
        settings = self._books.settings
        return link_to(settings.report_url, settings.run, self._identity.run_id) if self._last else ""

    def closing(self) -> Closing:
        """Gives what the last message says besides; nothing if that is not known in 2 seconds."""
        self._concluded.wait(CLOSING_SECONDS)
        return self._closing

    def close(self, deadline: float) -> None:
        """Waits for the report, until `deadline` (clock seconds) at most; it is made all the same after that."""
        self._notes.put(None)
        self._thread.join(max(0.0, deadline - self._clock()))

    def _reported(self, report: Report) -> None:
        with self._counted():
            self._sketch.report(self._books.ledger, report)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whoever folds the facts must be able to go on
            self._books.troubles.report_exception("history", error)

    def _run(self) -> None:
        while True:
            try:
                note = self._notes.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                note = self._look
            if note is None:
                return
            try:
                note()
            except HistoryError as error:
                self._books.troubles.report("history", f"{error}; the training goes on without")
            except Exception as error:
                self._books.troubles.report_exception("history", error)

    def _begin(self) -> None:
        self._say_kept()
        self._put(None)
        for run_id in self._history.forget_old():
            for report in (self._place / REPORTS).glob(f"*{run_id}.html"):
                report.unlink(missing_ok=True)
        baseline = self._books.settings.baseline
        if baseline is not None:
            # Now, and not after a night: what is wrong with it can still be put right.
            try:
                find_baseline(baseline, self._history.heads(), self._history.baselines())
            except UnknownRunError as error:
                self._books.troubles.report(
                    "history",
                    f"{error}; the run is kept, and held against the previous run of its name alone",
                )

    def _look(self) -> None:
        """Takes a sample, and keeps what is new."""
        self._sample()
        epochs = self._books.ledger.epochs
        if epochs != self._put_epochs or self._clock() - self._put_at >= SIGN_SECONDS:
            self._put(None)

    def _sample(self) -> None:
        self._gpus.add(self._readings())
        with self._books.recorder.reading() as ledger:
            self._sketch.look(ledger)

    def _readings(self) -> Iterator[Reading]:
        for source in self._devices:
            with contextlib.suppress(Exception):  # the scrape counts and says it
                yield from list(source.collect())

    def _conclude(self, end: End) -> None:
        try:
            with self._counted():
                self._sample()
            self._put(end)
            settings, run_id = self._books.settings, self._identity.run_id
            found = account(self._history, run_id, settings.baseline, settings.threshold)
            self._closing = closing(found, self._directory, linked=settings.report_url is not None)
        finally:
            self._concluded.set()
        self._report(f"the report {file_name(found.record.head)}")

    def _put(self, end: End | None) -> None:
        head, facts = self._standing(end)
        self._sketch.drain()
        curves = self._sketch.curves.values()
        if end is not None:
            for curve in curves:
                curve.finish()
        raised = list(self._raised)
        self._history.put(head, facts, curves, raised)
        self._last = head, facts
        for _ in raised:
            self._raised.popleft()
        self._put_at, self._put_epochs = self._clock(), head.epochs

    def _say_kept(self) -> None:
        if self._supervised is None:
            return
        settings = self._books.settings
        self._supervised.say(
            "kept",
            run=settings.run,
            run_id=self._identity.run_id,
            directory=str(self._place),
            baseline=settings.baseline or "",
            threshold=str(settings.threshold),
            language=settings.language,
            report_url=settings.report_url or "",
        )

    def _standing(self, end: End | None) -> tuple[Head, Facts]:
        try:
            with self._books.recorder.reading() as ledger:
                gpus = self._gpus.uses()
                return self._portrait.head(ledger, end), self._portrait.facts(ledger, end, gpus)
        except TimeoutError:  # the loop may have died holding the ledger
            if self._last is None or end is None:
                raise
            head, facts = self._last
            return replace(head, state=end.state, ended_at=end.at), replace(facts, failure=end.failure)

    def _report(self, what: str) -> None:
        settings, run_id = self._books.settings, self._identity.run_id
        options = {
            "EPOCHWATCH_BASELINE": settings.baseline,
            "EPOCHWATCH_THRESHOLD": str(settings.threshold),
            "EPOCHWATCH_LANGUAGE": settings.language,
            "EPOCHWATCH_PROMETHEUS_URL": settings.prometheus_url,
        }
        making = process.start(self._place, run_id, options, self._environ)
        again = f"try it by hand: epochwatch report {run_id} --history {self._directory}"
        try:
            code = making.wait(REPORT_SECONDS)
        except subprocess.TimeoutExpired:
            making.kill()
            making.wait()
            self._books.troubles.report("history", f"{what} took more than {REPORT_SECONDS:g} s; {again}")
            return
        if code != 0:
            self._books.troubles.report("history", f"{what} could not be made (exit code {code}); {again}")
