"""What a run under `epochwatch run` knows of its supervisor, and the few words they leave each other.

The supervisor sets EPOCHWATCH_SUPERVISOR_* and a directory of its own. A run appends a line to the file `said` when it
starts, when it is in a history of runs, when it has ended, and when somebody was really told of its end. The supervisor
reads them after the death of the command: a failure that was told is not told twice, one that could not be told is told
by the supervisor, and so is what a history has open.
Before it ends a command whose time is up it leaves a file `ending`; the run then leaves the telling to it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PREFIX = "EPOCHWATCH_SUPERVISOR_"
RUN_ID = f"{PREFIX}RUN_ID"
SAID = "said"
ENDING = "ending"
# A line of a run is short; whatever writes more is none.
SAID_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True)
class Supervised:
    """The supervisor of this process, as the environment describes it.

    Attributes:
        job: The job's name.
        directory: Where words are left.
        port: Where the supervisor serves /metrics; None if it does not.
        restarts: How often it has started the command again.
        run_id: Of this run of the job; by it the supervisor finds processes that have left the family.
    """

    job: str
    directory: Path
    port: int | None = None
    restarts: int = 0
    run_id: str = ""

    def environment(self) -> dict[str, str]:
        """Gives the variables by which `read` finds it again."""
        port = "" if self.port is None else str(self.port)
        return {
            f"{PREFIX}JOB": self.job,
            f"{PREFIX}DIR": str(self.directory),
            f"{PREFIX}PORT": port,
            f"{PREFIX}RESTARTS": str(self.restarts),
            RUN_ID: self.run_id,
        }

    def say(self, word: str, **facts: str) -> None:
        """Leaves a line for the supervisor; a full disk or a supervisor that is gone is no matter."""
        line = json.dumps({"word": word, **facts}) + "\n"
        with contextlib.suppress(OSError):
            # One write in append mode: lines of several ranks do not mix.
            descriptor = os.open(
                self.directory / SAID, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            try:
                os.write(descriptor, line.encode("utf-8", "replace"))
            finally:
                os.close(descriptor)

    def said(self) -> Iterator[Mapping[str, str]]:
        """Gives the lines that were left, oldest first; what is none is passed over."""
        try:
            with (self.directory / SAID).open("rb") as file:
                lines = file.read(SAID_LIMIT_BYTES).splitlines()
        except OSError:
            return
        for line in lines:
            with contextlib.suppress(ValueError):
                said = json.loads(line)
                if isinstance(said, dict) and all(isinstance(value, str) for value in said.values()):
                    yield said

    def announce_ending(self) -> None:
        """Takes that the supervisor is about to end the command, and will say so itself."""
        with contextlib.suppress(OSError):
            (self.directory / ENDING).touch()

    @property
    def ends_it(self) -> bool:
        """Whether the supervisor ends the command and tells of it."""
        return (self.directory / ENDING).exists()


def read(environ: Mapping[str, str]) -> Supervised | None:
    """Takes the environment and gives the supervisor it describes; None if there is none."""
    job, directory = environ.get(f"{PREFIX}JOB"), environ.get(f"{PREFIX}DIR")
    if not job or not directory:
        return None
    port, restarts = environ.get(f"{PREFIX}PORT", ""), environ.get(f"{PREFIX}RESTARTS", "")
    return Supervised(
        job,
        Path(directory),
        int(port) if port.isdecimal() else None,
        int(restarts) if restarts.isdecimal() else 0,
        environ.get(RUN_ID, ""),
    )
