"""One life of NVML: initialised, this rank's devices found, their Xids watched; read until it breaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .collector import Reading
from .gpu_devices import Board, Gpu, read_boards
from .gpu_events import XidLedger, XidWatch
from .gpu_readings import info, read
from .gpu_visibility import DeviceNames, choose, device_names
from .nvml import GpuError, GpuLostError, Nvml, NvmlError
from .ranks import Place

XID_CLOSE_SECONDS = 2.0

OnError = Callable[[str, Exception], None]


class Session:
    """The devices of one NVML initialisation."""

    def __init__(
        self,
        nvml: Nvml,
        driver: str,
        gpus: Sequence[Gpu],
        names: DeviceNames,
        xids: XidWatch,
        *,
        on_error: OnError,
    ) -> None:
        self._nvml = nvml
        self._driver = driver
        self.gpus = tuple(gpus)
        self.names = names
        self._xids = xids
        self._on_error = on_error
        self._lost: set[str] = set()
        self._failing: dict[str, frozenset[str]] = {}

    def read(self) -> list[Reading]:
        """Gives the readings of every device; of a lost one, who it is and nothing more.

        Raises:
            DriverError: NVML as a whole does not work any more.
        """
        readings: list[Reading] = []
        for gpu in self.gpus:
            readings.append(info(gpu, self._driver))
            try:
                of_gpu, failures = read(self._nvml, gpu)
            except GpuLostError as error:
                self._say_lost(gpu, error)
                continue
            self._lost.discard(gpu.label)
            self._say_failing(gpu, failures)
            readings += of_gpu
        return readings

    def close(self) -> None:
        # Shutting down under a wait for events would free what the wait uses: rather leave it open.
        if self._xids.close(XID_CLOSE_SECONDS):
            self._nvml.close()

    def _say_lost(self, gpu: Gpu, error: GpuLostError) -> None:
        if gpu.label not in self._lost:
            self._lost.add(gpu.label)
            self._on_error("nvml_gpu_lost", about(gpu, error))

    def _say_failing(self, gpu: Gpu, failures: Sequence[NvmlError]) -> None:
        known = self._failing.get(gpu.label, frozenset())
        for failure in failures:
            if str(failure) not in known:
                self._on_error("nvml_reading", about(gpu, failure))
        self._failing[gpu.label] = frozenset(map(str, failures))


def open_session(
    environ: Mapping[str, str],
    place: Place,
    ledger: XidLedger,
    *,
    uuids: Sequence[str] = (),
    on_error: OnError,
    now: Callable[[], float],
) -> Session:
    """Initialises NVML, finds this rank's devices and starts to watch their Xids.

    Args:
        uuids: The rank's devices, where they are known from an earlier session: with a GPU lost since,
            the indices of CUDA_VISIBLE_DEVICES would name others than CUDA has given out.

    Raises:
        NvmlError: The driver does not work.
        OrderUnknownError: Which devices are this rank's cannot be told yet.
    """
    nvml = Nvml()
    try:
        driver = str(nvml.call("nvmlSystemGetDriverVersion"))
        boards = read_boards(nvml)
        gpus = find(boards, uuids, on_error) if uuids else choose(boards, environ, place, driver)
        names = device_names(boards, environ.get("CUDA_VISIBLE_DEVICES"), driver)
        xids = XidWatch(nvml, gpus, ledger, on_error=on_error, now=now)
        xids.start()
    except BaseException:
        nvml.close()
        raise
    return Session(nvml, driver, gpus, names, xids, on_error=on_error)


def find(boards: Sequence[Board], uuids: Sequence[str], on_error: OnError) -> tuple[Gpu, ...]:
    """Gives the devices with these UUIDs; those that are not there any more count as lost."""
    known = {gpu.uuid: gpu for board in boards for gpu in (board.gpu, *(board.mig or ()))}
    for uuid in uuids:
        if uuid not in known:
            on_error("nvml_gpu_lost", GpuError(f"{uuid}: gone when NVML was opened anew; see dmesg"))
    return tuple(known[uuid] for uuid in uuids if uuid in known)


def about(gpu: Gpu, error: NvmlError) -> GpuError:
    """Takes what a call said and gives the error that says of which device."""
    return GpuError(f"GPU {gpu.label} ({gpu.name}, {gpu.uuid}): {error}")
