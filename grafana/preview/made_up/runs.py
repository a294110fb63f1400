"""Trainings of a made-up team, rank by rank, with their GPUs and alerts."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from grafana.preview.made_up.openmetrics import Series, Values, noise

from epochwatch.catalogue import (
    EXCEPTION_KINDS,
    NONFINITE_KINDS,
    SKIP_REASONS,
    STATES,
    STEP_BUCKETS_SECONDS,
)

# What an epoch consists of, in order: state, phase, and the part of the epoch where it ends.
COURSE = (("training", "train", 0.88), ("evaluating", "evaluate", 0.97), ("checkpointing", "checkpoint", 1.0))
PARTS = {
    "data_wait": 0.05,
    "forward": 0.27,
    "backward": 0.46,
    "optimizer": 0.06,
    "sync_wait": 0.13,
    "other": 0.03,
}
DEVICE = "NVIDIA H100 80GB HBM3"
GIB = 2**30
SHOWN_SECONDS = 30.0  # how long an end is served before the process is gone


@dataclass(frozen=True)
class MadeUpRun:
    """One training.

    Attributes:
        started: Unix time of its start.
        ended: Unix time of its end; goes on if None.
        end_state: finished, failed or interrupted.
        flat_after: Epoch after which nothing gets better; never if None.
        hot_rank: The rank whose GPU is too hot and slow, and reports an Xid; none if None.
        pod: Where it runs in Kubernetes; not there if empty.
    """

    name: str
    host: str
    started: float
    epochs: int
    epoch_seconds: float
    ranks: int = 1
    step_seconds: float = 0.42
    batch: int = 64
    ended: float | None = None
    end_state: str = "finished"
    loss_from: float = 6.9
    loss_to: float = 1.1
    pace_epochs: float = 9.0
    accuracy_to: float = 0.78
    learning_rate: float = 3e-4
    flat_after: int | None = None
    hot_rank: int | None = None
    memory_gib: float = 61.0
    pod: str = ""

    def series(self) -> Iterator[Series]:
        """Gives all that its processes say."""
        for rank in range(self.ranks):
            labels = {
                "job": "training",
                "instance": f"{self.host}:{9400 + rank}",
                "run": self.name,
                "rank": str(rank),
            } | self._place()
            for name, more, at in self._rank_values(rank):
                yield Series(f"training_{name}", labels | more, self._while_served(at))

        if self.pod:
            yield from self._container()

    def _place(self) -> dict[str, str]:
        return {"namespace": "ml", "pod": self.pod} if self.pod else {}

    def _container(self) -> Iterator[Series]:
        """Gives what cAdvisor says of its container."""
        labels = {"job": "cadvisor", "container": "training"} | self._place()

        def cpu_seconds(t: float) -> float:
            return round(6.5 * (t - self.started) + 3 * self.trained(t), 3)

        def memory(t: float) -> float:
            return (19 + 0.4 * noise(self.pod, t)) * GIB

        yield Series("container_cpu_usage_seconds_total", labels, self._while_served(cpu_seconds))
        yield Series("container_memory_working_set_bytes", labels, self._while_served(memory))

    def _while_served(self, at: Values) -> Values:
        last = math.inf if self.ended is None else self.ended + SHOWN_SECONDS
        return lambda t: at(min(t, self.ended or t)) if self.started <= t <= last else None

    def done(self, t: float) -> float:
        """Gives the epochs done at a time, the part of the one that goes on included."""
        return min((t - self.started) / self.epoch_seconds, float(self.epochs))

    def trained(self, t: float) -> float:
        """Gives the seconds trained: steps are made in the first part of an epoch only."""
        whole, part = divmod(self.done(t), 1)
        return (whole * COURSE[0][2] + min(part, COURSE[0][2])) * self.epoch_seconds

    def state(self, t: float) -> str:
        if self.ended is not None and t >= self.ended:
            return self.end_state
        part = self.done(t) % 1
        return next(state for state, _, end in COURSE if part < end)

    def loss(self, epoch: float, phase: str) -> float:
        """Gives the loss after an epoch, by a curve that falls and flattens."""
        learnt = min(epoch, float(self.flat_after)) if self.flat_after is not None else epoch
        fallen = self.loss_to + (self.loss_from - self.loss_to) * math.exp(-learnt / self.pace_epochs)
        wobble = 0.012 if phase == "validation" else 0.02
        worse = 0.03 * (self.loss_from - self.loss_to) if phase == "validation" else 0.0
        past = 0.004 * max(0.0, epoch - learnt) if phase == "validation" else 0.0
        return fallen * (1 + wobble * noise(self.name, phase, round(epoch, 3))) + worse + past

    @cached_property
    def _bests(self) -> dict[str, list[tuple[float, int]]]:
        """The lowest loss so far and its epoch, after each epoch, by phase."""
        found: dict[str, list[tuple[float, int]]] = {}
        for phase in ("train", "validation"):
            best, course = (math.inf, 0), []
            for epoch in range(1, self.epochs + 1):
                value = self.loss(float(epoch), phase)
                best = (value, epoch) if value < best[0] * (1 - 1e-4) else best
                course.append(best)
            found[phase] = course
        return found

    def best(self, t: float, phase: str) -> tuple[float, int] | None:
        epochs = int(self.done(t))
        return self._bests[phase][epochs - 1] if epochs else None

    def accuracy(self, epoch: float) -> float:
        part = (self.loss_from - self.loss(epoch, "validation")) / (self.loss_from - self.loss_to)
        return self.accuracy_to * max(0.0, min(1.0, part)) ** 1.4

    def rate(self, t: float) -> float:
        """Gives the learning rate: half an epoch of warm-up, then a cosine down to a tenth."""
        done = self.done(t)
        if done < 0.5:
            return self.learning_rate * max(0.02, done / 0.5)
        return self.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * done / self.epochs)))

    def heat(self, t: float, rank: int) -> float:
        """Gives how much of the way to its heat a hot device has made, 0 to 1; 0 for the others."""
        if rank != self.hot_rank:
            return 0.0
        return min(1.0, max(0.0, (self.done(t) / self.epochs - 0.45) / 0.1))

    def _steps(self, t: float) -> float:
        return math.floor(self.trained(t) / self.step_seconds)

    def _rank_values(self, rank: int) -> Iterator[tuple[str, dict[str, str], Values]]:
        yield from self._identity(rank)
        yield from self._progress()
        yield from self._learning(rank)
        yield from self._time(rank)
        yield from self._device(rank)

    def _identity(self, rank: int) -> Iterator[tuple[str, dict[str, str], Values]]:
        info = {
            "run_id": f"{int(2**24 * noise(self.name)) % 16**6:06x}",
            "framework": "pytorch",
            "version": "2.14.1",
            "host": self.host,
            "pid": str(4000 + rank),
            "git_commit": "3f2c9ab",
        }
        yield "run_info", info, lambda t: 1
        place = {"local_rank": str(rank), "node_rank": "0", "world_size": str(self.ranks)}
        yield "rank_info", place, lambda t: 1
        for state in STATES:
            yield "run_state", {"state": state}, lambda t, state=state: float(self.state(t) == state)

    def _progress(self) -> Iterator[tuple[str, dict[str, str], Values]]:
        yield "start_timestamp_seconds", {}, lambda t: self.started
        if self.ended is not None:
            yield "end_timestamp_seconds", {}, lambda t: self.ended if t >= (self.ended or t) else None
        yield "restart_count", {}, lambda t: 0
        yield "last_progress_timestamp_seconds", {}, lambda t: t - 0.4
        yield "stall_timeout_seconds", {}, lambda t: 300
        yield "steps_total", {}, self._steps
        yield "global_step", {}, self._steps
        yield "samples_total", {}, lambda t: self._steps(t) * self.batch
        yield "epochs", {}, lambda t: math.floor(self.done(t))
        yield "planned_epochs", {}, lambda t: self.epochs
        yield "plateau_patience_epochs", {}, lambda t: 10

        def saved(t: float) -> float | None:
            epochs = int(self.done(t))
            return self.started + epochs * self.epoch_seconds if epochs else None

        yield "last_checkpoint_timestamp_seconds", {}, saved
        yield "checkpoint_interval_seconds", {}, lambda t: self.epoch_seconds if self.done(t) >= 2 else None

    def _learning(self, rank: int) -> Iterator[tuple[str, dict[str, str], Values]]:
        yield (
            "loss",
            {"phase": "train"},
            lambda t: self.loss(self.done(t), "train") * (1 + 0.004 * noise(rank, t)),
        )
        yield "loss_ewma", {"phase": "train"}, lambda t: self.loss(self.done(t), "train")
        if rank == 0:

            def of_validation(of: Values) -> Values:
                return lambda t: of(math.floor(self.done(t))) if self.done(t) >= 1 else None

            phase = {"phase": "validation"}
            yield "loss", phase, of_validation(lambda epoch: self.loss(epoch, "validation"))
            yield "accuracy_ratio", phase, of_validation(self.accuracy)
            best = of_validation(lambda epoch: max(self.accuracy(float(e)) for e in range(1, int(epoch) + 1)))
            yield "accuracy_best_ratio", phase, best
        for phase_name in ("train", "validation") if rank == 0 else ("train",):
            for place, family in enumerate(("loss_best", "loss_best_epoch")):

                def of_best(t: float, phase_name: str = phase_name, place: int = place) -> float | None:
                    found = self.best(t, phase_name)
                    return found[place] if found else None

                yield family, {"phase": phase_name}, of_best
        yield "learning_rate", {"group": "0"}, self.rate
        yield (
            "gradient_norm",
            {},
            lambda t: 0.6 + 3 / (1 + self.done(t)) + 0.25 * noise(self.name, "norm", t) ** 2,
        )
        for kind in NONFINITE_KINDS:
            yield "nonfinite_total", {"kind": kind}, lambda t: 0
        for reason in SKIP_REASONS:
            at = 1 if reason == "amp_overflow" else self.epochs + 1
            yield "skipped_steps_total", {"reason": reason}, lambda t, at=at: float(self.done(t) > at * 0.3)
        yield "loss_spikes_total", {}, lambda t: 0
        yield "loss_scale", {}, lambda t: 65536
        for kind in EXCEPTION_KINDS:
            ended = self.end_state == "failed" and kind == "cuda_oom"
            yield (
                "exceptions_total",
                {"kind": kind},
                lambda t, e=ended: float(e and self.state(t) == "failed"),
            )
        yield (
            "metric",
            {"name": "perplexity", "phase": "train"},
            lambda t: math.exp(self.loss(self.done(t), "train") / 2),
        )

    def _time(self, rank: int) -> Iterator[tuple[str, dict[str, str], Values]]:
        typical = bisect.bisect_left(STEP_BUCKETS_SECONDS, self.step_seconds)
        for index, bound in enumerate((*STEP_BUCKETS_SECONDS, math.inf)):
            part = (
                0.0
                if index < typical
                else 0.93
                if index == typical
                else 0.997
                if index == typical + 1
                else 1.0
            )
            le = {"le": "+Inf" if math.isinf(bound) else str(bound)}
            yield "step_duration_seconds_bucket", le, lambda t, p=part: math.floor(self._steps(t) * p)
        yield "step_duration_seconds_count", {}, self._steps
        yield "step_duration_seconds_sum", {}, lambda t: round(self.trained(t), 3)
        for name, share in PARTS.items():

            def spent(t: float, name: str = name, share: float = share) -> float:
                # A hot device computes longer; the others wait for it.
                slow = max(self.heat(t, other) for other in range(self.ranks))
                if rank != self.hot_rank and name == "sync_wait":
                    share += 0.08 * slow * (0.3 + noise(rank) / 10)
                if rank == self.hot_rank and name == "backward":
                    share += 0.12 * slow
                # Rounded: a last digit that falls would be a counter reset.
                return round(self.trained(t) * share * (1 + 0.02 * noise(rank, name)), 3)

            yield "step_part_seconds_total", {"part": name}, spent
        for index, (_, phase, end) in enumerate(COURSE):
            begin = COURSE[index - 1][2] if index else 0.0

            def in_phase(t: float, begin: float = begin, end: float = end) -> float:
                whole, part = divmod(self.done(t), 1)
                seconds = (
                    whole * (end - begin) + min(max(part - begin, 0.0), end - begin)
                ) * self.epoch_seconds
                return round(seconds, 3)

            yield "phase_seconds_total", {"phase": phase}, in_phase
        yield "phase_seconds_total", {"phase": "startup"}, lambda t: 4.2
        yield "phase_seconds_total", {"phase": "idle"}, lambda t: 0

    def _device(self, rank: int) -> Iterator[tuple[str, dict[str, str], Values]]:
        gpu = {"gpu": str(rank)}
        of_device = int(2**32 * noise(self.host, rank)) % 16**8
        info = {
            "uuid": f"GPU-{of_device:08x}",
            "name": DEVICE,
            "pci_bus_id": f"00000000:{rank + 1:02X}:00.0",
            "driver": "580.159.04",
            "mig_profile": "",
        }

        def busy(t: float) -> float:
            level = {"training": 0.95, "evaluating": 0.72, "checkpointing": 0.18}.get(self.state(t), 0.0)
            return max(0.0, min(1.0, level - 0.1 * self.heat(t, rank) + 0.03 * noise(self.name, rank, t)))

        def degrees(t: float) -> float:
            return round(
                47 + 19 * busy(t) + 3 * rank % 4 + 17 * self.heat(t, rank) + noise(self.name, rank, "C", t)
            )

        def joules(t: float) -> float:
            return 560 * self.trained(t) + 120 * (t - self.started)

        yield "gpu_info", gpu | info, lambda t: 1
        yield "gpu_utilization_ratio", gpu, busy
        yield (
            "gpu_memory_used_bytes",
            gpu,
            lambda t: (self.memory_gib + noise(self.name, rank, int(t / 900))) * GIB,
        )
        yield "gpu_memory_total_bytes", gpu, lambda t: 79.6 * GIB
        yield "gpu_process_memory_used_bytes", gpu, lambda t: (self.memory_gib - 1.2) * GIB
        yield "gpu_temperature_celsius", gpu, degrees
        yield "gpu_slowdown_temperature_celsius", gpu, lambda t: 87
        yield "gpu_power_watts", gpu, lambda t: 120 + 540 * busy(t) - 60 * self.heat(t, rank)
        yield "gpu_power_limit_watts", gpu, lambda t: 700
        yield "gpu_sm_clock_hertz", gpu, lambda t: (1980 - 420 * self.heat(t, rank)) * 1e6
        yield "gpu_energy_joules_total", gpu, joules
        for reason in ("thermal", "power"):
            share = 0.34 if reason == "thermal" else 0.0

            def held(t: float, share: float = share) -> float:
                hot_since = self.started + 0.5 * self.epochs * self.epoch_seconds
                return max(0.0, t - hot_since) * share if rank == self.hot_rank else 0.0

            yield "gpu_throttle_seconds_total", gpu | {"reason": reason}, held
        for severity in ("corrected", "uncorrected"):
            some = severity == "corrected" and rank == self.hot_rank
            yield (
                "gpu_ecc_errors_total",
                gpu | {"severity": severity},
                lambda t, s=some: 2 + s * (self.done(t) // 1.5),
            )
        if rank == self.hot_rank:
            failed_at = self.started + 0.3 * self.epochs * self.epoch_seconds
            xid = gpu | {"xid": "63"}
            yield "gpu_xid_errors_total", xid, lambda t: 1 if t >= failed_at else None
            yield "gpu_xid_last_timestamp_seconds", xid, lambda t: failed_at if t >= failed_at else None
        yield "cuda_memory_allocated_bytes", gpu, lambda t: (self.memory_gib * (0.72 + 0.1 * busy(t))) * GIB
        yield "cuda_memory_reserved_bytes", gpu, lambda t: (self.memory_gib - 2) * GIB
        yield "cuda_memory_peak_allocated_bytes", gpu, lambda t: self.memory_gib * 0.9 * GIB
        retries = float(rank == self.hot_rank)
        yield "cuda_alloc_retries_total", gpu, lambda t: retries * (self.done(t) // 7)
