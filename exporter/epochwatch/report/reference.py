"""Which run a user means: a run's id, the beginning of one, a baseline, a run's name, or `name~1` for the one before.

Looked up in this order: an id, a baseline, a name (the newest run called so; `~N` counts back), the beginning of an id
of at least 4 characters. Pure.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

from epochwatch.errors import HistoryError, UnknownRunError
from epochwatch.troubles import NAME_LIMIT, is_name

from .record import Head

SHORTEST_PREFIX = 4
NAMED_LIMIT = 8
_BACK = re.compile(r"(?P<name>.+)~(?P<back>\d+)")


def find(reference: str, heads: Sequence[Head], baselines: Mapping[str, str]) -> Head:
    """Takes what a user wrote and all runs, newest first; gives the one that is meant.

    Raises:
        UnknownRunError: If there is none, or several begin so; names the ones that are there, nearest first.
    """
    if not reference.strip():  # as an unset variable makes it; no name, even where an older history has one
        raise _unknown(reference, heads, baselines)
    by_id = {head.run_id: head for head in heads}
    if reference in by_id:
        return by_id[reference]
    if baselines.get(reference) in by_id:
        return by_id[baselines[reference]]
    named = [head for head in heads if head.name == reference]
    if named:
        return named[0]
    if back := _BACK.fullmatch(reference):
        return _counted_back(back["name"], int(back["back"]), heads)
    begun = [head for head in heads if head.run_id.startswith(reference)]
    if len(reference) >= SHORTEST_PREFIX and len(begun) == 1:
        return begun[0]
    if len(begun) > 1:
        ids = ", ".join(head.run_id for head in begun[:NAMED_LIMIT])
        raise UnknownRunError(f"{reference!r} begins the ids of several runs: {ids}; give more of it")
    raise _unknown(reference, heads, baselines)


def check_baseline_name(name: str, heads: Sequence[Head]) -> None:
    """Looks whether a baseline may have this name: one that says nothing else to `find`.

    Raises:
        HistoryError: If it may not.
    """
    if not name.strip():
        raise HistoryError(
            f"a baseline must have a name, and {name!r} is none; is a variable empty? Give a name as in v1.0"
        )
    if not is_name(name) or name != name.strip():
        raise HistoryError(
            f"a baseline cannot be called {name!a}: give one line of at most {NAME_LIMIT} printable "
            "characters, without spaces around it"
        )
    if _BACK.fullmatch(name):
        raise HistoryError(
            f"a baseline cannot be called {name!r}, which means an earlier run; give a name that does not end in ~ "
            "and a number"
        )
    if any(head.name == name for head in heads):
        raise HistoryError(f"a run is called {name!r} already; give the baseline another name")
    if len(name) >= SHORTEST_PREFIX and any(head.run_id.startswith(name) for head in heads):
        raise HistoryError(f"a run's id begins with {name!r}; give the baseline another name")


def find_baseline(name: str, heads: Sequence[Head], baselines: Mapping[str, str]) -> Head:
    """Takes the name of a baseline, or whatever `find` takes, and gives its run.

    Raises:
        UnknownRunError: If there is none; names the baselines that are there, nearest first.
    """
    try:
        return find(name, heads, baselines)
    except UnknownRunError:
        known = ", ".join(nearest(name, baselines)) or "none yet: epochwatch baseline set NAME RUN"
        raise UnknownRunError(f"there is no baseline {name!r}; known baselines: {known}") from None


def previous(run: Head, heads: Sequence[Head]) -> Head | None:
    """Gives the newest run of the same name that began before this one and finished."""
    earlier = (
        head
        for head in heads
        if head.name == run.name and head.started_at < run.started_at and head.run_id != run.run_id
    )
    return next((head for head in earlier if head.state == "finished"), None)


def nearest(wanted: str, known: Iterable[str], limit: int = NAMED_LIMIT) -> list[str]:
    """Gives known names, those that look most like the wanted one first."""

    def likeness(name: str) -> float:
        return difflib.SequenceMatcher(None, wanted.lower(), name.lower()).ratio()

    return sorted(dict.fromkeys(known), key=likeness, reverse=True)[:limit]


def _counted_back(name: str, back: int, heads: Sequence[Head]) -> Head:
    named = [head for head in heads if head.name == name]
    if not named:
        raise UnknownRunError(f"no run is called {name!r}; {_known(name, heads, {})}")
    if back >= len(named):
        raise UnknownRunError(
            f"{name}~{back} is not there: the history has {len(named)} of {name!r}, "
            f"the oldest is {name}~{len(named) - 1}"
        )
    return named[back]


def _unknown(reference: str, heads: Sequence[Head], baselines: Mapping[str, str]) -> UnknownRunError:
    return UnknownRunError(
        f"no run or baseline is called {reference!r}; {_known(reference, heads, baselines)}"
    )


def _known(wanted: str, heads: Sequence[Head], baselines: Mapping[str, str]) -> str:
    names = nearest(wanted, [*baselines, *(head.name for head in heads)])
    return (
        f"known are: {', '.join(names)} (all of them: epochwatch runs)" if names else "the history is empty"
    )
