"""Reads the `targets:` of a prometheus-webhook-dingtalk configuration as receivers.

A team that comes from there keeps its file: url, secret, mention and timeout mean the same. Its message
templates are written for Go and cannot run here, so they are refused with what to write instead.
Source: https://github.com/timonwong/prometheus-webhook-dingtalk (config/config.go).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

KeyPath = tuple[str | int, ...]
Refuse = Callable[[KeyPath, str], None]

TARGET_KEYS = frozenset({"url", "secret", "mention", "message", "timeout"})
GO_TEMPLATES = (
    "Go templates do not run here; remove it and write `template: training` or `template: generic` "
    "in a receiver, or a Jinja2 file in templates_dir (see `alertbridge render`)"
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}


def receivers_from_targets(values: dict[str, Any], lines: dict[KeyPath, int], refuse: Refuse) -> None:
    """Takes the values of a file that has `targets:`, turns them in place into `receivers:`.

    Args:
        values: the file's values; the keys of prometheus-webhook-dingtalk are taken out.
        lines: the line of each key; the new keys get the line of the old ones.
        refuse: called with a place and a message for each problem.
    """
    targets = values.pop("targets")
    timeout = _timeout(values.pop("timeout", None), ("timeout",), refuse)
    for key in ("templates", "default_message"):
        if key in values:
            del values[key]
            refuse((key,), GO_TEMPLATES)
    values.pop("no_builtin_template", None)
    if not isinstance(targets, dict):
        refuse(("targets",), "must be a mapping of names")
        return
    receivers = values.setdefault("receivers", {})
    for name, target in targets.items():
        place = ("targets", name)
        if not isinstance(target, dict):
            refuse(place, "must be a mapping with url and secret")
        elif name in receivers:
            refuse(place, f"there is a receiver {name!r} too; keep one of them")
        else:
            receivers[name] = _receiver(target, place, timeout, refuse)
            _keep_lines(lines, place, ("receivers", name))


def _receiver(
    target: dict[str, Any], place: KeyPath, timeout: float | None, refuse: Refuse
) -> dict[str, Any]:
    for key in target.keys() - TARGET_KEYS:
        refuse((*place, key), f"unknown key; known here: {', '.join(sorted(TARGET_KEYS))}")
    if "message" in target:
        refuse((*place, "message"), GO_TEMPLATES)
    if "url" not in target:
        refuse((*place, "url"), "is missing")
    robot = {"webhook": target.get("url", "")}
    if target.get("secret"):
        robot["secret"] = target["secret"]
    own_timeout = _timeout(target.get("timeout"), (*place, "timeout"), refuse) or timeout
    if own_timeout:
        robot["timeout_seconds"] = own_timeout
    receiver: dict[str, Any] = {"robots": [{"dingtalk": robot}], "template": "generic"}
    mention = target.get("mention")
    if isinstance(mention, dict):
        # There, every message mentions, whatever its severity.
        receiver["mention"] = {**mention, "severities": ["critical", "warning", "info"]}
    elif mention is not None:
        refuse((*place, "mention"), "must be a mapping with all or mobiles")
    return receiver


def _timeout(value: Any, place: KeyPath, refuse: Refuse) -> float | None:
    if value is None:
        return None
    match = _DURATION.fullmatch(str(value))
    if match is None:
        refuse(place, f"{value!r} is no duration; write one like 5s")
        return None
    return float(match.group(1)) * _SECONDS[match.group(2)]


def _keep_lines(lines: dict[KeyPath, int], old: KeyPath, new: KeyPath) -> None:
    moved = {"url": "webhook", "secret": "secret", "timeout": "timeout_seconds"}
    robot = (*new, "robots", 0, "dingtalk")
    lines[new] = lines[old]
    for place, line in list(lines.items()):
        inner = place[len(old) :]
        if place[: len(old)] == old and inner:
            renamed = (*robot, moved[str(inner[0])]) if inner[0] in moved else (*new, *inner)
            lines[renamed] = line
