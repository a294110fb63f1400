"""Which launch of its job a process belongs to, by what its launcher says and what the kernel knows.

Few launchers name a launch: torchrun over several nodes, DeepSpeed's and MPICH's give the next one the same environment
to the letter. So the process that has started the ranks and the time at which they began tell launches apart.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .ranks import LAUNCHERS, Place

# Nodes of one launch begin within seconds of each other. Those on both sides of a minute's end are two launches to
# whoever is told; that is rare, and told twice.
WINDOW_SECONDS = 60.0

# What launchers say about the job as a whole, the same on all nodes.
_JOB_VARIABLES = (
    "TORCHELASTIC_RUN_ID",
    "MASTER_ADDR",
    "MASTER_PORT",
    "SLURM_JOB_ID",
    "SLURM_STEP_ID",
    "SLURM_RESTART_COUNT",
    "PMIX_NAMESPACE",
    "OMPI_MCA_ess_base_jobid",
)
# Where torchrun, DeepSpeed, and MPICH say how many ranks a node has.
_LOCAL_SIZES = ("LOCAL_WORLD_SIZE", "LOCAL_SIZE", "MPI_LOCALNRANKS")


@dataclass(frozen=True)
class Launch:
    """One launch of a job, as one of its processes sees it.

    Attributes:
        job_id: The same for all its processes, and another one for a launch that began in another minute.
        run_id: No other launch has it. It is `job_id` where that is as good, else this process's own.
        node_id: The same for the processes that one launcher has started on one node.
        began_seconds: When this process was started, since the machine was; 0 where nobody knows.
    """

    job_id: str
    run_id: str
    node_id: str
    began_seconds: float = 0.0


def read_launch(place: Place, environ: Mapping[str, str]) -> Launch:
    """Takes a process's place and environment and gives its launch."""
    own = secrets.token_hex(6)
    if place.world_size == 1:
        return Launch(own, own, own)
    began = _began_seconds(os.getpid())
    said = [*(environ.get(name, "") for name in _JOB_VARIABLES), str(place.restarts)]
    launcher = _launcher(environ)
    node_id = _digest(*said, str(launcher), str(_began_seconds(launcher)))
    if str(place.world_size) in map(environ.get, _LOCAL_SIZES):
        return Launch(node_id, node_id, node_id, began)
    window = _since_epoch(began) // WINDOW_SECONDS
    return Launch(_digest(*said, str(window)), own, node_id, began)


def _launcher(environ: Mapping[str, str]) -> int:
    """Gives what has started this rank; a script around the training, which has the rank's variables, has not."""
    own, pid = _rank_variables(environ), os.getppid()
    while _rank_variables(_environment(pid)) == own and (stat := _stat(pid)):
        pid = int(stat[1])
    return pid


def _rank_variables(environ: Mapping[str, str]) -> list[str | None]:
    return [environ.get(name) for names in LAUNCHERS.values() for name in names]


def _environment(pid: int) -> Mapping[str, str]:
    """Gives what a process was started with; empty if it is gone, another user's, or not on Linux."""
    try:
        entries = Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
    except OSError:
        return {}
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def _began_seconds(pid: int) -> float:
    """Gives when a process was started, since the machine was; process ids alone come round again."""
    stat = _stat(pid)
    return int(stat[19]) / os.sysconf("SC_CLK_TCK") if stat else 0.0


def _stat(pid: int) -> list[str]:
    """Gives what /proc/PID/stat has after the name, field 3 first (proc_pid_stat(5)); empty if nothing can be read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _since_epoch(began_seconds: float) -> float:
    if not began_seconds:
        return time.time()
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - began_seconds)


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode("utf-8", "replace")).hexdigest()[:12]
