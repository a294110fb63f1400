"""`make demo`: runs the main job with real processes and says hop by hop how the message went.

Environment: DINGTALK_WEBHOOK and DINGTALK_SECRET (also from .env) send to a real group instead of the sandbox,
KEEP=1 leaves everything running until Ctrl-C, LANG decides between an English and a Chinese message.
Exit code 0 only if the robot took the message; 1 with the reason otherwise; 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import requests

from alertbridge.configfile import environment, looked_up
from alertbridge.errors import ConfigError
from alertbridge.robots.shorten import plain
from demo.group import Group
from demo.report import BOLD, GREEN, RED, Hop, framed, paint, say, table
from demo.stack import ROOT, Service, Stack, StackError, bridge_config, wait_until
from demo.watch import ALERT, Bridge, Epochs, Prometheus, UndeliveredError, alertmanager_had_it

RUN = "digits-cnn"
# Many more than the plateau needs: the training must still run when the rule fires, on fast machines too.
EPOCHS = 400
PATIENCE_SECONDS = 600


@dataclass(frozen=True)
class Chain:
    """The processes of one demo. `group` is None where the message goes to a real robot."""

    group: Group | None
    bridge: Service
    alertmanager: Service
    prometheus: Service
    training: Service
    storage: str


def main() -> int:
    """Runs the demo, gives its exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    directory = _work_directory()
    try:
        with Stack(directory) as stack:
            chain = _start(stack)
            hops = _follow(chain, Epochs(chain.training.log))
            _tell(chain, hops)
            if os.environ.get("KEEP", "") not in ("", "0"):
                _keep(chain)
    except KeyboardInterrupt:
        shutil.rmtree(directory, ignore_errors=True)
        say("stopped; every process has ended")
        return 130
    except (ConfigError, StackError, UndeliveredError, requests.RequestException) as error:
        say(paint(f"not delivered: {error}", RED))
        say(f"the logs are in {directory}")
        return 1
    shutil.rmtree(directory, ignore_errors=True)
    return 0


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _work_directory() -> Path:
    """Makes a directory for this run's data; what earlier failed runs left for reading goes."""
    home = ROOT / ".stack" / "demo"
    home.mkdir(parents=True, exist_ok=True)
    for old in home.glob("run-*"):
        if not Path("/proc", old.name.split("-")[1]).exists():
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"run-{os.getpid()}-", dir=home))


def _start(stack: Stack) -> Chain:
    settings = environment(ROOT)
    webhook = looked_up("DINGTALK_WEBHOOK", settings) or ""
    secret = looked_up("DINGTALK_SECRET", settings) or ""
    group = None
    if webhook:
        say("robot          the address in DINGTALK_WEBHOOK")
    else:
        token, secret = secrets.token_hex(32), "SEC" + secrets.token_hex(32)
        group = Group(stack.sandbox(token=token, secret=secret), token, secret)
        webhook = group.webhook
        say(f"robot          the sandbox, {group.sandbox.url}  (no DINGTALK_WEBHOOK given)")
    bridge = stack.bridge(
        # The secrets stay in the environment: no file that outlives a killed demo holds them.
        bridge_config(
            "${DINGTALK_WEBHOOK}",
            "${DINGTALK_SECRET}",
            _language(settings),
            prometheus_url=stack.prometheus_url,
        ),
        {
            "DINGTALK_WEBHOOK": webhook,
            "DINGTALK_SECRET": secret,
            # Looked up already; a file in .env would win over what stands here.
            "DINGTALK_WEBHOOK_FILE": "",
            "DINGTALK_SECRET_FILE": "",
        },
    )
    say(f"alertbridge    {bridge.url}")
    alertmanager = stack.alertmanager(bridge.url)
    say(f"Alertmanager   {alertmanager.url}")
    # Before Prometheus, which hands new targets on only every five seconds: so the first epochs are scraped too.
    training = stack.add(
        Service(
            name="training",
            argv=[
                sys.executable,
                str(ROOT / "examples" / "digits.py"),
                "--name",
                RUN,
                "--epochs",
                str(EPOCHS),
            ],
            log=stack.log("training"),
            env={
                "EPOCHWATCH_TARGETS_DIR": str(stack.targets),
                "EPOCHWATCH_ADDR": "127.0.0.1",
                "EPOCHWATCH_PORT": "0",
            },
        )
    )
    say("training       a small network on scikit-learn's digits; its learning rate decays too fast")
    prometheus = stack.prometheus(alertmanager.url)
    say(f"Prometheus     {prometheus.url}")
    return Chain(
        group, bridge, alertmanager, prometheus, training, f"sqlite:///{stack.directory}/alertbridge.db"
    )


def _language(settings: dict[str, str]) -> str:
    """Gives en where the locale is English, else zh, which is the bridge's own default."""
    locale = settings.get("LC_ALL") or settings.get("LC_MESSAGES") or settings.get("LANG") or ""
    return "en" if locale.startswith("en") else "zh"


def _follow(chain: Chain, epochs: Epochs) -> list[Hop]:
    """Waits for each hop in turn, gives them all.

    Raises:
        UndeliveredError: the message stopped on its way.
    """
    prometheus = Prometheus(chain.prometheus.url, RUN)
    bridge = Bridge(chain.storage, RUN)
    hops: list[Hop] = []
    deadline = time.monotonic() + PATIENCE_SECONDS

    def reached(name: str, at: Callable[[], float | None]) -> None:
        """Waits until `at` gives a time; meanwhile the training's lines are shown."""
        while (found := at()) is None:
            for line in epochs.new_lines():
                say(f"  {line}")
            _still_possible(chain, deadline, name)
            time.sleep(0.05)
        hops.append(Hop(name, found))
        say(paint(f"→ {name}", BOLD))

    reached(f"Prometheus: {ALERT} fires", prometheus.fired)
    reached("Alertmanager: has the alert", lambda: alertmanager_had_it(chain.alertmanager.url, RUN))
    reached("alertbridge: has stored it", lambda: (entry := bridge.entry()) and entry.received_at)
    reached("robot: took the signed message, errcode 0", lambda: _delivered(chain, bridge))

    flat = prometheus.flat_epoch()
    if flat is None:
        raise UndeliveredError("the run's best epoch is not in Prometheus, though its alert fired")
    epoch, best = flat
    scraped = prometheus.scraped_epoch(epoch)
    if epoch not in epochs.ended_at or scraped is None:
        raise UndeliveredError(f"the alert fired, but nobody saw epoch {epoch} end")
    patience = epoch - best
    return [
        Hop(f"training: epoch {epoch} ends, {patience} after the best ({best})", epochs.ended_at[epoch]),
        Hop("Prometheus: has scraped it", scraped),
        *hops,
    ]


def _still_possible(chain: Chain, deadline: float, hop: str) -> None:
    """Looks whether the message can still come.

    Raises:
        UndeliveredError: a process has ended, or time is up; with the last lines of its log.
    """
    for service in (chain.training, chain.prometheus, chain.alertmanager, chain.bridge):
        if not service.running:
            raise UndeliveredError(
                f"{service.name} ended (exit code {service.exit_code}) before “{hop}”:\n{service.last_lines()}"
            )
    if time.monotonic() > deadline:
        raise UndeliveredError(
            f"waited {PATIENCE_SECONDS} s for “{hop}”; alertbridge's last lines:\n{chain.bridge.last_lines()}"
        )


def _delivered(chain: Chain, bridge: Bridge) -> float | None:
    """Gives when the robot took the message: by the bridge's outbox, and by the sandbox's own clock if it is one."""
    entry = bridge.entry()
    if entry is None or entry.state != "delivered":
        return None
    if chain.group is None:
        return time.time()
    shown = chain.group.wait_for(ALERT, RUN, seconds=5)
    if shown["id"] not in chain.group.accepted():
        raise UndeliveredError("the sandbox shows the message, but did not accept a signed call for it")
    return float(shown["received_at"])


def _tell(chain: Chain, hops: list[Hop]) -> None:
    print("\n" + table(hops) + "\n")
    if chain.group is None:
        print("The message is in your group.")
    else:
        print(f"What the group sees ({chain.group.sandbox.url} while the sandbox runs):\n")
        print(framed(plain(chain.group.wait_for(ALERT, RUN)["text"])))
    print("\n" + paint("delivered, and the robot accepted the signature", GREEN) + "\n", flush=True)


def _keep(chain: Chain) -> None:
    addresses = {
        "Prometheus": chain.prometheus.url,
        "Alertmanager": chain.alertmanager.url,
        "alertbridge": chain.bridge.url,
        "/metrics": _metrics_address(chain.training),
    }
    if chain.group is not None:
        addresses["sandbox page"] = chain.group.sandbox.url
    for name, url in addresses.items():
        print(f"  {name:<14}{url}")
    print("\nEverything keeps running; Ctrl-C ends it.", flush=True)
    while True:
        time.sleep(1)


def _metrics_address(training: Service) -> str:
    line: str = wait_until(
        lambda: next((x for x in training.log.read_text().splitlines() if x.startswith("metrics at ")), ""),
        5,
        "the training's address",
    )
    return line.removeprefix("metrics at ") + "/metrics"


if __name__ == "__main__":
    sys.exit(main())
