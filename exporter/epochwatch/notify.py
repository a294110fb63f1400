"""Puts together who is told and how, from the settings: Alertmanagers, robots, both, or nobody."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from urllib.parse import urlsplit

from . import catalogue
from .books import Books
from .collector import Reading
from .courier import Courier
from .errors import SettingsError
from .events import Event
from .herald import Chronicle, Herald
from .launch import read_launch
from .nvml import GpuError
from .outcome import Channel
from .ranks import Place
from .settings import Settings
from .spokesman import Spokesman
from .supervised import Supervised


def make_herald(
    books: Books,
    place: Place,
    url: str,
    gpus: Callable[[], str],
    environ: Mapping[str, str],
    chronicle: Chronicle | None = None,
    supervised: Supervised | None = None,
) -> Herald | None:
    """Gives the herald of a run, not started; None if nobody is to be told and nothing kept.

    Args:
        url: Address of the run's endpoint.
        gpus: Names this rank's GPUs.
        environ: Holds the robots' addresses and secrets.
        chronicle: What keeps the run, if anything does.
        supervised: The supervisor, which is told what was told.

    Raises:
        SettingsError: If a robot's address is not there or cannot be right.
    """
    settings = books.settings
    spokesman = Spokesman(place, read_launch(place, environ), supervised=supervised)
    channels = [*alertmanagers(settings, spokesman, url), *robots(settings, spokesman, url, environ)]
    if not channels and chronicle is None:
        return None

    def on_told(event: Event) -> None:
        if event.final and supervised is not None:
            supervised.say("told", run=settings.run, event=event.name)

    couriers = [Courier(channel, books.troubles, on_told=on_told) for channel in channels]
    return Herald(
        books,
        couriers,
        spokesman,
        gpus=gpus,
        restarts=place.restarts,
        chronicle=chronicle,
        environ=environ,
        secrets=list(settings_secrets(settings)),
    )


def alertmanagers(settings: Settings, spokesman: Spokesman, url: str) -> Iterator[Channel]:
    """Gives a channel to each Alertmanager."""
    if settings.alertmanager_url:
        # Not at the module's head: a training that tells nobody has no use for requests.
        from .alertmanager import Alertmanager

        labels = {**settings.labels, **spokesman.labels}
        for address in settings.alertmanager_url.split(","):
            yield Alertmanager(address, settings.run, labels, url)


def robots(
    settings: Settings, spokesman: Spokesman, url: str, environ: Mapping[str, str]
) -> Iterator[Channel]:
    """Gives a channel to each robot.

    Raises:
        SettingsError: If a robot's address is not there or cannot be right.
    """
    if settings.notify:
        from alertbridge.errors import RobotError

        from .direct import ROBOTS, Direct

        for vendor in settings.notify.split(","):
            webhook = environ.get(f"{vendor.upper()}_WEBHOOK", "").strip()
            if not webhook:
                raise SettingsError(
                    f"notify={vendor!r} needs the robot's address in the environment: set "
                    f"{vendor.upper()}_WEBHOOK to what the group's settings show"
                )
            try:
                robot = ROBOTS[vendor](
                    webhook,
                    environ.get(f"{vendor.upper()}_SECRET"),
                    keyword=environ.get(f"{vendor.upper()}_KEYWORD", ""),
                )
            except RobotError as error:
                raise SettingsError(
                    f"notify={vendor!r}: {error} (environment {vendor.upper()}_WEBHOOK)"
                ) from None
            yield Direct(robot, settings.run, spokesman.run_id, settings.language, reachable(url))


def gpu_names(
    collect: Callable[[], Iterable[Reading]],
    longest_seconds: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> str:
    """Gives what GPUs there are, as in "8 × NVIDIA H100", once the driver has said so; "" if it does not in time."""
    deadline = clock() + longest_seconds
    while clock() < deadline:
        try:
            names = Counter(name for reading in collect() if (name := _gpu_name(reading)))
        except GpuError:
            return ""  # said in /metrics; the start is told all the same
        if names:
            return ", ".join(f"{count} × {name}" if count > 1 else name for name, count in names.items())
        sleep(0.05)
    return ""


def _gpu_name(reading: Reading) -> str:
    if reading.metric is not catalogue.GPU_INFO:
        return ""
    return reading.labels[catalogue.GPU_INFO.labels.index("name")]


def reachable(url: str) -> str:
    """Gives the address if others can reach it, else nothing."""
    host = urlsplit(url).hostname or ""
    return "" if host == "localhost" or host.startswith("127.") or host == "::1" else url


def settings_secrets(settings: Settings) -> Iterator[str]:
    """Gives what of the settings must not stand in any text; "" among it."""
    yield settings.token.reveal() if settings.token is not None else ""
    for addresses in (settings.alertmanager_url, settings.prometheus_url, settings.report_url):
        for address in (addresses or "").split(","):
            yield urlsplit(address).password or ""
