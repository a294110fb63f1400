"""Which hosts are a vendor's own."""

from __future__ import annotations

import pytest

from alertbridge.robots.address import foreign_host
from alertbridge.robots.dingtalk import DingTalk
from alertbridge.robots.feishu import Feishu
from alertbridge.robots.wecom import WeCom
from alertbridge.secret import Secret


@pytest.mark.parametrize("robot", [DingTalk, Feishu, WeCom])
def test_the_address_of_each_example_is_the_vendors(robot: type[DingTalk | Feishu | WeCom]) -> None:
    """What the errors tell people to write counts as a vendor's address."""
    assert foreign_host(robot.channel, Secret(robot.example)) is None


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("http://sandbox:8070/robot/send?access_token=x", "sandbox"),
        ("https://oapi.dingtalk.com.example.org/robot/send?access_token=x", "oapi.dingtalk.com.example.org"),
        ("https://notdingtalk.com/robot/send", "notdingtalk.com"),
    ],
)
def test_another_host_is_named(address: str, host: str) -> None:
    """A host that only looks like the vendor's is another one; the token is not part of the answer."""
    assert foreign_host("dingtalk", Secret(address)) == host
