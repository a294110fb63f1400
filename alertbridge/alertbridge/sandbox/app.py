"""Wires the sandbox: the vendors' addresses, the JSON interface, the page."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from flask import Flask, Response, jsonify, request
from flask.json.provider import DefaultJSONProvider
from flask.typing import ResponseReturnValue
from waitress.channel import ClientDisconnected

from alertbridge.sandbox.call import Call, Rules, Vendor, json_of
from alertbridge.sandbox.dingtalk import DingTalk
from alertbridge.sandbox.feishu import Feishu
from alertbridge.sandbox.log import Attempt, Shown
from alertbridge.sandbox.modes import MODES, mode_from
from alertbridge.sandbox.page import page
from alertbridge.sandbox.reception import Reception, Reply
from alertbridge.sandbox.wecom import WeCom

MAX_BODY_BYTES = 1_000_000
LONGEST_HANG_SECONDS = 120.0


def create_app(
    rules: Rules,
    *,
    now: Callable[[], float] = time.time,
    told: Callable[[Shown | Attempt], None] = lambda news: None,
) -> Flask:
    """Takes the robots' settings, gives the application; its `Reception` is `app.extensions["sandbox"]`.

    Args:
        now: the vendors' clock, seconds since the epoch.
        told: called with each message and each attempt.
    """
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.json = _ReadableJson(app)
    reception = app.extensions["sandbox"] = Reception(rules, told)
    _add_robots(app, reception, now)
    _add_interface(app, reception)
    app.register_blueprint(page(reception))
    return app


class _ReadableJson(DefaultJSONProvider):
    """Chinese stays Chinese, and fields stay in their order."""

    ensure_ascii = False
    sort_keys = False


def _add_robots(app: Flask, reception: Reception, now: Callable[[], float]) -> None:
    def take(vendor: Vendor, token: str) -> Response:
        call = Call(
            token=token,
            query=request.args.to_dict(),
            content_type=request.headers.get("Content-Type", ""),
            body=request.get_data(),
            now=now(),
        )
        return _on_the_wire(reception.take(vendor, call))

    dingtalk, feishu, wecom = DingTalk(), Feishu(), WeCom()

    @app.post("/robot/send")
    def dingtalk_send() -> Response:
        return take(dingtalk, request.args.get("access_token", ""))

    @app.post("/open-apis/bot/v2/hook/<token>")
    def feishu_send(token: str) -> Response:
        return take(feishu, token)

    @app.post("/cgi-bin/webhook/send")
    def wecom_send() -> Response:
        return take(wecom, request.args.get("key", ""))


def _add_interface(app: Flask, reception: Reception) -> None:
    @app.get("/api/messages")
    def messages() -> Response:
        return jsonify(messages=[shown.as_json() for shown in reception.log.since(_after())[0]])

    @app.get("/api/attempts")
    def attempts() -> Response:
        return jsonify(attempts=[attempt.as_json() for attempt in reception.log.since(_after())[1]])

    @app.delete("/api/messages")
    def reset() -> ResponseReturnValue:
        reception.reset()
        return "", 204

    @app.get("/api/mode")
    def mode() -> Response:
        return jsonify(**reception.switch.mode.shown(), modes=MODES)

    @app.put("/api/mode")
    def set_mode() -> ResponseReturnValue:
        wanted = mode_from(json_of(request.get_data()))
        if isinstance(wanted, str):
            return jsonify(error=wanted), 400
        reception.switch.set(wanted)
        return jsonify(wanted.shown())


def _after() -> int:
    return request.args.get("after", 0, type=int)


def _on_the_wire(reply: Reply) -> Response:
    if reply.body is None:
        return Response(_hang_up(reply.hang), content_type=reply.content_type)
    body: Any = _drip(reply.body) if reply.drip else reply.body
    response = Response(body, reply.status, dict(reply.headers), content_type=reply.content_type)
    if reply.drip:
        response.content_length = len(reply.body)
    return response


def _hang_up(hang: threading.Event | None) -> Iterator[bytes]:
    """Closes the connection without a byte, at once or when the hanging ends.

    waitress sends the head with the body's first byte, and closes silently on this exception of its own.
    """
    gone = request.environ.get("waitress.client_disconnected", lambda: False)
    return _silence(hang, gone)


def _silence(hang: threading.Event | None, gone: Callable[[], bool]) -> Iterator[bytes]:
    until = time.monotonic() + LONGEST_HANG_SECONDS
    while hang is not None and not gone() and time.monotonic() < until:
        if hang.wait(0.1):
            break
    raise ClientDisconnected
    yield b""  # makes this a generator, so that it runs when waitress asks for the first byte


def _drip(body: bytes) -> Iterator[bytes]:
    for byte in body:
        yield bytes([byte])
        time.sleep(1.0)
