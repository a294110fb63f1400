"""The published description of the HTTP side, and a served bridge that is called by all it allows and forbids."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings

from alertbridge.openapi import document

RECEIVERS = ["default"]
schema = schemathesis.openapi.from_dict(document(RECEIVERS))
STRICT = [
    schemathesis.checks.not_a_server_error,
    schemathesis.checks.CHECKS.get_one("status_code_conformance"),
    schemathesis.checks.CHECKS.get_one("content_type_conformance"),
    schemathesis.checks.CHECKS.get_one("response_schema_conformance"),
    schemathesis.checks.CHECKS.get_one("unsupported_method"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a bridge whose only robot is out of reach."""
    directory = tmp_path_factory.mktemp("openapi")
    robot = {"dingtalk": {"webhook": "http://127.0.0.1:9/robot/send?access_token=x", "timeout_seconds": 1}}
    (directory / "alertbridge.yml").write_text(json.dumps({"receivers": {"default": {"robots": [robot]}}}))
    log = directory / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                Path(sys.executable).with_name("alertbridge"),
                "serve",
                "-c",
                "alertbridge.yml",
                "--listen",
                "127.0.0.1:0",
            ],
            cwd=directory,
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    deadline = time.monotonic() + 20
    while (found := re.search(r"alertbridge listens on (\S+)", log.read_text())) is None:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield found.group(1)
    process.terminate()
    assert process.wait(20) == 0


def test_the_description_is_served(served: str) -> None:
    """/openapi.json is the description with the receivers that are configured."""
    assert requests.get(f"{served}/openapi.json", timeout=5).json() == document(RECEIVERS)


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_whatever_is_sent_is_answered_as_described(case: schemathesis.Case, served: str) -> None:
    """Bodies, receivers, methods and headers of every kind: 2xx or 4xx as the description says, never 5xx."""
    response = case.call(base_url=served)
    assert response.status_code < 500
    case.validate_response(response, checks=STRICT)
