"""What is kept of a run besides its curves, read from its books."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from .books import Books
from .ledger import TRAIN, Ledger
from .monitor import Monitor
from .report.record import Facts, GpuUse, Head


@dataclass(frozen=True)
class Identity:
    """Who a run is, as its metrics say it."""

    run_id: str
    host: str
    framework: str
    git_commit: str
    world_size: int
    restarts: int


@dataclass(frozen=True)
class End:
    """How a run ended."""

    state: str
    at: float
    failure: str


class Portrait:
    """Describes one run as it stands; its methods are called while somebody holds the ledger.

    Args:
        mask: Takes secrets out of a text.
    """

    def __init__(self, books: Books, identity: Identity, mask: Callable[[str], str]) -> None:
        self._books = books
        self._identity = identity
        settings = books.settings
        self._monitor = Monitor(settings.monitor, settings.mode, settings.min_delta)
        self._details = {mask(name): mask(text) for name, text in settings.details.items()}
        self._labels = {name: mask(text) for name, text in settings.labels.items()}

    def head(self, ledger: Ledger, end: End | None) -> Head:
        """Gives what a list of runs says of it."""
        books = self._books
        phase, metric = self._monitor.watched(ledger)
        if phase not in ledger.phases and books.settings.monitor is None:
            phase, metric = TRAIN, "loss"  # nothing is validated
        mode = self._monitor.mode(metric)
        return Head(
            run_id=self._identity.run_id,
            name=books.settings.run,
            state=books.timeline.state if end is None else end.state,
            started_at=books.progress.started_at,
            seen_at=books.now(),
            ended_at=None if end is None else end.at,
            epochs=ledger.epochs,
            planned_epochs=books.progress.planned_epochs,
            steps=ledger.resumed_steps + ledger.steps,
            monitor=f"{phase}/{metric}",
            mode="max" if mode == "max" else "min",
        )

    def facts(self, ledger: Ledger, end: End | None, gpus: tuple[GpuUse, ...]) -> Facts:
        """Gives what else is kept of it."""
        progress, timeline, identity = self._books.progress, self._books.timeline, self._identity
        parts = dict(progress.part_seconds)
        parts["other"] += max(0.0, ledger.durations.sum - sum(parts.values()))
        return Facts(
            host=identity.host,
            framework=identity.framework,
            git_commit=identity.git_commit,
            world_size=identity.world_size,
            restarts=identity.restarts,
            # A path need not be UTF-8, what is stored must.
            checkpoint=(progress.checkpoint_path or "").encode("utf-8", "replace").decode(),
            failure="" if end is None else end.failure,
            samples=ledger.samples,
            labels=self._labels,
            details=self._details,
            phase_seconds=timeline.spent_seconds(),
            part_seconds=parts,
            counts=dict(self._counts(ledger)),
            gpus=gpus,
        )

    def _counts(self, ledger: Ledger) -> Iterator[tuple[str, int]]:
        progress = self._books.progress
        groups: Iterable[tuple[str, Mapping[str, int]]] = (
            ("nonfinite", ledger.nonfinite),
            ("skipped_steps", progress.skipped_steps),
            ("exceptions", progress.exceptions),
            ("loss_spikes", {"": ledger.spikes.count}),
        )
        for group, counts in groups:
            for kind, count in counts.items():
                if count:
                    yield f"{group} {kind}".strip(), count
