"""Jobs that `epochwatch run` would have started by a schedule, over days."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from grafana.preview.made_up.openmetrics import Series, Values, noise

from epochwatch.supervisor.catalogue import OUTCOMES, PATTERNS, STATES

GIB = 2**30


@dataclass(frozen=True)
class MadeUpJob:
    """One job.

    Attributes:
        first: Unix time of its first start; it is known from an hour before.
        every_seconds: Time from one start to the next.
        seconds: How long a run takes.
        failing: Numbers of the runs that end with CUDA out of memory half-way, counted from 0.
        missed: Numbers of the runs that do not start.
    """

    name: str
    schedule: str
    first: float
    every_seconds: float
    seconds: float
    cores: float = 6.0
    memory_gib: float = 18.0
    failing: frozenset[int] = frozenset()
    missed: frozenset[int] = frozenset()
    host: str = "cpu-01"

    def series(self) -> Iterator[Series]:
        """Gives all that its supervisor says of it."""
        labels = {"job": "training-scheduler", "instance": f"{self.host}:9401", "job_name": self.name}
        for name, more, at in self._values():
            yield Series(f"training_job_{name}", labels | more, self._since_known(at))

    def _since_known(self, at: Values) -> Values:
        return lambda t: at(t) if t >= self.first - 3600 else None

    def start_of(self, number: int) -> float:
        late = 4 + 3 * noise(self.name, number)
        return self.first + number * self.every_seconds + late

    def length_of(self, number: int) -> float:
        usual = self.seconds * (1 + 0.12 * noise(self.name, "length", number))
        return usual / 2 if number in self.failing else usual

    def started(self, t: float) -> list[int]:
        """Gives the numbers of the runs that have started."""
        due = int(max(-1.0, (t - self.first) // self.every_seconds)) + 1
        return [number for number in range(due) if number not in self.missed and self.start_of(number) <= t]

    def ended(self, t: float) -> list[int]:
        return [number for number in self.started(t) if self.start_of(number) + self.length_of(number) <= t]

    def running(self, t: float) -> bool:
        return len(self.started(t)) > len(self.ended(t))

    def next_start(self, t: float) -> float:
        """Gives the next one; it stays where it is until a run really starts."""
        started = self.started(t)
        return self.first + (started[-1] + 1 if started else 0) * self.every_seconds

    def _values(self) -> Iterator[tuple[str, dict[str, str], Values]]:
        def last(numbers: list[int], of: Values) -> float | None:
            return of(numbers[-1]) if numbers else None

        def exit_code(number: float) -> float:
            return float(int(number) in self.failing)

        def end_of(number: float) -> float:
            return self.start_of(int(number)) + self.length_of(int(number))

        yield (
            "info",
            {"schedule": self.schedule, "timezone": "Asia/Shanghai" if self.schedule else ""},
            lambda t: 1,
        )
        for state in STATES:
            is_now = {
                "running": lambda t: float(self.running(t)),
                "idle": lambda t: float(not self.running(t)),
            }
            yield "state", {"state": state}, is_now.get(state, lambda t: 0.0)
        yield (
            "last_start_timestamp_seconds",
            {},
            lambda t: last(self.started(t), lambda n: self.start_of(int(n))),
        )
        yield "last_end_timestamp_seconds", {}, lambda t: last(self.ended(t), end_of)
        well = [n for n in range(1000) if n not in self.failing]
        yield (
            "last_success_timestamp_seconds",
            {},
            lambda t: last([n for n in self.ended(t) if n in well], end_of),
        )
        if self.schedule:
            yield "next_start_timestamp_seconds", {}, self.next_start
            yield "start_grace_seconds", {}, lambda t: 600
        yield "last_exit_code", {}, lambda t: last(self.ended(t), exit_code)
        yield "last_duration_seconds", {}, lambda t: last(self.ended(t), lambda n: self.length_of(int(n)))
        for outcome in OUTCOMES:
            yield "runs_total", {"outcome": outcome}, lambda t, outcome=outcome: self._ended_so(t, outcome)
        for pattern in PATTERNS:
            found = pattern in ("cuda_oom", "traceback")
            yield (
                "log_matches_total",
                {"pattern": pattern},
                lambda t, found=found: self._ended_so(t, "cuda_oom") if found else 0.0,
            )
        yield "cpu_seconds_total", {}, self._cpu_seconds
        yield "resident_memory_bytes", {}, self._memory

    def _ended_so(self, t: float, outcome: str) -> float:
        failed = sum(number in self.failing for number in self.ended(t))
        return float({"cuda_oom": failed, "success": len(self.ended(t)) - failed}.get(outcome, 0))

    def _cpu_seconds(self, t: float) -> float:
        spent = sum(self.length_of(number) for number in self.ended(t))
        if self.running(t):
            spent += t - self.start_of(self.started(t)[-1])
        return self.cores * spent

    def _memory(self, t: float) -> float | None:
        if not self.running(t):
            return None
        grown = min(1.0, (t - self.start_of(self.started(t)[-1])) / 1200)
        return self.memory_gib * (0.4 + 0.6 * grown + 0.02 * noise(self.name, t)) * GIB
