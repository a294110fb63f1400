"""Makes the report in a process of its own: what draws never enters the training's memory or its import lock."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def start(
    directory: Path, run_id: str, options: Mapping[str, str | None], environ: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Starts to make a run's report in the history's directory and gives the process.

    Args:
        options: Settings by their EPOCHWATCH_ variable; in the environment, as an address may hold a password and
            arguments can be seen by everybody.
        environ: The training's.

    Raises:
        OSError: If no process can be started.
    """
    place = directory.absolute() / "reports"
    place.mkdir(parents=True, exist_ok=True)
    package = str(Path(__file__).absolute().parents[2])
    environment = {
        **environ,
        **{name: value for name, value in options.items() if value is not None},
        "EPOCHWATCH_HISTORY": str(directory.absolute()),
        # The package may lie where only this process looks for it.
        "PYTHONPATH": os.pathsep.join(filter(None, [environ.get("PYTHONPATH", ""), package])),
    }
    # A notebook's back end is of no use there, and may not be installed.
    environment.pop("MPLBACKEND", None)
    return subprocess.Popen(
        [sys.executable, "-m", "epochwatch.report", run_id],
        # Python looks for modules in the working directory first: not in that of somebody's training code.
        cwd=place,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Ctrl-C and a launcher that ends the group leave it alone.
        start_new_session=True,
    )
