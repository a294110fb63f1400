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


def scrape_of_run(machine, nvml, wanted: str, **environ: str) -> list[str]:
    """Starts a run on the machine and gives its lines once one starts with `wanted`."""
    env = os.environ | environ | {"NVML_STAND_IN": str(machine.path), "LD_LIBRARY_PATH": str(nvml)}
    run = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
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
