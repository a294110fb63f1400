"""The HTTP side: webhooks in, health and metrics out. `create_app` is where everything is put together."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, g, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry
from werkzeug.datastructures import Authorization
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from alertbridge.auth import challenge, judge
from alertbridge.bridge import Bridge
from alertbridge.errors import ConfigError, StoreError, WebhookError
from alertbridge.openapi import document
from alertbridge.outbox.database import Database
from alertbridge.outbox.outbox import Outbox
from alertbridge.secret import mask
from alertbridge.settings import Settings
from alertbridge.telling import Teller
from alertbridge.webhook import parse
from alertbridge.wiring import MakeRobot, make_robot

log = logging.getLogger(__name__)

LONGEST_SOURCE = 200
# Nothing here is a page, whatever a browser may think of what stands in it.
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


def create_app(
    settings: Settings,
    *,
    outbox: Outbox | None = None,
    load: Callable[[], Settings] | None = None,
    robots: MakeRobot = make_robot,
    registry: CollectorRegistry | None = None,
) -> Flask:
    """Takes settings, gives the application. `app.extensions["alertbridge"]` is its `Bridge`, not started.

    Args:
        outbox: an opened one; by default the one that `settings.storage` names is opened.
        load: reads the configuration anew, for reloads.
        robots: makes the client of a configured robot.
        registry: for the metrics; a new one by default.

    Raises:
        ConfigError: a robot, a template or the storage's address cannot be used.
        StoreError: the outbox cannot be opened.
    """
    own = outbox is None
    outbox = outbox or _opened(settings)
    try:
        bridge = Bridge(settings, outbox, make_robot=robots, make_teller=Teller, load=load, registry=registry)
    except BaseException:
        if own:
            outbox.close()
        raise
    app = Flask("alertbridge", static_folder=None)
    app.extensions["alertbridge"] = bridge
    # Chinese stays readable in answers and logs.
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    _add_measuring(app, bridge)
    _add_webhooks(app, bridge)
    _add_operation(app, bridge)
    _add_errors(app)
    return app


def _opened(settings: Settings) -> Outbox:
    outbox = Outbox(Database(settings.storage))
    left = outbox.open()
    if left:
        log.info("%d messages were being sent when the last run ended; they are tried again now", left)
    return outbox


def _add_measuring(app: Flask, bridge: Bridge) -> None:
    @app.before_request
    def begin() -> None:
        g.began = time.perf_counter()

    @app.after_request
    def end(response: Response) -> Response:
        if "began" in g:
            bridge.metrics.requests.observe(time.perf_counter() - g.began)
        response.headers.update(_HEADERS)
        return response


def _add_webhooks(app: Flask, bridge: Bridge) -> None:
    @app.post("/dingtalk/<receiver>/send", endpoint="prometheus_webhook_dingtalk")
    @app.post("/v1/alerts/<receiver>", endpoint="alerts")
    def webhook(receiver: str) -> Any:
        refusal = _refuse_stranger(bridge)
        if refusal is not None:
            return refusal
        settings = bridge.settings
        if receiver not in settings.receivers:
            known = ", ".join(sorted(settings.receivers))
            return _error(404, f"there is no receiver {receiver!r}; known receivers: {known}")
        if request.mimetype not in ("application/json", ""):
            kind = request.mimetype
            return _error(400, f"the Content-Type is {kind}; an Alertmanager webhook is application/json")
        body = _body(settings.max_body_bytes)
        if body is None:
            bridge.refuse(receiver, "too_large")
            return _too_large(settings.max_body_bytes)
        try:
            notification = parse(body)
        except WebhookError:
            bridge.refuse(receiver, "invalid")
            raise
        source = f"{request.remote_addr} {notification.external_url}"[:LONGEST_SOURCE]
        verdict = bridge.accept(receiver, source, notification, body.decode())
        return jsonify(status=verdict), 202


def _body(limit: int) -> bytes | None:
    """Gives the request's body, or None if it is larger than that."""
    if request.content_length is not None and request.content_length > limit:
        return None
    request.max_content_length = limit
    try:
        return request.get_data(cache=False)
    except RequestEntityTooLarge:
        return None


class Doorkeeper:
    """Takes an application, answers the server in front for it about requests that it does not get to see."""

    def __init__(self, app: Flask) -> None:
        self._addresses = app.url_map.bind("")
        self._bridge: Bridge = app.extensions["alertbridge"]

    def admits(self, authorization: str | None) -> bool:
        """Takes a request's Authorization header, gives whether it may send something large."""
        return judge(self._bridge.settings.auth, Authorization.from_header(authorization)) == "allowed"

    def oversized(self, path: str) -> None:
        """Takes the address of a request whose body is too large to be read, counts it for its receiver."""
        try:
            _, values = self._addresses.match(path, method="POST")
        except HTTPException:
            return
        if values.get("receiver") in self._bridge.settings.receivers:
            self._bridge.refuse(values["receiver"], "too_large")


def _add_operation(app: Flask, bridge: Bridge) -> None:
    @app.get("/metrics")
    def metrics() -> Response:
        return Response(bridge.metrics.exposition(), content_type=CONTENT_TYPE_LATEST)

    @app.get("/openapi.json")
    def openapi() -> Any:
        return jsonify(document(bridge.settings.receivers))

    @app.get("/-/healthy")
    def healthy() -> Any:
        return jsonify(status="healthy")

    @app.get("/-/ready")
    def ready() -> Any:
        trouble = bridge.trouble()
        return jsonify(status="ready") if trouble is None else _error(503, trouble)

    @app.post("/-/reload")
    def reload() -> Any:
        refusal = _refuse_stranger(bridge)
        if refusal is not None:
            return refusal
        bridge.reload()
        return jsonify(status="reloaded")


def _add_errors(app: Flask) -> None:
    @app.errorhandler(WebhookError)
    def no_webhook(error: WebhookError) -> Any:
        return _error(400, str(error))

    @app.errorhandler(ConfigError)
    def bad_config(error: ConfigError) -> Any:
        return _error(400, mask(str(error)))

    @app.errorhandler(StoreError)
    def not_stored(error: StoreError) -> Any:
        log.error("a webhook was not stored, Alertmanager will send it again: %s", error)
        return _error(503, error.outside)

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Any:
        answer = _error(error.code or 400, error.description or error.name)
        # Such as Allow, which a refused method's answer must name.
        answer.headers.extend(header for header in error.get_headers() if header[0] != "Content-Type")
        return answer

    @app.errorhandler(Exception)
    def defect(error: Exception) -> Any:
        # Alertmanager retries 5xx and nothing else: whatever went wrong here, the alert comes again.
        log.exception("a request failed")
        return _error(503, f"internal error ({type(error).__name__}), see the log of alertbridge")


def _refuse_stranger(bridge: Bridge) -> Any:
    auth = bridge.settings.auth
    judgement = judge(auth, request.authorization)
    if judgement == "allowed" or auth is None:
        return None
    if judgement == "wrong":
        return _error(403, "the credential is wrong; compare Alertmanager's http_config with auth: here")
    answer = _error(
        401, "a credential is needed; set authorization or basic_auth in Alertmanager's http_config"
    )
    answer.headers["WWW-Authenticate"] = challenge(auth)
    return answer


def _too_large(limit: int) -> Response:
    return _error(
        413,
        f"the body is larger than {limit} bytes; lower max_alerts in Alertmanager's webhook_configs, "
        "or raise max_body_bytes here",
    )


def _error(status: int, message: str) -> Response:
    answer = jsonify(error=message)
    answer.status_code = status
    return answer
