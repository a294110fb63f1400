"""Every exception that alertbridge raises on purpose.

    AlertbridgeError
    ├── ConfigError          the configuration cannot be used; each problem names file, line and key
    ├── WebhookError         a request body is no Alertmanager webhook (HTTP 400)
    ├── TemplateError        a message template cannot be used
    ├── RobotError           a robot's address or secret cannot be right
    └── StoreError           the outbox cannot do what was asked (HTTP 503)
        ├── StoreUnavailable now, but perhaps soon: full disk, lock, connection
        ├── StoreCorrupt     the file is damaged
        └── StoreTooNew      a newer alertbridge has written it

Whether a message is to be sent again is a value (`Delivered`, `Later`, `Limited`, `Never`), not an exception.
"""

from __future__ import annotations


class AlertbridgeError(Exception):
    """Says what happened, where, and what to do."""


class ConfigError(AlertbridgeError):
    """The configuration cannot be used."""


class WebhookError(AlertbridgeError):
    """A request body is no Alertmanager webhook."""


class TemplateError(AlertbridgeError):
    """A message template cannot be used."""


class RobotError(AlertbridgeError):
    """A robot's address or secret cannot be right."""


class StoreError(AlertbridgeError):
    """The outbox cannot do what was asked.

    Attributes:
        outside: what everybody may know of it: nothing of where the store is.
    """

    def __init__(
        self, message: str, *, outside: str = "the outbox cannot be used now, the log of alertbridge says why"
    ) -> None:
        super().__init__(message)
        self.outside = outside


class StoreUnavailable(StoreError):  # noqa: N818 - named after the state, as HTTP 503 is
    """The outbox cannot be written or read now."""


class StoreCorrupt(StoreError):  # noqa: N818
    """The outbox file is damaged."""


class StoreTooNew(StoreError):  # noqa: N818
    """The outbox was written by a newer alertbridge."""
