"""Every command that the documentation shows exists, with the options that it is given."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import click
import pytest
import yaml
from tests.docs.pages import ROOT, Command, commands, pages

from alertbridge.commands import main as alertbridge
from epochwatch.cli import main as epochwatch

PROGRAMS: dict[str, click.Command] = {"alertbridge": alertbridge, "epochwatch": epochwatch}
TARGETS = set(re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split())  # type: ignore[index]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
PROFILES = {profile for service in COMPOSE["services"].values() for profile in service.get("profiles", [])}


def simple_commands(line: str) -> Iterator[list[str]]:
    """Takes a line of shell, gives its commands' words, without prompts, assignments and `sudo`."""
    parsed = shlex.shlex(line, posix=True, punctuation_chars=True)
    parsed.whitespace_split = True
    words: list[str] = []
    try:
        found = list(parsed)
    except ValueError:  # a quotation mark of prose
        return
    for word in [*found, ";"]:
        if word and set(word) <= set("();<>|&"):
            yield words
            words = []
        elif words or not (word in ("$", "sudo") or re.fullmatch(r"\w+=.*", word)):
            words.append(word)


def fault(words: list[str]) -> str | None:
    """Takes a command's words, gives what is wrong with it, or none if that is nothing or not ours to say."""
    if not words:
        return None
    if words[0] in PROGRAMS:
        return click_fault(PROGRAMS[words[0]], words[1:])
    if words[0] == "make":
        unknown = {word for word in words[1:] if "=" not in word and not word.startswith("-")} - TARGETS
        return f"no such target: {', '.join(sorted(unknown))}" if unknown else None
    if words[:2] == ["docker", "compose"]:
        return compose_fault(words[2:])
    return None


def click_fault(command: click.Command, words: list[str]) -> str | None:
    """Walks down to the subcommand, and lets click's own parser look at its options."""
    context = click.Context(command, info_name=command.name)
    try:
        _, left, _ = command.make_parser(context).parse_args(list(words))
    except click.BadOptionUsage:  # `run --schedule`: prose names an option without its value
        return None
    except click.UsageError as error:
        return error.format_message()
    if not isinstance(command, click.Group):
        return None
    if not left:
        return None
    if not re.fullmatch(r"[a-z][a-z-]*", left[0]):  # `outbox list|retry|drop`, `serve`/`send-test`
        return None
    found = command.get_command(context, left[0])
    return f"no such subcommand: {left[0]}" if found is None else click_fault(found, left[1:])


def compose_fault(words: list[str]) -> str | None:
    """Profiles and services are those of docker-compose.yml."""
    for option, value in pairwise(words):
        if option == "--profile" and value not in PROFILES:
            return f"no such profile: {value}"
    if "…" in words:
        return None
    for verb in ("exec", "logs", "kill", "restart", "run", "stop"):
        if verb in words:
            named = [word for word in words[words.index(verb) + 1 :] if word in COMPOSE["services"]]
            return None if named or words[-1] == verb else f"no such service in: {' '.join(words)}"
    return None


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_their_options_exist(page: Path) -> None:
    """`epochwatch …`, `alertbridge …`, `make …` and `docker compose …` work as they stand."""
    wrong = [
        f"{command}: {found}"
        for command in commands(page)
        for words in simple_commands(command.text)
        if (found := fault(words))
    ]

    assert wrong == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("alertbridge serve --confg x", "No such option"),
        ("X=1 alertbridge outbox retri --all", "no such subcommand: retri"),
        ("cd x && epochwatch run --jobb n -- python t.py", "No such option"),
        ("make tset ARGS=x", "no such target: tset"),
        ("docker compose --profile dmo up", "no such profile: dmo"),
        ("docker compose logs alertbrige", "no such service"),
    ],
)
def test_a_mistake_would_be_noticed(line: str, said: str) -> None:
    """The check above is not blind."""
    assert any(said in str(fault(words)) for words in simple_commands(line))


def test_there_are_commands_to_check() -> None:
    """The pages show commands of each program, several times."""
    shown = [
        words[0]
        for page in pages()
        for command in commands(page)
        for words in simple_commands(command.text)
        if words
    ]

    assert all(shown.count(program) > 5 for program in ("alertbridge", "epochwatch", "make"))


def test_a_command_names_its_place() -> None:
    """What is wrong is told with page and line."""
    assert str(Command("docs/x.md", 3, "make x")) == "docs/x.md:3: make x"
