"""Fixtures of the stack tests: real Prometheus, Alertmanager, bridge and sandbox on free loopback ports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.group import Group
from demo.stack import Service, Stack, bridge_config


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A directory and the processes that a test starts in it, all ended afterwards."""
    with Stack(tmp_path) as processes:
        yield processes


@pytest.fixture
def group(stack: Stack) -> Group:
    """A sandbox robot that wants signed messages."""
    token, secret = "4f2a9c0d5e7b813f6a60", "SEC7b1e0c4f9a2d4c5e8f3a"
    return Group(stack.sandbox(token=token, secret=secret), token, secret)


@pytest.fixture
def bridge(stack: Stack, group: Group) -> Service:
    """A bridge with one receiver, `default`, whose robot is the sandbox's."""
    return stack.bridge(bridge_config(group.webhook, group.secret))
