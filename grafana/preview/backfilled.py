"""A real Prometheus over a history that was written down, and nothing that it scrapes."""

from __future__ import annotations

import subprocess
from pathlib import Path

from demo.stack import BINARIES, Service, Stack, binary, free_port


def prometheus(stack: Stack, text: Path) -> Service:
    """Takes OpenMetrics, gives a Prometheus that has it and scrapes nothing."""
    data = stack.directory / "data"
    tool = [
        binary("promtool", BINARIES),
        "tsdb",
        "create-blocks-from",
        "openmetrics",
        "-q",
        str(text),
        str(data),
    ]
    subprocess.run(tool, check=True, stdout=subprocess.DEVNULL)
    config = stack.directory / "prometheus.yml"
    config.write_text("global: {}\n")
    port = free_port()
    return stack.add(
        Service(
            name="prometheus",
            argv=[
                binary("prometheus", BINARIES),
                f"--config.file={config}",
                f"--storage.tsdb.path={data}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            log=stack.log("prometheus"),
            url=f"http://127.0.0.1:{port}",
            ready_path="/-/ready",
        )
    )
