"""Opens the history's file for one transaction and closes it again; failures become HistoryErrors.

Opened anew each time: nothing is held over a fork, no lock outlives its transaction, and a directory that comes back is
found again. The journal is SQLite's own rollback journal and not WAL, which network file systems do not bear
(https://www.sqlite.org/wal.html). The only module that meets sqlite3's exceptions.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from epochwatch.errors import HistoryError

from .migrations import migrate, version_of

FILE_NAME = "history.db"
BUSY_SECONDS = 5.0
_DAMAGED = ("malformed", "not a database")


class Database:
    """The file in one history directory.

    Args:
        directory: As the user named it; so it is shown in errors.
        busy_seconds: How long to wait while another process writes.
    """

    def __init__(self, directory: Path, busy_seconds: float = BUSY_SECONDS) -> None:
        self.path = directory / FILE_NAME
        self._busy_seconds = busy_seconds

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Gives a connection whose changes are on disk once the block has ended, or undone if it raises.

        Makes directory and file if they are not there.

        Raises:
            HistoryError: The file cannot be written now, is damaged, or not one of ours.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HistoryError(
                f"{self.path.parent} cannot be made ({error.strerror or error}); name a directory that can be "
                "written (argument history=, environment EPOCHWATCH_HISTORY)"
            ) from error
        with self._open("rwc") as connection:
            # IMMEDIATE: a transaction that first reads and then writes fails where another one wrote in between.
            connection.execute("BEGIN IMMEDIATE")
            try:
                migrate(connection, version_of(connection, str(self.path)))
                yield connection
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Gives a connection that sees one state of the history and can change nothing.

        Raises:
            HistoryError: There is no history, it cannot be read, is damaged, or not one of ours.
        """
        if not self.path.is_file():
            raise HistoryError(
                f"there is no history in {self.path.parent}; epochwatch.start(..., history=DIRECTORY) or "
                "EPOCHWATCH_HISTORY makes one, --history names another"
            )
        # Read-only only where it must be: what a killed writer left behind is rolled back by the next reader.
        with self._open("rw" if os.access(self.path, os.W_OK) else "ro") as connection:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("BEGIN")
            if version_of(connection, str(self.path)) == 0:
                raise HistoryError(f"the history {self.path} is empty; no run has been kept yet")
            yield connection

    @contextmanager
    def _open(self, mode: str) -> Iterator[sqlite3.Connection]:
        address = f"file:{quote(str(self.path.absolute()))}?mode={mode}"
        try:
            with closing(
                sqlite3.connect(address, uri=True, timeout=self._busy_seconds, isolation_level=None)
            ) as connection:
                connection.execute("PRAGMA foreign_keys = ON")
                yield connection
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def _explained(self, error: sqlite3.Error) -> HistoryError:
        cause = str(error)
        if any(sign in cause for sign in _DAMAGED):
            return HistoryError(
                f"the history {self.path} is damaged ({cause}); move it away and a new one is begun: "
                f"mv {self.path} {self.path}.damaged"
            )
        return HistoryError(
            f"the history {self.path} cannot be used now ({cause}); is the directory writable, the disk full, or "
            "another process holding it? (argument history=, environment EPOCHWATCH_HISTORY)"
        )
