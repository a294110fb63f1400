"""Which process of a job tells an event, so that a job of many ranks speaks with one voice.

Rank 0 tells how it goes. Whoever fails says so, as it may be the only one that knows; but one process of a node is
enough, and a rank that its launcher then terminates was not interrupted by hand.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from .ranks import Place
from .supervised import Supervised

FORGET_AFTER_SECONDS = 86_400.0

# What launchers say about the job as a whole, the same on all nodes.
_JOB_VARIABLES = (
    "TORCHELASTIC_RUN_ID",
    "MASTER_ADDR",
    "MASTER_PORT",
    "SLURM_JOB_ID",
    "SLURM_STEP_ID",
    "PMIX_NAMESPACE",
    "OMPI_MCA_ess_base_jobid",
)


class Spokesman:
    """Decides whether this process tells.

    Args:
        place: Its rank.
        job_id: The same for all ranks of one launch.
        directory: Where ranks of one node leave word for each other.
        supervised: The supervisor, which tells of an end that it has brought about itself.
    """

    def __init__(
        self,
        place: Place,
        job_id: str,
        directory: Path | None = None,
        *,
        supervised: Supervised | None = None,
    ) -> None:
        self._place = place
        self.job_id = job_id
        self._supervised = supervised
        self._directory = directory or Path(tempfile.gettempdir())
        self._marker = self._directory / f"epochwatch-{os.getuid()}-{job_id}.failed"

    @property
    def labels(self) -> Mapping[str, str]:
        """What all events of this launch carry, so that they are known as one run's and one job's."""
        job = {} if self._supervised is None else {"job_name": self._supervised.job}
        return {"run_id": self.job_id, **job}

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self._place.rank == 0

    @property
    def may_know_best(self) -> bool:
        """Whether this rank may have the monitored value: rank 0, and the last stage of a pipeline."""
        return self._place.rank in (0, self._place.world_size - 1)

    def tells_failure(self) -> bool:
        """Tells whether this is the first process of its job on this node to fail."""
        if self._is_ended():
            return False
        if self._place.world_size == 1:
            return True
        try:
            self._forget_old()
            os.close(os.open(self._marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return not self._marked()
        except OSError:
            return True  # twice is better than not at all
        return True

    def tells_interruption(self) -> bool:
        """Tells whether this is rank 0, and no other rank's failure is why it has to go."""
        return self.leads and not self._is_ended() and not (self._place.world_size > 1 and self._marked())

    def _is_ended(self) -> bool:
        """Tells whether the supervisor ends the run, because its time is up, and says so."""
        return self._supervised is not None and self._supervised.ends_it

    def _marked(self) -> bool:
        try:
            # Another user's file in a shared directory says nothing.
            return self._marker.lstat().st_uid == os.getuid()
        except OSError:
            return False

    def _forget_old(self) -> None:
        for path in self._directory.glob(f"epochwatch-{os.getuid()}-*.failed"):
            with contextlib.suppress(OSError):
                if time.time() - path.lstat().st_mtime > FORGET_AFTER_SECONDS:
                    path.unlink()


def job_id(place: Place, environ: Mapping[str, str]) -> str:
    """Gives an id that all ranks of this launch have, and no other launch.

    Ranks on one node have their launcher in common; those on several only what it says in the environment.
    """
    if place.world_size == 1:
        return secrets.token_hex(6)
    if environ.get("LOCAL_WORLD_SIZE") == str(place.world_size):
        said = [str(os.getppid()), _started(os.getppid())]
    else:
        said = [environ.get(name, "") for name in _JOB_VARIABLES]
    return hashlib.sha256("\0".join([*said, str(place.restarts)]).encode()).hexdigest()[:12]


def _started(pid: int) -> str:
    """Gives when a process was started, in the kernel's ticks; process ids alone come round again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
