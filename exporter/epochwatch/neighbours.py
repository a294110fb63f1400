"""The runs of this process that are not finished: which one a run of the same name replaces, and who holds a port.

A notebook's cell that is run again starts its run while the variable still holds the earlier one, which would keep the
port until it is dropped.
"""

from __future__ import annotations

from weakref import WeakValueDictionary

from .session import Session
from .troubles import LOGGER


class Neighbours:
    """Knows the runs of one process, and keeps none of them alive."""

    def __init__(self) -> None:
        self._by_port: WeakValueDictionary[int, Session] = WeakValueDictionary()

    def add(self, session: Session) -> None:
        """Takes a run that has begun."""
        self._by_port[session.port] = session

    def make_way(self, name: str, rank: int, thread: int) -> None:
        """Ends the run that one of this name replaces, without waiting for anything.

        Runs that go on side by side on purpose stay: they have names of their own, are in a `with` block, or belong
        to other threads.

        Args:
            thread: Identifies the thread that starts the new run.
        """
        for session in self._unfinished():
            is_same = session.books.settings.run == name and session.place.rank == rank
            if is_same and session.thread == thread and not session.entered:
                LOGGER.warning(
                    "run %s is started again: its earlier run in this process, which was not finished, ends as "
                    "interrupted; give runs that go on side by side names of their own",
                    name,
                )
                session.give_way()

    def ports(self) -> dict[int, str]:
        """Gives the ports that are served here, and the names of their runs."""
        return {session.port: session.books.settings.run for session in self._unfinished()}

    def _unfinished(self) -> list[Session]:
        # A copy, as other threads may start runs meanwhile.
        sessions = [reference() for reference in self._by_port.valuerefs()]
        return [session for session in sessions if session is not None and not session.ended]
