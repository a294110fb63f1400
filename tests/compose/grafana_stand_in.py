"""Stands in for Grafana where no image of it can be had: reads its provisioning, then answers /api/health and /metrics.

It proves the mounts, the user and the read-only file system; it draws nothing.
"""

import configparser
import http.server
import json
from pathlib import Path

PROVISIONING = Path("/etc/grafana/provisioning")


class Health(http.server.BaseHTTPRequestHandler):
    """Answers every request with the titles of the dashboards, and Prometheus with how many there are."""

    titles: tuple[str, ...] = ()

    def do_GET(self) -> None:
        body = json.dumps({"database": "ok", "dashboards": self.titles}).encode()
        if self.path == "/metrics":
            body = f"grafana_stat_totals_dashboard {len(self.titles)}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain" if self.path == "/metrics" else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    settings = configparser.ConfigParser()
    with Path("/etc/grafana/grafana.ini").open() as file:
        settings.read_file(file)
    for kind in ("datasources", "dashboards"):
        if not list((PROVISIONING / kind).glob("*.yml")):
            raise SystemExit(f"nothing is provisioned in {PROVISIONING / kind}")
    boards = sorted(Path("/var/lib/grafana-dashboards").glob("*.json"))
    Health.titles = tuple(json.loads(board.read_text())["title"] for board in boards)
    Path("/var/lib/grafana/grafana.db").touch()
    http.server.ThreadingHTTPServer(("0.0.0.0", 3000), Health).serve_forever()


if __name__ == "__main__":
    main()
