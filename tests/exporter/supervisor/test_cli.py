"""The `epochwatch` command and its parts."""

import subprocess
import sys

from click.testing import CliRunner

from epochwatch.cli import COMMANDS, main


def test_every_command_is_there_under_its_name() -> None:
    """The table of commands leads to commands that call themselves so, and help lists them all."""
    for name in COMMANDS:
        done = CliRunner().invoke(main, [name, "--help"])
        assert done.exit_code == 0
        assert done.output.startswith(f"Usage: main {name} ")
    listed = CliRunner().invoke(main, ["--help"]).output
    assert [name for name in COMMANDS if f"\n  {name} " not in listed] == []


def test_an_unknown_command_is_refused() -> None:
    """With the words of click."""
    done = CliRunner().invoke(main, ["rum"])
    assert (done.exit_code, "No such command 'rum'" in done.output) == (2, True)


def test_running_a_command_imports_no_more_than_it_needs() -> None:
    """Neither the reports' libraries nor YAML, HTTP clients or torch delay a start."""
    script = (
        "import sys, epochwatch.supervisor.command\n"
        "heavy = {'matplotlib', 'sqlalchemy', 'yaml', 'requests', 'torch', 'numpy'} & set(sys.modules)\n"
        "print(sorted(heavy))\n"
    )
    assert subprocess.check_output([sys.executable, "-c", script]) == b"[]\n"
