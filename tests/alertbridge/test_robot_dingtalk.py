"""The DingTalk robot: what it sends, against the sandbox and against hostile servers, over real sockets."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from alertbridge import Button, Delivered, DingTalk, Later, Limited, Mention, Message, Never, Robot
from alertbridge.errors import RobotError
from alertbridge.robots.dingtalk import CODES, MAX_BYTES, signature
from alertbridge.robots.transport import Answer, NoAnswer
from alertbridge.sandbox.app import create_app
from alertbridge.sandbox.call import Limit, Rules
from alertbridge.sandbox.serving import SandboxServer
from alertbridge.secret import Secret

TOKEN = "4f2a9c0d5e7b813f6a604f2a9c0d5e7b813f6a60"
SECRET = "SEC7b1e0c4f9a2d4c5e8f3a7b1e0c4f9a2d4c5e8f3a"
WEBHOOK = f"https://oapi.dingtalk.com/robot/send?access_token={TOKEN}"


@pytest.fixture
def sandbox() -> Iterator[str]:
    """The address of a sandbox whose robot asks for signatures and takes any number of calls."""
    rules = Rules(tokens=(Secret(TOKEN),), secret=Secret(SECRET), limit=Limit(messages=10_000))
    with SandboxServer(create_app(rules), "127.0.0.1:0") as server:
        server.start()
        yield server.url


@pytest.fixture
def robot(sandbox: str) -> Iterator[DingTalk]:
    """A robot that knows the sandbox's token and secret."""
    robot = DingTalk(f"{sandbox}/robot/send?access_token={TOKEN}", SECRET, timeout_seconds=2)
    yield robot
    robot.close()


def shown(sandbox: str) -> list[dict[str, Any]]:
    """What the group sees."""
    messages: list[dict[str, Any]] = requests.get(f"{sandbox}/api/messages", timeout=5).json()["messages"]
    return messages


def set_mode(sandbox: str, mode: str, **options: Any) -> None:
    """Makes the sandbox fail."""
    requests.put(f"{sandbox}/api/mode", json={"mode": mode, **options}, timeout=5).raise_for_status()


class Carrier:
    """A transport that answers as told and remembers what it was asked to carry."""

    def __init__(self, *answers: Answer | NoAnswer) -> None:
        self.answers = list(answers)
        self.posts: list[tuple[str, bytes]] = []

    def post(self, url: str, body: bytes) -> Answer | NoAnswer:
        self.posts.append((url, body))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def close(self) -> None:
        """Has nothing to close."""


def answered(text: str, status: int = 200, date: float | None = None) -> Answer:
    """An answer with this body."""
    return Answer(status, text.encode(), date)


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """The webhook address of a server that hands each connection to `serve`."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=quietly, args=(connection,), daemon=True).start()

    def quietly(connection: socket.socket) -> None:
        try:
            serve(connection)
        except OSError:
            pass
        finally:
            connection.close()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/robot/send?access_token={TOKEN}"
    finally:
        # Wakes accept(), which closing alone does not.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in connections:
            connection.close()
        thread.join(2)


def request_of(connection: socket.socket) -> bytes:
    """Reads one whole request."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(
        next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")).split()[1]
    )
    while len(body) < length:
        body += connection.recv(65536)
    return head


def test_signature_is_that_of_the_vendors_example() -> None:
    """The signature of DingTalk's own example comes out."""
    assert signature(1577262236757, "this is a secret") == "DJrE6qdyVGCQz9z5r2MDuNcNAhwYnuAkyj13cx169CA="


def test_signature_is_made_anew_for_each_attempt_and_encoded_once() -> None:
    """Each attempt carries the signature of its own moment, which one decoding gives back."""
    times = iter([1_577_262_236.757, 1_577_262_300.0, 1_577_262_300.0, 1_577_262_300.0])
    carrier = Carrier(answered('{"errcode":0}'))
    robot = DingTalk(WEBHOOK, "this is a secret", now=lambda: next(times), transport=carrier)
    robot.send("a", "b")
    robot.send("a", "b")
    queries = [urlsplit(url).query for url, _ in carrier.posts]
    assert "sign=DJrE6qdyVGCQz9z5r2MDuNcNAhwYnuAkyj13cx169CA%3D" in queries[0]
    assert [parse_qs(query)["timestamp"][0] for query in queries] == ["1577262236757", "1577262300000"]
    assert [parse_qs(query)["access_token"] for query in queries] == [[TOKEN], [TOKEN]]


def test_a_copied_timestamp_and_sign_do_not_stay_in_the_address() -> None:
    """An address that was copied with a signature from elsewhere is signed as if it had none."""
    carrier = Carrier(answered('{"errcode":0}'))
    DingTalk(f"{WEBHOOK}&timestamp=1&sign=old", SECRET, transport=carrier).send("a", "b")
    query = parse_qs(urlsplit(carrier.posts[0][0]).query)
    assert 1 == len(query["timestamp"]) == len(query["sign"])
    assert "old" not in query["sign"]


def test_the_sandbox_takes_a_title_and_a_text(robot: DingTalk, sandbox: str) -> None:
    """A title and a text arrive as signed Markdown."""
    assert Delivered("0") == robot.send("Training", "**digits** reached 98.1 %")
    (message,) = shown(sandbox)
    assert (
        message["msgtype"],
        message["title"],
        message["text"],
        message["signed"],
    ) == ("markdown", "Training", "**digits** reached 98.1 %", True)


def test_a_plain_text_arrives_with_its_title(robot: DingTalk, sandbox: str) -> None:
    """The text form has no title of its own, so the title is its first line."""
    robot.send(Message("Training", "line 1\nline 2", kind="text"))
    assert shown(sandbox)[0]["text"] == "Training\nline 1\nline 2"


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_card_carries_its_buttons_which_open_the_browser(robot: DingTalk, sandbox: str, count: int) -> None:
    """One, two or more buttons arrive, each leading out of DingTalk's side panel."""
    buttons = tuple(
        Button(f"b{number}", f"https://g.example.com/d?a=1&b={number}") for number in range(count)
    )
    assert isinstance(robot.send(Message("t", "x", kind="action_card", buttons=buttons)), Delivered)
    (message,) = shown(sandbox)
    assert message["msgtype"] == "actionCard"
    assert [button.title for button in buttons] == [button["title"] for button in message["buttons"]]
    first = urlsplit(message["buttons"][0]["url"])
    assert (first.scheme, first.netloc) == ("dingtalk", "dingtalkclient")
    assert parse_qs(first.query) == {"url": ["https://g.example.com/d?a=1&b=0"], "pc_slide": ["false"]}


def test_a_card_without_buttons_is_sent_as_markdown(robot: DingTalk, sandbox: str) -> None:
    """DingTalk refuses a card without a button; the message arrives all the same."""
    assert isinstance(robot.send(Message("t", "x", kind="action_card")), Delivered)
    assert shown(sandbox)[0]["msgtype"] == "markdown"


@pytest.mark.parametrize("kind", ["markdown", "text", "action_card"])
def test_mentioned_people_stand_in_the_list_and_in_the_text(robot: DingTalk, sandbox: str, kind: Any) -> None:
    """Whoever is to be called is really called, in each form that can mention."""
    mention = Mention(mobiles=("13800138000",), user_ids=("zhangsan",))
    robot.send(Message("t", "look", kind=kind, buttons=(Button("b", "https://x.example"),), mention=mention))
    assert shown(sandbox)[0]["mentioned"] == ["13800138000", "zhangsan"]


def test_a_name_that_stands_in_the_text_is_not_added_again(robot: DingTalk, sandbox: str) -> None:
    """The robot adds only the names that are missing, and knows 138 from 1380."""
    robot.send(Message("t", "for @138 please", mention=Mention(mobiles=("138", "1380"))))
    assert shown(sandbox)[0]["text"] == "for @138 please\n\n@1380"


def test_everybody_is_called_in_list_and_text(robot: DingTalk, sandbox: str) -> None:
    """Mentioning all also puts @所有人 into the text, without which a card calls nobody."""
    robot.send(Message("t", "look", mention=Mention(all=True)))
    (message,) = shown(sandbox)
    assert (message["mentioned"], message["at"]["isAtAll"]) == (["all"], True)


def test_no_more_than_fifty_people_are_called(robot: DingTalk, sandbox: str) -> None:
    """Beyond DingTalk's 50 people the rest is left out, and the message still arrives."""
    mobiles = tuple(f"138{number:08}" for number in range(40))
    user_ids = tuple(f"user{number}" for number in range(40))
    assert isinstance(robot.send(Message("t", "x", mention=Mention(mobiles, user_ids))), Delivered)
    assert len(shown(sandbox)[0]["mentioned"]) == 50


def test_the_keyword_is_added_where_it_lacks() -> None:
    """A robot whose settings ask for a keyword finds it once in each message."""
    carrier = Carrier(answered('{"errcode":0}'))
    robot = DingTalk(WEBHOOK, keyword="训练", transport=carrier)
    assert robot.body(Message("t", "x"))["markdown"]["text"] == "x\n\n训练"
    assert robot.body(Message("t", "训练 x"))["markdown"]["text"] == "训练 x"
    assert robot.body(Message("训练", "x"))["markdown"]["text"] == "x"


def test_the_same_message_twice_is_shown_once(robot: DingTalk, sandbox: str) -> None:
    """msgUuid rides on every attempt, so that an answer that was lost does no harm."""
    set_mode(sandbox, "answer_lost", count=1)
    message = Message("t", "x", uuid="5d1c")
    first = robot.send(message)
    assert isinstance(first, Later)
    assert first.unanswered
    assert isinstance(robot.send(message), Delivered)
    assert [one["msg_uuid"] for one in shown(sandbox)] == ["5d1c"]


def test_two_sends_without_uuid_are_two_messages(robot: DingTalk, sandbox: str) -> None:
    """The short form tells each call as a message of its own."""
    robot.send("t", "x")
    robot.send("t", "x")
    assert len(shown(sandbox)) == 2


@given(st.text(max_size=60), st.text(max_size=30_000))
def test_the_body_never_exceeds_the_limit(title: str, text: str) -> None:
    """Whatever the title and the text hold, the whole body keeps within 20,000 bytes of valid UTF-8."""
    carrier = Carrier(answered('{"errcode":0}'))
    DingTalk(WEBHOOK, transport=carrier).send(title, text)
    assert len(carrier.posts[0][1]) <= MAX_BYTES
    carrier.posts[0][1].decode("utf-8")


@pytest.mark.parametrize(
    "message",
    [
        Message("t", "训" * 30_000),
        Message("t", '"\\\n' * 30_000),
        Message("题" * 30_000, "x"),
        Message("t", "\ud800" * 30_000),
        Message("t", "👨‍👩‍👧‍👦" * 5_000),
        Message("t", "x" * 30_000, mention=Mention(tuple("1" * 11 + str(n) for n in range(50)), all=True)),
        Message(
            "t",
            "x",
            kind="action_card",
            buttons=tuple(Button("b", "https://x/" + "y" * 5000) for _ in range(9)),
        ),
    ],
    ids=["chinese", "escapes", "title", "surrogates", "emoji", "mentions", "buttons"],
)
def test_what_is_too_long_arrives_shortened(robot: DingTalk, sandbox: str, message: Message) -> None:
    """Each kind of too long message gets through, says that it was cut, and keeps its mentions."""
    assert Delivered("0", "shortened to the robot's limit") == robot.send(message)
    (seen,) = shown(sandbox)
    assert "…（过长，已截断 / shortened）" in seen["text"]
    assert [*(["all"] if message.mention.all else []), *message.mention.mobiles] == seen["mentioned"]


def test_shortening_ends_at_a_line(robot: DingTalk, sandbox: str) -> None:
    """A link or a colour is not cut in two where lines allow it."""
    robot.send("t", "[a link](https://x.example/)  \n" * 2000)
    lines = shown(sandbox)[0]["text"].split("\n")
    assert {"[a link](https://x.example/)  ", "[a link](https://x.example/)"} == set(lines[:-2])


def test_a_robot_that_finds_it_too_long_gets_half(robot: DingTalk, sandbox: str) -> None:
    """Errcode 460101 on a body within the limit is answered once with half of it, under another msgUuid."""
    set_mode(sandbox, "too_long", bytes=10_000)
    outcome = robot.send(Message("t", "line\n" * 3000, uuid="u1"))
    assert Delivered("0", "shortened by half, because the robot found it too long") == outcome
    assert [one["msg_uuid"] for one in shown(sandbox)] == ["u1-short"]


def test_a_robot_that_always_finds_it_too_long_is_asked_twice_only(robot: DingTalk, sandbox: str) -> None:
    """There is one second attempt, not a loop."""
    set_mode(sandbox, "too_long", bytes=0)
    outcome = robot.send("t", "x" * 500)
    assert isinstance(outcome, Never)
    assert (outcome.errcode, outcome.cause) == ("460101", "content")
    assert len(requests.get(f"{sandbox}/api/attempts", timeout=5).json()["attempts"]) == 2


@pytest.mark.parametrize("mode", ["too_long", "markdown_refused"])
def test_the_second_call_is_made_only_if_there_is_room(robot: DingTalk, sandbox: str, mode: str) -> None:
    """Whoever keeps the robot's budget is asked before the second call; without it the message waits."""
    set_mode(sandbox, mode, **({"bytes": 0} if mode == "too_long" else {}))
    outcome = robot.send(Message("t", "**x**"), again=lambda: False)
    assert isinstance(outcome, Later)
    assert outcome.reason.endswith("it goes out with less in it when there is room")
    assert not outcome.unanswered
    assert len(requests.get(f"{sandbox}/api/attempts", timeout=5).json()["attempts"]) == 1


def test_refused_markdown_goes_once_more_as_plain_text(robot: DingTalk, sandbox: str) -> None:
    """Errcodes 430101 to 430104 are answered with the words alone: no links, no colours, no marks."""
    set_mode(sandbox, "markdown_refused")
    text = (
        '# Head\n> **bold** [link](https://x) ![p](https://x.example/p.png)\n<font color="#E02020">red</font>'
    )
    outcome = robot.send("Title", text)
    assert isinstance(outcome, Delivered)
    assert outcome.note == "sent as plain text, because the robot refused its links, pictures or form"
    assert shown(sandbox)[0]["text"] == "Title\nHead\nbold link p\nred"


def test_every_errcode_is_classed() -> None:
    """Each errcode of DingTalk's table leads to its class, whatever the words beside it are."""
    classes = {
        Delivered: ["0"],
        Later: ["-1", "88", "999999"],
        Limited: ["130101", "410100", "130102", "130103", "90018", "90002"],
        Never: [
            *["310000", "400101", "300001", "300005", "400102", "400106", "400013"],
            *[
                "40035",
                "43004",
                "400105",
                "400402",
                "430101",
                "430102",
                "430103",
                "430104",
                "460101",
                "101002",
            ],
        ],
    }
    expected = {code: kind for kind, codes in classes.items() for code in codes}
    assert set(CODES.meanings) <= set(expected)
    for code, kind in expected.items():
        for written in (code, f'"{code}"'):
            carrier = Carrier(answered(f'{{"errcode":{written},"errmsg":"ok"}}'))
            outcome = DingTalk(WEBHOOK, transport=carrier).send("t", "x")
            assert (kind, code) == (type(outcome), outcome.errcode)


@pytest.mark.parametrize(
    ("code", "cause"),
    [("310000", "configuration"), ("300005", "configuration"), ("40035", "defect"), ("430104", "content")],
)
def test_never_says_whose_fault_it_is(code: str, cause: str) -> None:
    """Configuration, content and our own defects are told apart."""
    outcome = DingTalk(WEBHOOK, transport=Carrier(answered(f'{{"errcode":{code}}}'))).send("t", "x")
    assert isinstance(outcome, Never)
    assert cause == outcome.cause


@pytest.mark.parametrize(
    ("body", "status", "pause_seconds", "unanswered"),
    [
        ("", 200, 300.0, True),
        ("{}", 200, 300.0, True),
        ("[]", 200, 300.0, True),
        ("null", 200, 300.0, True),
        ("not json", 200, 300.0, True),
        ('{"errcode":null}', 200, 300.0, True),
        ('{"errcode":true}', 200, 300.0, True),
        ('{"errcode":0.0}', 200, 300.0, True),
        ('{"errcode":"ok"}', 200, 300.0, True),
        ('{"errcode":[0]}', 200, 300.0, True),
        ("[" * 30_000, 200, 300.0, True),
        ("\n<html>log in</html>", 200, 300.0, False),
        ('{"status":1111,"wait":5,"source":"x5","punish":"deny"}', 200, 300.0, False),
        ('{"status":1111,"wait":20}', 403, 1200.0, False),
        ('{"status":1111,"wait":"soon"}', 403, 300.0, False),
        ('{"status":1111,"wait":1e99}', 403, 3600.0, False),
        ("<html>Forbidden</html>", 403, 300.0, False),
        ("<html>Not found</html>", 404, 300.0, False),
        ("", 302, 300.0, False),
        ("<html>Bad Gateway</html>", 502, None, True),
        ("<html>down</html>", 503, None, True),
    ],
)
def test_an_answer_without_errcode_is_no_delivery(
    body: str, status: int, pause_seconds: float | None, unanswered: bool
) -> None:
    """Whatever comes back without an errcode means later, with a long pause where a gateway is in the way."""
    outcome = DingTalk(WEBHOOK, transport=Carrier(answered(body, status))).send("t", "x")
    assert isinstance(outcome, Later)
    assert (None, pause_seconds, unanswered) == (outcome.errcode, outcome.pause_seconds, outcome.unanswered)


def test_a_wrong_clock_is_named() -> None:
    """When the signature is refused and the robot's clock is hours away, the reason says so."""
    refused = answered('{"errcode":310000}', date=1_577_262_236 + 8 * 3600)
    robot = DingTalk(WEBHOOK, SECRET, now=lambda: 1_577_262_236.0, transport=Carrier(refused))
    outcome = robot.send("t", "x")
    assert isinstance(outcome, Later)
    assert "this machine's clock is 480 minutes behind the robot's: set it right" in outcome.reason


def test_a_reason_never_holds_what_the_vendor_repeats() -> None:
    """A vendor that repeats the token in its words does not bring it into a reason."""
    robot = DingTalk(
        WEBHOOK, SECRET, transport=Carrier(answered(f'{{"errcode":300005,"errmsg":"{TOKEN} {SECRET}"}}'))
    )
    outcome = robot.send("t", "x")
    assert TOKEN not in str(outcome)
    assert SECRET not in str(outcome)


@pytest.mark.parametrize(
    ("webhook", "message"),
    [
        ("", "DingTalk: '' is no robot address; copy it from the group: https://oapi.dingtalk.com/robot/send?access_token=…"),
        (
            "oapi.dingtalk.com/robot/send",
            "DingTalk: 'oapi.dingtalk.com/robot/send' is no robot address; copy it from the group:"
            " https://oapi.dingtalk.com/robot/send?access_token=…",
        ),
        (
            f"ftp://oapi.dingtalk.com/robot/send?access_token={TOKEN}",
            "DingTalk: 'ftp://oapi.dingtalk.com/robot/send?access_token=***' is no robot address; copy it from the"
            " group: https://oapi.dingtalk.com/robot/send?access_token=…",
        ),
        (
            "https://oapi.dingtalk.com/robot/send",
            "DingTalk: the address of oapi.dingtalk.com has no access_token; copy it whole:"
            " https://oapi.dingtalk.com/robot/send?access_token=…",
        ),
        (
            f"http://oapi.dingtalk.com/robot/send?access_token={TOKEN}",
            "DingTalk: http://oapi.dingtalk.com would carry the token in the clear; write https://oapi.dingtalk.com",
        ),
        (
            f"http://8.8.8.8/robot/send?access_token={TOKEN}",
            "DingTalk: http://8.8.8.8 would carry the token in the clear; write https://8.8.8.8",
        ),
        (
            f"https://oapi.dingtalk.com@evil.example/robot/send?access_token={TOKEN}",
            "DingTalk: the address of evil.example must hold no user name",
        ),
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_right_is_refused(webhook: str, message: str) -> None:
    """A wrong address is said at once, with what to do, and without the token."""
    with pytest.raises(RobotError) as caught:
        DingTalk(webhook)
    assert message == str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:1", "sandbox:8070", "10.1.2.3", "[::1]:80"])
def test_http_is_taken_within_ones_own_network(host: str) -> None:
    """The sandbox and forwarders on one's own network need no TLS."""
    assert DingTalk(f"http://{host}/robot/send?access_token=x").name.startswith("dingtalk-")


def test_a_robots_name_is_stable_and_tells_nothing() -> None:
    """The same address has the same name in every process; the token cannot be read from it or from the repr."""
    names = {DingTalk(WEBHOOK).name, DingTalk(Secret(f" {WEBHOOK}\n"), SECRET).name}
    assert len(names) == 1
    robot = DingTalk(WEBHOOK, SECRET)
    assert TOKEN not in repr(robot) + robot.name + str(vars(robot))
    assert SECRET not in repr(robot) + str(vars(robot))


def test_it_is_a_robot() -> None:
    """The class keeps the protocol that the sender relies on."""
    assert isinstance(DingTalk(WEBHOOK), Robot)


def test_token_and_secret_stay_out_of_the_logs(
    robot: DingTalk, sandbox: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With every logger at DEBUG, neither token, secret nor signature is written, not even by urllib3."""
    caplog.set_level(logging.DEBUG)
    robot.send("t", "x")
    set_mode(sandbox, "reset", count=1)
    robot.send("t", "x")
    with server(lambda connection: answer_oddly(connection)) as webhook:
        DingTalk(webhook, SECRET).send("t", "x")
    assert "POST /robot/send?access_token=***" in caplog.text
    assert "Failed to parse headers" in caplog.text
    assert TOKEN not in caplog.text
    assert "sign=***" in caplog.text
    assert "%3D" not in caplog.text


def answer_oddly(connection: socket.socket) -> None:
    """Answers with a header that urllib3 warns of, address included."""
    request_of(connection)
    connection.sendall(b'HTTP/1.1 200 OK\r\n: odd\r\nContent-Length: 13\r\n\r\n{"errcode":0}')


@pytest.mark.parametrize("mode", ["hang", "drip", "answer_hangs"])
def test_a_call_ends_in_time(sandbox: str, mode: str) -> None:
    """A robot that never answers, or byte by byte, holds its caller no longer than the time-out."""
    set_mode(sandbox, mode)
    robot = DingTalk(f"{sandbox}/robot/send?access_token={TOKEN}", SECRET, timeout_seconds=0.4)
    started = time.monotonic()
    outcome = robot.send("t", "x")
    assert time.monotonic() - started < 1.0
    assert Later("DingTalk (127.0.0.1): no whole answer within 0.4 s", unanswered=True) == outcome
    set_mode(sandbox, "ok")


def test_dripping_headers_end_in_time() -> None:
    """The deadline holds for the head of an answer too."""

    def drip(connection: socket.socket) -> None:
        request_of(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"X-Again: 1\r\n")
            time.sleep(0.05)

    with server(drip) as webhook:
        started = time.monotonic()
        outcome = DingTalk(webhook, timeout_seconds=0.4).send("t", "x")
    assert time.monotonic() - started < 1.0
    assert isinstance(outcome, Later)


def test_an_endless_answer_is_not_read_to_its_end() -> None:
    """Of a body no more than 64 KiB are read."""

    def flood(connection: socket.socket) -> None:
        request_of(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    with server(flood) as webhook:
        outcome = DingTalk(webhook, timeout_seconds=2).send("t", "x")
    assert isinstance(outcome, Later)
    assert "without a code" in outcome.reason


def test_nobody_there_is_said() -> None:
    """A closed port means later, and surely not shown."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    outcome = DingTalk(f"http://127.0.0.1:{port}/robot/send?access_token={TOKEN}").send("t", "x")
    assert Later("DingTalk (127.0.0.1): no connection (connection refused)", unanswered=False) == outcome


def test_an_unknown_host_is_said() -> None:
    """A name that cannot be looked up means later, and surely not shown."""
    outcome = DingTalk(f"https://robot.invalid/robot/send?access_token={TOKEN}").send("t", "x")
    expected = "DingTalk (robot.invalid): its name could not be looked up; is the network there?"
    assert Later(expected, unanswered=False) == outcome


def test_a_certificate_that_is_not_trusted_is_said() -> None:
    """A TLS handshake that fails means later, and surely not shown."""
    with server(lambda connection: request_of(connection)) as webhook:
        outcome = DingTalk(webhook.replace("http:", "https:"), timeout_seconds=0.5).send("t", "x")
    assert isinstance(outcome, Later)
    assert TOKEN not in outcome.reason


def test_no_redirect_is_followed(sandbox: str) -> None:
    """An answer that leads elsewhere is not followed: the token goes only where it was configured."""
    set_mode(sandbox, "redirect")
    outcome = DingTalk(f"{sandbox}/robot/send?access_token={TOKEN}", SECRET).send("t", "x")
    assert isinstance(outcome, Later)
    assert (
        outcome.reason == "DingTalk: answered HTTP 302, a redirect, which is not followed; check the address"
    )


def test_no_login_of_the_users_netrc_is_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What ~/.netrc knows of the host is somebody else's password; no robot asks for it."""
    heads: list[bytes] = []

    def robot(connection: socket.socket) -> None:
        heads.append(connection.recv(65536))
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"errcode":0}')

    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password open-sesame\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with server(robot) as address:
        DingTalk(address).send("t", "x")
    assert b"POST" in heads[0]
    assert b"authorization" not in heads[0].lower()


def test_the_environments_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """With HTTPS_PROXY set, the call asks the proxy for a tunnel, and its refusal is said without the token."""
    heads: list[bytes] = []

    def proxy(connection: socket.socket) -> None:
        heads.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    with server(proxy) as address:
        monkeypatch.setenv("HTTPS_PROXY", address.split("/robot")[0])
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        outcome = DingTalk(f"https://robot.invalid/robot/send?access_token={TOKEN}").send("t", "x")
    assert heads[0].startswith(b"CONNECT robot.invalid:443")
    expected = (
        "DingTalk (robot.invalid): the proxy of the environment (HTTPS_PROXY, HTTP_PROXY) did not serve"
    )
    assert Later(expected, unanswered=False) == outcome


def test_connections_are_kept_and_threads_do_not_disturb_each_other(sandbox: str) -> None:
    """Many threads send through one robot; everything arrives, and calls one after the other share a connection."""
    robot = DingTalk(f"{sandbox}/robot/send?access_token={TOKEN}", SECRET)
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda number: robot.send(f"t{number}", "x"), range(80)))
    robot.close()
    assert sum(isinstance(outcome, Delivered) for outcome in outcomes) == 80
    assert {f"t{number}" for number in range(80)} == {message["title"] for message in shown(sandbox)}


def test_one_after_the_other_shares_a_connection() -> None:
    """Ten calls in a row open one connection."""
    opened: list[socket.socket] = []

    def answer(connection: socket.socket) -> None:
        opened.append(connection)
        while True:
            request_of(connection)
            connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"errcode":0}')

    with server(answer) as webhook:
        robot = DingTalk(webhook, SECRET)
        outcomes = {robot.send("t", "x") for _ in range(10)}
        robot.close()
    assert {Delivered("0")} == outcomes
    assert len(opened) == 1


def test_a_training_image_needs_only_requests() -> None:
    """`from alertbridge import DingTalk` works where nothing of the bridge's extra is installed."""
    script = """
        import sys
        for name in ("flask", "sqlalchemy", "pydantic", "pydantic_core", "waitress", "yaml", "jinja2", "markupsafe",
                     "markdown_it", "dotenv", "click"):
            sys.modules[name] = None
        from alertbridge import DingTalk, Mention, Message
        robot = DingTalk("http://127.0.0.1:9/robot/send?access_token=x", "SECx", timeout_seconds=1)
        print(type(robot.send(Message("t", "x", mention=Mention(all=True)))).__name__)
    """
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.stdout, run.stderr) == ("Later\n", "")
