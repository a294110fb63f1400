"""Where a process stands, by launcher."""

import pytest

from epochwatch.ranks import Place, read_place

TORCHRUN = {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "GROUP_RANK": "1"}
SLURM = {"SLURM_PROCID": "9", "SLURM_LOCALID": "1", "SLURM_NTASKS": "16", "SLURM_NODEID": "2"}


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({}, Place(0, 0, 1, 0, None)),
        (TORCHRUN, Place(5, 1, 8, 1, None)),
        ({**TORCHRUN, "TORCHELASTIC_RESTART_COUNT": "2"}, Place(5, 1, 8, 1, 2)),
        (SLURM, Place(9, 1, 16, 2, None)),
        ({**SLURM, **TORCHRUN}, Place(5, 1, 8, 1, None)),
        (
            {
                "OMPI_COMM_WORLD_RANK": "3",
                "OMPI_COMM_WORLD_LOCAL_RANK": "1",
                "OMPI_COMM_WORLD_SIZE": "4",
                "OMPI_COMM_WORLD_NODE_RANK": "1",
            },
            Place(3, 1, 4, None, None),
        ),
        ({"PMI_RANK": "2", "PMI_SIZE": "4", "MPI_LOCALRANKID": "0"}, Place(2, 0, 4, None, None)),
        ({"RANK": "first", "WORLD_SIZE": ""}, Place(0, 0, 1, 0, None)),
        ({"RANK": "3"}, Place(3, 0, 4, None, None)),
    ],
    ids=[
        "alone",
        "torchrun",
        "elastic",
        "slurm",
        "torchrun in slurm",
        "openmpi",
        "mpich",
        "garbled",
        "rank only",
    ],
)
def test_the_place_is_read_from_the_launchers_variables(environ: dict[str, str], place: Place) -> None:
    """Rank, rank on the node, world size, node and restarts come from whoever launched the process."""
    assert place == read_place(environ)
