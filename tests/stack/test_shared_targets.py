"""Trainings of a cluster in one shared targets folder: the batch script's, and what clears it of dead hosts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from bench.fleet import Fleet, page, serve
from bench.scaling import number, prometheus

from demo.stack import ROOT, Stack, free_port, wait_until

CLEAN = ROOT / "prometheus/clean_targets.py"


def clean(*arguments: str | Path) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, CLEAN, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def announce(folder: Path, host: str, target: str) -> Path:
    """Writes the file of a process of some host."""
    path = folder / f"epochwatch-{host}-4711-9400.json"
    path.write_text(json.dumps([{"targets": [target], "labels": {"__metrics_path__": "/run-0/0"}}]))
    return path


@pytest.mark.stack
def test_only_what_was_never_reached_goes(stack: Stack) -> None:
    """The file of a host that is gone is removed once that has lasted; one that answers and a new one stay."""
    with serve(Fleet(page(), 1)) as address:
        gone = announce(stack.targets, "gpu-01", f"127.0.0.1:{free_port()}")
        alive = announce(stack.targets, "gpu-02", address)
        foreign = stack.targets / "other.json"
        foreign.write_text(gone.read_text())
        broken = stack.targets / "epochwatch-gpu-03-1-9400.json"
        broken.write_text("{")
        job = {
            "job_name": "training",
            "file_sd_configs": [{"files": [f"{stack.targets}/epochwatch-gpu-0[12]*.json"]}],
        }
        server = prometheus(
            stack, "prometheus", {"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}
        ).url
        wait_until(lambda: number(server, "count(up)") == 2, 20, "both targets")
        arguments = (stack.targets, "--prometheus", server, "--down-for", "4s")

        assert clean(*arguments) == (0, "", "")
        wait_until(lambda: number(server, "count(up offset 4s)") == 2, 20, "four seconds")
        assert clean(*arguments, "--dry-run") == (0, f"would remove {gone}\n", "")
        assert clean(*arguments) == (0, f"removed {gone}\n", "")
    assert set(stack.targets.iterdir()) == {alive, foreign, broken}


class NoPrometheus(BaseHTTPRequestHandler):
    """Answers every question with another service's page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"status": "welcome"}')

    def log_message(self, *args: object) -> None:
        """Says nothing."""


def test_bad_arguments_remove_nothing(tmp_path: Path) -> None:
    """A wrong folder, address or duration is named, with what to give instead."""
    file = announce(tmp_path, "gpu-01", "127.0.0.1:1")
    with HTTPServer(("127.0.0.1", 0), NoPrometheus) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        other = f"http://127.0.0.1:{server.server_port}"
        status, said, wrong = clean(tmp_path, "--prometheus", other)
        server.shutdown()
        thread.join()

    assert (status, said) == (1, "")
    assert wrong.startswith(f"{other} does not answer as Prometheus does")
    closed = f"http://127.0.0.1:{free_port()}"
    assert clean(tmp_path, "--prometheus", closed)[2].endswith("give its address with --prometheus\n")
    assert "must look like 30m, 6h or 1d, not '1 day'" in clean(tmp_path, "--down-for", "1 day")[2]
    assert file.exists()


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def test_the_batch_script_announces_every_rank(tmp_path: Path) -> None:
    """Two ranks of a real torchrun, under a stand-in of Slurm's commands, announce themselves and take it back."""
    binaries, targets = tmp_path / "bin", tmp_path / "targets"
    binaries.mkdir()
    program(binaries, "scontrol", 'echo "127.0.0.1"')
    program(binaries, "srun", 'shift; exec "$@"')  # the option of srun, then the command
    program(binaries, "torchrun", f'exec {sys.executable} -m torch.distributed.run "$@"')
    job = free_port() - 20000
    environment = {
        **os.environ,
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "PYTHONPATH": "examples",
        "SLURM_JOB_ID": str(job),
        "SLURM_JOB_NAME": "digits-slurm",
        "SLURM_JOB_NODELIST": "gpu-01",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_GPUS_ON_NODE": "2",
        "EPOCHWATCH_TARGETS_DIR": str(targets),
        "EPOCHWATCH_ALERTMANAGER_URL": "",
        "EPOCHWATCH_PORT": "0",
    }
    with subprocess.Popen(
        ["bash", ROOT / "examples/slurm/train.sbatch", "--epochs", "3"],
        env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        try:
            wait_until(lambda: len(list(targets.glob("*.json"))) == 2, 60, "both ranks' files")
            said, _ = process.communicate(timeout=100)
        finally:
            process.kill()

    assert process.returncode == 0, said
    assert list(targets.iterdir()) == []
