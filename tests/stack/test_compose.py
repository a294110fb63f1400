"""The shipped container files, without an engine: valid, pinned, confined, and without a secret in them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from epochwatch.supervisor import jobsfile

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILES = (ROOT / "alertbridge" / "Dockerfile", ROOT / "exporter" / "Dockerfile")
PROFILES = ("demo", "gpu", "scheduled", "notebook", "postgres")
BASE = {"prometheus", "alertmanager", "grafana", "alertbridge"}
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
    user = settings.get("user", "")
    assert user or "build" in settings
    assert not user.startswith(("0", "root", "${EPOCHWATCH_USER:-0"))


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
    """Whoever wants the network to reach a port has to say so; the database's is reached by the bridges alone."""
    ports = SERVICES[service].get("ports", [])

    assert all(port.startswith("${EPOCHWATCH_BIND:-127.0.0.1}:") for port in ports)
    assert ports or "database" in SERVICES[service].get("networks", []) or "network_mode" in SERVICES[service]


@pytest.fixture(scope="module")
def compose() -> list[str]:
    """A Compose that reads files without an engine: Docker's plugin, or Debian's package, unpacked into the tree."""
    if shutil.which("docker") and tool_works("docker", "compose", "version"):
        return ["docker", "compose"]
    fetched = subprocess.run(
        [ROOT / "tests/compose/engine.sh", "compose"], capture_output=True, text=True, check=False
    )
    if fetched.returncode:
        pytest.skip(f"no docker-compose here: {fetched.stderr.strip()[-200:]}")
    return [fetched.stdout.strip()]


def tool_works(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def resolved(compose: list[str], profile: str, **environ: str) -> dict[str, Any]:
    """Gives the compose file as Compose understands it, with nothing set but `environ`."""
    known = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    options = ["--env-file", "/dev/null", "--profile", profile, "config", "--format", "json"]
    answer = subprocess.run(
        [*compose, *options], cwd=ROOT, env={**known, **environ}, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_needs_nothing_to_be_set(compose: list[str], profile: str) -> None:
    """Compose reads the file with each profile and an empty environment, without a warning, and finds its services."""
    services = resolved(compose, profile)["services"]
    own = {name for name, settings in SERVICES.items() if profile in settings.get("profiles", [])}

    assert own
    assert services.keys() == BASE | own


def test_every_service_belongs_to_a_known_profile() -> None:
    """What is in no profile is the base; no profile is misspelt."""
    assert {name for name, settings in SERVICES.items() if "profiles" not in settings} == BASE
    assert {one for settings in SERVICES.values() for one in settings.get("profiles", [])} == set(PROFILES)


def test_gpus_are_reserved_with_limits(compose: list[str]) -> None:
    """The profile `gpu` asks NVIDIA's driver for the GPUs it is told, bounds memory and CPUs, and builds on CUDA."""
    training = resolved(compose, "gpu", GPU_COUNT="2")["services"]["training-gpu"]

    (device,) = training["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", 2, ["gpu"])
    assert "utility" in training["environment"]["NVIDIA_DRIVER_CAPABILITIES"]
    assert int(training["mem_limit"]) > 0
    assert float(training["cpus"]) > 0
    assert re.fullmatch(
        r"pytorch/pytorch:[\d.]+-cuda[\d.]+-cudnn\d+-runtime", training["build"]["args"]["BASE_IMAGE"]
    )


def test_a_secret_file_reaches_the_container_as_a_file(compose: list[str], tmp_path: Path) -> None:
    """A path in .env becomes a mounted secret, and its content stands in no environment."""
    secret = tmp_path / "hook"
    secret.write_text("https://oapi.dingtalk.com/robot/send?access_token=0123")
    names = {
        "DINGTALK_WEBHOOK_FILE": ("alertbridge", "DINGTALK_WEBHOOK_FILE"),
        "DINGTALK_SECRET_FILE": ("alertbridge", "DINGTALK_SECRET_FILE"),
        "GRAFANA_ADMIN_PASSWORD_FILE": ("grafana", "GF_SECURITY_ADMIN_PASSWORD__FILE"),
        "JUPYTER_TOKEN_FILE": ("notebook", "JUPYTER_TOKEN_FILE"),
    }
    stack = resolved(compose, "notebook", **dict.fromkeys(names, str(secret)))

    for name, (service, variable) in names.items():
        key = name.removesuffix("_FILE").lower()
        settings = stack["services"][service]
        assert settings["environment"][variable] == f"/run/secrets/{key}"
        assert key in [one["source"] for one in settings["secrets"]]
        assert stack["secrets"][key]["file"] == str(secret)
    assert "0123" not in json.dumps(stack)


@pytest.mark.parametrize("page", ["containers.md", "containers.zh-CN.md"])
def test_every_variable_is_documented(page: str) -> None:
    """Whatever docker-compose.yml takes from the environment stands on the page about containers."""
    taken = set(re.findall(r"(?<!\$)\$\{(\w+)", COMPOSE.read_text(encoding="utf-8")))
    told = set(re.findall(r"\w+", (ROOT / "docs" / page).read_text(encoding="utf-8")))

    assert taken - told == set()


def test_every_variable_of_the_example_is_one() -> None:
    """.env.example names nothing that neither Compose nor our file knows."""
    named = set(re.findall(r"^#(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    taken = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text(encoding="utf-8")))

    assert {"DINGTALK_WEBHOOK", "JUPYTER_TOKEN_FILE"} <= named
    assert named - taken == {"COMPOSE_PROFILES"}


def test_proxy_and_prometheus_know_the_same_bridges() -> None:
    """The replicas of the profile `postgres` stand in HAProxy's file and in what Prometheus is told."""
    replicas = {name for name in SERVICES if re.fullmatch(r"alertbridge-\d+", name)}
    folder = ROOT / "alertbridge" / "replicas"
    servers = set(re.findall(r"^ +server (\S+) \1:8060$", (folder / "haproxy.cfg").read_text(), re.MULTILINE))
    targets = set(re.findall(r'"(alertbridge-\d+):8060"', (folder / "setup.py").read_text()))

    assert len(replicas) == 2
    assert servers == targets == replicas


def test_the_example_jobs_are_jobs() -> None:
    """What the profile `scheduled` starts by default is understood, and is there."""
    read = jobsfile.load(ROOT / "examples" / "jobs.yml")

    assert [job.name for job in read.jobs] == ["digits-nightly"]
    assert all((ROOT / "examples" / job.command[1]).exists() for job in read.jobs)


def test_nothing_is_written_outside_of_volumes() -> None:
    """Every folder that a training, a notebook or a database keeps things in is a volume."""
    volumes = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["volumes"]

    assert {"prometheus", "alertmanager", "grafana", "alertbridge", "postgres"} <= volumes.keys()
    assert {"checkpoints", "logs", "data", "notebooks"} <= volumes.keys()


def test_no_secret_stands_in_the_files() -> None:
    """Tokens come from the environment; the only ones written down are those of the sandbox robot."""
    replicas = (ROOT / "alertbridge" / "replicas").iterdir()
    files = [
        COMPOSE,
        *DOCKERFILES,
        *replicas,
        ROOT / ".env.example",
        ROOT / "alertbridge" / "alertbridge.yml",
    ]
    text = "\n".join(path.read_text() for path in files)

    assert set(re.findall(r"access_token=(\w+)", text)) == {"sandbox"}
    assert set(re.findall(r"\bSEC\w+", text)) == {"SECsandbox"}
    assert not re.findall(r"PASSWORD: (?!\$\{)\S+", text)


def test_only_what_the_images_need_is_sent_to_the_engine() -> None:
    """A checkout with an .env, a virtual environment or an outbox leaks none of it into an image."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] not in ("", "#")]

    assert lines[0] == "*"
    assert {"**/.env", "**/*.db*"} <= set(lines)
