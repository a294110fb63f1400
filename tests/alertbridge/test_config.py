"""The configuration: what is accepted, what is refused and in which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from alertbridge.budget import Budget, Window
from alertbridge.commands import main
from alertbridge.configdoc import document
from alertbridge.configfile import environment, load, parse
from alertbridge.errors import ConfigError
from alertbridge.secret import Secret
from alertbridge.wiring import members_of

ROOT = Path(__file__).parents[2]
ROBOT = "https://oapi.dingtalk.com/robot/send?access_token=t"
GOOD = f"""\
receivers:
  ml:
    robots:
      - dingtalk: {{webhook: "{ROBOT}"}}
"""


def refused(text: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as error:
        parse(text, Path("bridge.yml"), environ or {})
    return str(error.value)


def test_the_smallest_file_has_defaults() -> None:
    """A file with one robot is enough; the rest is as documented."""
    settings = parse(GOOD, Path("bridge.yml"), {})
    assert (settings.listen, settings.language, settings.timezone) == (
        "127.0.0.1:8060",
        "zh",
        "Asia/Shanghai",
    )
    robot = settings.receivers["ml"].robots[0]
    assert robot.dingtalk is not None
    assert robot.dingtalk.webhook == Secret(ROBOT)
    limits = robot.limits
    assert (limits.messages, limits.per_seconds, limits.lock_seconds, limits.monthly) == (20, 60, 600, 5000)
    assert limits.longest_pause_seconds == 3600


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "bridge.yml: the file is empty; it needs at least receivers:"),
        ("- a", "bridge.yml:1: must be a mapping of keys such as receivers:"),
        (
            "receivers: {}",
            "bridge.yml:1: receivers: needs at least one",
        ),
        ("language: zh", "bridge.yml:1: receivers: is missing"),
        (
            "timezone: UTC\nlanguage: zh\x07",
            "bridge.yml:2: not YAML: it has the character #x0007",
        ),
        ("a: " + "[" * 3000, "bridge.yml: not YAML: nested too deeply"),
        (
            "a: [1",
            "bridge.yml:1: not YAML: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'",
        ),
        (
            "a:\n\tb: 1",
            "bridge.yml:2: not YAML: while scanning for the next token, "
            "found character '\\t' that cannot start any token",
        ),
        (GOOD + "listn: x:1", "bridge.yml:5: listn: unknown key; did you mean 'listen'?"),
        (
            GOOD + "zzz: 1",
            "bridge.yml:5: zzz: unknown key; known here: auth, grafana_url, language, listen, "
            "max_body_bytes, prometheus_url, receivers, runbooks_url, storage, storage_file, templates_dir, "
            "timezone",
        ),
        (
            GOOD + "listen: nowhere",
            "bridge.yml:5: listen: 'nowhere' is no address; write HOST:PORT, for example 127.0.0.1:8060",
        ),
        (GOOD + "language: de", "bridge.yml:5: language: must be 'zh' or 'en'"),
        (
            GOOD + "timezone: Mars/Base",
            "bridge.yml:5: timezone: 'Mars/Base' is no time zone; write one like Asia/Shanghai or UTC",
        ),
        (
            GOOD + "grafana_url: grafana",
            "bridge.yml:5: grafana_url: must be an address that begins with http:// or https://",
        ),
        (GOOD + "language: zh\nlanguage: en", "bridge.yml:6: language: stands here twice; keep one of them"),
        (GOOD + "auth: {}", "bridge.yml:5: auth: give either bearer_token (or bearer_token_file) or basic"),
        (GOOD + "auth: {bearer: x}", "bridge.yml:5: auth.bearer: unknown key; did you mean 'bearer_token'?"),
        (
            GOOD + "auth: {bearer_token_file: nope}",
            "bridge.yml:5: auth.bearer_token_file: nope cannot be read: No such file or directory",
        ),
        (
            GOOD + "storage: ${NOPE}",
            "bridge.yml:5: storage: the environment variable NOPE is not set (nor is it in .env)",
        ),
        (
            GOOD + "storage: '${A B}'",
            "bridge.yml:5: storage: ${A B} is no environment variable; write $${ for a literal ${",
        ),
        (GOOD + "    fallback: nobody", "bridge.yml:1: receiver 'ml': fallback 'nobody' is not one of ml"),
        (GOOD + "    fallback: ml", "bridge.yml:1: receiver 'ml': it cannot be its own fallback"),
        (
            GOOD.replace("ml:", "'m l':"),
            "bridge.yml:1: receiver 'm l': a name is made of letters, digits, '_', '.' and '-'",
        ),
        (
            GOOD.replace("webhook", "webhok"),
            "bridge.yml:4: receivers.ml.robots.0.dingtalk.webhok: unknown key; did you mean 'webhook'?\n"
            "bridge.yml:4: receivers.ml.robots.0.dingtalk.webhook: is missing",
        ),
        (
            GOOD + "        limits: {messages: 0}",
            "bridge.yml:5: receivers.ml.robots.0.limits.messages: must be greater than or equal to 1",
        ),
        (
            GOOD + "        limits: {mesages: 5}",
            "bridge.yml:5: receivers.ml.robots.0.limits.mesages: unknown key; did you mean 'messages'?",
        ),
        (
            GOOD + "    mention: {severities: [fatal]}",
            "bridge.yml:5: receivers.ml.mention.severities.0: must be 'critical', 'warning' or 'info'",
        ),
        ("a: &a [*a]", "bridge.yml:1: a.0: an alias that contains itself"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, message: str) -> None:
    """Each mistake gives file, line, key and what to do."""
    assert refused(text) == message


def test_all_problems_are_said_at_once() -> None:
    """Two mistakes give two lines, in the order of the file."""
    said = refused(GOOD + "listn: 1\nlangage: zh\n").splitlines()
    assert [line.split(": ")[0] for line in said] == ["bridge.yml:5", "bridge.yml:6"]


def test_secrets_come_from_files_variables_and_dotenv(tmp_path: Path) -> None:
    """A secret may stand in a file beside the configuration, in the environment, or in .env."""
    (tmp_path / "hook").write_text(ROBOT + "\n")
    (tmp_path / ".env").write_text("SIGN=SEC-from-dotenv\nLANGUAGE_HERE=en\n")
    file = tmp_path / "bridge.yml"
    file.write_text(
        "language: ${LANGUAGE_HERE}\n"
        "grafana_url: ${EMPTY}\n"
        "receivers: {ml: {keyword: '$${x}', robots: [{dingtalk: {webhook_file: hook, secret: '${SIGN}'}}]}}\n"
    )
    settings = load(file, environment(tmp_path, {"LANGUAGE_HERE": "zh", "EMPTY": ""}))
    robot = settings.receivers["ml"].robots[0].dingtalk
    assert robot.webhook.reveal() == ROBOT
    assert robot.secret == Secret("SEC-from-dotenv")
    assert settings.language == "zh"
    assert settings.grafana_url is None
    assert settings.receivers["ml"].keyword == "${x}"


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "{file} is empty"), (b"\xff", "{file} is not UTF-8 text")],
)
def test_a_secret_file_must_hold_something(tmp_path: Path, content: bytes, message: str) -> None:
    """An empty or binary secret file is refused with its path."""
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(ConfigError) as error:
        parse(GOOD + "auth: {bearer_token_file: token}", tmp_path / "bridge.yml", {})
    assert message.format(file=tmp_path / "token") in str(error.value)


@pytest.mark.parametrize("given", ["https://sandbox", ""])
def test_a_variable_may_come_from_a_file(tmp_path: Path, given: str) -> None:
    """The file that NAME_FILE names wins over NAME, in the configuration and without one."""
    (tmp_path / "hook").write_text(f"{ROBOT}\n")
    environ = {"DINGTALK_WEBHOOK": given, "DINGTALK_WEBHOOK_FILE": str(tmp_path / "hook")}
    text = "receivers: {default: {robots: [{dingtalk: {webhook: '${DINGTALK_WEBHOOK}'}}]}}"
    for settings in (parse(text, tmp_path / "bridge.yml", environ), load(None, environ)):
        robot = settings.receivers["default"].robots[0].dingtalk
        assert robot is not None
        assert robot.webhook == Secret(ROBOT)


def test_an_empty_file_variable_counts_for_nothing() -> None:
    """Compose hands every variable through, the unset ones as empty."""
    settings = load(
        None, {"DINGTALK_WEBHOOK": ROBOT, "DINGTALK_WEBHOOK_FILE": "", "DINGTALK_SECRET_FILE": " "}
    )
    assert settings.receivers["default"].robots[0].dingtalk.webhook == Secret(ROBOT)  # type: ignore[union-attr]


def test_a_variable_whose_file_cannot_be_read_says_so() -> None:
    """The message names the variable, the file and the reason; in the configuration the key and the line too."""
    environ = {"TOKEN": "x", "TOKEN_FILE": "nope", "DINGTALK_WEBHOOK_FILE": "nope"}
    said = refused(GOOD + "auth: {bearer_token: '${TOKEN}'}", environ)
    assert (
        said == "bridge.yml:5: auth.bearer_token: TOKEN_FILE: nope cannot be read: No such file or directory"
    )
    with pytest.raises(ConfigError, match="DINGTALK_WEBHOOK_FILE: nope cannot be read"):
        load(None, environ)


def test_a_secret_given_twice_is_refused() -> None:
    """Inline and in a file at once is a mistake."""
    said = refused(GOOD + "auth: {bearer_token: x, bearer_token_file: y}")
    assert said == "bridge.yml:5: auth.bearer_token_file: bearer_token is given too; keep one of them"


def test_no_error_shows_a_secret() -> None:
    """A secret of a wrong type or in a wrong place is not repeated in the message."""
    said = refused(GOOD.replace(f'"{ROBOT}"', "[SECRETVALUE]") + "auth: {bearer_token: {x: SECRETVALUE}}")
    assert "SECRETVALUE" not in said
    assert said.count("must be a text; write it in quotes") == 2


def test_without_a_file_the_environment_makes_one_receiver() -> None:
    """DINGTALK_WEBHOOK and DINGTALK_SECRET make the receiver `default`."""
    settings = load(None, {"DINGTALK_WEBHOOK": ROBOT, "DINGTALK_SECRET": "SECx"})
    robot = settings.receivers["default"].robots[0].dingtalk
    assert (robot.webhook, robot.secret) == (Secret(ROBOT), Secret("SECx"))


def test_without_anything_it_says_what_to_do() -> None:
    """No file and no environment is answered with both ways to go on."""
    with pytest.raises(ConfigError) as error:
        load(None, {})
    assert str(error.value) == (
        "no configuration: give one with --config FILE, or set DINGTALK_WEBHOOK (and DINGTALK_SECRET) "
        "in the environment or in .env"
    )


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A path that is not there is said with the reason."""
    with pytest.raises(ConfigError) as error:
        load(tmp_path / "none.yml", {})
    assert str(error.value) == f"{tmp_path / 'none.yml'}: cannot be read: No such file or directory"


def test_mobile_numbers_need_no_quotes() -> None:
    """YAML's integers are taken as the texts that were meant."""
    settings = parse(GOOD + "    mention: {mobiles: [13800000000]}", Path("b.yml"), {})
    assert settings.receivers["ml"].mention.mobiles == ("13800000000",)


@pytest.mark.parametrize(
    ("robot", "name"),
    [
        ("feishu: {webhook: 'https://open.feishu.cn/open-apis/bot/v2/hook/x', secret: s}", "feishu"),
        ("wecom: {webhook: 'https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=x'}", "wecom"),
    ],
)
def test_other_channels_are_robots_too(robot: str, name: str) -> None:
    """Feishu and WeCom are configured like DingTalk."""
    settings = parse(f"receivers: {{ml: {{robots: [{{{robot}}}]}}}}", Path("b.yml"), {})
    (member,) = members_of(settings, "ml").values()
    assert member.robot.channel == name


@pytest.mark.parametrize("robots", ["[{}]", f"[{{dingtalk: {{webhook: '{ROBOT}'}}, wecom: {{webhook: x}}}}]"])
def test_a_robot_has_one_channel(robots: str) -> None:
    """No channel, or two in one robot, is refused."""
    said = refused(f"receivers:\n  ml:\n    robots: {robots}")
    assert said == "bridge.yml:3: receivers.ml.robots.0: give exactly one of dingtalk, feishu and wecom"


TARGETS = f"""\
timeout: 3s
targets:
  webhook1:
    url: {ROBOT}
    secret: SEC000
    mention: {{all: true}}
  webhook2: {{url: "{ROBOT}2", timeout: 500ms, mention: {{mobiles: ['138']}}}}
"""


def test_targets_of_prometheus_webhook_dingtalk_are_receivers() -> None:
    """The file of the bridge that a team comes from is read as it is."""
    settings = parse(TARGETS, Path("config.yml"), {})
    first, second = settings.receivers["webhook1"], settings.receivers["webhook2"]
    assert first.robots[0].dingtalk.secret == Secret("SEC000")
    assert (first.robots[0].dingtalk.timeout_seconds, second.robots[0].dingtalk.timeout_seconds) == (3, 0.5)
    assert (first.mention.all, second.mention.mobiles) == (True, ("138",))
    assert first.mention.severities == ("critical", "warning", "info")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("templates: [a.tmpl]\n" + TARGETS, "config.yml:1: templates: Go templates do not run here; "),
        (TARGETS + "    message: {text: x}", "config.yml:8: not YAML: "),
        (
            TARGETS + "  w3: {url: x, message: {text: '{{ . }}'}}",
            "config.yml:8: targets.w3.message: Go templates do not",
        ),
        (TARGETS + "  w3: {secret: x}", "config.yml:8: targets.w3.url: is missing"),
        (
            TARGETS + "  w3: {url: x, timeout: soon}",
            "config.yml:8: targets.w3.timeout: 'soon' is no duration; write",
        ),
        (
            TARGETS + "  w3: {url: x, colour: red}",
            "config.yml:8: targets.w3.colour: unknown key; known here: mention, ",
        ),
        (TARGETS + "  w3: 1", "config.yml:8: targets.w3: must be a mapping with url and secret"),
    ],
)
def test_what_cannot_be_taken_over_is_said(text: str, message: str) -> None:
    """Go templates and mistakes in targets are refused with line and key."""
    with pytest.raises(ConfigError) as error:
        parse(text, Path("config.yml"), {})
    assert str(error.value).startswith(message)


def test_the_documentation_is_that_of_the_code() -> None:
    """docs/configuration.md is what the models say; `python -m alertbridge.configdoc` writes it."""
    assert (ROOT / "docs" / "configuration.md").read_text() == document()


def test_the_templates_lie_relative_to_the_file(tmp_path: Path) -> None:
    """templates_dir is found wherever the bridge is started from."""
    settings = parse(GOOD + "templates_dir: mine", tmp_path / "bridge.yml", {})
    assert settings.templates_dir == str(tmp_path / "mine")


def test_settings_do_not_show_secrets() -> None:
    """The printed settings hold no token."""
    shown: Any = repr(parse(GOOD + "auth: {bearer_token: let-me-in}", Path("b.yml"), {}))
    assert "access_token=t" not in shown
    assert "let-me-in" not in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "receivers: {a: {robots: [{dingtalk: 'https://x'}]}}",
            "a.robots.0.dingtalk: must be a mapping of keys",
        ),
        (
            f"receivers: {{a: {{robots: {{dingtalk: {{webhook: '{ROBOT}'}}}}}}}}",
            "a.robots: must be a list, as in [a, b]",
        ),
        ("receivers: {a: {robots: []}}", "receivers.a.robots: needs at least one"),
        ("receivers: {a: }", "receivers.a: must be a mapping of keys"),
        ("receivers: {a: {robots: 3}}", "receivers.a.robots: must be a list"),
        (GOOD + "max_body_bytes: much", "max_body_bytes: must be a whole number"),
        (GOOD + "timezone: 8", "timezone: must be a text; write it in quotes"),
        (GOOD + "max_body_bytes: !!int abc", "max_body_bytes: cannot be read as what its tag says"),
        (GOOD + "max_body_bytes: !!int ''", "max_body_bytes: cannot be read as what its tag says"),
        (GOOD + "language: !!bool zz", "language: cannot be read as what its tag says"),
    ],
)
def test_usual_mistakes_of_form_are_said_in_words(text: str, message: str) -> None:
    """Nobody has to know how the settings are checked inside."""
    assert message in refused(text)


def test_a_keyword_may_look_like_a_date() -> None:
    """It is the text that stands there, whether it could be a date or not."""
    for keyword in ("2026-12-01", "2026-13-45"):
        text = GOOD.replace("robots:", f"keyword: {keyword}\n    robots:", 1)
        assert parse(text, Path("b.yml"), {}).receivers["ml"].keyword == keyword


def test_all_wrong_addresses_are_said_at_once(tmp_path: Path) -> None:
    """A line for each receiver."""
    text = "receivers:\n" + "".join(
        f"  {name}: {{robots: [{{dingtalk: {{webhook: nonsense}}}}]}}\n" for name in ("a", "b")
    )
    (tmp_path / "b.yml").write_text(text)
    done = CliRunner().invoke(main, ["check-config", "--config", str(tmp_path / "b.yml")])
    assert done.exit_code == 1
    said = done.output.splitlines()
    assert len(said) == 2
    assert "receivers.a.robots.0: " in said[0]
    assert "receivers.b.robots.0: " in said[1]


@pytest.mark.parametrize(
    ("channel", "webhook", "burst"),
    [
        ("feishu", "https://open.feishu.cn/open-apis/bot/v2/hook/x", Window(4, 1.0)),
        ("dingtalk", "https://oapi.dingtalk.com/robot/send?access_token=x", None),
        ("wecom", "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=x", None),
    ],
)
def test_feishus_second_is_kept_whatever_the_limits(channel: str, webhook: str, burst: Window | None) -> None:
    """The configured window stands as it is; Feishu's robots have their own second besides."""
    robot = {channel: {"webhook": webhook}, "limits": {"messages": 100, "per_seconds": 30}}
    settings = parse(f"receivers: {{ml: {{robots: [{json.dumps(robot)}]}}}}", Path("b.yml"), {})
    (member,) = members_of(settings, "ml").values()
    assert member.plan.budget == Budget(100, 30, burst)
