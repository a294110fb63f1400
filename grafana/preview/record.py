"""Takes the addresses of /metrics endpoints, gives what they said over a time: OpenMetrics that promtool takes.

    python grafana/preview/record.py --seconds 480 --every 4 gpt.om.xz 127.0.0.1:9400 127.0.0.1:9401 -- COMMAND ...

COMMAND is started before and waited for. Every line gets `job` and `instance`, as Prometheus would add them, and the
time at which it was read.
"""

from __future__ import annotations

import argparse
import lzma
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

# What no dashboard draws.
LEFT_OUT = ("training_exporter_", "python_", "process_")


def stamped(text: str, instance: str, at: float) -> Iterator[str]:
    """Takes an exposition read at `at`, gives its samples with job, instance and time."""
    for line in text.splitlines():
        if line.startswith(("#", *LEFT_OUT)) or not line:
            continue
        series, value = line.rsplit(" ", 1)
        name, _, labels = series.partition("{")
        own = f'job="training",instance="{instance}"'
        yield f"{name}{{{own},{labels or '}'} {value} {at:.3f}\n"


def read(instance: str) -> str:
    """Gives an endpoint's exposition; nothing where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://{instance}/metrics", timeout=2) as answer:
            text: str = answer.read().decode()
            return text
    except OSError:
        return ""


def main() -> int:
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument("--every", type=float, default=4, help="seconds between readings")
    parser.add_argument("file", type=Path)
    parser.add_argument("instances", nargs="+", help="host:port")
    options = parser.parse_args(sys.argv[1:split])
    process = subprocess.Popen(sys.argv[split + 1 :]) if split < len(sys.argv) else None
    end = time.time() + options.seconds
    with lzma.open(options.file, "wt", encoding="utf-8") as file:
        while time.time() < end and (process is None or process.poll() is None):
            for instance in options.instances:
                file.writelines(stamped(read(instance), instance, time.time()))
            time.sleep(options.every - time.time() % options.every)
        file.write("# EOF\n")
    if process is not None:
        process.terminate()
        process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
