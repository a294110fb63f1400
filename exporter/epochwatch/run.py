"""`start` and the handle it gives: the public face of the training side.

Whatever goes wrong after `start` is counted and logged; nothing of it reaches the loop.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry

from . import resume
from .books import Books
from .catalogue import END_STATES, PARTS, SKIP_REASONS
from .events import SEVERITIES
from .failure import exception_kind
from .ledger import TRAIN, EpochEnd, EpochStart
from .loops import Batches, During, Part
from .neighbours import Neighbours
from .ranks import read_place
from .session import Session
from .settings import Settings
from .troubles import LOGGER, is_name

Batch = TypeVar("Batch")
PHASE_STATES = ("evaluating", "checkpointing")
# Of the process and not of a run: what serves here, and until when.
_NEIGHBOURS = Neighbours()


def start(
    run: str | None = None,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    monitor: str | None = None,
    mode: str | None = None,
    patience: int | None = None,
    min_delta: float | None = None,
    port: int | None = None,
    addr: str | None = None,
    advertise: str | None = None,
    targets_dir: str | Path | None = None,
    alertmanager_url: str | None = None,
    notify: str | None = None,
    language: str | None = None,
    details: Mapping[str, object] | None = None,
    labels: Mapping[str, str] | None = None,
    gpu: bool | None = None,
    history: str | Path | None = None,
    baseline: str | None = None,
    threshold: str | float | None = None,
    report_url: str | None = None,
    prometheus_url: str | None = None,
    tls_cert: str | Path | None = None,
    tls_key: str | Path | None = None,
    token: str | None = None,
    token_file: str | Path | None = None,
    registry: CollectorRegistry | None = None,
) -> Run:
    """Takes the name of a run and what is to be known of it, and gives its handle; /metrics is up on return.

    In a notebook, and wherever else Python is typed, it replaces the run of the same name that was not finished, which
    ends as interrupted: a cell that is run again keeps its port. Programs may have runs of one name side by side.

    Every argument but `registry` may also come as EPOCHWATCH_<NAME>; arguments win.

    Args:
        run: The run's stable name, the `run` label of all its series.
        epochs: How many epochs are planned.
        steps: How many optimizer steps are planned.
        monitor: The value that says how good the model is, as phase/metric; new bests of it are told. Default
            the validation's accuracy, or its loss where no accuracy is told. A plateau goes by the loss alone.
        mode: "min" if less of it is better, else "max". Default "max" for an accuracy, else "min".
        patience: Epochs without a better loss that make a plateau. Default 10.
        min_delta: How much better a loss, or a metric of your own, must be: relative, absolute for values of 0
            or below. Default 1e-4.
        port: Port of /metrics; the rank on the node is added, a taken port moves to a free one. Default 9400.
        addr: Address to serve on. Default "0.0.0.0".
        advertise: Host, or host:port, under which others reach this process where that is not its own address:
            behind NAT or a published container port. A port is counted up by the rank on the node, as `port` is.
        targets_dir: Directory of file_sd files that Prometheus watches.
        alertmanager_url: Alertmanager to which lifecycle events are posted, or several separated by commas.
        notify: "dingtalk", "feishu" or "wecom" to send lifecycle events straight to the robot of DINGTALK_WEBHOOK
            (and DINGTALK_SECRET), FEISHU_WEBHOOK, WECOM_WEBHOOK.
        language: Of the messages sent straight to a robot: "zh" or "en". Default "zh".
        details: What the message of the start shows besides `labels`: model, data set, batch size, ...
        labels: Further labels of all series of the run.
        gpu: Whether to read the GPUs through NVML. Default True.
        history: Directory in which the run is kept: its curves in a small SQLite file, and at the end a report, one
            HTML file in `reports`. Nothing is kept by default.
        baseline: A baseline (`epochwatch baseline set`) or a run that this one is held against at its end, besides the
            previous run of the same name.
        threshold: How much worse is still as good: "0.5%" of the other's value, or a distance as in 0.005. Default
            "0.5%".
        report_url: Address under which `reports` is served; the message of the end then links the report.
        prometheus_url: Prometheus that is asked which alerts fired, for the report.
        tls_cert: Certificate chain (PEM) to serve HTTPS with.
        tls_key: Its private key, if it is not in the same file.
        token: Bearer token that a reader must show. Better in EPOCHWATCH_TOKEN or a file than in code.
        token_file: File that holds the token.
        registry: A registry of your own, whose metrics are then served too.

    Raises:
        SettingsError: If an argument or its variable is wrong, or a robot's address is not there.
        ServeError: If `addr` is not an address of this machine.
    """
    arguments = dict(locals())
    arguments.pop("registry")
    settings = Settings.read(arguments, os.environ)
    if hasattr(sys, "ps1"):  # Python, IPython and notebooks set it where somebody types
        _NEIGHBOURS.make_way(settings.run, read_place(os.environ).rank, threading.get_ident())
    session = Session(settings, os.environ, registry, _NEIGHBOURS.ports())
    session.start()
    _NEIGHBOURS.add(session)
    return Run(session.books, session)


def inert(name: str) -> Run:
    """Gives a handle that takes everything and does nothing: what a pickled one becomes."""
    books = Books(Settings(run=name))
    books.recorder.go_inert()
    return Run(books, None)


class Run:
    """The handle of one run; a context manager that knows how the run ended when it is left.

    Pickled, copied or inherited by a forked process it is inert: it takes everything and does nothing.
    """

    def __init__(self, books: Books, session: Session | None) -> None:
        self.name = books.settings.run
        self._books = books
        self._session = session
        self._herald = session.herald if session is not None else None
        self._loop: object | None = None  # the latest of `epochs`, while it goes on
        self._epoch_open = False
        self._resumed_epochs = 0
        self._advised = False
        # The recorder's own method: a call in between would double what a step costs.
        self.step = books.recorder.step
        if session is not None:
            # A handle nobody holds can never be finished; its port and its thread are given back.
            dropped = weakref.finalize(self, session.end, "interrupted", hold=False)
            dropped.atexit = False

    def __enter__(self) -> Run:
        if self._session is not None:
            self._session.entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        state = "finished" if error is None else end_state(error)
        if error is not None and state == "failed":
            self._books.progress.exceptions[exception_kind(error)] += 1
        self._end(state, error)

    def __reduce__(self) -> tuple[Callable[[str], Run], tuple[str]]:
        return inert, (self.name,)

    @property
    def url(self) -> str:
        """The address of the endpoint, without a path; empty if this handle serves none."""
        return self._session.url if self._session is not None else ""

    @property
    def should_stop(self) -> bool:
        """Whether someone asked the loop to stop."""
        return False

    def log(self, phase: str, loss: Any = None, accuracy: Any = None, **metrics: Any) -> None:
        """Takes values of a phase ("validation", ...): its loss, its accuracy (0 to 1), any others."""
        try:
            if not is_name(phase):
                self._books.troubles.report("phase", "must be a short printable text; the values are dropped")
                return
            self._books.timeline.sign()
            self._books.recorder.report(phase, {"loss": loss, "accuracy": accuracy, **metrics})
            if self._herald is not None:
                self._herald.logged(phase)
        except Exception as error:
            self._books.troubles.report_exception("log", error)

    def epochs(self, total: int | None = None, start: int | None = None) -> Iterator[int]:
        """Gives the epochs to make, counted from 0, and closes each when the loop asks for the next.

        A loop begins at 0, as that over a `range` does: also a second one of the same run, whatever the first has
        made. Only the first loop after `load_state_dict` goes on behind the epochs that were complete there. Best
        values are those of all loops of a run; a fold that is to be judged by itself is a run of its own.

        Args:
            total: Where to stop: the number of epochs altogether, those before `start` included. What
                `epochwatch.start` was told if left out, endless if nobody said.
            start: The first one; what `load_state_dict` found, else 0, if left out.
        """
        books = self._books
        if total is None:
            total = books.progress.planned_epochs
        books.progress.planned_epochs = total
        first = self._resumed_epochs if start is None else start
        self._resumed_epochs = 0
        if self._herald is not None:
            self._herald.counts_epochs()
        loop = self._loop = object()
        try:
            for epoch in count(first) if total is None else range(first, total):
                self._begin_epoch(epoch)
                yield epoch
                self.epoch_end()
        finally:
            if self._loop is loop:
                self._loop = None
        books.timeline.enter("training", "idle")

    def epoch_end(self) -> None:
        """Takes that an epoch is complete; `epochs` does it by itself when the loop asks for the next.

        In the body of such a loop it may be said before, and counts once. Say it before `state_dict` where a
        checkpoint is saved at the end of the body, or the resumed run makes that epoch again.
        """
        if self._loop is not None and not self._epoch_open:
            return
        self._epoch_open = False
        self._books.recorder.add(EpochEnd(self._books.clock()))
        if self._herald is not None:
            self._herald.epoch_ended()

    def batches(self, loader: Iterable[Batch], phase: str = TRAIN) -> Batches[Batch]:
        """Gives the batches of a loader and times the wait for them; any phase but "train" is evaluation."""
        books = self._books
        return Batches(loader, phase, books)

    def phase(self, state: str, path: str | Path | None = None) -> During:
        """Gives a context in which the loop is "evaluating" or "checkpointing"; `path` is where the checkpoint lies."""
        if state not in PHASE_STATES:
            self._books.troubles.report("phase", 'run.phase knows "evaluating" and "checkpointing"')
            state = "evaluating"
        return During(state, self._books, None if path is None else str(path))

    def part(self, name: str) -> Part:
        """Gives a context whose time counts as a part of the step: "forward", "backward", ..."""
        if name not in PARTS:
            self._books.troubles.report("part", f"run.part knows {', '.join(PARTS)}")
            name = "other"
        return Part(name, self._books)

    def skipped_step(self, reason: str = "user") -> None:
        """Takes that an optimizer step was left out: "amp_overflow", "nonfinite" or "user"."""
        if reason not in SKIP_REASONS:
            self._books.troubles.report("skipped_step", f"run.skipped_step knows {', '.join(SKIP_REASONS)}")
            reason = "user"
        self._books.progress.skipped_steps[reason] += 1

    def event(self, title: str, text: str = "", severity: str = "info") -> None:
        """Takes something worth telling, "info", "warning" or "critical"; it is logged, and told where events go."""
        try:
            known = SEVERITIES.get(str(severity).lower())
            if known is None:
                self._books.troubles.report("event", f"run.event knows {', '.join(SEVERITIES)}")
            LOGGER.info("run %s: %s: %s (%s)", self.name, title, text, severity)
            if self._herald is not None:
                self._herald.told(str(title), str(text), known or "info")
        except Exception as error:
            self._books.troubles.report_exception("event", error)

    def state_dict(self) -> dict[str, Any]:
        """Gives what a resumed run must know: epochs, steps, best values and averages; plain data.

        An epoch that is not complete is made again by the resumed run. One saved at the end of its loop's body is
        complete only after `epoch_end`.
        """
        try:
            self._advise_epoch_end()
            self._books.settle()
            with self._books.recorder.reading() as ledger:
                return resume.save(ledger)
        except Exception as error:
            self._books.troubles.report_exception("state_dict", error)
            return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes what `state_dict` gave; what cannot be read leaves the run as it is."""
        try:
            with self._books.recorder.reading() as ledger:
                resume.load(ledger, state)
                self._resumed_epochs = ledger.epochs
            if self._herald is not None:
                self._herald.resumed()
        except Exception as error:
            self._books.troubles.report_exception("load_state_dict", error)

    def finish(self, state: str = "finished") -> None:
        """Ends the run: "finished", "failed" or "interrupted", shown until Prometheus has seen it."""
        if state not in END_STATES:
            self._books.troubles.report("finish", f"run.finish knows {', '.join(END_STATES)}")
            state = "finished"
        self._end(state, None)

    def _begin_epoch(self, epoch: int) -> None:
        books = self._books
        if books.timeline.position != ("training", "train"):
            books.timeline.enter("training")
        books.recorder.add(EpochStart(books.clock(), epoch))
        books.progress.batches_done = False
        self._epoch_open = True

    def _advise_epoch_end(self) -> None:
        """Says once that an epoch which looks complete is not; whether it is, the loop alone can say."""
        if self._epoch_open and self._books.progress.batches_done and not self._advised:
            self._advised = True
            LOGGER.warning(
                "run %s: state_dict was called when all batches were done, but before the end of the epoch: a run "
                "resumed from there makes the epoch again. If it is complete, call run.epoch_end() before",
                self.name,
            )

    def _end(self, state: str, error: BaseException | None) -> None:
        if self._session is not None:
            self._session.end("interrupted" if self._session.end_watch.terminated else state, error=error)


def end_state(error: BaseException) -> str:
    """Takes the exception that left a `with` block and gives the state the run ended in."""
    if isinstance(error, KeyboardInterrupt | GeneratorExit):
        return "interrupted"
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return "finished"
    return "failed"
