"""Writes docs/settings.md from the code: `python docs/settings.py`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

import epochwatch
from epochwatch.cli import main as cli

PAGE = Path(__file__).with_name("settings.md")
HEAD = """\
# Settings of the training side

Made from the code by `python docs/settings.py`; a test compares the two. The bridge's are in
[configuration.md](configuration.md), those of the containers in [containers.md](containers.md).

## epochwatch.start

Every argument may also come from the environment; arguments win. A wrong one is refused at the start, by its name and
variable; after that nothing of epochwatch is ever raised into the loop. A mapping of Python is written `a=b,c=d`.

| argument | variable | meaning |
|---|---|---|
"""
COMMAND_HEAD = """
## epochwatch {name}

{help}

| option | variable | default | meaning |
|---|---|---|---|
"""
COMMANDS = ("run", "schedule", "jobs", "compare", "report", "runs")


def page() -> str:
    """Gives the whole page."""
    arguments = "".join(
        f"| `{name}` | {'' if name == 'registry' else f'`EPOCHWATCH_{name.upper()}`'} | {cell(text)} |\n"
        for name, text in start_arguments()
    )
    return HEAD + arguments + "".join(map(command_section, COMMANDS))


def start_arguments() -> Iterator[tuple[str, str]]:
    """Gives the arguments of `start` with what its docstring says of each."""
    documented = inspect.getdoc(epochwatch.start) or ""
    section = documented.partition("\nArgs:\n")[2].partition("\n\n")[0]
    for entry in re.split(r"\n(?=    \w)", section):
        name, _, text = entry.strip().partition(": ")
        yield name, " ".join(text.split())


def command_section(name: str) -> str:
    """Takes a subcommand's name, gives its section: what it does, and its options."""
    command = cli.get_command(click.Context(cli), name)
    if command is None:
        raise SystemExit(f"there is no `epochwatch {name}` any more; take it out of COMMANDS")
    about = re.split(r"\n\s*\n", inspect.cleandoc(command.help or ""))[0].replace("\n", " ")
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    context = click.Context(command, show_default=True)
    rows = "".join(option_row(option, context) for option in options)
    return COMMAND_HEAD.format(name=name, help=about) + rows


def option_row(option: click.Option, context: click.Context) -> str:
    """Takes an option, gives its line of the table."""
    record = option.get_help_record(context)
    words, text = record if record is not None else ("", "")
    shown = re.search(r"\[default: ([^\];]+)", text)
    text = re.sub(r"\s*\[EPOCHWATCH_\w+\]", "", text)
    meaning = re.sub(r"\s*\[[^\[\]]*(default|x[<>]=|<=x)[^\[\]]*\]", "", text).strip()
    variables = [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or ())
    variable = ", ".join(f"`{one}`" for one in variables)
    return f"| `{words.replace('|', ', ')}` | {variable} | {shown[1] if shown else ''} | {cell(meaning)} |\n"


def cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
