"""Writes the dashboards: `python -m grafana.build`; with --check it only says whether the files are in step.

Flow: the modules of `boards` state their panels, `classic` gives them the house style, this writes them in each
language.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from grafana.board import Board, Language
from grafana.boards.alertbridge import ALERTBRIDGE
from grafana.boards.gpus import GPU_BOARD
from grafana.boards.jobs import JOBS
from grafana.boards.overview import OVERVIEW
from grafana.boards.training_run import TRAINING_RUN
from grafana.classic import to_json

BOARDS: dict[str, Board] = {
    "alertbridge": ALERTBRIDGE,
    "gpus": GPU_BOARD,
    "jobs": JOBS,
    "overview": OVERVIEW,
    "training-run": TRAINING_RUN,
}
FOLDERS: dict[Language, str] = {"en": "dashboards", "zh": "dashboards-zh"}
HERE = Path(__file__).resolve().parent


def files(folder: Path = HERE) -> dict[Path, str]:
    """Gives every file that belongs under `folder`, with its content."""
    return {
        folder / name / f"{slug}.json": to_json(board, language)
        for language, name in FOLDERS.items()
        for slug, board in BOARDS.items()
    }


def out_of_step(wanted: dict[Path, str]) -> list[str]:
    """Gives a line for every file that is missing, changed by hand, or no longer built."""
    there = {path for expected in wanted for path in expected.parent.glob("*.json")}
    lines = [f"{path}: no dashboard of this name is built any more" for path in sorted(there - wanted.keys())]
    for path, content in wanted.items():
        if path not in there:
            lines.append(f"{path}: missing")
        elif path.read_text(encoding="utf-8") != content:
            lines.append(f"{path}: differs from what is built")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description="Writes grafana/dashboards and grafana/dashboards-zh.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is out of step")
    options = parser.parse_args()
    wanted = files()
    if options.check:
        lines = out_of_step(wanted)
        for line in lines:
            print(f"{line}; run: python -m grafana.build", file=sys.stderr)
        return 1 if lines else 0
    for path, content in wanted.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
        print(path.relative_to(HERE.parent))
    return 0


if __name__ == "__main__":
    sys.exit(main())
