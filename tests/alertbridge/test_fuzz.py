"""Whatever is posted: 2xx or 4xx, never a failure of ours; and what was accepted can be told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alertbridge.app import create_app
from alertbridge.settings import Settings
from alertbridge.telling import Teller
from alertbridge.webhook import parse

ROBOT = {"dingtalk": {"webhook": "https://example.com/robot/send?access_token=x"}}
QUICK = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)

texts = st.text(max_size=40)
labels = st.dictionaries(texts, texts, max_size=4)
moments = st.sampled_from(
    [
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "2026-11-22T19:57:06.123456789Z",
        "2026-11-23T03:57:06+14:00",
    ]
)
statuses = st.sampled_from(["firing", "resolved"])
alerts = st.fixed_dictionaries(
    {"status": statuses, "startsAt": moments},
    optional={
        "labels": labels,
        "annotations": labels,
        "endsAt": moments,
        "generatorURL": texts,
        "fingerprint": texts,
        "more": st.none() | st.integers(),
    },
)
webhooks = st.fixed_dictionaries(
    {
        "version": st.just("4"),
        "status": statuses,
        "alerts": st.lists(alerts, min_size=1, max_size=3),
        "groupKey": st.text(min_size=1, max_size=20),
    },
    optional={
        "receiver": texts,
        "groupLabels": labels,
        "commonLabels": labels,
        "commonAnnotations": labels,
        "externalURL": texts,
        "truncatedAlerts": st.integers(0, 10**6),
    },
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def client(sqlite_storage: Any, make_robot: Callable[..., Any]) -> Iterator[FlaskClient]:
    """A client of an open bridge with receiver ml."""
    configured = Settings.model_validate(
        {"storage": sqlite_storage, "receivers": {"ml": {"robots": [ROBOT]}}}
    )
    app = create_app(configured, robots=lambda robot, keyword: make_robot())
    yield app.test_client()
    app.extensions["alertbridge"].outbox.close()


def status(client: FlaskClient, body: bytes) -> int:
    answer = client.post("/v1/alerts/ml", data=body, content_type="application/json")
    return answer.status_code


@QUICK
@given(st.binary(max_size=200))
def test_bytes(client: FlaskClient, body: bytes) -> None:
    """Any bytes are answered 400."""
    assert status(client, body) == 400


@QUICK
@given(anything)
def test_json(client: FlaskClient, value: Any) -> None:
    """Any JSON that is no webhook is answered 400."""
    assert status(client, json.dumps(value).encode()) == 400


@QUICK
@given(
    webhooks,
    st.sampled_from(["version", "status", "alerts", "groupKey", "groupLabels", "commonLabels"]),
    anything,
)
def test_a_webhook_with_one_field_replaced(
    client: FlaskClient, webhook: dict[str, Any], name: str, value: Any
) -> None:
    """One field of any type is either accepted or refused, and never breaks anything."""
    assert status(client, json.dumps({**webhook, name: value}).encode()) in (202, 400)


@QUICK
@given(webhooks)
def test_what_is_a_webhook_is_accepted_and_can_be_told(client: FlaskClient, webhook: dict[str, Any]) -> None:
    """Every well-formed webhook is stored, and makes a message within the robot's limit."""
    body = json.dumps(webhook)
    assert status(client, body.encode()) == 202
    teller = Teller(Settings.model_validate({"receivers": {"ml": {"robots": [ROBOT]}}}))
    message = teller.message("ml", [parse(body)])
    assert message.title.strip()
    assert len(message.text.encode()) < 20_000
