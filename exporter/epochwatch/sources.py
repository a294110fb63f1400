"""The sources every run has: what its loop recorded, and what epochwatch itself has cost and swallowed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from . import catalogue as c
from .books import Books
from .collector import Buckets, Reading
from .ledger import Ledger
from .ranks import Place

Value = float | int | None


class TrainingSource:
    """Reads the books of one run."""

    name = "training"

    def __init__(self, books: Books, place: Place, run_info: tuple[str, ...]) -> None:
        self._books = books
        self._place = place
        self._run_info = run_info
        self._other_seconds = 0.0

    def collect(self) -> Iterable[Reading]:
        """Gives every series of the loop; those with nothing to say are left out."""
        yield from self._run()
        with self._books.recorder.reading() as ledger:
            ledger.take_train_loss()
            # A list, because the ledger keeps still only as long as it is held.
            readings = [*self._loop(ledger), *phase_readings(ledger)]
        yield from readings

    def _run(self) -> Iterator[Reading]:
        books, place = self._books, self._place
        progress, timeline = books.progress, books.timeline
        yield Reading(c.RUN_INFO, self._run_info, 1.0)
        node_rank = "" if place.node_rank is None else str(place.node_rank)
        yield Reading(c.RANK_INFO, (str(place.local_rank), node_rank, str(place.world_size)), 1.0)
        for known in c.STATES:
            yield Reading(c.RUN_STATE, (known,), float(known == timeline.state))
        yield Reading(c.START_TIMESTAMP_SECONDS, (), progress.started_at)
        yield from single(c.END_TIMESTAMP_SECONDS, progress.ended_at)
        yield from single(c.RESTART_COUNT, place.restarts)
        yield from single(c.PLANNED_EPOCHS, progress.planned_epochs)
        yield from single(c.PLANNED_STEPS, progress.planned_steps)
        yield from single(c.PLATEAU_PATIENCE_EPOCHS, books.settings.patience)
        yield from each(c.SKIPPED_STEPS_TOTAL, progress.skipped_steps)
        yield from each(c.EXCEPTIONS_TOTAL, progress.exceptions)
        yield from each(c.PHASE_SECONDS_TOTAL, timeline.spent_seconds())
        yield from single(c.LAST_CHECKPOINT_TIMESTAMP_SECONDS, self._to_unix(timeline.last_checkpoint))
        yield from single(c.CHECKPOINT_INTERVAL_SECONDS, timeline.checkpoint_interval_seconds)

    def _loop(self, ledger: Ledger) -> Iterator[Reading]:
        recorder, timeline = self._books.recorder, self._books.timeline
        last_sign = max(timeline.last_sign, recorder.last_fact_at)
        yield from single(c.LAST_PROGRESS_TIMESTAMP_SECONDS, self._to_unix(last_sign))
        yield from single(c.STALL_TIMEOUT_SECONDS, timeline.stall_timeout_seconds(ledger.pace))
        yield from single(c.STEPS_TOTAL, ledger.steps)
        yield from single(c.SAMPLES_TOTAL, ledger.samples)
        yield from single(c.TOKENS_TOTAL, ledger.tokens)
        yield from single(c.EPOCHS, ledger.epochs)
        yield from single(c.GLOBAL_STEP, ledger.resumed_steps + ledger.steps)
        yield from each(c.LEARNING_RATE, ledger.learning_rates)
        yield from single(c.GRADIENT_NORM, ledger.gradient_norm)
        yield from each(c.NONFINITE_TOTAL, ledger.nonfinite)
        yield from single(c.LOSS_SPIKES_TOTAL, ledger.spikes.count)
        yield from single(c.LOSS_SCALE, ledger.loss_scale)
        durations = ledger.durations
        yield Reading(c.STEP_DURATION_SECONDS, (), Buckets(tuple(durations.counts), durations.sum))
        yield from each(c.STEP_PART_SECONDS_TOTAL, self._parts(durations.sum))

    def _parts(self, step_seconds: float) -> dict[str, float]:
        """Takes the seconds of all complete steps and gives each part's; those of no other part are "other"."""
        parts = dict(self._books.progress.part_seconds)
        rest = step_seconds - sum(parts.values()) + parts["other"]
        # Parts grow within a step, the sum of steps at its end: in between the rest falls, and a counter must not.
        self._other_seconds = parts["other"] = max(self._other_seconds, parts["other"], rest)
        return parts

    def _to_unix(self, clock_seconds: float | None) -> float | None:
        # By its age, so that a jump of the system clock does not move the past.
        return None if clock_seconds is None else self._books.now() - (self._books.clock() - clock_seconds)


class ExporterSource:
    """Reads what epochwatch has cost the training thread and what it has swallowed."""

    name = "exporter"

    def __init__(self, books: Books) -> None:
        self._books = books

    def collect(self) -> Iterable[Reading]:
        """Gives the counts of failures and the seconds taken."""
        yield from each(c.EXPORTER_ERRORS_TOTAL, dict(self._books.troubles.counts))
        yield from single(c.EXPORTER_UPDATE_SECONDS_TOTAL, self._books.recorder.update_seconds)


def phase_readings(ledger: Ledger) -> Iterator[Reading]:
    """Gives losses, accuracies and the user's own metrics of every phase."""
    for name, phase in ledger.phases.items():
        label = (name,)
        yield from single(c.LOSS, phase.loss, label)
        yield from single(c.LOSS_EWMA, phase.ewma.value, label)
        yield from single(c.LOSS_BEST, phase.loss_best.value, label)
        yield from single(c.LOSS_BEST_EPOCH, phase.loss_best.epoch, label)
        yield from single(c.ACCURACY_RATIO, phase.accuracy, label)
        yield from single(c.ACCURACY_BEST_RATIO, phase.accuracy_best.value, label)
        for metric, value in phase.metrics.items():
            yield Reading(c.METRIC, (metric, name), value)


def single(metric: c.Metric, value: Value, labels: tuple[str, ...] = ()) -> Iterator[Reading]:
    """Gives one reading, or none for None: absent beats a made-up value."""
    if value is not None:
        yield Reading(metric, labels, float(value))


def each(metric: c.Metric, values: Mapping[str, float]) -> Iterator[Reading]:
    """Gives one reading per label value."""
    for label, value in values.items():
        yield Reading(metric, (label,), float(value))
