"""The `epochwatch` command."""

from __future__ import annotations

import click

from . import __version__
from .report.commands import COMMANDS
from .supervisor.command import run


@click.group()
@click.version_option(__version__, prog_name="epochwatch")
def main() -> None:
    """Watches trainings; put `with epochwatch.start("name") as run:` around the loop."""


main.add_command(run)
for command in COMMANDS:
    main.add_command(command)

if __name__ == "__main__":
    main()
