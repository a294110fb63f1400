"""Draws the previews of the dashboards: `make previews`.

Flow: the recorded training and the made-up history become a Prometheus' blocks, a real Prometheus serves them, and
`draw.mjs` draws each dashboard with Grafana's own components in headless Chromium. Needs .stack/bin
(prometheus/install.py), Node.js and Chromium.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from grafana.preview.backfilled import prometheus
from grafana.preview.made_up.openmetrics import lines, replayed
from grafana.preview.made_up.team import longer, recent

from demo.stack import Stack, StackError

HERE = Path(__file__).resolve().parent
IMAGES = HERE.parent.parent / "docs" / "images"
RECORD = HERE / "gpt-on-h100.om.xz"
RECORDED_SECONDS, RECORD_STEP = 123, 3
HOUR, RECENT_STEP, LONGER_STEP = 3600, 30, 120
WIDTH, PHONE = 1400, 400
README_HEIGHT = 1027  # down to the second row of curves


def pictures(end: float, folder: Path) -> Iterator[dict[str, Any]]:
    """Gives each picture: where it goes, what it shows, and how much of it."""
    team = {"from": end - 6 * HOUR, "scrape": RECENT_STEP}
    of_run = {"from": end - RECORDED_SECONDS, "scrape": RECORD_STEP, "var-run": "gpt-stdlib"}
    shown = {
        "overview": team,
        "training-run": of_run,
        "gpus": team,
        "jobs": {"from": end - 48 * HOUR, "scrape": LONGER_STEP},
        "alertbridge": team,
    }
    for slug, more in shown.items():
        query = {"dashboard": slug, "folder": "dashboards", "to": end, "width": WIDTH, **more}
        yield {"file": str(folder / f"dashboard-{slug}.png"), "query": query}
    for language, dashboards in (("en", "dashboards"), ("zh", "dashboards-zh")):
        query = {"dashboard": "training-run", "folder": dashboards, "to": end, "width": WIDTH, **of_run}
        yield {"file": str(folder / f"dashboard-{language}.png"), "query": query, "clip": README_HEIGHT}
    query = {"dashboard": "overview", "folder": "dashboards", "to": end, "width": PHONE, **team}
    yield {"file": str(folder / "dashboard-phone.png"), "query": query, "clip": 1400}


def history(path: Path, end: float) -> None:
    """Writes what the pictures show as OpenMetrics."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(replayed(RECORD, end))
        file.writelines(lines(recent(end), end - 6 * HOUR, end, RECENT_STEP))
        file.writelines(lines(longer(end), end - 48 * HOUR, end, LONGER_STEP))
        file.write("# EOF\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make previews", description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=IMAGES, help="where the pictures go")
    folder = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if not shutil.which("node"):
        print("previews: no Node.js; apt-get install nodejs npm", file=sys.stderr)
        return 1
    end = time.time() // LONGER_STEP * LONGER_STEP
    try:
        with TemporaryDirectory() as directory, Stack(Path(directory)) as stack:
            text = stack.directory / "history.om"
            history(text, end)
            server = prometheus(stack, text)
            wanted = stack.directory / "pictures.json"
            wanted.write_text(json.dumps(list(pictures(end, folder))))
            return subprocess.run(
                ["node", "draw.mjs", server.url, str(wanted)], cwd=HERE, check=False
            ).returncode
    except StackError as error:
        print(f"previews: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
