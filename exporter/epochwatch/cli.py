"""The `epochwatch` command."""

from __future__ import annotations

import click

from . import __version__
from .report.commands import COMMANDS
from .supervisor.command import run
from .supervisor.schedule_command import jobs, schedule


@click.group()
@click.version_option(__version__, prog_name="epochwatch")
def main() -> None:
    """Watches trainings; put `with epochwatch.start("name") as run:` around the loop."""


for command in (run, schedule, jobs):
    main.add_command(command)
for command in COMMANDS:
    main.add_command(command)

if __name__ == "__main__":
    main()
