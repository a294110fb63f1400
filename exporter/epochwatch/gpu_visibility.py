"""Which GPUs are this rank's: of all the machine has, those that CUDA shows; of those, the rank's own.

CUDA numbers the devices it shows from 0 in the order of CUDA_VISIBLE_DEVICES, NVML all of them in PCI
order; they are matched by UUID.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .gpu_devices import Board, Gpu
from .nvml import GpuError
from .ranks import Place

# From this driver on CUDA enumerates one compute instance of every GPU instance, and whole GPUs beside them;
# before it, a single MIG device and nothing else (MIG user guide, "CUDA Device Enumeration").
MANY_MIG_DEVICES_DRIVER = 570

# How many ranks run on this node, by torchrun, Slurm, Open MPI and MPICH; the first that is set counts.
RANKS_ON_NODE = (
    "LOCAL_WORLD_SIZE",
    "SLURM_NTASKS_PER_NODE",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    "MPI_LOCALNRANKS",
)


class OrderUnknownError(GpuError):
    pass


@dataclass(frozen=True)
class Visibility:
    """What CUDA shows this process.

    Attributes:
        gpus: In CUDA's order.
        by_position: The order rests on CUDA's own numbering of the machine, not on UUIDs.
    """

    gpus: tuple[Gpu, ...]
    by_position: bool


def visible(boards: Sequence[Board], variable: str | None, driver: str) -> Visibility:
    """Takes the machine and CUDA_VISIBLE_DEVICES (None if unset), and gives what CUDA shows.

    The rules are CUDA's, as torch.cuda restates them: the first entry says whether the list is of indices,
    GPU- or MIG- identifiers (which may be shortened while they are unique); the list ends at the first
    entry that names nothing; an entry twice empties it.
    """
    if variable is None:
        return Visibility(_enumerated(boards, driver), by_position=True)
    entries = [entry.strip() for entry in variable.split(",")]
    if entries[0].startswith("MIG-"):
        slices = {gpu.uuid: gpu for board in boards for gpu in board.mig or ()}
        slices.update({_old_mig_name(board, gpu): gpu for board in boards for gpu in board.mig or ()})
        chosen = _chosen([_unique(entry, slices, "MIG-") for entry in entries])
        return Visibility(_one_per_gpu_instance(chosen, driver), by_position=False)
    if entries[0].startswith("GPU-"):
        by_uuid = {board.gpu.uuid: board for board in boards}
        picked = _chosen([_unique(entry, by_uuid, "GPU-") for entry in entries])
        return Visibility(_enumerated(picked, driver), by_position=False)
    indices = [_leading_integer(entry) for entry in entries]
    picked = _chosen([boards[i] if i is not None and 0 <= i < len(boards) else None for i in indices])
    return Visibility(_enumerated(picked, driver), by_position=True)


def _chosen(found: Sequence[Any]) -> list[Any]:
    chosen: list[Any] = []
    for entry in found:
        if entry is None:
            break
        if entry in chosen:
            return []
        chosen.append(entry)
    return chosen


def _unique(entry: str, candidates: Mapping[str, Any], prefix: str) -> Any:
    if not entry.startswith(prefix):
        return None
    if entry in candidates:
        return candidates[entry]
    matches = [found for name, found in candidates.items() if name.startswith(entry)]
    return matches[0] if len(matches) == 1 else None


def _old_mig_name(board: Board, gpu: Gpu) -> str:
    # Drivers before R470: MIG-GPU-<uuid>/<GPU instance>/<compute instance>.
    return f"MIG-{board.gpu.uuid}/{gpu.gpu_instance}/{gpu.compute_instance}"


def _leading_integer(entry: str) -> int | None:
    # CUDA reads with something like strtoul: "1gpu2" is 1.
    match = re.match(r"[+-]?[0-9]+", entry)
    return int(match.group()) if match else None


def _enumerated(boards: Sequence[Board], driver: str) -> tuple[Gpu, ...]:
    """Gives the devices of `boards`: whole, or their MIG devices, as far as the driver shows several."""
    slices = [gpu for board in boards for gpu in board.mig or ()]
    if slices and not _shows_many(driver):
        return (slices[0],)
    gpus: list[Gpu] = []
    for board in boards:
        gpus.extend((board.gpu,) if board.mig is None else _one_per_gpu_instance(board.mig, driver))
    return tuple(gpus)


def _one_per_gpu_instance(slices: Sequence[Gpu], driver: str) -> tuple[Gpu, ...]:
    if not _shows_many(driver):
        return tuple(slices[:1])
    first: dict[object, Gpu] = {}
    for gpu in slices:
        first.setdefault((gpu.pci_bus_id, gpu.gpu_instance), gpu)
    return tuple(first.values())


def _shows_many(driver: str) -> bool:
    major = driver.partition(".")[0]
    return not major.isdigit() or int(major) >= MANY_MIG_DEVICES_DRIVER


def alone_on_node(environ: Mapping[str, str], place: Place) -> bool:
    """Tells whether no other rank of the job runs on this node; beside others where nobody says."""
    told = [environ[name] for name in RANKS_ON_NODE if name in environ]
    return place.world_size == 1 or (bool(told) and told[0] == "1")


def own(gpus: Sequence[Gpu], place: Place, *, alone: bool) -> tuple[Gpu, ...]:
    """Takes the visible devices and gives the ones this rank reports, so that a node reports each once.

    A process alone on its node reports all it sees. Beside others, a rank that sees one device has been
    given it by the launcher; one that sees several uses the LOCAL_RANK-th, as torchrun's users do; a
    rank beyond the last device shares one that a lower rank reports.
    """
    if alone or len(gpus) == 1:
        return tuple(gpus)
    return tuple(gpus[place.local_rank : place.local_rank + 1])


def choose(
    boards: Sequence[Board],
    environ: Mapping[str, str],
    place: Place,
    driver: str,
    *,
    modules: Mapping[str, Any] = sys.modules,
) -> tuple[Gpu, ...]:
    """Gives the devices this rank reports.

    Raises:
        OrderUnknownError: The machine has different GPUs, CUDA numbers them fastest first, and what is asked
            for rests on that numbering. Once torch has initialised CUDA in this process, it is asked.
    """
    shown = visible(boards, environ.get("CUDA_VISIBLE_DEVICES"), driver)
    alone = alone_on_node(environ, place)
    mine = own(shown.gpus, place, alone=alone)
    pci_order = environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    alike = len({board.gpu.name for board in boards}) <= 1
    every = len(mine) == len(_enumerated(boards, driver))
    if pci_order or alike or every or not mine or not shown.by_position:
        return mine
    uuids = cuda_uuids(modules)
    if uuids is None:
        raise OrderUnknownError(
            "this machine has different GPUs and CUDA numbers them fastest first, so which of them is this "
            "process's cannot be told before torch has initialised CUDA; set CUDA_DEVICE_ORDER=PCI_BUS_ID, "
            "or name them by UUID in CUDA_VISIBLE_DEVICES"
        )
    known = {_bare(gpu.uuid): gpu for board in boards for gpu in (board.gpu, *(board.mig or ()))}
    return own([known[uuid] for uuid in uuids if uuid in known], place, alone=alone)


@dataclass(frozen=True)
class DeviceNames:
    """What nvidia-smi calls the devices CUDA shows.

    Attributes:
        by_uuid: The labels of all devices of the machine, by UUID without its prefix.
        in_order: The labels in the order of CUDA_VISIBLE_DEVICES.
    """

    by_uuid: Mapping[str, str] = field(default_factory=dict)
    in_order: tuple[str, ...] = ()

    def label(self, ordinal: int, uuid: str | None) -> str | None:
        """Takes CUDA's number of a device and, if torch told it, its UUID; gives its label, None if unknown."""
        if uuid is not None and (known := self.by_uuid.get(_bare(uuid))) is not None:
            return known
        return self.in_order[ordinal] if ordinal < len(self.in_order) else None


def device_names(boards: Sequence[Board], variable: str | None, driver: str) -> DeviceNames:
    """Takes the machine and CUDA_VISIBLE_DEVICES, and gives the labels its GPU readings have."""
    every = (gpu for board in boards for gpu in (board.gpu, *(board.mig or ())))
    shown = visible(boards, variable, driver)
    return DeviceNames({_bare(gpu.uuid): gpu.label for gpu in every}, tuple(gpu.label for gpu in shown.gpus))


def cuda_uuids(modules: Mapping[str, Any]) -> list[str] | None:
    """Gives the bare UUIDs of CUDA's devices in CUDA's order, if torch is there and has initialised CUDA.

    Never initialises CUDA itself: that would take memory on a device and break forking in the trainer.
    """
    cuda = getattr(modules.get("torch"), "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return None
    try:
        return [_bare(str(cuda.get_device_properties(i).uuid)) for i in range(cuda.device_count())]
    except (AttributeError, RuntimeError):  # before torch 2.4 the properties have no UUID
        return None


def _bare(uuid: str) -> str:
    return re.sub(r"^(GPU|MIG)-", "", uuid).lower()
