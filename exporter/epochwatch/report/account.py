"""One run and what it is held against: the previous run of its name and a baseline."""

from __future__ import annotations

from dataclasses import dataclass

from epochwatch.errors import ComparisonError, UnknownRunError
from epochwatch.phrases import Words
from epochwatch.tolerance import Tolerance

from . import wording
from .comparison import Comparison, compare, shared
from .record import Head, Record
from .reference import find_baseline, nearest, previous
from .store import History


@dataclass(frozen=True)
class Against:
    """A run that this one is held against, and what came of it.

    Attributes:
        judged: By the value that says how good the model is.
        others: By all values that both have, that one included.
    """

    called: Words
    record: Record
    judged: Comparison
    others: tuple[Comparison, ...]


@dataclass(frozen=True)
class Account:
    """A run and its comparisons, the one that decides first; `notes` say what could not be compared."""

    record: Record
    against: tuple[Against, ...] = ()
    notes: tuple[Words, ...] = ()


def account(history: History, run_id: str, baseline: str | None, tolerance: Tolerance) -> Account:
    """Takes a run and gives it with its comparisons: with the baseline, if one is named, and the previous run.

    A baseline that does not exist is a note, as the run is worth a report all the same.

    Raises:
        HistoryError: The history cannot be read, or the run is not there.
    """
    record = history.record(run_id)
    heads = history.heads()
    wanted: list[tuple[Head, Words]] = []
    notes: list[Words] = []
    if baseline is not None:
        try:
            wanted.append((find_baseline(baseline, heads, history.baselines()), wording.baseline(baseline)))
        except UnknownRunError as error:
            known = "、".join(nearest(baseline, history.baselines())) or "无"
            notes.append(Words(str(error), f"没有名为 {baseline} 的基线；已有基线：{known}"))
    before = previous(record.head, heads)
    if before is not None:
        wanted.append((before, wording.previous_run(before.run_id)))
    against: list[Against] = []
    for head, called in wanted:
        if head.run_id in (run_id, *(other.record.head.run_id for other in against)):
            continue
        other = history.record(head.run_id)
        try:
            judged = compare(other, record, tolerance=tolerance)
            against.append(Against(called, other, judged, tuple(shared(other, record, tolerance))))
        except ComparisonError as error:
            notes.append(Words(f"not compared with {called.en}: {error}", f"无法与{called.zh}比较：{error}"))
    return Account(record, tuple(against), tuple(notes))
