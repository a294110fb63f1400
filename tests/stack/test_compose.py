"""The shipped container files, without an engine: valid, pinned, confined, and without a secret in them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILES = (ROOT / "alertbridge" / "Dockerfile", ROOT / "exporter" / "Dockerfile")
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
PINNED = re.compile(r"[\w./-]+:v?\d+(\.\d+)+[\w.-]*")


def tool(name: str, *arguments: str | Path) -> str:
    """Runs a checker of the virtual environment, gives what it found fault with; nothing if all is well."""
    answer = subprocess.run(
        [Path(sys.executable).with_name(name), *arguments], capture_output=True, text=True, check=False
    )
    return "" if answer.returncode == 0 else answer.stdout + answer.stderr


def test_the_compose_file_follows_the_specification() -> None:
    """Every key is one that Compose knows, with a value of the right type."""
    assert tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE) == ""


def test_a_misspelt_key_of_a_service_would_be_noticed(tmp_path: Path) -> None:
    """The check above names a key that Compose does not know."""
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(COMPOSE.read_text().replace("mem_limit:", "memory_limit:", 1))

    assert "memory_limit" in tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", broken)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_a_dockerfile_passes_the_linter(path: Path) -> None:
    """hadolint finds nothing; pip's versions are pinned by the project's own metadata, not in the file."""
    assert tool("hadolint", "--ignore", "DL3013", path) == ""


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_names_one_version_of_its_image(service: str) -> None:
    """The same file brings up the same programs next year."""
    assert PINNED.fullmatch(SERVICES[service]["image"])


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_a_base_image_is_named_with_its_version(path: Path) -> None:
    """Every base image is an argument with a default that names one version."""
    text = path.read_text()
    defaults = dict(re.findall(r"^ARG (\w+_IMAGE)=(\S+)$", text, re.MULTILINE))
    stages = re.findall(r" AS (\w+)$", text, re.MULTILINE)
    bases = [base for base in re.findall(r"^FROM (\S+)", text, re.MULTILINE) if base not in stages]

    assert {base.strip("${}") for base in bases} == defaults.keys()
    assert all(PINNED.fullmatch(image) for image in defaults.values())


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_confined(service: str) -> None:
    """Nobody runs as root, gains rights, writes to the system, or takes all of the machine's memory."""
    settings = SERVICES[service]

    assert settings["read_only"] is True
    assert settings["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in settings["security_opt"]
    assert settings["mem_limit"]
    assert settings["pids_limit"]
    # Images of our own name their user themselves.
    assert "build" in settings or not settings["user"].startswith(("0", "root"))


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_an_image_ends_as_a_numbered_user_with_a_health_check(path: Path) -> None:
    """The last USER is a number, which Kubernetes can check, and not 0; the health check needs no curl."""
    text = path.read_text()
    checks = re.findall(r"^HEALTHCHECK .*\\\n +CMD (.*)$", text, re.MULTILINE)

    assert re.findall(r"^USER (\d+):\d+$", text, re.MULTILINE)[-1] != "0"
    assert checks
    assert all(check.startswith('["python3"') for check in checks)


@pytest.mark.parametrize("service", SERVICES)
def test_a_port_is_bound_to_the_loopback_interface_by_default(service: str) -> None:
    """Whoever wants the network to reach a port has to say so."""
    assert all(port.startswith("${EPOCHWATCH_BIND:-127.0.0.1}:") for port in SERVICES[service]["ports"])


def test_no_secret_stands_in_the_files() -> None:
    """Tokens come from the environment; the only ones written down are those of the sandbox robot."""
    files = [COMPOSE, *DOCKERFILES, ROOT / ".env.example", ROOT / "alertbridge" / "alertbridge.yml"]
    text = "\n".join(path.read_text() for path in files)

    assert set(re.findall(r"access_token=(\w+)", text)) == {"sandbox"}
    assert set(re.findall(r"\bSEC\w+", text)) == {"SECsandbox"}
    assert not re.findall(r"PASSWORD: (?!\$\{)\S+", text)


def test_only_what_the_images_need_is_sent_to_the_engine() -> None:
    """A checkout with an .env, a virtual environment or an outbox leaks none of it into an image."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] not in ("", "#")]

    assert lines[0] == "*"
    assert {"**/.env", "**/*.db*"} <= set(lines)
