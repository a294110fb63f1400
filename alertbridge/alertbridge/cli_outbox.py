"""`alertbridge outbox`: see what waits and what was given up, send it again, or drop it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from alertbridge.cli_options import config_option, read_settings, teaching_errors, with_overrides
from alertbridge.errors import ConfigError, WebhookError
from alertbridge.outbox.database import Database
from alertbridge.outbox.outbox import Outbox
from alertbridge.outbox.upkeep import Entry
from alertbridge.secret import Secret
from alertbridge.settings import Settings
from alertbridge.webhook import parse

STATES = ("waiting", "sending", "dead", "delivered")
storage_option = click.option("--storage", metavar="URL", help="Instead of the configuration's.")
ids_argument = click.argument("ids", nargs=-1, type=int)


@click.group()
def outbox() -> None:
    """Looks after what was accepted: list, retry, drop."""


@outbox.command("list")
@config_option
@storage_option
@click.option("--receiver", help="Only this receiver's.")
@click.option(
    "--state", "states", type=click.Choice(STATES), multiple=True, default=STATES[:3], show_default=True
)
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True)
@teaching_errors
def list_entries(
    config: Path | None, storage: str | None, receiver: str | None, states: tuple[str, ...], limit: int
) -> None:
    """Lists notifications, newest first, with the reason why one was not delivered."""
    address, timezone = _storage_and_timezone(config, storage)
    found = _outbox(address).entries(states, receiver, limit)
    for entry in found:
        click.echo(_line(entry, timezone))
    if not found:
        of_receiver = "" if receiver is None else f" of receiver {receiver!r}"
        click.echo(f"nothing{of_receiver} in the outbox is {' or '.join(states)}")


@outbox.command()
@config_option
@storage_option
@click.option("--all", "all_of_them", is_flag=True, help="All dead letters.")
@ids_argument
@teaching_errors
def retry(config: Path | None, storage: str | None, all_of_them: bool, ids: tuple[int, ...]) -> None:
    """Lets dead letters be sent again. A running bridge sees them within a second."""
    address, _ = _storage_and_timezone(config, storage)
    count = _outbox(address).retry(_chosen(ids, all_of_them))
    if ids and not count:
        raise _nothing_done(ids, "a dead letter")
    click.echo(f"{count} dead letters wait to be sent again")


@outbox.command()
@config_option
@storage_option
@click.option("--all", "all_of_them", is_flag=True, help="All dead letters.")
@ids_argument
@teaching_errors
def drop(config: Path | None, storage: str | None, all_of_them: bool, ids: tuple[int, ...]) -> None:
    """Deletes dead or waiting notifications for good."""
    address, _ = _storage_and_timezone(config, storage)
    count = _outbox(address).drop(_chosen(ids, all_of_them))
    if ids and not count:
        raise _nothing_done(ids, "dead or waiting")
    click.echo(f"{count} notifications deleted")


def _storage_and_timezone(config: Path | None, storage: str | None) -> tuple[Secret, str]:
    """Gives where the outbox is and in which time zone to show it; a storage given needs no configuration."""
    if config is None and storage is not None:
        return Secret(storage), str(Settings.model_fields["timezone"].default)
    settings = with_overrides(read_settings(config), listen=None, storage=storage)
    return settings.storage, settings.timezone


def _outbox(storage: Secret) -> Outbox:
    store = Outbox(Database(storage))
    path = store.database.path
    if path is not None and not path.is_file():
        raise ConfigError(
            f"there is no outbox at {path.absolute()}; run this where the bridge runs, or name its file with "
            "--storage sqlite:////FILE"
        )
    store.database.open()
    return store


def _nothing_done(ids: tuple[int, ...], states: str) -> ConfigError:
    return ConfigError(
        f"none of {', '.join(map(str, ids))} is {states}; alertbridge outbox list shows which are"
    )


def _chosen(ids: tuple[int, ...], all_of_them: bool) -> tuple[int, ...] | None:
    if bool(ids) == all_of_them:
        raise click.UsageError("give the numbers that `alertbridge outbox list` shows, or --all")
    return None if all_of_them else ids


def _line(entry: Entry, timezone: str) -> str:
    when = datetime.fromtimestamp(entry.received_at, ZoneInfo(timezone)).strftime("%Y-%m-%d %H:%M:%S")
    attempts = f"  attempts {entry.attempts}" if entry.attempts else ""
    reason = f"  {entry.errcode}: {entry.reason}" if entry.reason else ""
    return (
        f"{entry.id:>8}  {entry.state:<9}  {when}  {entry.receiver}  {_summary(entry.body)}{attempts}{reason}"
    )


def _summary(body: str) -> str:
    try:
        notification = parse(body)
    except WebhookError:
        return "(unreadable)"
    names = ", ".join(f"{name}={value}" for name, value in sorted(notification.group_labels.items()))
    return f"{notification.status} {{{names}}} {len(notification.alerts)} alerts"
