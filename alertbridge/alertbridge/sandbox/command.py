"""`alertbridge sandbox`."""

from __future__ import annotations

import signal
from types import FrameType
from urllib.parse import quote

import click

from alertbridge.cli_options import teaching_errors
from alertbridge.errors import ConfigError
from alertbridge.sandbox.app import create_app
from alertbridge.sandbox.call import Limit, Rules
from alertbridge.sandbox.reception import Reception
from alertbridge.sandbox.serving import SandboxServer
from alertbridge.sandbox.terminal import Terminal
from alertbridge.secret import Secret


@click.command()
@click.option(
    "--listen", default="127.0.0.1:8070", show_default=True, help="HOST:PORT; port 0 picks a free one."
)
@click.option(
    "--token",
    "tokens",
    multiple=True,
    default=["sandbox"],
    show_default=True,
    help="access_token of a robot; repeat it for several robots.",
)
@click.option("--secret", help="Ask for calls signed with this secret (SEC…), as a robot with 加签 does.")
@click.option("--keyword", "keywords", multiple=True, help="Ask for one of these words in each message.")
@click.option(
    "--messages",
    type=click.IntRange(min=1),
    help="Calls that one robot takes in a window, instead of the vendor's number (DingTalk and WeCom 20, Feishu 100).",
)
@click.option(
    "--per-seconds",
    type=click.FloatRange(min=0.001),
    help="Length of the window, instead of 60.",
)
@click.option(
    "--lock-seconds",
    type=click.FloatRange(min=0),
    help="How long a robot is locked beyond that, instead of DingTalk's 600.",
)
@click.option("--name", default="alertbridge", show_default=True, help="The robot's name in the group.")
@teaching_errors
def sandbox(
    listen: str,
    tokens: tuple[str, ...],
    secret: str | None,
    keywords: tuple[str, ...],
    messages: int | None,
    per_seconds: float | None,
    lock_seconds: float | None,
    name: str,
) -> None:
    """Stands in for the robots of DingTalk, Feishu and WeCom, and shows what the group would see.

    It checks what the vendor checks: token, signature and its time, content type, fields, 20,000 bytes,
    keyword, 20 messages a minute. Messages are printed here and shown on its page; nothing leaves this machine.
    """
    if not all(tokens):
        raise ConfigError("--token must not be empty")
    rules = Rules(
        tokens=tuple(Secret(token) for token in tokens),
        secret=Secret(secret) if secret else None,
        keywords=tuple(keywords),
        limit=_limit(messages, per_seconds, lock_seconds),
        name=name,
    )
    app = create_app(rules, told=Terminal().tell)
    with SandboxServer(app, listen) as server:
        _end_on_signals(app.extensions["sandbox"])
        click.echo(_greeting(server.url, tokens, signed=bool(secret)))
        server.run()


def _limit(messages: int | None, per_seconds: float | None, lock_seconds: float | None) -> Limit | None:
    if messages is per_seconds is lock_seconds is None:
        return None
    usual = Limit()
    return Limit(
        usual.messages if messages is None else messages,
        usual.per_seconds if per_seconds is None else per_seconds,
        usual.lock_seconds if lock_seconds is None else lock_seconds,
    )


def _greeting(url: str, tokens: tuple[str, ...], signed: bool) -> str:
    quoted = [quote(token, safe="") for token in tokens]
    lines = [f"sandbox robot: what the group sees is at {url}/", ""]
    lines += [f"  DINGTALK_WEBHOOK={url}/robot/send?access_token={token}" for token in quoted]
    signing = (
        "  DINGTALK_SECRET=(the --secret above)" if signed else "  no secret: unsigned messages are taken"
    )
    lines.append(signing)
    lines += [f"  Feishu {url}/open-apis/bot/v2/hook/{token}" for token in quoted]
    lines += [f"  WeCom  {url}/cgi-bin/webhook/send?key={token}" for token in quoted]
    return "\n".join([*lines, "", "messages appear below; Ctrl-C ends"])


def _end_on_signals(reception: Reception) -> None:
    def end(number: int, frame: FrameType | None) -> None:
        # waitress waits for its threads, and a call that hangs holds one.
        reception.switch.let_go()
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
