"""The HTTP side: what is accepted, what is refused and how."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from alertbridge.app import create_app
from alertbridge.bridge import Bridge
from alertbridge.errors import ConfigError
from alertbridge.refusal import Refusals
from alertbridge.settings import Settings

FIXTURES = Path(__file__).parent / "fixtures"
Body = Callable[..., str]
TOKEN, SECRET = "4f2a9c0d5e7b813f6a60", "SEC7b1e0c4f9a2d4c5e8f3a"


def settings(storage: Any, **changes: Any) -> Settings:
    robot = {
        "dingtalk": {
            "webhook": f"https://oapi.dingtalk.com/robot/send?access_token={TOKEN}",
            "secret": SECRET,
        }
    }
    values = {
        "storage": storage,
        "receivers": {"ml": {"robots": [robot]}, "ops": {"robots": [robot]}},
        **changes,
    }
    return Settings.model_validate(values)


@pytest.fixture
def open_bridge(
    sqlite_storage: Any, make_robot: Callable[..., Any]
) -> Iterator[Callable[..., tuple[FlaskClient, Bridge]]]:
    """Makes a bridge that accepts but does not send, with settings changed as told."""
    made: list[Bridge] = []

    def make(**changes: Any) -> tuple[FlaskClient, Bridge]:
        app = create_app(settings(sqlite_storage, **changes), robots=lambda robot, keyword: make_robot())
        made.append(app.extensions["alertbridge"])
        return app.test_client(), made[-1]

    yield make
    for bridge in made:
        bridge.outbox.close()


@pytest.fixture
def client(open_bridge: Callable[..., tuple[FlaskClient, Bridge]]) -> FlaskClient:
    """A client of an open bridge with receivers ml and ops."""
    return open_bridge()[0]


def send(client: FlaskClient, body: Any, path: str = "/dingtalk/ml/send", **options: Any) -> Any:
    options.setdefault("content_type", "application/json")
    return client.post(path, data=body, **options)


@pytest.mark.parametrize("body", sorted(FIXTURES.glob("webhook-*.json")), ids=lambda path: path.stem)
@pytest.mark.parametrize("path", ["/dingtalk/ml/send", "/v1/alerts/ml"])
def test_a_recorded_webhook_is_stored(
    open_bridge: Callable[..., tuple[FlaskClient, Bridge]], body: Path, path: str
) -> None:
    """The bodies of Alertmanager 0.25 and 0.33 are accepted on both addresses, and in the outbox when answered."""
    client, bridge = open_bridge()
    answer = send(client, body.read_bytes(), path)
    assert (answer.status_code, answer.json) == (202, {"status": "stored"})
    assert [entry.body for entry in bridge.outbox.entries(["waiting"])] == [body.read_text()]


def test_unknown_fields_are_kept(
    open_bridge: Callable[..., tuple[FlaskClient, Bridge]], webhook_body: Body
) -> None:
    """What a newer Alertmanager adds is accepted and stored."""
    client, bridge = open_bridge()
    assert send(client, webhook_body(routeLabels={"team": "训练"}, x=[1])).status_code == 202
    assert '"routeLabels": {"team": "训练"}' in bridge.outbox.entries(["waiting"])[0].body


FIRING = [{"status": "firing", "startsAt": "2026-11-22T19:57:06Z"}]
NOT_JSON = "the body is not JSON: "
NO_WEBHOOK = "the body is no Alertmanager webhook of version 4: "


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", NOT_JSON + "EOF while parsing a value at line 1 column 0"),
        (b"{", NOT_JSON + "EOF while parsing an object at line 1 column 1"),
        (b"\xff\xfe", NOT_JSON + "expected value at line 1 column 1"),
        (b"[]", NO_WEBHOOK + "body: Input should be an object"),
        (b"null", NO_WEBHOOK + "body: Input should be an object"),
        (
            b"{}",
            NO_WEBHOOK
            + "version: Field required; status: Field required; alerts: Field required; and 1 more",
        ),
    ],
)
def test_what_is_no_webhook_is_refused(client: FlaskClient, body: bytes, error: str) -> None:
    """A body that is not a webhook is answered 400 and says why."""
    answer = send(client, body)
    assert (answer.status_code, answer.json) == (400, {"error": error})


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"version": "5"}, "version: Input should be '4'"),
        ({"status": "on fire", "alerts": FIRING}, "status: Input should be 'firing' or 'resolved'"),
        ({"alerts": []}, "alerts: Tuple should have at least 1 item after validation, not 0"),
        ({"alerts": [1]}, "alerts.0: Input should be an object"),
        ({"alerts": [{"status": "firing"}]}, "alerts.0.startsAt: Field required"),
        ({"groupKey": ""}, "groupKey: String should have at least 1 character"),
        ({"groupLabels": {"run": 1}}, "groupLabels.run: Input should be a valid string"),
        (
            {"alerts": [{"status": "firing", "startsAt": "0001-01-01T00:00:00+08:00"}]},
            "alerts.0.startsAt: is outside the years 1 to 9999",
        ),
        (
            {"alerts": [{"status": "firing", "startsAt": "yesterday"}]},
            "alerts.0.startsAt: Input should be a valid datetime or date, input is too short",
        ),
        (
            {"alerts": [{"status": "firing", "startsAt": "2026-01-01T00:00:00"}]},
            "alerts.0.startsAt: Input should have timezone info",
        ),
    ],
)
def test_a_wrong_field_is_named(
    client: FlaskClient, webhook_body: Body, changes: dict[str, Any], error: str
) -> None:
    """A webhook with a wrong field is answered 400 and names the field."""
    answer = send(client, webhook_body(**changes))
    assert (answer.status_code, answer.json) == (400, {"error": NO_WEBHOOK + error})


@pytest.mark.parametrize(
    "alert",
    [
        {"startsAt": "0001-01-01T00:00:00Z"},
        {"startsAt": "9999-12-31T23:59:59Z"},
        {"startsAt": "2026-11-22T19:57:06.123456789Z"},
        {"startsAt": "2026-11-23T03:57:06+08:00", "fingerprint": ""},
        {"startsAt": "2026-11-22T19:57:06Z", "labels": {"x": "y" * 100_000, "@all": "[a](http://b)"}},
        {"startsAt": "2026-11-22T19:57:06Z", "labels": {"nul": "a\u0000b"}},
    ],
)
def test_odd_alerts_are_accepted(client: FlaskClient, webhook_body: Body, alert: dict[str, Any]) -> None:
    """Zero times, far years, nanoseconds, long and strange labels are all stored."""
    assert send(client, webhook_body(alerts=[{"status": "firing", **alert}])).status_code == 202


def test_two_alerts_with_one_fingerprint_are_accepted(client: FlaskClient, webhook_body: Body) -> None:
    """Duplicate fingerprints within one webhook do no harm."""
    alert = {"status": "firing", "startsAt": "2026-11-22T19:57:06Z", "fingerprint": "same"}
    assert send(client, webhook_body(alerts=[alert, alert])).status_code == 202


def test_an_unknown_receiver_is_told_the_known_ones(client: FlaskClient, webhook_body: Body) -> None:
    """A wrong name in the address is answered 404 with the names that there are."""
    answer = send(client, webhook_body(), "/dingtalk/nobody/send")
    assert answer.status_code == 404
    assert answer.json == {"error": "there is no receiver 'nobody'; known receivers: ml, ops"}


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
def test_another_content_type_is_refused(client: FlaskClient, webhook_body: Body, content_type: str) -> None:
    """What says that it is no JSON is answered 400."""
    answer = send(client, webhook_body(), content_type=content_type)
    assert answer.status_code == 400
    assert answer.json == {
        "error": f"the Content-Type is {content_type}; an Alertmanager webhook is application/json"
    }


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", None])
def test_json_is_taken_however_it_is_named(
    client: FlaskClient, webhook_body: Body, content_type: str | None
) -> None:
    """A charset, capitals, or no Content-Type at all do no harm."""
    assert send(client, webhook_body(), content_type=content_type).status_code == 202


def test_refused_webhooks_are_counted_and_a_large_one_is_told_once_an_hour(
    open_bridge: Callable[..., tuple[FlaskClient, Bridge]],
) -> None:
    """Of what Alertmanager will not send again there is a counter, and a message if it was an alert."""
    client, bridge = open_bridge(max_body_bytes=1024)
    for body in (b"{}", b"{}", b"x" * 2000, b"x" * 3000):
        assert send(client, body).status_code in (400, 413)
    text = client.get("/metrics").text
    assert 'alertbridge_notifications_refused_total{reason="invalid",receiver="ml"} 2.0' in text
    assert 'alertbridge_notifications_refused_total{reason="too_large",receiver="ml"} 2.0' in text
    [told] = bridge.outbox.entries(["waiting"])
    assert "AlertbridgeWebhookRefused" in told.body


@pytest.mark.parametrize(
    ("receiver", "after", "news"),
    [("ml", 0, False), ("ml", 3599, False), ("ml", 3600, True), ("ops", 1, True)],
)
def test_a_refusal_is_told_once_an_hour(receiver: str, after: float, news: bool) -> None:
    """Each receiver hears of it at once, and then not for an hour."""
    refusals = Refusals()
    assert refusals.is_news("ml", 100)
    assert refusals.is_news(receiver, 100 + after) is news


def test_a_body_of_10_mb_is_refused(client: FlaskClient) -> None:
    """Beyond the limit the answer is 413 and says what to change."""
    answer = send(client, b" " * 10_000_000)
    assert answer.status_code == 413
    assert answer.json == {
        "error": "the body is larger than 8388608 bytes; lower max_alerts in Alertmanager's webhook_configs, "
        "or raise max_body_bytes here"
    }


def test_ten_thousand_alerts_are_accepted(client: FlaskClient, webhook_body: Body) -> None:
    """One webhook may hold ten thousand alerts."""
    runs = tuple(f"r{number}" for number in range(10_000))
    assert send(client, webhook_body(runs=runs)).status_code == 202


BEARER = {"auth": {"bearer_token": "let-me-in"}}
BASIC = {"auth": {"basic": {"username": "am", "password": "let-me-in"}}}


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("auth", "shown", "status"),
    [
        (BEARER, "Bearer let-me-in", 202),
        (BEARER, "Bearer wrong", 403),
        (BEARER, "Bearer lét-me-in", 403),
        (BEARER, basic("am", "let-me-in"), 401),
        (BEARER, None, 401),
        (BEARER, "nonsense", 401),
        (BASIC, basic("am", "let-me-in"), 202),
        (BASIC, basic("am", "wrong"), 403),
        (BASIC, basic("someone", "let-me-in"), 403),
        (BASIC, "Bearer let-me-in", 401),
        (BASIC, None, 401),
    ],
)
@pytest.mark.parametrize("path", ["/dingtalk/ml/send", "/v1/alerts/ml"])
def test_credentials(
    open_bridge: Callable[..., tuple[FlaskClient, Bridge]],
    webhook_body: Body,
    path: str,
    auth: dict[str, Any],
    shown: str | None,
    status: int,
) -> None:
    """Without the right credential nothing is accepted: 401 if it is missing, 403 if it is wrong."""
    client, bridge = open_bridge(**auth)
    headers = {} if shown is None else {"Authorization": shown.encode().decode("latin-1")}
    answer = send(client, webhook_body(), path, headers=headers)
    assert answer.status_code == status
    assert len(bridge.outbox.entries(["waiting"])) == (status == 202)


def test_a_stranger_learns_nothing(open_bridge: Callable[..., tuple[FlaskClient, Bridge]]) -> None:
    """Without a credential neither receivers are named nor the configuration reloaded."""
    client, _ = open_bridge(**BEARER)
    assert send(client, b"{}", "/dingtalk/nobody/send").status_code == 401
    answer = client.post("/-/reload")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="alertbridge"'


def test_known_series_exist_from_the_start(client: FlaskClient) -> None:
    """Every receiver's counters are there at 0 before anything has happened, and no _created series."""
    text = client.get("/metrics").text
    for receiver in ("ml", "ops"):
        assert f'alertbridge_notifications_received_total{{receiver="{receiver}"}} 0.0' in text
        assert (
            f'alertbridge_messages_total{{channel="dingtalk",outcome="dead",receiver="{receiver}"}} 0.0'
            in text
        )
        assert f'alertbridge_outbox_messages{{receiver="{receiver}",state="waiting"}} 0.0' in text
        assert f'alertbridge_outbox_oldest_seconds{{receiver="{receiver}"}} 0.0' in text
        assert f'alertbridge_robot_budget{{receiver="{receiver}",robot="robot-a"}} 20.0' in text
    for name in ("delivery_seconds_count 0.0", "request_duration_seconds_count", "build_info{version="):
        assert f"alertbridge_{name}" in text
    assert "alertbridge_config_last_reload_successful 1.0" in text
    assert "_created" not in text


def test_what_came_in_is_counted(client: FlaskClient, webhook_body: Body) -> None:
    """Accepted webhooks and dropped duplicates are counted by receiver."""
    send(client, webhook_body()), send(client, webhook_body())
    text = client.get("/metrics").text
    assert 'alertbridge_notifications_received_total{receiver="ml"} 2.0' in text
    assert 'alertbridge_notifications_dropped_total{reason="duplicate",receiver="ml"} 1.0' in text
    assert 'alertbridge_outbox_messages{receiver="ml",state="waiting"} 1.0' in text


def test_ready_says_that_senders_do_not_run(client: FlaskClient) -> None:
    """A bridge whose senders have not been started is healthy but not ready."""
    assert client.get("/-/healthy").status_code == 200
    answer = client.get("/-/ready")
    assert answer.status_code == 503
    assert answer.json == {"error": "not running: sender-ml, sender-ops"}


@pytest.mark.parametrize(
    "path", ["/metrics", "/openapi.json", "/-/healthy", "/nowhere", "/<script>alert(1)</script>"]
)
def test_no_answer_is_a_page_to_a_browser(client: FlaskClient, path: str) -> None:
    """Nothing is sniffed, run, framed or kept, whatever stands in the answer."""
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["Cache-Control"] == "no-store"
    assert "html" not in headers["Content-Type"]


def test_unknown_pages_and_methods_are_refused(client: FlaskClient) -> None:
    """Other addresses are 404, other methods 405."""
    assert client.get("/nowhere").status_code == 404
    assert client.get("/dingtalk/ml/send").status_code == 405


@pytest.mark.parametrize(
    ("webhook", "error"),
    [
        ("ftp://example", "receivers.ml.robots.0: DingTalk: 'ftp://example' is no robot address"),
        ("https://oapi.dingtalk.com/robot/send", "the address of oapi.dingtalk.com has no access_token"),
        ("http://oapi.dingtalk.com/robot/send?access_token=x", "would carry the token in the clear"),
    ],
)
def test_a_robot_that_cannot_be_right_is_named(sqlite_storage: Any, webhook: str, error: str) -> None:
    """A wrong robot address is refused at the start, with its place in the configuration."""
    receivers = {"ml": {"robots": [{"dingtalk": {"webhook": webhook}}]}}
    with pytest.raises(ConfigError) as refused:
        create_app(settings(sqlite_storage, receivers=receivers))
    assert error in str(refused.value)
    assert "receivers.ml.robots.0" in str(refused.value)
