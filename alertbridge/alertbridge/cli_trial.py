"""`alertbridge render` and `alertbridge send-test`: see a message without an alert."""

from __future__ import annotations

import sys
import uuid
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO

import click

from alertbridge.cli_options import config_option, read_settings, teaching_errors
from alertbridge.errors import ConfigError
from alertbridge.robots.outcome import Delivered, Later, Limited, Never
from alertbridge.settings import Settings
from alertbridge.telling import Teller, example
from alertbridge.webhook import parse
from alertbridge.wiring import members_of


@click.command()
@config_option
@click.option("--receiver", help="Whose language, template and mentions; the first one's by default.")
@click.argument("file", type=click.File("rb"))
@teaching_errors
def render(config: Path | None, receiver: str | None, file: BinaryIO) -> None:
    """Shows the message that a webhook body in FILE (- for stdin) makes, without sending anything."""
    settings = read_settings(config)
    name = _receiver(settings, receiver)
    message = Teller(settings).message(name, [parse(file.read())])
    click.echo(message.title)
    click.echo("-" * 40)
    click.echo(message.text)
    for button in message.buttons:
        click.echo(f"[{button.title}] {button.url}")


@click.command("send-test")
@config_option
@click.argument("receiver")
@teaching_errors
def send_test(config: Path | None, receiver: str) -> None:
    """Sends one test message through each robot of RECEIVER and shows the robot's answer."""
    settings = read_settings(config)
    name = _receiver(settings, receiver)
    failed = False
    for member in members_of(settings, name).values():
        robot = member.robot
        message = Teller(settings).message(name, [example(datetime.now(timezone.utc))])
        outcome = robot.send(replace(message, uuid=str(uuid.uuid4())))
        if isinstance(outcome, Delivered):
            click.echo(f"{robot.name} of {name}: delivered (errcode {outcome.errcode})")
        else:
            failed = True
            click.echo(f"{robot.name} of {name}: not delivered: {_said(outcome)}")
    if failed:
        sys.exit(1)


def _said(outcome: Later | Limited | Never) -> str:
    return outcome.reason if outcome.errcode is None else f"{outcome.errcode}: {outcome.reason}"


def _receiver(settings: Settings, name: str | None) -> str:
    if name is None:
        return next(iter(settings.receivers))
    if name not in settings.receivers:
        known = ", ".join(sorted(settings.receivers))
        raise ConfigError(f"there is no receiver {name!r}; known receivers: {known}")
    return name
