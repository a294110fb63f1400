"""The page that shows what a group would see, and on a wide screen the calls beside it."""

from __future__ import annotations

import secrets
from typing import Any

from flask import Blueprint, Response, jsonify, make_response, render_template, request
from markupsafe import Markup

from alertbridge.sandbox.log import Attempt, Shown
from alertbridge.sandbox.markup import html_of, target
from alertbridge.sandbox.reception import Reception

# What a page that is opened late still shows.
MOST_BUBBLES = 200
MOST_CALLS = 100

WORDS = {
    "zh": {
        "group": "训练告警群",
        "robot": "机器人",
        "calls": "调用记录",
        "none": "还没有消息。把机器人地址填到告警桥里，消息就会出现在这里。",
        "stand_in": "本机沙箱，消息没有离开这台机器",
        "accepted": "已送达",
        "repeated": "重复，未再显示",
        "refused": "未接受",
    },
    "en": {
        "group": "Training alerts",
        "robot": "Robot",
        "calls": "Calls",
        "none": "No message yet. Give the bridge the robot's address, and messages appear here.",
        "stand_in": "Local sandbox; no message has left this machine",
        "accepted": "delivered",
        "repeated": "repeated, not shown again",
        "refused": "not taken",
    },
}


def page(reception: Reception) -> Blueprint:
    """Takes the sandbox's robots, gives the page's addresses."""
    blueprint = Blueprint("page", __name__, template_folder="templates")

    @blueprint.get("/")
    def show() -> Response:
        nonce = secrets.token_urlsafe(16)
        language = _language()
        html = render_template(
            "sandbox.html", words=WORDS[language], language=language, rules=reception.rules, nonce=nonce
        )
        response = make_response(html)
        response.headers["Content-Security-Policy"] = (
            f"default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-{nonce}'; connect-src 'self'; "
            "img-src http: https: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
        )
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    @blueprint.get("/page/news")
    def news() -> Response:
        after = request.args.get("after", 0, type=int)
        generation = reception.log.generation
        messages, attempts = reception.log.since(after)
        newest = [one[-1].id for one in (messages, attempts) if one]
        return jsonify(
            generation=generation,
            last=max(newest, default=after),
            bubbles=[_bubble(shown, reception, _language()) for shown in messages[-MOST_BUBBLES:]],
            calls=[_call(attempt) for attempt in attempts[-MOST_CALLS:]],
            mode=reception.switch.mode.name,
        )

    return blueprint


def _language() -> str:
    return request.accept_languages.best_match(sorted(WORDS)) or "en"


def _bubble(shown: Shown, reception: Reception, language: str) -> dict[str, Any]:
    content = shown.content
    html = render_template(
        "bubble.html",
        content=content,
        words=WORDS[language],
        # `html_of` has escaped everything that it did not make itself.
        text=Markup(html_of(content)),  # noqa: S704
        buttons=[(title, target(url)) for title, url in content.buttons],
        name=reception.rules.name,
        robot=shown.robot,
        several=len(reception.rules.tokens) > 1,
    )
    return {"id": shown.id, "at": shown.received_at, "title": content.title, "html": html}


def _call(attempt: Attempt) -> dict[str, Any]:
    taken = "accepted" if attempt.duplicate_of is None else "repeated"
    verdict = taken if attempt.accepted else "refused"
    return {
        "at": attempt.at,
        "channel": attempt.channel,
        "verdict": verdict,
        "errcode": "–" if attempt.errcode is None else str(attempt.errcode),
        "reason": attempt.reason,
    }
