"""The bridge of epochwatch: Alertmanager's webhooks become signed messages, and none is lost."""
