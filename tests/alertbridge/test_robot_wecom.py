"""The WeCom robot and its stand-in, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from alertbridge import Button, Delivered, Later, Limited, Mention, Message, Never, Robot, WeCom
from alertbridge.errors import RobotError
from alertbridge.robots.transport import Answer
from alertbridge.robots.wecom import CODES
from alertbridge.sandbox.app import create_app
from alertbridge.sandbox.call import Rules
from alertbridge.sandbox.serving import SandboxServer
from alertbridge.secret import Secret

KEY = "693a91f6-7aaa-4bc4-97a0-0ec2sifa5aaa"
WEBHOOK = f"https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key={KEY}"
NOW = 1_795_400_000.0


@pytest.fixture
def sandbox() -> Iterator[str]:
    """A sandbox on a clock that stands still."""
    with SandboxServer(create_app(Rules(tokens=(Secret(KEY),)), now=lambda: NOW), "127.0.0.1:0") as server:
        server.start()
        yield server.url


@pytest.fixture
def robot(sandbox: str) -> Iterator[WeCom]:
    """A robot that knows the sandbox's key."""
    robot = WeCom(f"{sandbox}/cgi-bin/webhook/send?key={KEY}")
    yield robot
    robot.close()


def shown(sandbox: str) -> list[dict[str, Any]]:
    """What the group sees."""
    messages: list[dict[str, Any]] = requests.get(f"{sandbox}/api/messages", timeout=5).json()["messages"]
    return messages


class Answering:
    """A transport that answers each call with the same body."""

    def __init__(self, body: str) -> None:
        self.body = body

    def post(self, url: str, body: bytes) -> Answer:
        return Answer(200, self.body.encode())

    def close(self) -> None:
        """Has nothing to close."""


def test_a_message_becomes_markdown(robot: WeCom, sandbox: str) -> None:
    """Text, colours, buttons as links and mentions by user id arrive in WeCom's dialect."""
    message = Message(
        "Title",
        '### Head\n> quote  \n<font color="#E02020">red</font> <font color="#18A058">green</font>',
        kind="action_card",
        buttons=(Button("Open", "https://g.example/?a=1"),),
        mention=Mention(user_ids=("zhangsan",)),
    )
    assert robot.send(message) == Delivered("0")
    (seen,) = shown(sandbox)
    assert seen["text"] == (
        '### Head\n> quote\n<font color="warning">red</font> <font color="info">green</font>\n\n'
        "[Open](https://g.example/?a=1)\n\n@zhangsan"
    )
    assert (seen["msgtype"], seen["title"], seen["mentioned"]) == ("markdown", "Head", ["zhangsan"])


def test_a_text_without_heading_shows_the_title(robot: WeCom, sandbox: str) -> None:
    """WeCom has no place for a title, so a message that brings no heading gets it as one."""
    robot.send("Training", "has finished")
    assert shown(sandbox)[0]["text"] == "**Training**\nhas finished"


@pytest.mark.parametrize(
    ("mention", "mentioned"),
    [
        (Mention(mobiles=("138",)), ["138"]),
        (Mention(all=True), ["all"]),
        (Mention(mobiles=("138",), user_ids=("zhangsan",)), ["zhangsan", "138"]),
    ],
)
def test_mobiles_and_everybody_are_called_in_plain_text(
    robot: WeCom, sandbox: str, mention: Mention, mentioned: list[str]
) -> None:
    """WeCom's Markdown can call neither, so such a message goes as text, its links readable."""
    robot.send(Message("Title", "**x** [a](https://a.example)", mention=mention))
    (seen,) = shown(sandbox)
    assert (seen["msgtype"], seen["mentioned"]) == ("text", mentioned)
    assert seen["text"].startswith("Title\nx a https://a.example\n")


@pytest.mark.parametrize(("mention", "limit"), [(Mention(), 4096), (Mention(all=True), 2048)])
def test_what_is_too_long_arrives_shortened(robot: WeCom, sandbox: str, mention: Mention, limit: int) -> None:
    """Markdown keeps within 4096 bytes of content and text within 2048."""
    outcome = robot.send(Message("Title", "训练\n" * 3000, mention=mention))
    assert outcome == Delivered("0", "shortened to the robot's limit")
    text = shown(sandbox)[0]["text"].removesuffix("\n@所有人")
    assert limit - 200 < len(text.encode()) <= limit


def test_a_robot_that_finds_it_too_long_gets_half(robot: WeCom, sandbox: str) -> None:
    """Errcode 40058 is answered once with half of the message."""
    requests.put(f"{sandbox}/api/mode", json={"mode": "too_long", "bytes": 3000}, timeout=5)
    outcome = robot.send("Title", "line\n" * 700)
    assert outcome == Delivered("0", "shortened by half, because the robot found it too long")


def test_every_errcode_is_classed() -> None:
    """Each errcode leads to its class."""
    classes = {
        Delivered: ["0"],
        Later: ["-1", "77"],
        Limited: ["45009", "45033"],
        Never: ["93000", "40058", "45002", "40008", "40035", "44004", "47001"],
    }
    assert set(CODES.meanings) <= {code for codes in classes.values() for code in codes}
    for kind, codes in classes.items():
        for code in codes:
            outcome = WeCom(WEBHOOK, transport=Answering(f'{{"errcode":{code},"errmsg":"x"}}')).send("t", "x")
            assert (type(outcome), outcome.errcode) == (kind, code)


@pytest.mark.parametrize(
    ("webhook", "secret", "message"),
    [
        (
            "https://qyapi.weixin.qq.com/cgi-bin/webhook/send",
            None,
            "WeCom: the address of qyapi.weixin.qq.com has no key; copy it whole:"
            " https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=…",
        ),
        (WEBHOOK, "SEC1", "WeCom: its robots have no signing secret; leave `secret` away"),
    ],
)
def test_what_cannot_be_right_is_refused(webhook: str, secret: str | None, message: str) -> None:
    """A wrong address or a secret that WeCom cannot use is said at once."""
    with pytest.raises(RobotError) as caught:
        WeCom(webhook, secret)
    assert str(caught.value) == message


def test_it_is_a_robot_whose_key_cannot_be_seen() -> None:
    """The class keeps the sender's protocol; neither name nor repr holds the key."""
    robot = WeCom(WEBHOOK)
    assert isinstance(robot, Robot)
    assert KEY not in repr(robot) + robot.name + str(vars(robot))


# (what is wrong, errcode, body)
WRONG: list[tuple[str, int, Any]] = [
    ("no JSON", 47001, b"{"),
    ("no object", 47001, []),
    ("no msgtype", 40008, {}),
    ("unknown msgtype", 40008, {"msgtype": "actionCard"}),
    ("msgtype of a wrong type", 40008, {"msgtype": ["text"]}),
    ("no content", 44004, {"msgtype": "text", "text": {}}),
    ("empty content", 44004, {"msgtype": "markdown", "markdown": {"content": ""}}),
    ("2049 bytes of text", 40058, {"msgtype": "text", "text": {"content": "x" * 2049}}),
    ("4097 bytes of Markdown", 40058, {"msgtype": "markdown", "markdown": {"content": "训" * 1365 + "xx"}}),
    (
        "a mention that is no list",
        40035,
        {"msgtype": "text", "text": {"content": "x", "mentioned_list": "@all"}},
    ),
    (
        "a mobile as a number",
        40035,
        {"msgtype": "text", "text": {"content": "x", "mentioned_mobile_list": [138]}},
    ),
]


def errcode_of(url: str, body: Any, key: str = KEY) -> Any:
    """Gives the errcode that answers one call."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.post(f"{url}/cgi-bin/webhook/send?key={key}", data=data, timeout=5).json()["errcode"]


def test_what_wecom_refuses_is_refused(sandbox: str) -> None:
    """Each malformed body gets its errcode, and the group sees none of them."""
    assert [(name, errcode_of(sandbox, body)) for name, _, body in WRONG] == [
        (name, code) for name, code, _ in WRONG
    ]
    assert shown(sandbox) == []


def test_key_and_frequency_are_checked(sandbox: str) -> None:
    """An unknown key is refused, and the 21st call of a minute."""
    body = {"msgtype": "text", "text": {"content": "x"}}
    assert errcode_of(sandbox, body, key="other") == 93000
    assert [errcode_of(sandbox, body) for _ in range(21)] == [*[0] * 20, 45009]
