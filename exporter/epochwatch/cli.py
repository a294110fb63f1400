"""The `epochwatch` command."""

from __future__ import annotations

from importlib import import_module

import click

from . import __version__

# What a command needs is imported when it is called for: a training that waits to be started needs no chart library.
COMMANDS = {
    "run": "supervisor.command:run",
    "schedule": "supervisor.schedule_command:schedule",
    "jobs": "supervisor.schedule_command:jobs",
    "runs": "report.commands:runs",
    "compare": "report.commands:compare_command",
    "report": "report.commands:report",
    "baseline": "report.commands:baseline",
}


class LazyGroup(click.Group):
    """A group whose commands are imported by name, as in click's own documentation."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f".{module}", __package__), attribute)
        return command


@click.command(cls=LazyGroup)
@click.version_option(__version__, prog_name="epochwatch")
def main() -> None:
    """Watches trainings; put `with epochwatch.start("name") as run:` around the loop."""


if __name__ == "__main__":
    main()
