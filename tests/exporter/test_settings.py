"""What `start` accepts and how it refuses."""

import re
from pathlib import Path

import pytest

import epochwatch
from epochwatch.settings import Settings
from epochwatch.tolerance import Tolerance


def test_arguments_win_over_the_environment_and_the_environment_over_defaults() -> None:
    """An argument beats its variable, a variable beats the default."""
    environ = {"EPOCHWATCH_PORT": "9500", "EPOCHWATCH_PATIENCE": "3", "EPOCHWATCH_RUN": "from-environment"}
    settings = Settings.read({"run": "from-argument", "port": 9400, "patience": None}, environ)
    assert (settings.run, settings.port, settings.patience, settings.epochs) == (
        "from-argument",
        9400,
        3,
        None,
    )


def test_every_argument_has_its_variable() -> None:
    """Every setting can come from the environment alone, as text."""
    environ = {
        "EPOCHWATCH_RUN": "digits",
        "EPOCHWATCH_EPOCHS": "30",
        "EPOCHWATCH_STEPS": "1000",
        "EPOCHWATCH_MONITOR": "validation/accuracy",
        "EPOCHWATCH_MODE": "max",
        "EPOCHWATCH_PATIENCE": "5",
        "EPOCHWATCH_MIN_DELTA": "0.01",
        "EPOCHWATCH_PORT": "0",
        "EPOCHWATCH_ADDR": "127.0.0.1",
        "EPOCHWATCH_ADVERTISE": "gpu-01.example.com:19400",
        "EPOCHWATCH_TARGETS_DIR": "/srv/targets",
        "EPOCHWATCH_ALERTMANAGER_URL": "http://alertmanager-0:9093/, http://alertmanager-1:9093",
        "EPOCHWATCH_NOTIFY": "dingtalk, feishu",
        "EPOCHWATCH_LANGUAGE": "en",
        "EPOCHWATCH_DETAILS": "model=resnet50,batch_size=256",
        "EPOCHWATCH_LABELS": "team=vision, owner=wang",
        "EPOCHWATCH_GPU": "off",
        "EPOCHWATCH_HISTORY": "runs",
        "EPOCHWATCH_BASELINE": "v1.0",
        "EPOCHWATCH_THRESHOLD": "2%",
        "EPOCHWATCH_REPORT_URL": "https://reports.example.com/runs/",
        "EPOCHWATCH_PROMETHEUS_URL": "http://prometheus:9090",
    }
    expected = Settings(
        run="digits",
        epochs=30,
        steps=1000,
        monitor="validation/accuracy",
        mode="max",
        patience=5,
        min_delta=0.01,
        port=0,
        addr="127.0.0.1",
        advertise="gpu-01.example.com:19400",
        targets_dir=Path("/srv/targets"),
        alertmanager_url="http://alertmanager-0:9093,http://alertmanager-1:9093",
        notify="dingtalk,feishu",
        language="en",
        details={"model": "resnet50", "batch_size": "256"},
        labels={"team": "vision", "owner": "wang"},
        gpu=False,
        history=Path("runs"),
        baseline="v1.0",
        threshold=Tolerance(0.02, relative=True),
        report_url="https://reports.example.com/runs",
        prometheus_url="http://prometheus:9090",
    )
    assert expected == Settings.read({}, environ)


def both(name: str) -> str:
    return f" (argument {name}=, environment EPOCHWATCH_{name.upper()})"


ADVERTISE = (
    'advertise must be a host name or an IP address, with or without a port, as in "gpu-01.example.com" or '
    '"203.0.113.7:19400"; an IPv6 address in brackets, as in "[2001:db8::7]:19400"; got '
)

BAD = [
    ({"run": ""}, "run must be a text that is not empty; got ''" + both("run")),
    ({"run": 5}, "run must be a text that is not empty; got 5" + both("run")),
    (
        {"run": "a\nb"},
        "run must be one line of valid UTF-8 without control characters; got 'a\\nb'" + both("run"),
    ),
    (
        {"run": "\udcff"},
        "run must be one line of valid UTF-8 without control characters; got '\\udcff'" + both("run"),
    ),
    (
        {"run": "x" * 10_000},
        f"run must have at most 200 characters, this has 10000; got '{'x' * 56}..." + both("run"),
    ),
    ({"epochs": 0}, "epochs must be a whole number of at least 1; got 0" + both("epochs")),
    ({"epochs": True}, "epochs must be a whole number of at least 1; got True" + both("epochs")),
    ({"steps": 2.5}, "steps must be a whole number of at least 1; got 2.5" + both("steps")),
    (
        {"monitor": "loss"},
        "monitor must be phase/metric, as in \"validation/loss\"; got 'loss'" + both("monitor"),
    ),
    ({"mode": "lower"}, 'mode must be "min" or "max"; got \'lower\'' + both("mode")),
    ({"patience": -1}, "patience must be a whole number of at least 1; got -1" + both("patience")),
    (
        {"min_delta": float("nan")},
        "min_delta must be a number from 0 up to, but not including, 1; got nan" + both("min_delta"),
    ),
    ({"port": "9400"}, "port must be a whole number from 0 to 65535; got '9400'" + both("port")),
    ({"port": 70000}, "port must be a whole number from 0 to 65535; got 70000" + both("port")),
    (
        {"addr": "http://0.0.0.0"},
        'addr must be a host name or an IP address, as in "0.0.0.0" or "127.0.0.1"; '
        "got 'http://0.0.0.0'" + both("addr"),
    ),
    ({"advertise": 9400}, f"{ADVERTISE}9400{both('advertise')}"),
    ({"advertise": ""}, f"{ADVERTISE}''{both('advertise')}"),
    ({"advertise": "http://host:1"}, f"{ADVERTISE}'http://host:1'{both('advertise')}"),
    ({"advertise": "2001:db8::7"}, f"{ADVERTISE}'2001:db8::7'{both('advertise')}"),
    ({"advertise": "host:0"}, f"{ADVERTISE}'host:0'{both('advertise')}"),
    ({"advertise": "host:70000"}, f"{ADVERTISE}'host:70000'{both('advertise')}"),
    ({"advertise": "host:９４００"}, f"{ADVERTISE}'host:\\uff19\\uff14\\uff10\\uff10'{both('advertise')}"),
    ({"advertise": "host\n"}, f"{ADVERTISE}'host\\n'{both('advertise')}"),
    ({"targets_dir": 3}, "targets_dir must be a path; got 3" + both("targets_dir")),
    (
        {"alertmanager_url": "alertmanager:9093"},
        'alertmanager_url must be an http:// or https:// address, as in "http://alertmanager:9093", '
        "or several separated by commas" + both("alertmanager_url"),
    ),
    (
        {"notify": "dingtalk,slack"},
        "notify must be 'dingtalk' or 'feishu' or 'wecom', or several separated by commas; "
        "got 'dingtalk,slack'" + both("notify"),
    ),
    ({"history": 3}, "history must be a path; got 3" + both("history")),
    ({"baseline": ""}, "baseline must be a text that is not empty; got ''" + both("baseline")),
    (
        {"threshold": "lots"},
        'threshold must be a share as in "0.5%" or a distance as in "0.005", not below 0; got \'lots\''
        + both("threshold"),
    ),
    (
        {"threshold": True},
        'threshold must be a share as in "0.5%" or a distance as in 0.005; got True' + both("threshold"),
    ),
    (
        {"threshold": -0.1},
        'threshold must be a share as in "0.5%" or a distance as in "0.005", not below 0; got -0.1'
        + both("threshold"),
    ),
    (
        {"report_url": "https://me:pw@reports.example.com"},
        "report_url must be an address without user, password and query: it stands in every message"
        + both("report_url"),
    ),
    (
        {"prometheus_url": "prometheus:9090"},
        'prometheus_url must be one http:// or https:// address, as in "http://prometheus:9090"'
        + both("prometheus_url"),
    ),
    ({"language": "fr"}, 'language must be "zh" or "en"; got \'fr\'' + both("language")),
    (
        {"details": ["resnet50"]},
        'details must map names to values, as in {"model": "resnet50", "batch_size": 256}; '
        "got ['resnet50']" + both("details"),
    ),
    (
        {"labels": ["team"]},
        'labels must map names to texts, as in {"team": "vision"}; got [\'team\']' + both("labels"),
    ),
    (
        {"labels": {"1st": "x"}},
        "labels must have names of letters, digits and _, not starting with a digit or __; got '1st'"
        + both("labels"),
    ),
    (
        {"labels": {"phase": "x"}},
        "labels must not use a name that epochwatch or Prometheus uses itself; got 'phase'" + both("labels"),
    ),
    *(
        (
            {"labels": {"team": value}},
            f"labels must be one line of valid UTF-8 without control characters; got {value!r}{both('labels')}",
        )
        for value in ("a\nb", "\udcff")
    ),
    (
        {"labels": {"team": "x" * 10_000}},
        f"labels must have at most 200 characters, this has 10000; got '{'x' * 56}..." + both("labels"),
    ),
    ({"labels": {"team": 5}}, "labels must be a text that is not empty; got 5" + both("labels")),
    ({"gpu": "yes"}, "gpu must be True or False; got 'yes'" + both("gpu")),
]


@pytest.mark.parametrize(("wrong", "message"), BAD, ids=[message[:50] for _, message in BAD])
def test_a_wrong_argument_is_refused_with_what_to_do(wrong: dict[str, object], message: str) -> None:
    """A wrong type or range raises at start, naming the rule, the value, the argument and the variable."""
    with pytest.raises(epochwatch.SettingsError, match=f"^{re.escape(message)}$"):
        Settings.read({"run": "digits", **wrong}, {})


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"EPOCHWATCH_PORT": "http"},
            "port must be a whole number from 0 to 65535; got 'http'" + both("port"),
        ),
        ({"EPOCHWATCH_GPU": "maybe"}, "gpu must be True or False; got 'maybe'" + both("gpu")),
        (
            {"EPOCHWATCH_LABELS": "vision"},
            "labels must look like \"team=vision,owner=wang\"; got 'vision'" + both("labels"),
        ),
        (
            {"EPOCHWATCH_MIN_DELTA": "inf"},
            "min_delta must be a number from 0 up to, but not including, 1; got 'inf'" + both("min_delta"),
        ),
    ],
)
def test_a_wrong_variable_is_refused_with_what_to_do(environ: dict[str, str], message: str) -> None:
    """A variable that cannot be read raises as its argument would."""
    with pytest.raises(epochwatch.SettingsError, match=f"^{re.escape(message)}$"):
        Settings.read({"run": "digits"}, environ)


def test_a_run_without_a_name_is_refused() -> None:
    """No name at all tells how to give one."""
    expected = 'run must name the run, as in epochwatch.start("resnet50-imagenet")' + both("run")
    with pytest.raises(epochwatch.SettingsError, match=f"^{re.escape(expected)}$"):
        Settings.read({}, {})


def test_a_password_in_an_address_is_not_shown() -> None:
    """The refused Alertmanager address is left out of the message, because it may hold a password."""
    with pytest.raises(epochwatch.SettingsError) as refused:
        Settings.read({"run": "digits", "alertmanager_url": "ftp://me:hunter2@host"}, {})
    assert "hunter2" not in str(refused.value)
