"""How docs/existing-stack.md has Prometheus find a training: its blocks, a real Prometheus, real trainings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
import yaml
from bench.scaling import ask, prometheus
from tests.stack.test_existing_stack_doc import PROMETHEUS

import epochwatch
from demo.stack import ROOT, Stack, wait_until

pytestmark = pytest.mark.stack


@contextmanager
def directory_service(hosts: list[str]) -> Iterator[str]:
    """Starts what knows the team's hosts, as http_sd asks it; gives its address."""
    body = json.dumps([{"targets": hosts, "labels": {"__meta_cmdb_team": "speech"}}]).encode()

    class Service(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Service) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def job_with(key: str) -> dict[str, Any]:
    """Gives the page's first scrape job that finds targets in this way."""
    jobs = [job for _, text in PROMETHEUS for job in yaml.safe_load(text).get("scrape_configs", [])]
    return next(job for job in jobs if key in job)


def test_each_way_finds_the_training(stack: Stack) -> None:
    """By folder, by address and by one's own discovery the run is active, with the labels that the way adds."""
    folder, static, own = (job_with(f"{way}_configs") for way in ("file_sd", "static", "http_sd"))
    with (
        epochwatch.start("by-folder", port=0, addr="127.0.0.1", targets_dir=stack.targets) as by_folder,
        epochwatch.start("by-address", port=0, addr="127.0.0.1") as by_address,
        epochwatch.start("by-discovery", port=0, addr="127.0.0.1") as by_discovery,
    ):
        port = by_discovery.url.rpartition(":")[2]
        with directory_service(["127.0.0.1:22"]) as url:
            folder["file_sd_configs"][0]["files"] = [f"{stack.targets}/*.json"]
            static["static_configs"][0]["targets"] = [by_address.url.removeprefix("http://")]
            own["http_sd_configs"][0]["url"] = url
            own["relabel_configs"][0]["replacement"] = f"$1:{port}"
            jobs = [{**job, "job_name": f"training-{number}", "scrape_interval": "1s"}
                    for number, job in enumerate((folder, static, own))]  # fmt: skip
            config = {
                "global": {"evaluation_interval": "1s"},
                "rule_files": [str(ROOT / "prometheus/rules/*.yml")],
                "scrape_configs": jobs,
            }
            server = prometheus(stack, "prometheus", config).url
            by_folder.step(loss=1.0)
            active = wait_until(
                lambda: three(ask(server, "run:training_active:max == 1")), 30, "three active runs"
            )

    assert {each["metric"]["run"]: each["metric"].get("team") for each in active} == {
        "by-folder": None,
        "by-address": "vision",
        "by-discovery": "speech",
    }


def three(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return found if len(found) == 3 else []
