"""What the runs inside a command have said of themselves, and whether their end is known already; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from .ended import Outcome

# Events of a run that say how it ended, by the outcome of the job they make superfluous.
_ENOUGH = {
    Outcome.SUCCESS: {"TrainingFinished", "TrainingInterrupted", "TrainingFailed"},
    Outcome.SIGNAL: {"TrainingInterrupted", "TrainingFailed"},
}
_FAILED = {"TrainingFailed"}


@dataclass(frozen=True)
class Kept:
    """A run in a history: where it lies, and what its report is to be; empty for what was not set."""

    run: str
    run_id: str
    directory: str
    baseline: str = ""
    threshold: str = ""
    language: str = ""
    report_url: str = ""


@dataclass(frozen=True)
class Testimony:
    """The sum of what was said.

    Attributes:
        runs: Names of the runs, each once, the last one to start last.
        kind: The kind of exception that ended one, "cuda_oom" before others; empty if none was seen.
        told: Events that people were really told since the last run began.
        kept: The runs that were kept in a history, oldest first.
    """

    runs: tuple[str, ...] = ()
    kind: str = ""
    told: frozenset[str] = frozenset()
    kept: tuple[Kept, ...] = ()

    def suffices(self, outcome: Outcome, stopped: bool) -> bool:
        """Tells whether nobody needs to be told of the job's end any more."""
        if outcome is Outcome.SIGNAL and not stopped:
            return bool(self.told & _FAILED)
        # A time that is up is the supervisor's to tell.
        return outcome is not Outcome.TIMEOUT and bool(self.told & _ENOUGH.get(outcome, _FAILED))


def heard(said: Iterable[Mapping[str, str]]) -> Testimony:
    """Takes the lines that runs left, oldest first, and gives their sum."""
    runs: dict[str, None] = {}
    kinds: set[str] = set()
    told: set[str] = set()
    kept: list[Kept] = []
    for line in said:
        word, run = line.get("word"), line.get("run", "")
        if word == "started":
            runs.pop(run, None)
            runs[run] = None
            # What ended before is another run's affair; the command may make one after the other.
            kinds.clear()
            told.clear()
        elif word == "failed":
            kinds.add(line.get("kind", ""))
        elif word == "told":
            told.add(line.get("event", ""))
        elif word == "kept" and line.get("run_id") and line.get("directory"):
            kept.append(Kept(**{each.name: line.get(each.name, "") for each in fields(Kept)}))
    kind = "cuda_oom" if "cuda_oom" in kinds else next(iter(kinds), "")
    return Testimony(tuple(runs), kind, frozenset(told), tuple(kept))
