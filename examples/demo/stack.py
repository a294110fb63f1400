"""Real processes on free loopback ports: Prometheus, Alertmanager, the bridge, the sandbox robot, a training.

The demo and the stack tests both start theirs here. The shipped `prometheus/*.yml` are used as they are but for
addresses and intervals: what the demo shows is what a team gets.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import requests
import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "prometheus" / "rules"
# Where prometheus/install.py puts them; the same variable moves both.
BINARIES = Path(os.environ.get("EPOCHWATCH_STACK") or ROOT / ".stack").resolve() / "bin"


class StackError(Exception):
    """A process could not be started or did not answer; the message says which, why and what to do."""


def free_port() -> int:
    """Gives a TCP port of the loopback interface that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def binary(name: str, directory: Path = BINARIES) -> str:
    """Takes a program's name, gives the path that `prometheus/install.py` made for it.

    Raises:
        StackError: the program is not there.
    """
    path = directory / name
    if not path.exists():
        raise StackError(f"{name} is not in {directory}; run `make setup-prometheus` (it says what it needs)")
    return str(path)


def console_script(name: str) -> str:
    """Takes a console script's name, gives its path beside the running Python."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        raise StackError(f"{name} is not installed in {path.parent}; run `make setup-demo`")
    return str(path)


def wait_until(check: Callable[[], Any], seconds: float, what: str, every: float = 0.05) -> Any:
    """Calls `check` until it gives something true, and gives that.

    Raises:
        StackError: nothing true came within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise StackError(f"waited {seconds:.0f} s for {what}, in vain")
        time.sleep(every)


def _dying_with_parent(argv: Sequence[str]) -> list[str]:
    """Takes a command, gives it so that the kernel ends it with its parent: a demo killed with -9 cannot clean up.

    Not by a function between fork and exec: in a process of many threads and libraries, as a test run is, that crashes.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--", *argv] if setpriv else list(argv)


@dataclass
class Service:
    """One child process with a log file, in a process group of its own.

    A terminal's Ctrl-C reaches only the parent, which then stops the children in order.
    """

    name: str
    argv: Sequence[str]
    log: Path
    url: str = ""
    ready_path: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self, ready_seconds: float = 30) -> Service:
        """Starts the process and waits until `ready_path` answers 200.

        Raises:
            StackError: it cannot be started, ended at once, or was not ready in time; with its last lines.
        """
        with self.log.open("ab") as log:
            try:
                self.process = subprocess.Popen(
                    _dying_with_parent(self.argv),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **self.env},
                    cwd=ROOT,
                    start_new_session=True,
                )
            except OSError as error:
                raise StackError(f"{self.name} cannot be started: {error}") from error
        if self.ready_path:
            wait_until(self._ready, ready_seconds, f"{self.name} to be ready at {self.url}{self.ready_path}")
        return self

    def _ready(self) -> bool:
        if not self.running:
            raise StackError(
                f"{self.name} ended with exit code {self.exit_code} at its start:\n{self.last_lines()}"
            )
        try:
            return requests.get(self.url + self.ready_path, timeout=2).status_code == 200
        except requests.RequestException:
            return False

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return None if self.process is None else self.process.poll()

    def last_lines(self, count: int = 15) -> str:
        """Gives the end of the log, indented."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(f"    {line}" for line in lines[-count:])

    def kill(self) -> None:
        """Sends SIGKILL to the process group and waits for the end."""
        self._signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def stop(self, seconds: float = 8) -> None:
        """Asks with SIGTERM, then kills; afterwards nothing of the process group is left."""
        if self.process is None:
            return
        if self.running:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
        self.kill()

    def _signal(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        # The group may be gone already; macOS answers EPERM for a group of zombies.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


class Stack:
    """All processes of one demo or test, started by need and stopped in reverse order.

    Args:
        directory: for configuration, data and logs; made anew by the caller.
        binaries: where prometheus and alertmanager lie.
    """

    def __init__(self, directory: Path, binaries: Path = BINARIES) -> None:
        self.directory = directory
        self.binaries = binaries
        self.targets = directory / "targets"
        self.services: list[Service] = []
        # Chosen before Prometheus starts: the bridge, which starts earlier, asks it for the curve in a message.
        self.prometheus_url = f"http://127.0.0.1:{free_port()}"
        self.targets.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Stack:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops every process that was started, the last one first."""
        for service in reversed(self.services):
            service.stop()

    def add(self, service: Service, ready_seconds: float = 30) -> Service:
        """Starts a service and takes care of its end."""
        self.services.append(service)
        return service.start(ready_seconds)

    def log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def sandbox(self, *, token: str, secret: str, options: Sequence[str] = ()) -> Service:
        """Starts the stand-in for DingTalk; its `url` is that of the page."""
        port = free_port()
        argv = [console_script("alertbridge"), "sandbox", "--listen", f"127.0.0.1:{port}", "--token", token]
        return self.add(
            Service(
                name="sandbox",
                argv=[*argv, "--secret", secret, *options],
                log=self.log("sandbox"),
                url=f"http://127.0.0.1:{port}",
                ready_path="/api/messages",
            )
        )

    def bridge(self, config: Mapping[str, Any], env: Mapping[str, str] | None = None) -> Service:
        """Starts alertbridge with this configuration and an outbox in the stack's directory."""
        port = free_port()
        path = self.directory / "alertbridge.yml"
        path.write_text(yaml.safe_dump(dict(config), allow_unicode=True))
        storage = f"sqlite:///{self.directory / 'alertbridge.db'}"
        argv = [console_script("alertbridge"), "serve", "--config", str(path)]
        return self.add(
            Service(
                name="alertbridge",
                argv=[*argv, "--listen", f"127.0.0.1:{port}", "--storage", storage],
                log=self.log("alertbridge"),
                url=f"http://127.0.0.1:{port}",
                ready_path="/-/ready",
                env=env or {},
            )
        )

    def alertmanager(
        self,
        bridge_url: str,
        *,
        group_wait: str = "0s",
        group_interval: str = "2s",
        name: str = "alertmanager",
        cluster: Sequence[str] = ("--cluster.listen-address=",),
        max_alerts: int | None = None,
    ) -> Service:
        """Starts Alertmanager with the shipped routes, its webhooks pointed at `bridge_url`.

        Args:
            max_alerts: in one webhook, 0 for all; absent: as shipped.
            name: of its files, where there are several.
            cluster: its options for talking to others; alone by default.
        """
        port = free_port()
        config = yaml.safe_load((ROOT / "prometheus" / "alertmanager.yml").read_text())
        for route in _routes(config["route"]):
            route["group_wait"] = group_wait
            route["group_interval"] = group_interval
        for receiver in config["receivers"]:
            for webhook in receiver.get("webhook_configs", []):
                webhook["url"] = bridge_url + "/" + webhook["url"].split("/", 3)[3]
                if max_alerts is not None:
                    webhook["max_alerts"] = max_alerts
        path = self.directory / f"{name}.yml"
        path.write_text(yaml.safe_dump(config))
        argv = [binary("alertmanager", self.binaries), f"--config.file={path}"]
        return self.add(
            Service(
                name=name,
                argv=[
                    *argv,
                    f"--storage.path={self.directory / name}",
                    f"--web.listen-address=127.0.0.1:{port}",
                    # Else links in messages hold this machine's name, where nothing listens.
                    f"--web.external-url=http://127.0.0.1:{port}",
                    *cluster,
                ],
                log=self.log(name),
                url=f"http://127.0.0.1:{port}",
                ready_path="/-/ready",
            )
        )

    def prometheus(self, alertmanager_url: str, *, interval: str = "1s", rules: Path = RULES) -> Service:
        """Starts Prometheus with the shipped scrape jobs, and the rules in a directory, everything each `interval`.

        It is given back once Alertmanager is among its notification targets: an alert that fires before that is
        dropped and would be sent again only after the resend delay.
        """
        address = self.prometheus_url.removeprefix("http://")
        config = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text())
        config["global"]["scrape_interval"] = interval
        config["global"]["evaluation_interval"] = interval
        config["rule_files"] = [str(rules / "*.yml")]
        config["alerting"] = {
            "alertmanagers": [{"static_configs": [{"targets": [alertmanager_url.removeprefix("http://")]}]}]
        }
        for job in config["scrape_configs"]:
            job.pop("scrape_interval", None)
            job.pop("scrape_timeout", None)
            job.pop("static_configs", None)
            for discovery in job.get("file_sd_configs", []):
                discovery["files"] = [str(self.targets / "*.json")]
        config["scrape_configs"] = [job for job in config["scrape_configs"] if job["job_name"] == "training"]
        path = self.directory / "prometheus.yml"
        path.write_text(yaml.safe_dump(config))
        service = self.add(
            Service(
                name="prometheus",
                argv=[
                    binary("prometheus", self.binaries),
                    f"--config.file={path}",
                    f"--storage.tsdb.path={self.directory / 'prometheus'}",
                    f"--web.listen-address={address}",
                    f"--web.external-url={self.prometheus_url}",
                    "--rules.alert.resend-delay=5s",
                ],
                log=self.log("prometheus"),
                url=self.prometheus_url,
                ready_path="/-/ready",
            )
        )
        wait_until(lambda: _alertmanagers(service.url), 20, "Prometheus to discover Alertmanager")
        return service


def bridge_config(webhook: str, secret: str, language: str = "en", **more: Any) -> dict[str, Any]:
    """Gives a bridge's configuration with one receiver, `default`, of one signed DingTalk robot."""
    robot = {"dingtalk": {"webhook": webhook, "secret": secret}}
    return {"language": language, "receivers": {"default": {"robots": [robot]}}, **more}


def _routes(route: dict[str, Any]) -> list[dict[str, Any]]:
    return [route, *(inner for child in route.get("routes", []) for inner in _routes(child))]


def _alertmanagers(prometheus_url: str) -> list[Any]:
    answer = requests.get(f"{prometheus_url}/api/v1/alertmanagers", timeout=5).json()
    active: list[Any] = answer["data"]["activeAlertmanagers"]
    return active
