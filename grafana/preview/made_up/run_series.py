"""What the processes of a made-up training would have said, rank by rank."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator

from grafana.preview.made_up.devices import GIB, device
from grafana.preview.made_up.openmetrics import Series, Values, noise
from grafana.preview.made_up.runs import COURSE, PARTS, MadeUpRun

from epochwatch.catalogue import (
    EXCEPTION_KINDS,
    NONFINITE_KINDS,
    SKIP_REASONS,
    STATES,
    STEP_BUCKETS_SECONDS,
)


def series_of(run: MadeUpRun) -> Iterator[Series]:
    """Gives all that its processes say."""
    for rank in range(run.ranks):
        labels = {
            "job": "training",
            "instance": f"{run.host}:{9400 + rank}",
            "run": run.name,
            "rank": str(rank),
        } | _place(run)
        for name, more, at in _rank_values(run, rank):
            yield Series(f"training_{name}", labels | more, run.served(at))

    if run.pod:
        yield from _container(run)


def _place(run: MadeUpRun) -> dict[str, str]:
    return {"namespace": "ml", "pod": run.pod} if run.pod else {}


def _container(run: MadeUpRun) -> Iterator[Series]:
    """Gives what cAdvisor says of its container."""
    labels = {"job": "cadvisor", "container": "training"} | _place(run)

    def cpu_seconds(t: float) -> float:
        return round(6.5 * (t - run.started) + 3 * run.trained(t), 3)

    def memory(t: float) -> float:
        return (19 + 0.4 * noise(run.pod, t)) * GIB

    yield Series("container_cpu_usage_seconds_total", labels, run.served(cpu_seconds))
    yield Series("container_memory_working_set_bytes", labels, run.served(memory))


def _rank_values(run: MadeUpRun, rank: int) -> Iterator[tuple[str, dict[str, str], Values]]:
    yield from _identity(run, rank)
    yield from _progress(run)
    yield from _learning(run, rank)
    yield from _time(run, rank)
    yield from device(run, rank)


def _identity(run: MadeUpRun, rank: int) -> Iterator[tuple[str, dict[str, str], Values]]:
    info = {
        "run_id": f"{int(2**24 * noise(run.name)) % 16**6:06x}",
        "framework": "pytorch",
        "version": "2.14.1",
        "host": run.host,
        "pid": str(4000 + rank),
        "git_commit": "3f2c9ab",
    }
    yield "run_info", info, lambda t: 1
    place = {"local_rank": str(rank), "node_rank": "0", "world_size": str(run.ranks)}
    yield "rank_info", place, lambda t: 1
    for state in STATES:
        yield "run_state", {"state": state}, lambda t, state=state: float(run.state(t) == state)


def _progress(run: MadeUpRun) -> Iterator[tuple[str, dict[str, str], Values]]:
    yield "start_timestamp_seconds", {}, lambda t: run.started
    if run.ended is not None:
        yield "end_timestamp_seconds", {}, lambda t: run.ended if t >= (run.ended or t) else None
    yield "restart_count", {}, lambda t: 0
    yield "last_progress_timestamp_seconds", {}, lambda t: t - 0.4
    yield "stall_timeout_seconds", {}, lambda t: 300
    yield "steps_total", {}, run.steps
    yield "global_step", {}, run.steps
    yield "samples_total", {}, lambda t: run.steps(t) * run.batch
    yield "epochs", {}, lambda t: math.floor(run.done(t))
    yield "planned_epochs", {}, lambda t: run.epochs
    yield "plateau_patience_epochs", {}, lambda t: 10

    def saved(t: float) -> float | None:
        epochs = int(run.done(t))
        return run.started + epochs * run.epoch_seconds if epochs else None

    yield "last_checkpoint_timestamp_seconds", {}, saved
    yield "checkpoint_interval_seconds", {}, lambda t: run.epoch_seconds if run.done(t) >= 2 else None


def _learning(run: MadeUpRun, rank: int) -> Iterator[tuple[str, dict[str, str], Values]]:
    yield (
        "loss",
        {"phase": "train"},
        lambda t: run.loss(run.done(t), "train") * (1 + 0.004 * noise(rank, t)),
    )
    yield "loss_ewma", {"phase": "train"}, lambda t: run.loss(run.done(t), "train")
    if rank == 0:

        def of_validation(of: Values) -> Values:
            return lambda t: of(math.floor(run.done(t))) if run.done(t) >= 1 else None

        phase = {"phase": "validation"}
        yield "loss", phase, of_validation(lambda epoch: run.loss(epoch, "validation"))
        yield "accuracy_ratio", phase, of_validation(run.accuracy)
        best = of_validation(lambda epoch: max(run.accuracy(float(e)) for e in range(1, int(epoch) + 1)))
        yield "accuracy_best_ratio", phase, best
    for phase_name in ("train", "validation") if rank == 0 else ("train",):
        for place, family in enumerate(("loss_best", "loss_best_epoch")):

            def of_best(t: float, phase_name: str = phase_name, place: int = place) -> float | None:
                found = run.best(t, phase_name)
                return found[place] if found else None

            yield family, {"phase": phase_name}, of_best
    yield "learning_rate", {"group": "0"}, run.rate
    yield (
        "gradient_norm",
        {},
        lambda t: 0.6 + 3 / (1 + run.done(t)) + 0.25 * noise(run.name, "norm", t) ** 2,
    )
    for kind in NONFINITE_KINDS:
        yield "nonfinite_total", {"kind": kind}, lambda t: 0
    for reason in SKIP_REASONS:
        at = 1 if reason == "amp_overflow" else run.epochs + 1
        yield "skipped_steps_total", {"reason": reason}, lambda t, at=at: float(run.done(t) > at * 0.3)
    yield "loss_spikes_total", {}, lambda t: 0
    yield "loss_scale", {}, lambda t: 65536
    for kind in EXCEPTION_KINDS:
        ended = run.end_state == "failed" and kind == "cuda_oom"
        yield (
            "exceptions_total",
            {"kind": kind},
            lambda t, e=ended: float(e and run.state(t) == "failed"),
        )
    yield (
        "metric",
        {"name": "perplexity", "phase": "train"},
        lambda t: math.exp(run.loss(run.done(t), "train") / 2),
    )


def _time(run: MadeUpRun, rank: int) -> Iterator[tuple[str, dict[str, str], Values]]:
    typical = bisect.bisect_left(STEP_BUCKETS_SECONDS, run.step_seconds)
    for index, bound in enumerate((*STEP_BUCKETS_SECONDS, math.inf)):
        part = (
            0.0 if index < typical else 0.93 if index == typical else 0.997 if index == typical + 1 else 1.0
        )
        le = {"le": "+Inf" if math.isinf(bound) else str(bound)}
        yield "step_duration_seconds_bucket", le, lambda t, p=part: math.floor(run.steps(t) * p)
    yield "step_duration_seconds_count", {}, run.steps
    yield "step_duration_seconds_sum", {}, lambda t: round(run.trained(t), 3)
    for name, share in PARTS.items():

        def spent(t: float, name: str = name, share: float = share) -> float:
            # A hot device computes longer; the others wait for it.
            slow = max(run.heat(t, other) for other in range(run.ranks))
            if rank != run.hot_rank and name == "sync_wait":
                share += 0.08 * slow * (0.3 + noise(rank) / 10)
            if rank == run.hot_rank and name == "backward":
                share += 0.12 * slow
            # Rounded: a last digit that falls would be a counter reset.
            return round(run.trained(t) * share * (1 + 0.02 * noise(rank, name)), 3)

        yield "step_part_seconds_total", {"part": name}, spent
    for index, (_, phase, end) in enumerate(COURSE):
        begin = COURSE[index - 1][2] if index else 0.0

        def in_phase(t: float, begin: float = begin, end: float = end) -> float:
            whole, part = divmod(run.done(t), 1)
            seconds = (whole * (end - begin) + min(max(part - begin, 0.0), end - begin)) * run.epoch_seconds
            return round(seconds, 3)

        yield "phase_seconds_total", {"phase": phase}, in_phase
    yield "phase_seconds_total", {"phase": "startup"}, lambda t: 4.2
    yield "phase_seconds_total", {"phase": "idle"}, lambda t: 0
