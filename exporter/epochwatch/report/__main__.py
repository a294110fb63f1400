"""`python -m epochwatch.report RUN_ID`: makes the report after a training's end; settings come from the environment."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from epochwatch.errors import HistoryError
from epochwatch.tolerance import parse

from .comparison import DEFAULT_TOLERANCE
from .making import Wish, make, put, usual_place
from .store import History

NICENESS = 10


def main(run_id: str) -> int:
    """Makes the report of a run and gives the exit code."""
    os.nice(NICENESS)  # another training may run on this machine by now
    given = {name: text for name, text in os.environ.items() if text}
    read = given.get
    threshold = read("EPOCHWATCH_THRESHOLD")
    wish = Wish(
        baseline=read("EPOCHWATCH_BASELINE"),
        tolerance=parse(threshold) if threshold else DEFAULT_TOLERANCE,
        language="en" if read("EPOCHWATCH_LANGUAGE") == "en" else "zh",
        prometheus_url=read("EPOCHWATCH_PROMETHEUS_URL"),
    )
    history = History(Path(os.environ["EPOCHWATCH_HISTORY"]))
    try:
        text, _ = make(history, run_id, wish, time.time())
        put(text, usual_place(history, run_id))
    except HistoryError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[-1]))
