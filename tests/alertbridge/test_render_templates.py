"""Templates of one's own: what they can do, and that nothing they do loses the message."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from alertbridge.errors import TemplateError
from alertbridge.render import Renderer, Style
from alertbridge.webhook import Notification, parse

GOLDEN = Path(__file__).parent / "golden"
NOW = datetime(2026, 11, 22, 19, 20, 30, tzinfo=timezone.utc)
STYLE = Style(template="own.md.j2", language="en", timezone="UTC")


@pytest.fixture
def notification() -> Notification:
    """A firing plateau alert."""
    return parse((GOLDEN / "plateau-firing.json").read_bytes())


@pytest.fixture
def hostile() -> Notification:
    """An alert whose labels and annotations try everything."""
    return parse((GOLDEN / "hostile.json").read_bytes())


def write(directory: Path, **files: str) -> Path:
    """Takes file names without their ending and their texts, writes them as templates."""
    for name, text in files.items():
        (directory / f"{name}.md.j2").write_text(text)
    return directory


def rendered(directory: Path, notification: Notification) -> str:
    """Gives the message's text; a template that falls back fails the test."""
    faults: list[TemplateError] = []
    message = Renderer(directory, on_fault=faults.append).render(notification, STYLE, now=NOW)
    assert faults == []
    return message.text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("**{{ name }}** {{ subject }}", "**Loss has stopped improving** digits-mlp"),
        ("{{ alerts[0].labels.run }} {{ labels['severity'] }}", "digits-mlp warning"),
        ("{% if alerts[0].labels.severity == 'warning' %}yes{% endif %}", "yes"),
        ("{{ alerts[0].labels.get('team', 'nobody') }}", "nobody"),
        ("{{ alerts[0].labels.team | default('nobody') }}", "nobody"),
        (
            "{% for alert in firing %}{{ loop.index }}/{{ loop.length }} {{ alert.age }}{% endfor %}",
            "1/1 5 min 13 s",
        ),
        (
            "{% for n, v in alerts[0].labels.items() if n == 'phase' %}{{ n }}={{ v }}{% endfor %}",
            "phase=validation",
        ),
        ("{% for x in [] %}{% else %}none{% endfor %}", "none"),
        ("{{ alerts[0].summary | shorten(12) }}", "digits-mlp:…"),
        ("{{ '%.2f' | format(0.12345) }} {{ '%s' % 3 }} {{ 2 * 3 + 1 }} {{ 2 ** 8 }}", "0.12 3 7 256"),
        ("{{ 'late' | coloured('#D93026') }}", '<font color="#D93026">late</font>'),
        ("{{ link('Grafana', 'https://grafana.example/') }}", "[Grafana](https://grafana.example/)"),
        ("{{ 'run ' ~ subject ~ \"'s\" }}", "run digits-mlp's"),
        ("{% macro bold(x) %}**{{ x }}**{% endmacro %}{{ bold(subject) }}", "**digits-mlp**"),
        ("{% set x %}**{{ subject }}**{% endset %}{{ x }}", "**digits-mlp**"),
        ("{{ firing_count }}{{ resolved_count }}{{ total }}{{ left_out }}{{ language }}", "1010en"),
        ("a\n\n\n\n\nb", "a\n\nb"),
    ],
)
def test_a_template_of_ones_own_sees_words_and_values(
    tmp_path: Path, notification: Notification, template: str, text: str
) -> None:
    """Values, loops, conditions, macros, filters and our own helpers work as they do in Jinja2."""
    assert rendered(write(tmp_path, own=template), notification) == text


def test_a_template_may_include_another_one_and_a_built_in_one(
    tmp_path: Path, notification: Notification
) -> None:
    """Parts can be shared, and a built-in template can be taken as a part."""
    write(tmp_path, own="{% include 'part.md.j2' %}\n\n{% include 'builtin/generic.md.j2' %}", part="Team A")

    text = rendered(tmp_path, notification)

    assert text.startswith("Team A\n")
    assert "TrainingLossPlateau" in text


def test_a_template_may_set_the_title(tmp_path: Path, notification: Notification) -> None:
    """`title` is what the phone's notification shows, in one short line without mentions."""
    write(tmp_path, own="{% set title = 'Look: ' ~ subject ~ ' @all\n' ~ 'x' * 200 %}text")

    message = Renderer(tmp_path).render(notification, STYLE, now=NOW)

    assert message.title.startswith("Look: digits-mlp ＠all xxx")
    assert len(message.title) == 80


def test_a_changed_template_is_used_without_a_restart(tmp_path: Path, notification: Notification) -> None:
    """A template is read anew when its file has changed."""
    renderer = Renderer(write(tmp_path, own="one"))
    renderer.render(notification, STYLE, now=NOW)
    write(tmp_path, own="two")
    (tmp_path / "own.md.j2").touch()

    assert renderer.render(notification, STYLE, now=NOW).text == "two"


@pytest.mark.parametrize(
    "expression",
    [
        "alerts[0].labels.team",
        "alerts[0].labels.team | safe",
        "alerts[0].labels.team | upper",
        "alerts[0].labels.team | replace('x', 'y')",
        "alerts[0].labels.team[:90]",
        "alerts[0].labels.team | list | join('')",
        "alerts[0].labels.team | string | striptags",
        "alerts[0].labels.team.unescape()",
        "alerts[0].labels.team.split(' ') | join(' ')",
        "'%s' | format(alerts[0].labels.team)",
        "'%s' % alerts[0].labels.team",
        "'x ' ~ alerts[0].labels.team",
        "'x ' + alerts[0].labels.team",
        "alerts[0].summary ~ bold(alerts[0].subject)",
        "alerts[0].description | escape",
        "alerts[0].labels",
        "alerts[0]",
        "link(alerts[0].labels.team, 'https://h/')",
        "link('x', alerts[0].labels.team)",
        "alerts[0].labels.team | coloured('#000000')",
    ],
)
def test_no_expression_makes_foreign_text_act(tmp_path: Path, hostile: Notification, expression: str) -> None:
    """However a template handles a hostile value, it neither mentions nor links nor breaks the Markdown."""
    macro = "{% macro bold(x) %}**{{ x }}**{% endmacro %}"
    text = rendered(write(tmp_path, own=f"{macro}. {{{{ {expression} }}}}"), hostile)

    assert "@" not in text
    assert "](https://evil" not in text
    assert "<at" not in text
    assert '<font color="#ff0000"' not in text
    assert "\n" not in text


FAULTS = [
    ("{{ name }}\n{{ nonsense }}", "template own.md.j2, line 2: 'nonsense' is undefined"),
    ("\n\n{{ alerts[0].labels.nope }}", "template own.md.j2, line 3: 'dict object' has no attribute 'nope'"),
    ("{% if %}", "template own.md.j2, line 1: Expected an expression, got 'end of statement block'"),
    ("a\n{% for x in alerts %}\nb", "template own.md.j2, line 3: Unexpected end of template. "),
    ("{{ 1 / 0 }}", "template own.md.j2, line 1: ZeroDivisionError: division by zero"),
    ("{{ 'a' + 1 }}", "template own.md.j2, line 1: TypeError: can only concatenate str"),
    ("{{ name | nofilter }}", "template own.md.j2, line 1: No filter named 'nofilter'."),
    (
        "x\n{{ ''.__class__.__mro__ }}",
        "template own.md.j2, line 2: access to attribute '__class__' of 'str' object is unsafe.",
    ),
    ("{{ alerts.__class__ }}", "access to attribute '__class__' of 'tuple' object is unsafe."),
    ("{{ alerts | attr('__class__') }}", "access to attribute '__class__' of 'tuple' object is unsafe."),
    ("{{ self.__init__.__globals__ }}", "access to attribute '__init__' of"),
    ("{{ '{0.__class__}'.format(name) }}", "access to attribute 'format' of 'str' object is unsafe."),
    ("{{ labels.update({'a': 1}) }}", "access to attribute 'update' of 'dict' object is unsafe."),
    ("{% include 'nope.md.j2' %}", "there is no template 'nope.md.j2' in "),
    ("{% include '../secret' %}", "there is no template '../secret' in "),
    ("{% include '/etc/passwd' %}", "there is no template '/etc/passwd' in "),
    ("{% include 'own.md.j2' %}", "template own.md.j2, line 1: it calls or includes itself without end"),
    ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "line 1: it calls or includes itself without end"),
    ("{% macro m() %}{{ caller() }}{{ m2() }}{% endmacro %}", ""),
    ("{% for a in range(1001) %}{% endfor %}", "line 1: the range is longer than 1000"),
    (
        "\n{% for a in range(1000) %}{% for b in range(1000) %}{% for c in range(1000) %}{% endfor %}{% endfor %}"
        "{% endfor %}",
        "template own.md.j2, line 2: it takes too long (at most 1 s and 200000 steps); is a loop endless?",
    ),
    (
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        "it takes too long",
    ),
    (
        "{% for a in [0] recursive %}{% if loop.depth < 90 %}{{ loop([0, 0]) }}{% endif %}{% endfor %}",
        "it takes too long",
    ),
    ("{{ 'x' * 1000000000 }}", "line 1: a text would be longer than 100000 characters"),
    ("{{ 1000000000 * [1] }}", "line 1: a text would be longer than 100000 characters"),
    ("{{ 9 ** 9 ** 9 }}", "line 1: the power is too large"),
    ("{{ '%1000000000d' % 1 }}", "line 1: the width of a format is too large"),
    ("{{ '%*d' | format(1000000000, 1) }}", "line 1: the width of a format is too large"),
    ("{{ 'x'.zfill(1000000000) }}", "access to attribute 'zfill' of 'str' object is unsafe."),
    ("{{ 'x' | center(1000000000) }}", "line 1: No filter named 'center'."),
    (
        "{% set n = namespace(x='xxxxxxxxxx') %}{% for i in range(40) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "line 1: a text is longer than 100000 characters",
    ),
    (
        "{% set n = namespace(x='xxxxxxxxxx') %}{% for i in range(40) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "line 1: a text is longer than 100000 characters",
    ),
    ("{{ 'x' * 30000 }}", "template own.md.j2: its text for a single alert is longer than a robot takes"),
]


@pytest.mark.parametrize(("template", "reason"), [fault for fault in FAULTS if fault[1]])
def test_a_faulty_template_is_named_with_its_line_and_the_message_goes_out_all_the_same(
    tmp_path: Path, notification: Notification, template: str, reason: str
) -> None:
    """Whatever is wrong in a template: one clear error, soon, and the built-in generic message."""
    faults: list[TemplateError] = []
    renderer = Renderer(write(tmp_path, own=template), on_fault=faults.append)
    began = time.monotonic()

    message = renderer.render(notification, STYLE, now=NOW)

    (fault,) = faults
    assert reason in str(fault)
    assert time.monotonic() - began < 5
    generic = Style(template="generic", language="en", timezone="UTC")
    assert message == Renderer().render(notification, generic, now=NOW)


def test_a_missing_template_says_which_there_are(tmp_path: Path, notification: Notification) -> None:
    """The error names the file, the directory and the built-in templates."""
    with pytest.raises(TemplateError) as raised:
        Renderer(tmp_path).check(STYLE, notification, NOW)

    assert str(raised.value) == (
        f"there is no template 'own.md.j2' in {tmp_path}; built in are training and generic, "
        "any other is a file of templates_dir"
    )


def test_without_a_directory_there_are_only_the_built_in_templates(notification: Notification) -> None:
    """`template: own.md.j2` without templates_dir is a clear error, not a surprise."""
    with pytest.raises(TemplateError, match=r"there is no template 'own\.md\.j2'; built in are"):
        Renderer().check(STYLE, notification, NOW)


def test_a_file_that_is_no_text_is_a_fault(tmp_path: Path, notification: Notification) -> None:
    """A template that is not UTF-8 is named."""
    (tmp_path / "own.md.j2").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(TemplateError, match=r"template own\.md\.j2: UnicodeDecodeError"):
        Renderer(tmp_path).check(STYLE, notification, NOW)


def test_a_fault_is_logged_if_nobody_else_wants_it(
    tmp_path: Path, notification: Notification, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what is wrong and what was done."""
    Renderer(write(tmp_path, own="{{ nonsense }}")).render(notification, STYLE, now=NOW)

    assert caplog.messages == [
        "template own.md.j2, line 1: 'nonsense' is undefined; "
        "the message goes out with the built-in template 'generic'"
    ]


@pytest.mark.parametrize("text", ["", " \n", "{% for alert in resolved %}{{ alert.subject }}{% endfor %}"])
def test_a_template_without_a_text_loses_no_message(
    tmp_path: Path, notification: Notification, text: str
) -> None:
    """What makes nothing of a message leaves it to the built-in one, keyword or not."""
    faults: list[TemplateError] = []
    style = replace(STYLE, keyword="Training")
    message = Renderer(write(tmp_path, own=text), on_fault=faults.append).render(notification, style, now=NOW)
    assert [str(fault) for fault in faults] == ["template own.md.j2: makes no text of this message"]
    assert "digits-mlp" in message.text


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("{{ name }}", None),
        ("", "template own.md.j2: makes no text of this message"),
        (
            "{% for alert in firing %}{{ alert.subject }}{% endfor %}",
            "template own.md.j2: makes no text of this message (a resolved alert's; whoever wants none of these writes "
            "send_resolved: false in Alertmanager)",
        ),
        (
            "{{ firing[0].subject }}",
            "template own.md.j2, line 1: list object has no element 0 (a resolved alert's; ",
        ),
    ],
)
def test_a_template_is_tried_on_an_alert_and_on_its_end(
    tmp_path: Path, notification: Notification, text: str, refused: str | None
) -> None:
    """What would fail at four in the morning is refused when the configuration is read."""
    renderer = Renderer(write(tmp_path, own=text))
    if refused is None:
        renderer.check(STYLE, notification, NOW)
        return
    with pytest.raises(TemplateError) as error:
        renderer.check(STYLE, notification, NOW)
    assert refused in str(error.value)
