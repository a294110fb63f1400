"""The sandbox judges DingTalk calls as DingTalk does, over real sockets and on a clock of the test's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Protocol

import pytest
import requests

from alertbridge.robots.dingtalk import signature
from alertbridge.sandbox.app import create_app
from alertbridge.sandbox.call import Limit, Rules
from alertbridge.sandbox.serving import SandboxServer
from alertbridge.secret import Secret

TOKEN = "4f2a9c0d5e7b813f6a60"
SECRET = "SEC7b1e0c4f9a2d4c5e8f3a"
JSON = "application/json; charset=utf-8"
TEXT = {"msgtype": "text", "text": {"content": "训练 finished"}}


class Clock(Protocol):
    """The clock of conftest.py."""

    now: float

    def __call__(self) -> float: ...

    def pass_by(self, seconds: float) -> None: ...


class Sandbox:
    """A running sandbox and how a client calls it."""

    def __init__(self, url: str, clock: Clock, secret: str | None) -> None:
        self.url = url
        self.clock = clock
        self.secret = secret

    def send(
        self, body: Any, *, token: str = TOKEN, content_type: str = JSON, **query: str
    ) -> dict[str, Any]:
        """Gives the answer to one call, signed if the robot asks for it and the query says nothing else."""
        if self.secret and not query:
            timestamp = round(self.clock() * 1000)
            query = {"timestamp": str(timestamp), "sign": signature(timestamp, self.secret)}
        data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        answer = requests.post(
            f"{self.url}/robot/send",
            params={"access_token": token, **query},
            data=data,
            headers={"Content-Type": content_type},
            timeout=5,
        )
        found: dict[str, Any] = answer.json()
        return found

    def errcode(self, body: Any, **options: str) -> Any:
        return self.send(body, **options)["errcode"]

    def get(self, what: str) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = requests.get(f"{self.url}/api/{what}", timeout=5).json()[what]
        return listed

    def mode(self, **body: Any) -> requests.Response:
        return requests.put(f"{self.url}/api/mode", json=body, timeout=5)


class Start(Protocol):
    """Starts a sandbox with these rules."""

    def __call__(self, secret: str | None = None, **rules: Any) -> Sandbox: ...


@pytest.fixture
def start(clock: Clock) -> Iterator[Start]:
    """Starts sandboxes on the test's clock, all ended afterwards."""
    servers: list[SandboxServer] = []

    def start(secret: str | None = None, **rules: Any) -> Sandbox:
        rules = {"limit": Limit(messages=1000), "tokens": (Secret(TOKEN),), **rules}
        app = create_app(Rules(secret=Secret(secret) if secret else None, **rules), now=clock)
        servers.append(SandboxServer(app, "127.0.0.1:0"))
        servers[-1].start()
        return Sandbox(servers[-1].url, clock, secret)

    yield start
    for server in servers:
        server.close()


# (what is wrong, errcode, body)
WRONG_BODIES: list[tuple[str, int, Any]] = [
    ("no JSON", 40035, b"{"),
    ("no UTF-8", 40035, b'{"msgtype":"\xff"}'),
    ("nested without end", 40035, b"[" * 19_000),
    ("no object", 40035, [TEXT]),
    ("nothing", 40035, b""),
    ("no msgtype", 40035, {"text": {"content": "x"}}),
    ("msgtype of a wrong type", 40035, {"msgtype": 1}),
    ("unknown msgtype", 400105, {"msgtype": "image", "image": {}}),
    ("msgtype in a wrong case", 400105, {"msgtype": "Markdown", "Markdown": {"title": "t", "text": "x"}}),
    ("text without its part", 40035, {"msgtype": "text"}),
    ("text with another's part", 40035, {"msgtype": "text", "markdown": {"title": "t", "text": "x"}}),
    ("text without content", 40035, {"msgtype": "text", "text": {}}),
    ("text with empty content", 40035, {"msgtype": "text", "text": {"content": " \n"}}),
    ("text with a number", 40035, {"msgtype": "text", "text": {"content": 1}}),
    ("text that is a string", 40035, {"msgtype": "text", "text": "x"}),
    ("markdown without title", 40035, {"msgtype": "markdown", "markdown": {"text": "x"}}),
    ("markdown without text", 40035, {"msgtype": "markdown", "markdown": {"title": "x"}}),
    ("link without address", 40035, {"msgtype": "link", "link": {"title": "t", "text": "x"}}),
    ("card without buttons", 40035, {"msgtype": "actionCard", "actionCard": {"title": "t", "text": "x"}}),
    (
        "card with half a single button",
        40035,
        {"msgtype": "actionCard", "actionCard": {"title": "t", "text": "x", "singleTitle": "b"}},
    ),
    (
        "card with no button in its list",
        40035,
        {"msgtype": "actionCard", "actionCard": {"title": "t", "text": "x", "btns": []}},
    ),
    (
        "card with a button that leads nowhere",
        40035,
        {"msgtype": "actionCard", "actionCard": {"title": "t", "text": "x", "btns": [{"title": "b"}]}},
    ),
    (
        "card with a button that is none",
        40035,
        {"msgtype": "actionCard", "actionCard": {"title": "t", "text": "x", "btns": ["b"]}},
    ),
    ("feed without links", 40035, {"msgtype": "feedCard", "feedCard": {}}),
    (
        "feed with a link without picture",
        40035,
        {"msgtype": "feedCard", "feedCard": {"links": [{"title": "t", "messageURL": "https://x"}]}},
    ),
    ("at that is no object", 40035, {**TEXT, "at": []}),
    ("at with numbers", 40035, {**TEXT, "at": {"atMobiles": [13800138000]}}),
    ("at with one text", 40035, {**TEXT, "at": {"atUserIds": "zhangsan"}}),
    ("isAtAll as a text", 40035, {**TEXT, "at": {"isAtAll": "true"}}),
    ("51 people", 40035, {**TEXT, "at": {"atMobiles": ["1"] * 26, "atUserIds": ["u"] * 25}}),
    ("msgUuid as a number", 40035, {**TEXT, "msgUuid": 1}),
    ("20,001 bytes", 460101, json.dumps(TEXT).encode().ljust(20_001)),
]


def test_what_dingtalk_refuses_is_refused(start: Start) -> None:
    """Each malformed body gets DingTalk's errcode, and the group sees none of them."""
    sandbox = start()
    assert [(name, code) for name, code, _ in WRONG_BODIES] == [
        (name, sandbox.errcode(body)) for name, _, body in WRONG_BODIES
    ]
    assert sandbox.get("messages") == []
    assert [code for _, code, _ in WRONG_BODIES] == [
        attempt["errcode"] for attempt in sandbox.get("attempts")
    ]


# (msgtype's body, title, text, buttons)
RIGHT_BODIES: list[tuple[dict[str, Any], str, str, list[dict[str, str]]]] = [
    (TEXT, "训练 finished", "训练 finished", []),
    ({"msgtype": "markdown", "markdown": {"title": "t", "text": "# x"}}, "t", "# x", []),
    (
        {"msgtype": "link", "link": {"title": "t", "text": "x", "messageUrl": "https://a"}},
        "t",
        "**t**\n\nx",
        [{"title": "t", "url": "https://a"}],
    ),
    (
        {
            "msgtype": "actionCard",
            "actionCard": {"title": "t", "text": "x", "singleTitle": "b", "singleURL": "https://a"},
        },
        "t",
        "x",
        [{"title": "b", "url": "https://a"}],
    ),
    (
        {
            "msgtype": "actionCard",
            "actionCard": {"title": "t", "text": "x", "btns": [{"title": "b", "actionURL": "https://a"}]},
        },
        "t",
        "x",
        [{"title": "b", "url": "https://a"}],
    ),
    (
        {
            "msgtype": "feedCard",
            "feedCard": {"links": [{"title": "t", "messageURL": "https://a", "picURL": "https://p"}]},
        },
        "t",
        "",
        [{"title": "t", "url": "https://a"}],
    ),
]


@pytest.mark.parametrize(("body", "title", "text", "buttons"), RIGHT_BODIES)
def test_every_msgtype_is_taken(
    start: Start, body: dict[str, Any], title: str, text: str, buttons: list[dict[str, str]]
) -> None:
    """Each of DingTalk's forms is taken and shown with its title, text and buttons."""
    sandbox = start()
    assert sandbox.send(body) == {"errcode": 0, "errmsg": "ok"}
    (message,) = sandbox.get("messages")
    assert (body["msgtype"], title, text, buttons) == (
        message["msgtype"],
        message["title"],
        message["text"],
        message["buttons"],
    )


def test_a_body_of_20000_bytes_is_taken(start: Start) -> None:
    """The limit itself is still within it."""
    assert start().errcode(json.dumps(TEXT).encode().ljust(20_000)) == 0


@pytest.mark.parametrize(
    ("content_type", "errcode"),
    [
        ("application/json", 0),
        ("Application/JSON;charset=utf-8", 0),
        ("text/plain", 43004),
        ("application/x-www-form-urlencoded", 43004),
        ("", 43004),
        ("application/jsonp", 43004),
    ],
)
def test_the_content_type_must_be_json(start: Start, content_type: str, errcode: int) -> None:
    """Anything but application/json is refused with 43004."""
    assert start().errcode(TEXT, content_type=content_type) == errcode


def test_an_unknown_token_is_refused_without_being_shown(start: Start) -> None:
    """A wrong or absent token gets 300005, and is not to be found in what the sandbox tells."""
    sandbox = start()
    wrong = "feedfacefeedfacefeed"
    assert [sandbox.errcode(TEXT, token=wrong), sandbox.errcode(TEXT, token="")] == [300005, 300005]
    told = requests.get(f"{sandbox.url}/api/attempts", timeout=5).text
    assert wrong not in told
    assert TOKEN not in told


HOUR = 3600


@pytest.mark.parametrize(
    ("shift_seconds", "secret", "errcode"),
    [
        (0, SECRET, 0),
        (-HOUR, SECRET, 0),
        (HOUR, SECRET, 0),
        (-HOUR - 1, SECRET, 310000),
        (HOUR + 1, SECRET, 310000),
        (0, "SECother", 310000),
    ],
)
def test_the_signature_and_its_hour(
    start: Start, clock: Clock, shift_seconds: int, secret: str, errcode: int
) -> None:
    """A signature made with the secret within an hour of now is taken, any other refused."""
    sandbox = start(SECRET)
    timestamp = round((clock.now + shift_seconds) * 1000)
    answer = sandbox.errcode(TEXT, timestamp=str(timestamp), sign=signature(timestamp, secret))
    assert answer == errcode
    assert [True] * (errcode == 0) == [message["signed"] for message in sandbox.get("messages")]


def test_a_signature_in_any_other_form_is_refused(start: Start, clock: Clock) -> None:
    """Encoded twice, in seconds, without one of its halves or in the body: DingTalk takes none of these."""
    sandbox = start(SECRET)
    now = round(clock.now * 1000)
    sign = signature(now, SECRET)
    wrong = [
        {"timestamp": str(now), "sign": requests.utils.quote(sign, safe="")},
        {"timestamp": str(now // 1000), "sign": signature(now // 1000, SECRET)},
        {"timestamp": str(now)},
        {"sign": sign},
        {"timestamp": "now", "sign": sign},
        {"timestamp": "٣", "sign": sign},
        {"timestamp": str(now), "sign": "签"},
    ]
    assert [310000] * len(wrong) == [sandbox.errcode(TEXT, **query) for query in wrong]
    assert sandbox.errcode({**TEXT, "timestamp": now, "sign": sign}, other="1") == 310000


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        (TEXT, 0),
        ({"msgtype": "markdown", "markdown": {"title": "训练", "text": "x"}}, 0),
        ({"msgtype": "markdown", "markdown": {"title": "t", "text": "alert: x"}}, 0),
        ({"msgtype": "text", "text": {"content": "x"}}, 310000),
    ],
)
def test_one_of_the_keywords_must_occur(start: Start, body: dict[str, Any], errcode: int) -> None:
    """A message with none of the keywords in title and text is refused with 310000."""
    assert start(keywords=("训练", "alert")).errcode(body) == errcode


def test_twenty_a_minute_then_ten_minutes_lock(start: Start, clock: Clock) -> None:
    """The 21st call within a minute locks the robot for ten minutes; calls during the lock do not lengthen it."""
    sandbox = start(limit=Limit())
    assert [sandbox.errcode(TEXT) for _ in range(20)] == [0] * 20
    clock.pass_by(59)
    assert sandbox.errcode(TEXT) == 130101
    clock.pass_by(599)
    assert sandbox.errcode(TEXT) == 130101
    clock.pass_by(1)
    assert sandbox.errcode(TEXT) == 0


def test_the_window_slides(start: Start, clock: Clock) -> None:
    """Room comes back call by call as each leaves its minute, not all at once."""
    sandbox = start(limit=Limit(messages=2))
    assert sandbox.errcode(TEXT) == 0
    clock.pass_by(30)
    assert sandbox.errcode(TEXT) == 0
    clock.pass_by(31)
    assert [sandbox.errcode(TEXT), sandbox.errcode(TEXT)] == [0, 130101]


def test_each_token_is_a_robot_with_a_limit_of_its_own(start: Start) -> None:
    """One robot's lock leaves the others alone, and each message says which robot told it."""
    sandbox = start(tokens=(Secret("one"), Secret("two")), limit=Limit(messages=1))
    assert [sandbox.errcode(TEXT, token=token) for token in ("one", "one", "two")] == [0, 130101, 0]
    assert [message["robot"] for message in sandbox.get("messages")] == [1, 2]


def test_the_same_msg_uuid_is_shown_once(start: Start) -> None:
    """A repeated msgUuid is answered as delivered, noted as a duplicate and not shown again."""
    sandbox = start(tokens=(Secret("one"), Secret("two")))
    body = {**TEXT, "msgUuid": "u1"}
    assert [sandbox.errcode(body, token=token) for token in ("one", "one", "two")] == [0, 0, 0]
    assert [(one["msg_uuid"], one["robot"]) for one in sandbox.get("messages")] == [("u1", 1), ("u1", 2)]
    first = sandbox.get("messages")[0]["id"]
    assert [None, first, None] == [attempt["duplicate_of"] for attempt in sandbox.get("attempts")]


@pytest.mark.parametrize(
    ("text", "at", "mentioned"),
    [
        ("look @13800138000", {"atMobiles": ["13800138000"]}, ["13800138000"]),
        ("look @13800138000 now", {"atMobiles": ["13800138000"]}, ["13800138000"]),
        ("look\n@zhangsan", {"atUserIds": ["zhangsan"]}, ["zhangsan"]),
        ("look @13800138000", {}, []),
        ("look", {"atMobiles": ["13800138000"]}, []),
        ("look@13800138000", {"atMobiles": ["13800138000"]}, []),
        ("look @13800138000,", {"atMobiles": ["13800138000"]}, []),
        ("look @138001380001", {"atMobiles": ["13800138000"]}, []),
        ("@所有人 look", {"isAtAll": True}, ["all"]),
        ("@所有人 look", {"isAtAll": False}, []),
        ("look", {"isAtAll": True}, []),
    ],
)
def test_only_a_name_in_list_and_text_mentions(
    start: Start, text: str, at: dict[str, Any], mentioned: list[str]
) -> None:
    """A mention needs both: the list, and the name in the text between spaces."""
    sandbox = start()
    sandbox.send({"msgtype": "markdown", "markdown": {"title": "t", "text": text}, "at": at})
    assert sandbox.get("messages")[0]["mentioned"] == mentioned


# (mode, HTTP status or None for a broken connection, errcode, whether the group sees the message)
MODES: list[tuple[str, int | None, Any, bool]] = [
    ("ok", 200, 0, True),
    ("busy", 200, -1, False),
    ("limited", 200, 130101, False),
    ("ban", 200, None, False),
    ("ban_page", 403, None, False),
    ("bad_gateway", 502, None, False),
    ("redirect", 302, None, False),
    ("empty", 200, None, False),
    ("no_errcode", 200, None, False),
    ("string_zero", 200, "0", True),
    ("reset", None, None, False),
    ("answer_lost", None, None, True),
    ("hang", None, None, False),
    ("answer_hangs", None, None, True),
    ("markdown_refused", 200, 430104, False),
]


@pytest.mark.parametrize(("mode", "status", "errcode", "seen"), MODES)
def test_each_mode_fails_in_its_way_and_only_as_often_as_told(
    start: Start, mode: str, status: int | None, errcode: Any, seen: bool
) -> None:
    """A mode with count 1 shapes one call; the next one is judged and answered as it should be."""
    sandbox = start()
    assert sandbox.mode(mode=mode, count=1).json() == {"mode": mode, "count": 1}
    body = {"msgtype": "markdown", "markdown": {"title": "t", "text": "x"}}
    url = f"{sandbox.url}/robot/send?access_token={TOKEN}"
    try:
        answer = requests.post(url, json=body, timeout=0.3, allow_redirects=False)
    except (requests.ConnectionError, requests.Timeout):
        assert status is None
    else:
        assert status == answer.status_code
        found = answer.json().get("errcode") if answer.content[:1] == b"{" else None
        assert found == errcode
    assert seen == bool(sandbox.get("messages"))
    assert [(mode, errcode, seen)] == [
        (attempt["mode"], attempt["errcode"], attempt["accepted"]) for attempt in sandbox.get("attempts")
    ]
    assert sandbox.errcode(TEXT) == 0


def test_a_mode_without_count_stays_until_it_is_changed(start: Start) -> None:
    """Every call fails until the mode is ok again."""
    sandbox = start()
    sandbox.mode(mode="errcode", errcode=400102)
    assert [sandbox.errcode(TEXT) for _ in range(3)] == [400102] * 3
    assert requests.get(f"{sandbox.url}/api/mode", timeout=5).json()["mode"] == "errcode"
    sandbox.mode(mode="ok")
    assert sandbox.errcode(TEXT) == 0


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "mode must be one of ok, busy, limited, "),
        ([], "mode must be one of "),
        ({"mode": "explode"}, "mode must be one of "),
        ({"mode": ["ok"]}, "mode must be one of "),
        ({"mode": "busy", "count": 0}, "count must be a whole number from 1, or null"),
        ({"mode": "busy", "count": True}, "count must be a whole number from 1, or null"),
        ({"mode": "errcode", "errcode": None}, "errcode must be a number or a text"),
        ({"mode": "too_long", "bytes": "1"}, "bytes must be a whole number"),
    ],
)
def test_a_wrong_mode_is_refused_with_what_would_be_right(start: Start, body: Any, error: str) -> None:
    """A mode that does not exist leaves the sandbox as it is and says which do."""
    sandbox = start()
    answer = requests.put(f"{sandbox.url}/api/mode", json=body, timeout=5)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(error)
    assert sandbox.errcode(TEXT) == 0


def test_deleting_the_messages_forgets_everything(start: Start) -> None:
    """After the reset no message, attempt, msgUuid, counted call or lock is left."""
    sandbox = start(limit=Limit(messages=1))
    body = {**TEXT, "msgUuid": "u1"}
    assert [sandbox.errcode(body), sandbox.errcode(body)] == [0, 130101]
    assert requests.delete(f"{sandbox.url}/api/messages", timeout=5).status_code == 204
    assert [] == sandbox.get("messages") == sandbox.get("attempts")
    assert sandbox.errcode(body) == 0
    assert len(sandbox.get("messages")) == 1


def test_only_what_is_newer_can_be_asked_for(start: Start) -> None:
    """`after` leaves out what a client has seen already."""
    sandbox = start()
    sandbox.send(TEXT)
    first = sandbox.get("messages")[0]["id"]
    sandbox.send(TEXT)
    newer = requests.get(f"{sandbox.url}/api/messages?after={first}", timeout=5).json()["messages"]
    assert [message["id"] for message in newer] == [sandbox.get("messages")[1]["id"]]


def test_a_message_tells_all_that_came_with_it(start: Start, clock: Clock) -> None:
    """The JSON of a message holds the time of the sandbox's clock and every field."""
    sandbox = start(SECRET)
    at = {"atMobiles": ["138"], "isAtAll": False}
    body = {"msgtype": "markdown", "markdown": {"title": "t", "text": "x @138"}, "at": at, "msgUuid": "u1"}
    sandbox.send(body)
    (message,) = sandbox.get("messages")
    size_bytes = len(json.dumps(body, ensure_ascii=False).encode())
    assert message == {
        "id": message["id"],
        "received_at": clock.now,
        "channel": "dingtalk",
        "robot": 1,
        "size_bytes": size_bytes,
        "msgtype": "markdown",
        "title": "t",
        "text": "x @138",
        "style": "markdown",
        "at": at,
        "mentioned": ["138"],
        "msg_uuid": "u1",
        "signed": True,
        "tone": "",
        "buttons": [],
    }
    (attempt,) = sandbox.get("attempts")
    assert attempt == {
        "id": attempt["id"],
        "at": clock.now,
        "channel": "dingtalk",
        "robot": 1,
        "mode": "ok",
        "errcode": 0,
        "reason": "",
        "msgtype": "markdown",
        "msg_uuid": "u1",
        "message_id": message["id"],
        "duplicate_of": None,
        "size_bytes": size_bytes,
        "accepted": True,
    }


def test_a_huge_body_is_not_read(start: Start) -> None:
    """A body far beyond any limit is refused without being kept."""
    sandbox = start()
    url = f"{sandbox.url}/robot/send?access_token={TOKEN}"
    assert (
        requests.post(url, data=b"x" * 1_100_000, headers={"Content-Type": JSON}, timeout=5).status_code
        == 413
    )
