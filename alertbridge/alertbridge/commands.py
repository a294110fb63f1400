"""The subcommands of `alertbridge`: serve and check-config, and where the others are."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from alertbridge.app import create_app
from alertbridge.cli_options import config_option, read_settings, teaching_errors, with_overrides
from alertbridge.cli_outbox import outbox
from alertbridge.cli_trial import render, send_test
from alertbridge.logs import set_up_logging
from alertbridge.outbox.database import Database, move_aside
from alertbridge.robots.address import foreign_host
from alertbridge.serving import serve as serve_app
from alertbridge.settings import Settings
from alertbridge.telling import Teller
from alertbridge.wiring import all_members

log = logging.getLogger(__name__)


class _Lazy(click.Group):
    """Imports the sandbox when it is asked for: a bridge that serves has no use for what it draws pages with."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), "sandbox"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "sandbox":
            from alertbridge.sandbox.command import sandbox

            return sandbox
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="epochwatch", prog_name="alertbridge")
def main() -> None:
    """Turns Alertmanager's webhooks into signed chat messages, and loses none."""


@main.command()
@config_option
@click.option(
    "--listen", metavar="HOST:PORT", help="Instead of the configuration's; port 0 picks a free one."
)
@click.option("--storage", metavar="URL", help="Instead of the configuration's, for example sqlite:///FILE.")
@click.option("--log-level", type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]), default="INFO")
@click.option(
    "--move-corrupt-aside", is_flag=True, help="If the SQLite file is damaged, rename it and start a new one."
)
@teaching_errors
def serve(
    config: Path | None, listen: str | None, storage: str | None, log_level: str, move_corrupt_aside: bool
) -> None:
    """Accepts webhooks and delivers them."""
    set_up_logging(log_level)

    def load() -> Settings:
        return with_overrides(read_settings(config), listen=listen, storage=storage)

    settings = load()
    if settings.auth is None:
        log.warning("no auth: is configured; everybody who can reach %s can send messages", settings.listen)
    if move_corrupt_aside:
        kept = move_aside(settings.storage)
        if kept is not None:
            log.warning("the outbox was damaged; it lies in %s now, and a new one is begun", kept)
    app = create_app(settings, load=load if config else None)
    outbox_address = app.extensions["alertbridge"].outbox.database.shown_url
    log.info("receivers: %s; outbox: %s", ", ".join(sorted(settings.receivers)), outbox_address)
    _say_of_other_hosts(settings)
    serve_app(app, settings.listen, lambda address: click.echo(f"alertbridge listens on {address}"))


def _say_of_other_hosts(settings: Settings) -> None:
    """Says which messages reach no group: a stack that was started with nothing configured looks well otherwise."""
    for name, receiver in sorted(settings.receivers.items()):
        for robot in receiver.robots:
            channel, webhook = robot.address
            host = foreign_host(channel, webhook)
            if host is not None:
                log.warning(
                    "receiver %s: its robot is at %s, a proxy or the sandbox, so nothing of %s; for a real group give "
                    "the address of its robot (for example DINGTALK_WEBHOOK and DINGTALK_SECRET in .env)",
                    name,
                    host,
                    channel,
                )


@main.command("check-config")
@config_option
@teaching_errors
def check_config(config: Path | None) -> None:
    """Reads the configuration and says what is wrong with it, or what it makes."""
    settings = read_settings(config)
    Teller(settings)
    Database(settings.storage).close()
    members = all_members(settings)
    for name, receiver in sorted(settings.receivers.items()):
        robots = ", ".join(member.robot.name for member in members[name].values())
        fallback = f", fallback {receiver.fallback}" if receiver.fallback else ""
        click.echo(f"receiver {name}: {robots}; template {receiver.template}{fallback}")
    click.echo("the configuration is good")


main.add_command(outbox)
main.add_command(render)
main.add_command(send_test)
