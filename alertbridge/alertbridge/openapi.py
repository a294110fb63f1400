"""The HTTP side as OpenAPI 3.1, for /openapi.json: the paths written here, the webhook read off its model."""

from __future__ import annotations

from collections.abc import Collection
from importlib.metadata import version
from typing import Any

from alertbridge.webhook import Notification

_SCHEMAS = "#/components/schemas/"
_ERROR = {"application/json": {"schema": {"$ref": f"{_SCHEMAS}Error"}}}
_STATUS = {"application/json": {"schema": {"$ref": f"{_SCHEMAS}Status"}}}
# Whether a credential is asked for is the configuration's matter.
_SECURITY: list[dict[str, list[str]]] = [{}, {"bearer": []}, {"basic": []}]
_CREDENTIALS = {
    "401": {"description": "A credential is needed.", "content": _ERROR},
    "403": {"description": "The credential is wrong.", "content": _ERROR},
}


def document(receivers: Collection[str]) -> dict[str, Any]:
    """Takes the names of the receivers, gives the description of the HTTP side as a JSON object."""
    webhook = Notification.model_json_schema(ref_template=f"{_SCHEMAS}{{model}}")
    schemas: dict[str, Any] = {
        **webhook.pop("$defs"),
        "Notification": webhook,
        "Status": _object_of("status"),
        "Error": _object_of("error"),
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "alertbridge", "version": version("epochwatch")},
        "paths": {
            "/v1/alerts/{receiver}": _webhook("alerts", receivers),
            "/dingtalk/{receiver}/send": _webhook("prometheusWebhookDingtalk", receivers),
            "/metrics": {
                "get": {
                    "operationId": "metrics",
                    "summary": "The bridge's own metrics.",
                    "responses": {
                        "200": {
                            "description": "Prometheus' text format.",
                            "content": {"text/plain": {"schema": {"type": "string"}}},
                        }
                    },
                }
            },
            "/-/healthy": _look("healthy", "Whether the process answers."),
            "/-/ready": _look("ready", "Whether webhooks can be stored and told.", "503"),
            "/-/reload": {
                "post": {
                    "operationId": "reload",
                    "summary": "Reads the configuration anew; a bad one leaves the old one in place.",
                    "security": _SECURITY,
                    "responses": {
                        "200": {"description": "The new configuration is used.", "content": _STATUS},
                        "400": {"description": "The new configuration cannot be used.", "content": _ERROR},
                        **_CREDENTIALS,
                    },
                }
            },
            "/openapi.json": {
                "get": {
                    "operationId": "openapi",
                    "summary": "This description.",
                    "responses": {
                        "200": {
                            "description": "OpenAPI 3.1.",
                            "content": {"application/json": {"schema": {"type": "object"}}},
                        }
                    },
                }
            },
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
    }


def _webhook(operation: str, receivers: Collection[str]) -> dict[str, Any]:
    return {
        "parameters": [
            {
                "name": "receiver",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "enum": sorted(receivers)},
            }
        ],
        "post": {
            "operationId": operation,
            "summary": "Takes Alertmanager's webhook, version 4.",
            "security": _SECURITY,
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": f"{_SCHEMAS}Notification"}}},
            },
            "responses": {
                "202": {"description": "It is on disk and will be told.", "content": _STATUS},
                "400": {"description": "It is no such webhook.", "content": _ERROR},
                "404": {"description": "There is no such receiver.", "content": _ERROR},
                "413": {"description": "It is larger than max_body_bytes.", "content": _ERROR},
                "503": {"description": "It could not be stored; send it again.", "content": _ERROR},
                **_CREDENTIALS,
            },
        },
    }


def _look(name: str, summary: str, *failures: str) -> dict[str, Any]:
    answers = {"200": {"description": "Yes.", "content": _STATUS}}
    answers |= {status: {"description": "No, and why.", "content": _ERROR} for status in failures}
    return {"get": {"operationId": name, "summary": summary, "responses": answers}}


def _object_of(name: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": "string"}}, "required": [name]}
