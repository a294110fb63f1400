"""Every example runs to its end as a process of its own, seen by a scraper all the way."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from .conftest import Scrape, scrape

EXAMPLES = Path(__file__).parents[2] / "examples"
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
SCRIPTS = {
    "digits": (),
    "ddp": TORCHRUN,
    "lightning_digits": (),
    "huggingface_digits": (),
    "accelerate_digits": (),
}
PATIENCE_SECONDS = 120.0


class Ending(NamedTuple):
    """How an example ended: its exit status, each rank's last reading, and what it printed."""

    status: int
    seen: dict[str, Scrape]
    output: str


def last_seen(process: subprocess.Popen[str], targets: Path) -> dict[str, Scrape]:
    """Follows a training until it ends and gives the last reading of each rank."""
    seen: dict[str, Scrape] = {}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None:
        assert time.monotonic() < deadline, "the example does not end"
        for path in targets.glob("*.json"):
            try:
                address = json.loads(path.read_text())[0]["targets"][0]
                reading = scrape(f"http://{address}")
            except OSError:
                continue
            [rank] = {dict(labels)["rank"] for name, labels in reading.samples if name == "training_run_info"}
            seen[rank] = reading
        time.sleep(0.05)
    return seen


def run_example(name: str, folder: Path) -> Ending:
    """Runs an example for two epochs, and ends it if it does not end itself."""
    folder.mkdir()
    with (folder / "output.txt").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *SCRIPTS[name], str(EXAMPLES / f"{name}.py"), "--epochs", "2"],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            text=True,
            env={
                **os.environ,
                "EPOCHWATCH_TARGETS_DIR": str(folder / "targets"),
                "EPOCHWATCH_ADDR": "127.0.0.1",
                "EPOCHWATCH_PORT": "0",
                "EPOCHWATCH_GPU": "off",
            },
        )
        try:
            seen = last_seen(process, folder / "targets")
        finally:
            process.terminate()
            process.wait()
    return Ending(process.returncode, seen, (folder / "output.txt").read_text())


@pytest.fixture(scope="module")
def endings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Future[Ending]]:
    """Runs all examples side by side, because each spends most of its time with imports."""
    folder = tmp_path_factory.mktemp("examples")
    with ThreadPoolExecutor(len(SCRIPTS)) as pool:
        return {name: pool.submit(run_example, name, folder / name) for name in SCRIPTS}


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_example_trains_to_its_end_and_is_seen(name: str, endings: dict[str, Future[Ending]]) -> None:
    """Each example exits with 0, and its last reading is a finished run of two epochs that has learned."""
    ending = endings[name].result()
    assert ending.status == 0, ending.output
    assert set(ending.seen) == ({"0", "1"} if name == "ddp" else {"0"}), ending.output
    for reading in ending.seen.values():
        assert reading.state() == ["finished"]
        assert reading.value("training_epochs") == 2
        assert reading.value("training_planned_epochs") == 2
        assert reading.value("training_steps_total") == (44 if name == "ddp" else 86)
        assert reading.value("training_samples_total") == 2 * (674 if name == "ddp" else 1347)
        assert not [sample for sample in reading.samples if sample[0] == "training_exporter_errors_total"]
    assert (ending.seen["0"].value("training_loss_best", phase="validation") or 9) < 2.2
    assert (ending.seen["0"].value("training_accuracy_ratio", phase="validation") or 0) > 0.2
