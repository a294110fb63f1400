"""What the GPUs did stands in the history of a run."""

import os
import subprocess
import sys
import time

from epochwatch.errors import HistoryError
from epochwatch.report.store import History

SCRIPT = """
import sys, epochwatch
with epochwatch.start("digits", port=0, addr="127.0.0.1", history=sys.argv[1]) as run:
    # The report needs a process of its own, and nobody reads it here.
    sys.executable = "/bin/true"
    # The driver has been read once it stands in /metrics.
    import time, urllib.request
    port = run.url.rpartition(":")[2]
    while b"training_gpu_temperature_celsius{" not in urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read():
        time.sleep(0.05)
    raise SystemExit
"""


def test_the_use_of_each_gpu_is_kept(big_machine, nvml, tmp_path):
    """Means, peaks and the name, of the rank's own GPU."""
    env = os.environ | {"NVML_STAND_IN": str(big_machine.path), "LD_LIBRARY_PATH": str(nvml)}
    env |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}
    training = subprocess.Popen([sys.executable, "-c", SCRIPT, tmp_path / "runs"], env=env)
    history, deadline = History(tmp_path / "runs"), time.monotonic() + 20
    gpus = ()
    try:
        while not gpus:
            assert time.monotonic() < deadline
            time.sleep(0.1)
            try:
                gpus = history.record(history.heads()[0].run_id).facts.gpus
            except HistoryError:
                continue
    finally:
        training.kill()
        training.wait()
    (use,) = gpus
    assert (use.gpu, use.name) == ("0", "NVIDIA H100 80GB HBM3")
    assert use.samples >= 1
    assert use.utilization_mean_ratio == 0.93
    assert (use.memory_peak_bytes, use.memory_total_bytes) == (60 * 2**30, 80 * 2**30)
    assert use.temperature_peak_celsius == 61
    assert use.power_mean_watts == 612.345
