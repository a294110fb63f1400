"""Which process of the job this is, as torchrun, Slurm, Open MPI or MPICH say in the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# Variables for (rank, local rank, world size, node rank). The first launcher whose rank is set wins: torchrun
# inside a Slurm job sets its own beside Slurm's, which then count launchers and not workers.
# Open MPI's OMPI_COMM_WORLD_NODE_RANK is the rank on the node, not the node's number: no node is read there.
LAUNCHERS = {
    "torchrun": ("RANK", "LOCAL_RANK", "WORLD_SIZE", "GROUP_RANK"),
    "slurm": ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS", "SLURM_NODEID"),
    "openmpi": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_SIZE", ""),
    "mpich": ("PMI_RANK", "MPI_LOCALRANKID", "PMI_SIZE", ""),
}
RESTARTS = "TORCHELASTIC_RESTART_COUNT"
# The supervisor starts the launcher again, which then counts from 0.
SUPERVISOR_RESTARTS = "EPOCHWATCH_SUPERVISOR_RESTARTS"


@dataclass(frozen=True)
class Place:
    """Where a process stands in its job; `node_rank` and `restarts` are None where nobody says."""

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    node_rank: int | None = None
    restarts: int | None = None


def read_place(environ: Mapping[str, str]) -> Place:
    """Takes the environment and gives the place it describes; a lone process is rank 0 of 1 on node 0."""
    counts = [_whole(environ, name) for name in (RESTARTS, SUPERVISOR_RESTARTS)]
    known = [count for count in counts if count is not None]
    restarts = sum(known) if known else None
    for rank_name, local_name, world_name, node_name in LAUNCHERS.values():
        rank = _whole(environ, rank_name)
        if rank is None:
            continue
        return Place(
            rank=rank,
            local_rank=_whole(environ, local_name) or 0,
            world_size=max(_whole(environ, world_name) or 1, rank + 1),
            node_rank=_whole(environ, node_name),
            restarts=restarts,
        )
    return Place(node_rank=0, restarts=restarts)


def port_offset(port: int, local_rank: int, taken: int | None) -> int:
    """Gives by how much this rank's port is above the first one's: its rank on the node.

    From `taken` on, where the supervisor of all ranks listens, one more.
    """
    return local_rank + (taken is not None and port <= taken <= port + local_rank)


def _whole(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "").strip()
    return int(text) if text.isdecimal() else None
