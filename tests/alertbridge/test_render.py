"""What a message says, whom it calls, and that it always fits."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alertbridge.message import Mention, Message
from alertbridge.render import LARGEST_BODY_BYTES, Backlog, Renderer, Style, size_bytes
from alertbridge.robots.dingtalk import DingTalk
from alertbridge.robots.feishu import Feishu
from alertbridge.robots.shorten import CUT_MARK
from alertbridge.robots.wecom import WeCom
from alertbridge.settings import Mention as MentionSettings
from alertbridge.settings import Settings
from alertbridge.webhook import Notification

NOW = datetime(2026, 11, 22, 19, 20, 30, tzinfo=timezone.utc)
START = NOW - timedelta(minutes=5)
ENGLISH = Style(language="en", timezone="UTC")
RENDERER = Renderer()
ROBOT = DingTalk("https://oapi.dingtalk.com/robot/send?access_token=x")


def alert(
    labels: Mapping[str, str], annotations: Mapping[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    """Gives an alert, firing for five minutes unless `more` says otherwise."""
    named = {"alertname": "TrainingStalled", "run": "r0", "severity": "critical", **labels}
    return {"status": "firing", "labels": named, "annotations": annotations or {}, "starts_at": START} | more


def ended(labels: Mapping[str, str], after: timedelta = timedelta(minutes=3)) -> dict[str, Any]:
    """Gives a resolved alert."""
    return alert(labels, status="resolved", ends_at=START + after)


def notify(*alerts: dict[str, Any], **more: Any) -> Notification:
    """Takes alerts, gives the notification that Alertmanager would make of them."""
    first = alerts[0]["labels"].items()
    common = {name: value for name, value in first if all(one["labels"].get(name) == value for one in alerts)}
    body = {
        "version": "4",
        "status": "firing" if any(one["status"] == "firing" for one in alerts) else "resolved",
        "group_key": "g",
        "alerts": alerts,
        "common_labels": common,
        "external_url": "http://alertmanager:9093",
        "receiver": "ml",
    }
    return Notification.model_validate(body | more)


def render(notification: Notification, style: Style = ENGLISH, **more: Any) -> Message:
    return RENDERER.render(notification, style, now=NOW, **more)


def body_bytes(message: Message) -> int:
    """Gives the size of the body that DingTalk would be sent."""
    return len(json.dumps(ROBOT.body(message), ensure_ascii=False).encode())


@pytest.mark.parametrize(
    ("severity", "start", "level"),
    [
        ("critical", "🔴 CRITICAL ", "critical"),
        ("error", "🔴 CRITICAL ", "critical"),
        ("page", "🔴 CRITICAL ", "critical"),
        ("warning", "🟠 WARNING ", "warning"),
        ("Warning", "🟠 WARNING ", "warning"),
        ("info", "🔵 INFO ", "info"),
        ("P2", "🔔 ALERT ", None),
        ("", "🔔 ALERT ", None),
    ],
)
def test_the_title_begins_with_the_severity(severity: str, start: str, level: str | None) -> None:
    """A glance at the phone's notification tells how bad it is."""
    message = render(notify(alert({"severity": severity})))

    assert message.title == f"{start}r0: Training is stalled"
    assert message.level == level


def test_a_group_is_as_bad_as_its_worst_firing_alert() -> None:
    """A resolved critical alert does not make a firing warning critical."""
    message = render(notify(ended({"gpu": "0"}), alert({"severity": "info"}), alert({"severity": "warning"})))

    assert message.title.startswith("🟠 WARNING ")


@pytest.mark.parametrize(
    ("summary", "title"),
    [
        ("r0: no progress for 12m", "r0: no progress for 12m"),
        ("r0：no progress", "r0: no progress"),
        ("Run r0 is stuck", "Run r0 is stuck"),
        ("r0-big: is another run", "r0: r0-big: is another run"),
        ("no progress for 12m", "r0: no progress for 12m"),
        ("training is stalled", "r0: Training is stalled"),
        ("", "r0: Training is stalled"),
    ],
)
def test_the_title_names_the_run_once_and_says_what_the_summary_says(summary: str, title: str) -> None:
    """A rule's summary may begin with the run, contain it, or leave it to the message."""
    assert render(notify(alert({}, {"summary": summary}))).title == f"🔴 CRITICAL {title}"


def test_a_resolved_alert_is_told_without_claiming_that_all_is_well() -> None:
    """Resolved has its own sign, and says only that the condition no longer holds, since when and how long."""
    message = render(notify(ended({})))

    assert message.title == "⚪ RESOLVED r0: Training is stalled"
    assert "The alert's condition no longer holds." in message.text
    assert "🕒 11-22 19:15 – 19:18, lasted 3 min" in message.text
    assert message.level == "resolved"


@pytest.mark.parametrize("template", ["training", "generic"])
@pytest.mark.parametrize("word", ["recover", "healthy", "恢复", "正常"])
def test_resolved_is_never_worded_as_recovered(template: str, word: str) -> None:
    """An alert also ends because its process has died."""
    for language in ("zh", "en"):
        message = render(notify(ended({}), alert({"gpu": "1"})), Style(language=language, template=template))
        assert word not in (message.title + message.text).lower()


def test_annotations_in_the_groups_language_go_first() -> None:
    """summary_zh is for Chinese messages; a rule that has none says its summary."""
    both = notify(alert({}, {"summary": "stuck", "summary_zh": "卡住了", "description_en": "Look at it."}))

    assert render(both, Style(language="zh")).title == "🔴 严重 r0：卡住了"
    assert "stuck" in render(both).text
    assert "Look at it." in render(both).text


def test_the_links_are_filled_in() -> None:
    """Dashboard, silence and runbook lead where they should; the silence knows alert and run."""
    annotations = {"dashboard": "/d/epochwatch-run?var-run=r0", "runbook_url": "https://wiki/r#stalled"}
    notification = notify(alert({"run": 'r"0 训'}, annotations))

    message = render(
        notification, Style(language="en", grafana_url="https://grafana/sub", kind="action_card")
    )

    assert [(button.title, button.url) for button in message.buttons] == [
        ("Dashboard", "https://grafana/sub/d/epochwatch-run?var-run=r0"),
        (
            "Silence",
            "http://alertmanager:9093/#/silences/new?filter=%7Balertname%3D%22TrainingStalled%22%2C"
            "run%3D%22r%5C%220%20%E8%AE%AD%22%7D",
        ),
        ("Runbook", "https://wiki/r#stalled"),
    ]
    assert "](" not in message.text


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "//evil.example/x", "https://a@evil.example/", "http://["]
)
def test_links_that_are_no_web_addresses_are_left_out(link: str) -> None:
    """What an annotation says is not followed blindly."""
    message = render(notify(alert({}, {"dashboard": link, "runbook_url": link})), ENGLISH)

    assert "Dashboard" not in message.text
    assert "Runbook" not in message.text


SHIPPED = "https://github.com/epochwatch/epochwatch/blob/main/docs"


@pytest.mark.parametrize(
    ("language", "runbooks_url", "address", "followed"),
    [
        ("en", "", f"{SHIPPED}/runbooks.md#trainingfailed", f"{SHIPPED}/runbooks.md#trainingfailed"),
        ("zh", "", f"{SHIPPED}/runbooks.md#trainingfailed", f"{SHIPPED}/runbooks.zh-CN.md#trainingfailed"),
        ("en", "https://wiki/ml", f"{SHIPPED}/runbooks.md#x", "https://wiki/ml/runbooks.md#x"),
        ("zh", "https://wiki/ml/", f"{SHIPPED}/runbooks.md#x", "https://wiki/ml/runbooks.zh-CN.md#x"),
        ("zh", "https://wiki/ml", "https://other/page#x", "https://other/page#x"),
    ],
)
def test_shipped_runbooks_can_be_elsewhere(
    language: Any, runbooks_url: str, address: str, followed: str
) -> None:
    """Our own pages are linked where the team has them and in its language; other people's stay as they are."""
    notification = notify(alert({}, {"runbook_url": address}))
    message = render(notification, Style(language=language, runbooks_url=runbooks_url))

    assert f"]({followed})" in message.text


def test_without_grafana_there_is_no_dashboard_link() -> None:
    """A path alone leads nowhere; a whole address does."""
    assert "Dashboard" not in render(notify(alert({}, {"dashboard": "/d/x"}))).text
    assert "[Dashboard](https://g/d/x)" in render(notify(alert({}, {"dashboard": "https://g/d/x"}))).text


def test_a_card_without_any_link_is_markdown() -> None:
    """A card needs a button."""
    message = render(notify(alert({}), external_url=""), Style(kind="action_card"))

    assert message.kind == "markdown"


MENTION = MentionSettings(mobiles=("13800000000",), user_ids=("li.si",), all=True, severities=("critical",))


@pytest.mark.parametrize(
    ("alerts", "mention"),
    [
        ([alert({})], Mention(("13800000000",), ("li.si",), True)),
        ([alert({"severity": "error"})], Mention(("13800000000",), ("li.si",), True)),
        ([alert({"severity": "warning"})], Mention()),
        ([alert({"severity": "warning"}), ended({})], Mention()),
        ([ended({})], Mention()),
        ([ended({"mention": "all"})], Mention()),
        ([alert({"severity": "info", "mention": "zhang.san"})], Mention((), ("zhang.san",))),
        ([alert({"severity": "info", "mention": "@13900000000, +86-13900000001 @wang；all"})],
         Mention(("13900000000", "+86-13900000001"), ("wang",), True)),
        ([alert({"severity": "info", "mention": "所有人"})], Mention((), (), True)),
        ([alert({"mention": "13800000000"})], Mention(("13800000000",), ("li.si",), True)),
        ([alert({"severity": "info", "mention": "<at id=all> 张三 a\u200bb"})], Mention((), (), False)),
    ],
)  # fmt: skip
def test_who_is_mentioned(alerts: list[dict[str, Any]], mention: Mention) -> None:
    """By severity or by label, only for what fires, each person once."""
    assert render(notify(*alerts), Style(mention=MENTION)).mention == mention


def test_at_most_fifty_people_are_mentioned() -> None:
    """DingTalk takes no more."""
    label = " ".join(f"138{number:08d}" for number in range(60)) + " zhang.san"

    mention = render(notify(alert({"mention": label}))).mention

    assert len(mention.mobiles) == 50
    assert mention.user_ids == ()


def test_those_who_are_mentioned_stand_in_the_text_and_in_the_list() -> None:
    """What DingTalk is sent has both, or nobody is called."""
    body = ROBOT.body(render(notify(alert({})), Style(mention=MENTION)))

    assert body["at"] == {"atMobiles": ["13800000000"], "atUserIds": ["li.si"], "isAtAll": True}
    assert all(f"@{name}" in body["markdown"]["text"].split() for name in ("13800000000", "li.si", "所有人"))


@pytest.mark.parametrize("template", ["training", "generic"])
def test_the_keyword_is_in_the_message(template: str) -> None:
    """A robot that asks for a keyword finds it, once."""
    assert render(notify(alert({})), Style(template=template, keyword="k*w_d")).text.count("k*w_d") == 1
    assert render(notify(alert({})), Style(template=template, keyword="r0")).text.count("**r0**") == 1


def test_what_does_not_fit_is_counted_and_linked() -> None:
    """Ten thousand alerts are one message: the most urgent ones whole, the rest as a number, soon."""
    alerts = [alert({"run": f"run-{number}-" + 60 * "🚀", "severity": "warning"}) for number in range(9_999)]
    notification = notify(*alerts, alert({"run": "the-worst"}), truncated_alerts=7)
    began = time.monotonic()

    message = render(notification, Style(language="zh"))

    assert time.monotonic() - began < 5
    assert body_bytes(message) <= LARGEST_BODY_BYTES
    listed = message.text.count("run-") + 1
    assert 50 < listed < 100
    assert f"另有 {10_007 - listed} 条" in message.text
    assert "[全部告警](http://alertmanager:9093/#/alerts?receiver=ml)" in message.text
    assert message.text.index("the-worst") < message.text.index("run-0-")
    assert "（9999 条，11-23 03:15 起）" in message.text
    assert message.title == "🔴 严重 训练卡住不动（10007 条）"


def test_a_single_giant_alert_fits() -> None:
    """An alert whose every part is huge is cut, not lost."""
    huge = "训" * 100_000
    labels = {f"label{number}": huge for number in range(200)} | {
        "run": huge,
        "mention": "u" * 60 + " " + huge,
    }
    notification = notify(alert(labels, {"summary": huge, "description": "\n".join([huge] * 50)}))

    for template in ("training", "generic"):
        message = render(notification, Style(template=template, kind="action_card", grafana_url="https://g/"))
        assert body_bytes(message) <= LARGEST_BODY_BYTES
        assert "…" in message.text


NAMES = st.sampled_from(["alertname", "run", "severity", "gpu", "mention", "event", "job", "x](y"])
VALUES = st.text(alphabet='ab训"\\\n@[]()<>*#é👍&', max_size=30) | st.sampled_from(
    ["A", "\\" * 9000, "\n" * 9000]
)
ALERTS = st.builds(
    lambda labels, notes, over: alert(labels, notes) if not over else ended(labels),
    st.dictionaries(NAMES, VALUES),
    st.dictionaries(st.sampled_from(["summary", "description", "runbook_url", "dashboard"]), VALUES),
    st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(ALERTS, min_size=1, max_size=60),
    st.sampled_from(["training", "generic"]),
    st.sampled_from(["zh", "en"]),
    st.sampled_from(["markdown", "action_card"]),
    st.booleans(),
)
def test_any_message_fits_and_mentions_only_through_its_list(
    alerts: list[dict[str, Any]], template: str, language: Any, kind: Any, digest: bool
) -> None:
    """Whatever the alerts say, the body fits, nobody stands in the text, and the title is one short line."""
    style = Style(template=template, language=language, kind=kind, mention=MENTION, grafana_url="https://g")
    backlog = Backlog(3, START) if digest else None

    message = render(notify(*alerts), style, backlog=backlog)

    assert body_bytes(message) <= size_bytes(message) <= LARGEST_BODY_BYTES
    assert "@" not in message.text
    assert "@" not in message.title
    assert 0 < len(message.title) <= 80
    assert len(message.title.splitlines()) == 1


def test_a_digest_says_why_and_since_when() -> None:
    """It tells how many notifications it stands for and lists firing before resolved."""
    notification = notify(
        ended({"run": "r1"}), alert({"run": "r2", "severity": "warning"}), alert({"run": "r3"})
    )

    message = render(notification, backlog=Backlog(12, START))

    assert message.title == "📋 DIGEST Training is stalled (2 firing, 1 resolved)"
    assert "12 notifications since 11-22 19:15" in message.text
    assert [message.text.index(run) for run in ("r3", "r2", "r1")] == sorted(
        message.text.index(run) for run in ("r3", "r2", "r1")
    )
    assert "could not be delivered" in render(notification, backlog=Backlog(12, START, "outage")).text


def test_a_style_is_a_receivers_part_of_the_configuration() -> None:
    """The receiver's own language and time zone go before the global ones."""
    robots = [{"dingtalk": {"webhook": "https://oapi.dingtalk.com/robot/send?access_token=x"}}]
    configured = Settings.model_validate(
        {
            "language": "zh",
            "grafana_url": "https://g/",
            "receivers": {
                "a": {"robots": robots, "keyword": "k"},
                "b": {"robots": robots, "language": "en", "timezone": "UTC", "template": "generic"},
            },
        }
    )

    assert Style.of(configured, "a") == Style(grafana_url="https://g", keyword="k")
    assert Style.of(configured, "b") == Style(
        language="en", timezone="UTC", template="generic", grafana_url="https://g"
    )


@pytest.mark.parametrize("mention", [MentionSettings(), MentionSettings(mobiles=("13800138000",), all=True)])
@pytest.mark.parametrize("kind", ["markdown", "action_card"])
@pytest.mark.parametrize(
    "robot",
    [
        WeCom("https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=k"),
        Feishu("https://open.feishu.cn/open-apis/bot/v2/hook/t"),
        ROBOT,
    ],
)
def test_a_robot_that_takes_less_gets_fewer_alerts_but_whole_ones(
    robot: Any, kind: Any, mention: Any
) -> None:
    """Alerts are left out by the limit of the robot that sends, and counted; none is cut in the middle."""
    many = notify(*[alert({"run": f"run-{number}", "node": "n" * 40}) for number in range(90)])
    style = replace(ENGLISH, kind=kind, mention=mention)
    message = render(many, style, fits=robot.fits)
    assert robot.fits(message)
    assert CUT_MARK not in message.text
    listed = sum(f"run-{number}" in message.text for number in range(90))
    assert listed == 90 or f"… and {90 - listed} more" in message.text
    assert listed >= 10


def test_what_no_robot_could_take_whole_is_left_to_the_robot() -> None:
    """A single alert that does not fit even when shortened goes out nevertheless."""
    message = render(notify(alert({}, {"summary": "x" * 900})), fits=lambda message: False)
    assert "r0" in message.text


@pytest.mark.parametrize(
    ("alerts", "colour"),
    [
        ([alert({})], "red"),
        ([alert({"severity": "warning"})], "orange"),
        ([alert({"severity": "info"})], "blue"),
        ([ended({})], "green"),
    ],
)
def test_the_head_of_a_card_has_the_colour_of_the_worst_alert(alerts: list[Any], colour: str) -> None:
    """Feishu's card is red, orange or blue, and green when all is over."""
    robot = Feishu("https://open.feishu.cn/open-apis/bot/v2/hook/t")
    assert robot.body(render(notify(*alerts)))["card"]["header"]["template"] == colour


def test_a_receiver_chooses_buttons() -> None:
    """`kind: action_card` in the configuration makes the links buttons."""
    robot = {"dingtalk": {"webhook": "https://oapi.dingtalk.com/robot/send?access_token=x"}}
    configured = Settings.model_validate({"receivers": {"ml": {"robots": [robot], "kind": "action_card"}}})
    message = render(notify(alert({})), Style.of(configured, "ml"))
    assert message.kind == "action_card"
    assert message.buttons


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("template", ["training", "generic"])
def test_what_has_just_begun_is_not_said_to_last(language: Any, template: str) -> None:
    """An alert of this moment says since when, and leaves out that this is no second ago."""
    style = replace(ENGLISH, language=language, template=template)
    message = render(notify(alert({}, starts_at=NOW)), style)
    assert "11-22 19:20" in message.text
    assert "0 s" not in message.text
    assert "0 秒" not in message.text
    assert not message.text.rstrip().endswith((",", "，"))
