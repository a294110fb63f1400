"""Which devices are this process's: CUDA_VISIBLE_DEVICES, MIG, ranks, and machines with different GPUs."""

from types import SimpleNamespace

import pytest

from epochwatch.gpu_devices import Board, Gpu
from epochwatch.gpu_visibility import OrderUnknownError, choose, visible
from epochwatch.ranks import Place

NEW, OLD = "580.82.07", "535.129.03"


def gpu(label: str, uuid: str, name: str = "H100", **mig: object) -> Gpu:
    return Gpu(label, uuid, name, f"0000000{label[0]}:00:00.0", object(), object(), **mig)


WHOLE = [
    Board(gpu("0", "GPU-1111-aaaa")),
    Board(gpu("1", "GPU-2222-bbbb")),
    Board(gpu("2", "GPU-2222-cccc")),
]
# GPU 0 whole; GPU 1 with two GPU instances, the second of which has two compute instances; GPU 2 empty.
SLICED = [
    Board(gpu("0", "GPU-1111-aaaa")),
    Board(
        gpu("1", "GPU-2222-bbbb"),
        mig=(
            gpu("1:0", "MIG-aaaa-0000", mig_profile="1g.10gb", gpu_instance=7, compute_instance=0),
            gpu("1:1", "MIG-bbbb-0000", mig_profile="1c.2g.20gb", gpu_instance=9, compute_instance=0),
            gpu("1:2", "MIG-bbbb-1111", mig_profile="1c.2g.20gb", gpu_instance=9, compute_instance=1),
        ),
    ),
    Board(gpu("2", "GPU-2222-cccc"), mig=()),
]


def labels(gpus) -> list[str]:
    return [gpu.label for gpu in gpus]


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        (None, ["0", "1", "2"]),
        ("", []),
        (" ", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0", ["0"]),
        ("2,0", ["2", "0"]),
        (" 2 , 0 ", ["2", "0"]),
        ("+1", ["1"]),
        ("1gpu,2ampere", ["1", "2"]),
        ("0,3,1", ["0"]),
        ("0,-1,1", ["0"]),
        ("0,,1", ["0"]),
        ("7", []),
        ("0,1,0", []),
        ("GPU-1111-aaaa", ["0"]),
        ("GPU-2222-cccc,GPU-1111", ["2", "0"]),
        ("GPU-1", ["0"]),
        ("GPU-2222", []),
        ("GPU-1111,GPU-2222,GPU-2222-cccc", ["0"]),
        ("GPU-9", []),
        ("GPU-1111,GPU-1111-aaaa", []),
        ("GPU-1111,1", ["0"]),
        ("1,GPU-1111", ["1"]),
        ("MIG-aaaa-0000", []),
    ],
)
def test_the_visible_devices_are_cudas(variable, expected):
    """The list ends at the first entry that names nothing or more than one; naming one twice empties it."""
    assert labels(visible(WHOLE, variable, NEW).gpus) == expected


@pytest.mark.parametrize(
    ("driver", "variable", "expected"),
    [
        (NEW, None, ["0", "1:0", "1:1"]),
        (OLD, None, ["1:0"]),
        (NEW, "0", ["0"]),
        (OLD, "0", ["0"]),
        (NEW, "1", ["1:0", "1:1"]),
        (OLD, "1", ["1:0"]),
        (NEW, "2", []),
        (NEW, "GPU-2222-bbbb", ["1:0", "1:1"]),
        (NEW, "MIG-bbbb-1111", ["1:2"]),
        (NEW, "MIG-bbbb", []),
        (NEW, "MIG-a", ["1:0"]),
        (NEW, "MIG-bbbb-1111,MIG-bbbb-0000", ["1:2"]),
        (NEW, "MIG-bbbb-1111,MIG-aaaa-0000", ["1:2", "1:0"]),
        (OLD, "MIG-bbbb-1111,MIG-aaaa-0000", ["1:2"]),
        (NEW, "MIG-aaaa-0000,MIG-aaaa-0000", []),
        (NEW, "MIG-GPU-2222-bbbb/9/1", ["1:2"]),
        (NEW, "MIG-aaaa-0000,0", ["1:0"]),
    ],
)
def test_mig_devices_are_shown_as_far_as_the_driver_shows_them(driver, variable, expected):
    """From driver 570 on one compute instance of each GPU instance; before, a single MIG device."""
    assert labels(visible(SLICED, variable, driver).gpus) == expected


@pytest.mark.parametrize(
    ("rank", "environ", "expected"),
    [
        ((0, 1), {}, ["0", "1", "2"]),
        ((0, 2), {}, ["0"]),
        ((1, 2), {}, ["1"]),
        ((2, 3), {"CUDA_VISIBLE_DEVICES": "2,1,0"}, ["0"]),
        ((3, 4), {}, []),
        ((1, 2), {"CUDA_VISIBLE_DEVICES": "2"}, ["2"]),
        ((1, 2), {"CUDA_VISIBLE_DEVICES": ""}, []),
        ((0, 2), {"LOCAL_WORLD_SIZE": "1"}, ["0", "1", "2"]),
        ((0, 2), {"LOCAL_WORLD_SIZE": "2", "SLURM_NTASKS_PER_NODE": "1"}, ["0"]),
        ((0, 2), {"SLURM_NTASKS_PER_NODE": "1"}, ["0", "1", "2"]),
        ((0, 2), {"OMPI_COMM_WORLD_LOCAL_SIZE": "1"}, ["0", "1", "2"]),
    ],
)
def test_a_rank_reports_its_own_device(rank, environ, expected):
    """Alone on its node all it sees; beside others the LOCAL_RANK-th, or the one that it was given."""
    local_rank, world_size = rank
    place = Place(local_rank=local_rank, world_size=world_size)
    assert labels(choose(WHOLE, environ, place, NEW, modules={})) == expected


def test_the_ranks_of_a_node_report_every_device_once():
    """Four ranks on three GPUs: no device is told twice."""
    told = [choose(WHOLE, {}, Place(local_rank=i, world_size=4), NEW, modules={}) for i in range(4)]
    assert labels(gpu for gpus in told for gpu in gpus) == ["0", "1", "2"]


MIXED = [Board(gpu("0", "GPU-0000-aaaa", "T1000")), Board(gpu("1", "GPU-1111-bbbb", "A100"))]


@pytest.mark.parametrize(
    ("environ", "world_size", "expected"),
    [
        ({}, 1, ["0", "1"]),
        ({"CUDA_VISIBLE_DEVICES": "1,0"}, 1, ["1", "0"]),
        ({"CUDA_VISIBLE_DEVICES": ""}, 1, []),
        ({"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, 1, ["0"]),
        ({"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, 2, ["0"]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-1111"}, 1, ["1"]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-1111,GPU-0000"}, 2, ["1"]),
    ],
)
def test_different_gpus_are_no_riddle_where_cudas_order_does_not_matter(environ, world_size, expected):
    """All devices, devices by UUID, and CUDA_DEVICE_ORDER=PCI_BUS_ID leave no doubt."""
    place = Place(world_size=world_size)
    assert labels(choose(MIXED, environ, place, NEW, modules={})) == expected


RIDDLES = [({"CUDA_VISIBLE_DEVICES": "0"}, 1), ({"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, 2)]


@pytest.mark.parametrize(("environ", "world_size"), RIDDLES)
def test_different_gpus_by_index_are_not_guessed(environ, world_size):
    """CUDA numbers the fastest first, NVML by PCI address: another GPU's readings are worse than none."""
    with pytest.raises(OrderUnknownError) as error:
        choose(MIXED, environ, Place(world_size=world_size), NEW, modules={})
    assert str(error.value) == (
        "this machine has different GPUs and CUDA numbers them fastest first, so which of them is this "
        "process's cannot be told before torch has initialised CUDA; set CUDA_DEVICE_ORDER=PCI_BUS_ID, "
        "or name them by UUID in CUDA_VISIBLE_DEVICES"
    )


def torch_that_sees(*uuids: str, initialised: bool = True) -> dict[str, object]:
    cuda = SimpleNamespace(
        is_initialized=lambda: initialised,
        device_count=lambda: len(uuids),
        get_device_properties=lambda i: SimpleNamespace(uuid=uuids[i]),
    )
    return {"torch": SimpleNamespace(cuda=cuda)}


@pytest.mark.parametrize(("environ", "world_size"), RIDDLES)
@pytest.mark.parametrize("uuid", ["1111-bbbb", "GPU-1111-BBBB"])
def test_torch_is_asked_once_it_has_initialised_cuda(environ, world_size, uuid):
    """CUDA's own order, by UUID, solves the riddle."""
    place = Place(world_size=world_size)
    seen = [uuid] if "CUDA_VISIBLE_DEVICES" in environ else [uuid, "0000-aaaa"]
    assert labels(choose(MIXED, environ, place, NEW, modules=torch_that_sees(*seen))) == ["1"]


@pytest.mark.parametrize(
    "modules",
    [
        {},
        {"torch": None},
        {"torch": SimpleNamespace()},
        torch_that_sees("1111-bbbb", initialised=False),
        {"torch": SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: True))},
    ],
)
def test_torch_is_never_made_to_initialise_cuda(modules):
    """Without torch, before CUDA is up, or with a torch too old to know UUIDs the riddle stays."""
    with pytest.raises(OrderUnknownError):
        choose(MIXED, {"CUDA_VISIBLE_DEVICES": "0"}, Place(), NEW, modules=modules)


@pytest.mark.parametrize(
    ("variable", "gpus"),
    [
        (None, "012"),
        ("", ""),
        ("-1", ""),
        ("1", "1"),
        ("2,0", "02"),
        ("GPU-22222222", ""),
        ("GPU-22222222-c", "2"),
    ],
)
def test_a_scrape_shows_the_devices_of_the_environment(big_machine, trainer, variable, gpus):
    """Through the real binding; `gpu` is nvidia-smi's number whatever CUDA calls the device."""
    environ = {} if variable is None else {"CUDA_VISIBLE_DEVICES": variable}
    for index in range(3):
        big_machine.set(f"{index}.temperature", 50 + index)
    got = trainer(big_machine, **environ).scrape_read()
    assert {s: v for s, v in got.items() if s.startswith("gpu_temperature")} == {
        f"gpu_temperature_celsius{{gpu={index}}}": 50 + int(index) for index in gpus
    }
    assert got.up == 1


def test_a_device_of_another_job_is_not_numbered(big_machine, trainer):
    """Where cgroups hide GPU 0, CUDA's 0 is NVML's 1."""
    big_machine.set("0.uuid", "!4")
    got = trainer(big_machine, CUDA_VISIBLE_DEVICES="0").scrape_read()
    assert "gpu_temperature_celsius{gpu=1}" in got
    assert "gpu_temperature_celsius{gpu=0}" not in got


def test_a_rank_shows_its_own_device_on_its_endpoint(big_machine, trainer):
    """LOCAL_RANK 2 of 3 tells of the third GPU only."""
    got = trainer(big_machine, place={"rank": 2, "local_rank": 2, "world_size": 3}).scrape_read()
    assert [series for series in got if series.startswith("gpu_temperature")] == [
        "gpu_temperature_celsius{gpu=2}"
    ]


def test_different_gpus_by_index_show_as_a_collector_that_is_down(big_machine, trainer):
    """The advice is in the log once; naming the device by UUID is what it says."""
    big_machine.set("1.name", "NVIDIA T1000")
    run = trainer(big_machine, CUDA_VISIBLE_DEVICES="0")
    got = run.scrape_until(lambda scrape: scrape.up == 0)
    run.scrape_until(lambda _: big_machine.count("nvmlInitWithFlags") > 2)
    assert got.gpu() == {}
    log = run.ask("troubles")["log"]
    assert len(log) == 1
    assert "set CUDA_DEVICE_ORDER=PCI_BUS_ID" in log[0]


def test_mig_mode_without_instances_shows_nothing(machine, trainer):
    """CUDA has no device there either."""
    machine.set("0.mig", 1)
    got = trainer(machine).scrape_read()
    assert got.gpu() == {}
    assert got.up == 1
