"""The Feishu robot and its stand-in, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from alertbridge import Button, Delivered, Feishu, Later, Limited, Mention, Message, Never, Robot
from alertbridge.errors import RobotError
from alertbridge.robots.feishu import CODES, signature
from alertbridge.robots.transport import Answer
from alertbridge.sandbox.app import create_app
from alertbridge.sandbox.call import Limit, Rules
from alertbridge.sandbox.feishu import Feishu as Judge
from alertbridge.sandbox.serving import SandboxServer
from alertbridge.sandbox.window import Window
from alertbridge.secret import Secret

TOKEN = "0b5c1f7e-6a1d-4d0e-9a58-9d1f3f0c5d11"
SECRET = "Zr3yHq0nW8kD1pLx"
NOW = 1_795_400_000.0
TEXT = {"msg_type": "text", "content": {"text": "x"}}
CARD = {"msg_type": "interactive", "card": {"elements": [{"tag": "markdown", "content": "x"}]}}


@pytest.fixture
def sandbox() -> Iterator[str]:
    """A Feishu address of a sandbox that asks for signatures, on a clock that stands still."""
    rules = Rules(tokens=(Secret(TOKEN),), secret=Secret(SECRET), limit=Limit(messages=1000))
    with SandboxServer(create_app(rules, now=lambda: NOW), "127.0.0.1:0") as server:
        server.start()
        yield server.url


@pytest.fixture
def robot(sandbox: str) -> Iterator[Feishu]:
    """A robot that knows the sandbox's token and secret."""
    robot = Feishu(f"{sandbox}/open-apis/bot/v2/hook/{TOKEN}", SECRET, now=lambda: NOW)
    yield robot
    robot.close()


def shown(sandbox: str) -> list[dict[str, Any]]:
    """What the group sees."""
    messages: list[dict[str, Any]] = requests.get(f"{sandbox}/api/messages", timeout=5).json()["messages"]
    return messages


class Answering:
    """A transport that answers each call with the same body and keeps what it carried."""

    def __init__(self, body: str) -> None:
        self.body = body
        self.posts: list[tuple[str, dict[str, Any]]] = []

    def post(self, url: str, body: bytes) -> Answer:
        self.posts.append((url, json.loads(body)))
        return Answer(200, self.body.encode())

    def close(self) -> None:
        """Has nothing to close."""


def test_signature_is_that_of_the_known_example() -> None:
    """The signature of the vendor's example comes out."""
    assert signature(1599360473, "demo") == "l1N0gAcBjdwBvGm1xMjOF0XSyaLRpR7tuO5dHfhAYc8="


def test_signature_rides_in_the_body_and_is_made_anew() -> None:
    """Each attempt carries the seconds of its own moment and their signature, and nothing of it in the address."""
    times = iter([1_599_360_473.2, 1_599_360_473.2, 1_599_360_500.0, 1_599_360_500.0])
    carrier = Answering('{"code":0}')
    robot = Feishu(
        f"https://open.feishu.cn/open-apis/bot/v2/hook/{TOKEN}",
        "demo",
        now=lambda: next(times),
        transport=carrier,
    )
    robot.send("t", "x")
    robot.send("t", "x")
    assert [body["timestamp"] for _, body in carrier.posts] == ["1599360473", "1599360500"]
    assert carrier.posts[0][1]["sign"] == "l1N0gAcBjdwBvGm1xMjOF0XSyaLRpR7tuO5dHfhAYc8="
    assert carrier.posts[0][0].endswith(f"/hook/{TOKEN}")


def test_a_message_becomes_a_card(robot: Feishu, sandbox: str) -> None:
    """Title, level, text, buttons and mentions arrive in an interactive card in Feishu's dialect."""
    text = "### Head **b**\n> quote  \n- item\n![p](https://p.example)\n" + '<font color="#E02020">red</font>'
    message = Message(
        "Title",
        text,
        kind="action_card",
        buttons=(Button("Open", "https://g.example/?a=1&b=2"),),
        mention=Mention(mobiles=("138",), user_ids=("ou_1",), all=True),
        level="critical",
    )
    assert robot.send(message) == Delivered("0")
    (seen,) = shown(sandbox)
    assert seen["text"] == (
        '**Head b**\nquote\n- item\n[p](https://p.example)\n<font color="red">red</font>\n\n@所有人 @ou_1 @138'
    )
    assert seen["mentioned"] == ["all", "ou_1"]
    assert seen["buttons"] == [{"title": "Open", "url": "https://g.example/?a=1&b=2"}]
    assert (seen["title"], seen["tone"], seen["signed"]) == ("Title", "red", True)


def test_a_plain_text_mentions_too(robot: Feishu, sandbox: str) -> None:
    """The text form carries the title and its own kind of mention."""
    robot.send(Message("Title", "x", kind="text", mention=Mention(user_ids=("ou_1",))))
    (seen,) = shown(sandbox)
    assert (seen["text"], seen["mentioned"]) == ("Title\nx\n\n@ou_1", ["ou_1"])


def test_what_is_too_long_arrives_shortened(robot: Feishu, sandbox: str) -> None:
    """The body, signature included, keeps within Feishu's limit."""
    outcome = robot.send("Title", "训练\n" * 10_000)
    assert outcome == Delivered("0", "shortened to the robot's limit")
    assert 19_000 < shown(sandbox)[0]["size_bytes"] <= 20_000


def test_a_refused_card_goes_once_more_as_text(robot: Feishu, sandbox: str) -> None:
    """A card that Feishu cannot make is sent as its words."""
    requests.put(f"{sandbox}/api/mode", json={"mode": "markdown_refused"}, timeout=5)
    assert isinstance(robot.send("Title", "**x**"), Delivered)
    assert shown(sandbox)[0]["text"] == "Title\nx"


@pytest.mark.parametrize(("code", "doubtful"), [("9499", True), ("77", True), ("11232", False)])
def test_a_code_that_may_be_the_messages_fault_says_so(code: str, doubtful: bool) -> None:
    """An unknown code, and the one of bad requests, leave open whether the robot or the message is at fault."""
    answering = Answering(f'{{"code":{code},"msg":"x"}}')
    outcome = Feishu(f"https://open.feishu.cn/open-apis/bot/v2/hook/{TOKEN}", transport=answering).send(
        "t", "x"
    )
    assert getattr(outcome, "doubtful", False) == doubtful


def test_every_code_is_classed() -> None:
    """Each code leads to its class, in the newer and in the older form of the answer."""
    classes = {
        Delivered: ["0"],
        Later: ["9499", "77"],
        Limited: ["11232"],
        Never: ["19001", "19002", "19021", "19022", "19024", "230099", "11310"],
    }
    assert set(CODES.meanings) <= {code for codes in classes.values() for code in codes}
    for kind, codes in classes.items():
        for code in codes:
            for body in (f'{{"code":{code},"msg":"x"}}', f'{{"StatusCode":{code},"StatusMessage":"x"}}'):
                robot = Feishu(
                    f"https://open.feishu.cn/open-apis/bot/v2/hook/{TOKEN}", transport=Answering(body)
                )
                outcome = robot.send("t", "x")
                assert (type(outcome), outcome.errcode) == (kind, code)


@pytest.mark.parametrize(
    ("webhook", "message"),
    [
        (
            "https://open.feishu.cn/open-apis/bot/v2/",
            "Feishu: the address of open.feishu.cn has no /hook/ token; copy it whole:"
            " https://open.feishu.cn/open-apis/bot/v2/hook/…",
        ),
        (
            f"http://open.larksuite.com/open-apis/bot/v2/hook/{TOKEN}",
            "Feishu: http://open.larksuite.com would carry the token in the clear; write https://open.larksuite.com",
        ),
    ],
)
def test_an_address_that_cannot_be_right_is_refused(webhook: str, message: str) -> None:
    """A wrong address is said at once, without the token."""
    with pytest.raises(RobotError) as caught:
        Feishu(webhook)
    assert str(caught.value) == message


def test_it_is_a_robot_whose_token_cannot_be_seen() -> None:
    """The class keeps the sender's protocol; neither name nor repr holds the token."""
    robot = Feishu(f"https://open.feishu.cn/open-apis/bot/v2/hook/{TOKEN}", SECRET)
    assert isinstance(robot, Robot)
    assert TOKEN not in repr(robot) + robot.name + str(vars(robot))


# (what is wrong, code, body)
WRONG: list[tuple[str, int, Any]] = [
    ("no JSON", 9499, b"{"),
    ("no object", 9499, []),
    ("no msg_type", 19002, {}),
    ("unknown msg_type", 19002, {"msg_type": "video"}),
    ("text without content", 19002, {"msg_type": "text"}),
    ("text in DingTalk's form", 19002, {"msg_type": "text", "text": {"content": "x"}}),
    ("text that is a number", 19002, {"msg_type": "text", "content": {"text": 1}}),
    ("card without card", 19002, {"msg_type": "interactive", "content": {"text": "x"}}),
    ("card without elements", 19002, {"msg_type": "interactive", "card": {"elements": []}}),
    ("card with a broken element", 19002, {"msg_type": "interactive", "card": {"elements": ["x"]}}),
    (
        "card with a numeric text",
        19002,
        {"msg_type": "interactive", "card": {"elements": [{"tag": "markdown"}]}},
    ),
    (
        "card with a button that leads nowhere",
        19002,
        {
            "msg_type": "interactive",
            "card": {"elements": [{"tag": "action", "actions": [{"tag": "button"}]}]},
        },
    ),
    (
        "card with a broken title",
        19002,
        {
            "msg_type": "interactive",
            "card": {"header": {"title": {"content": 1}}, "elements": [{"tag": "hr"}]},
        },
    ),
    ("too long", 9499, json.dumps(TEXT).encode().ljust(20 * 1024 + 1)),
]


@pytest.fixture
def unsigned() -> Iterator[str]:
    """The Feishu address of a sandbox without a secret whose keyword is x."""
    rules = Rules(tokens=(Secret(TOKEN),), keywords=("x",))
    with SandboxServer(create_app(rules, now=lambda: NOW), "127.0.0.1:0") as server:
        server.start()
        yield server.url


def code_of(url: str, body: Any, token: str = TOKEN) -> Any:
    """Gives the code that answers one call."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{url}/open-apis/bot/v2/hook/{token}", data=data, headers=headers, timeout=5)
    return answer.json()["code"]


def test_what_feishu_refuses_is_refused(unsigned: str) -> None:
    """Each malformed body gets its code, and the group sees none of them."""
    assert [(name, code_of(unsigned, body)) for name, _, body in WRONG] == [
        (name, code) for name, code, _ in WRONG
    ]
    assert shown(unsigned) == []


def test_token_and_keyword_are_checked(unsigned: str) -> None:
    """An unknown token and a missing keyword have codes of their own."""
    bodies = [TEXT, CARD, {"msg_type": "text", "content": {"text": "y"}}]
    assert [code_of(unsigned, body) for body in bodies] == [0, 0, 19024]
    assert code_of(unsigned, TEXT, token="other") == 19001


@pytest.mark.parametrize(
    ("timestamp", "secret", "code"),
    [
        (NOW, SECRET, 0),
        (NOW - 3600, SECRET, 0),
        (NOW - 3601, SECRET, 19021),
        (NOW + 3601, SECRET, 19021),
        (NOW * 1000, SECRET, 19021),
        (NOW, "other", 19021),
    ],
)
def test_the_signature_and_its_hour(sandbox: str, timestamp: float, secret: str, code: int) -> None:
    """Only a signature with the secret, in seconds and within an hour, is taken."""
    signed = {**TEXT, "timestamp": str(int(timestamp)), "sign": signature(int(timestamp), secret)}
    assert code_of(sandbox, signed) == code


def test_an_unsigned_call_is_refused(sandbox: str) -> None:
    """Without timestamp and sign in the body a robot with a secret takes nothing."""
    bodies = [TEXT, {**TEXT, "timestamp": "1"}, {**TEXT, "timestamp": [], "sign": 1}]
    assert [code_of(sandbox, body) for body in bodies] == [19021] * 3


@pytest.mark.parametrize(
    ("times", "admitted"),
    [
        ([0.0] * 6, 5),
        ([0.0] * 6 + [1.0] * 6, 10),
        ([number * 0.25 for number in range(101)], 100),
        ([number * 0.25 for number in range(101)] + [60.1], 101),
    ],
    ids=["a second", "two seconds", "a minute", "more than a minute"],
)
def test_a_hundred_a_minute_and_five_a_second(times: list[float], admitted: int) -> None:
    """The vendor's own limits hold where no other is given; a refused call locks nothing and does not count."""
    window = Window(Judge.limit)
    assert sum(window.admit(at) for at in times) == admitted


def test_the_sixth_call_within_a_second_is_refused(unsigned: str) -> None:
    """Over HTTP the vendor's own limits hold where the sandbox is given no other."""
    assert [code_of(unsigned, TEXT) for _ in range(6)] == [*[0] * 5, 11232]
