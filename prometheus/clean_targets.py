#!/usr/bin/env python3
"""Takes a shared targets folder, removes the files of processes that Prometheus has not reached for a day.

    prometheus/clean_targets.py /shared/prometheus/targets --prometheus http://localhost:9090
    prometheus/clean_targets.py ... --down-for 6h --dry-run

A process that dies leaves its file, so that its death is seen; the next start on the same host clears it away. On a
cluster the host may never get a training again, and its file would stay a target for ever. Run this by cron. A
target that was reached once within the time, or is not known for that long, stays. Needs the standard library alone.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

TIMEOUT_SECONDS = 30.0
DURATION = re.compile(r"\d+[smhdw]")


class CleaningError(Exception):
    """Nothing was removed; the text says why, and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Takes arguments, removes what is dead, gives the exit status."""
    parser = argparse.ArgumentParser(description="Removes target files of processes that are long dead.")
    parser.add_argument("folder", type=Path, help="the targets_dir of your trainings")
    parser.add_argument("--prometheus", default="http://localhost:9090", help="its address (%(default)s)")
    parser.add_argument(
        "--down-for", default="1d", help="how long it must be out of reach: 30m, 6h (%(default)s)"
    )
    parser.add_argument("--job", default="training", help="name of the scrape job (%(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be removed, remove nothing")
    options = parser.parse_args(arguments)
    if not DURATION.fullmatch(options.down_for):
        parser.error(f"argument --down-for: must look like 30m, 6h or 1d, not {options.down_for!r}")
    try:
        dead = long_down(options.prometheus, options.job, options.down_for)
        for path in files_of(options.folder, dead):
            if not options.dry_run:
                path.unlink(missing_ok=True)
            print(f"{'would remove' if options.dry_run else 'removed'} {path}")
    except CleaningError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def long_down(address: str, job: str, duration: str) -> frozenset[str]:
    """Takes Prometheus's address, gives the targets that it has known for so long and reached at no time.

    Raises:
        CleaningError: it gives no answer, or another than one to the question.
    """
    up = f"up{{job={json.dumps(job)}}}"
    query = f"max_over_time({up}[{duration}]) == 0 and {up} offset {duration}"
    url = f"{address.rstrip('/')}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
            found = json.load(answer)["data"]["result"]
        return frozenset(each["metric"]["instance"] for each in found)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CleaningError(
            f"{address} does not answer as Prometheus does ({error}); give its address with --prometheus"
        ) from None


def files_of(folder: Path, dead: frozenset[str]) -> Iterator[Path]:
    """Takes the folder, gives epochwatch's files all of whose targets are dead, and no other file.

    Raises:
        CleaningError: the folder is not there.
    """
    if not folder.is_dir():
        raise CleaningError(f"{folder} is no folder; give the one that EPOCHWATCH_TARGETS_DIR names")
    for path in sorted(folder.glob("epochwatch-*.json")):
        try:
            targets = {target for group in json.loads(path.read_text()) for target in group["targets"]}
        except (OSError, ValueError, KeyError, TypeError):
            continue  # just taken away, or not one of ours
        if targets and targets <= dead:
            yield path


if __name__ == "__main__":
    sys.exit(main())
