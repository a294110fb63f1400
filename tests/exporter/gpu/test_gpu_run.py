"""The GPUs on the endpoint of a run that was started as users start it."""

import os
import subprocess
import sys
import time
import urllib.request

import pytest

SCRIPT = """
import sys, epochwatch
with epochwatch.start("digits", port=0, addr="127.0.0.1") as run:
    print(run.url, flush=True)
    sys.stdin.read()
"""


# A torch whose first device has a UUID of its own, as CUDA shows it.
SCRIPT_WITH_TORCH = (
    """
import os, sys
from types import SimpleNamespace as Some
stats = {"reserved_bytes": {"all": {"peak": 9}}, "allocated_bytes": {"all": {"current": 5, "peak": 7}},
         "num_alloc_retries": 0}
sys.modules["torch"] = Some(cuda=Some(
    is_initialized=lambda: True, device_count=lambda: 1, memory_stats_as_nested_dict=lambda ordinal: stats,
    get_device_properties=lambda ordinal: Some(uuid=os.environ["FIRST_UUID"])))
"""
    + SCRIPT
)


def scrape_of_run(machine, nvml, wanted: str, script: str = SCRIPT, **environ: str) -> list[str]:
    """Starts a run on the machine and gives its lines once one starts with `wanted`."""
    env = os.environ | environ | {"NVML_STAND_IN": str(machine.path), "LD_LIBRARY_PATH": str(nvml)}
    run = subprocess.Popen(
        [sys.executable, "-c", script], env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert run.stdout is not None
        url = run.stdout.readline().strip()
        deadline = time.monotonic() + 10
        while True:
            with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
            if any(line.startswith(wanted) for line in lines):
                return lines
            assert time.monotonic() < deadline, lines
            time.sleep(0.05)
    finally:
        run.kill()
        run.communicate()


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_rank_serves_its_gpu_beside_its_loss(big_machine, nvml, rank):
    """With the labels of the run and the rank, and with a collector that is up."""
    lines = scrape_of_run(
        big_machine, nvml, "training_gpu_temperature_celsius{", RANK=rank, LOCAL_RANK=rank, WORLD_SIZE="2"
    )
    assert [line for line in lines if line.startswith("training_gpu_temperature_celsius{")] == [
        f'training_gpu_temperature_celsius{{gpu="{rank}",rank="{rank}",run="digits"}} 61.0'
    ]
    assert f'training_exporter_collector_up{{collector="nvml",rank="{rank}",run="digits"}} 1.0' in lines


def test_gpu_false_leaves_the_library_alone(machine, nvml):
    """No series, and no collector either."""
    lines = scrape_of_run(machine, nvml, "training_run_info", EPOCHWATCH_GPU="false")
    assert not [line for line in lines if "gpu" in line or "nvml" in line]


@pytest.mark.parametrize(
    ("visible", "first", "gpu"),
    [
        ("GPU-22222222-cccc,GPU-1", "22222222-cccc-4000-8000-000000000002", "2"),
        ("2,0", "22222222-cccc-4000-8000-000000000002", "2"),
        ("MIG-bbbbbbbb-0000", "MIG-bbbbbbbb-0000", "0:2"),
        ("MIG-bbbbbbbb-0000", "bbbbbbbb-0000", "0:2"),
    ],
)
def test_torchs_memory_has_the_label_of_its_device(big_machine, nvml, visible, first, gpu):
    """`gpu` of training_cuda_memory_* is the one of training_gpu_*, whatever way the devices are chosen."""
    if visible.startswith("MIG"):
        big_machine.partition()
    lines = scrape_of_run(
        big_machine,
        nvml,
        "training_gpu_temperature_celsius{",
        SCRIPT_WITH_TORCH,
        CUDA_VISIBLE_DEVICES=visible,
        FIRST_UUID=first,
    )
    series = f'{{gpu="{gpu}",rank="0",run="digits"}}'
    assert f"training_cuda_memory_allocated_bytes{series} 5.0" in lines
    assert [line for line in lines if line.startswith(f"training_gpu_temperature_celsius{series}")]
