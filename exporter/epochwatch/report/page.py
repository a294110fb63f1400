"""The report as one HTML file that needs nothing else: no script, no font, no picture from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import resources

from epochwatch.phrases import Words, duration

from . import drawing, outline, wording
from . import vocabulary as v
from .account import Account, Against
from .charts import Chart, Line, charts
from .closing import curve_line
from .listing import moment
from .markup import Content, Html, element, joined
from .outline import Language, Row, Say, Share

NOT_DRAWN = Words(
    f"Curves are drawn by matplotlib, which is not installed here: {drawing.INSTALL}, then make the report again.",
    f"曲线由 matplotlib 绘制，此处未安装：请运行 {drawing.INSTALL} 后重新生成报告。",
)


def page(account: Account, language: Language, now: float) -> str:
    """Takes a run with its comparisons and gives its report.

    Args:
        now: When it is made, seconds since the epoch.
    """
    say = outline.speaker(language)
    head = account.record.head
    sections = [
        _top(account, say, now),
        _what_ran(account, say),
        _comparison(account, say),
        _curves(account, say),
        _values(account, say),
        _time(account, say),
        _gpus(account, say),
        _raised(account, say),
        _foot(account, say, now),
    ]
    style = resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    top = joined(
        Html('<meta charset="utf-8">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", f"{head.name} · {head.run_id}"),
        element("style", Html(style)),
    )
    tongue = "en" if language == "en" else "zh-CN"
    return (
        "<!doctype html>\n"
        + element("html", element("head", top), element("body", *sections), lang=tongue)
        + "\n"
    )


def _top(account: Account, say: Say, now: float) -> Html:
    head = account.record.head
    spent = f"{moment(head.started_at)} · {say(duration(head.seconds))}"
    verdict: Html | None = None
    if account.against:
        judged = account.against[0].judged
        lines = [element("b", outline.headline(account, say, now)), *map(say, _sentences(account))]
        verdict = element("div", *map(_paragraph, lines), class_=f"verdict {judged.verdict}")
    state = element("span", say(outline.state_at(head, now)))
    return element(
        "header", element("h1", head.name), element("p", state, f" · {spent}", class_="soft"), verdict
    )


def _sentences(account: Account) -> Iterable[Words]:
    for against in account.against:
        yield wording.sentence(against.judged, against.called)
    for against in account.against[:1]:
        yield from wording.caveats(against.judged)


def _what_ran(account: Account, say: Say) -> Html:
    pairs = [
        element("div", element("dt", name), element("dd", value), class_="wide" if len(value) > 40 else None)
        for name, value in outline.what_ran(account.record, say)
    ]
    return _section(say(v.WHAT_RAN), element("dl", *pairs))


def _comparison(account: Account, say: Say) -> Html:
    parts: list[Html] = [_against(against, say) for against in account.against]
    if not account.against and not account.notes:
        parts.append(_paragraph(say(v.FIRST_RUN), "soft"))
    parts += [_paragraph(say(note), "soft") for note in account.notes]
    return _section(say(v.COMPARISON), *parts)


def _against(against: Against, say: Say) -> Html:
    head = against.record.head
    called = f"{say(against.called)} · {head.name} · {moment(head.started_at)}"
    verdicts = [against.judged, *(one for one in against.others if one.metric != against.judged.metric)]
    rows = outline.compared(against, say)
    marked = [
        (*row[:-1], element("span", row[-1], class_=one.verdict))
        for row, one in zip(rows, verdicts, strict=True)
    ]
    heading = [say(words) for words in v.COMPARED_HEADING]
    table = _table(heading, marked, numbers=(1, 2, 3))
    return joined(element("h3", called), table, _paragraph(say(wording.rule(against.judged)), "soft"))


def _curves(account: Account, say: Say) -> Html | None:
    found = charts(account)
    if not found:
        return None
    if not drawing.can_draw():
        bars = curve_line(account.record)
        shown = None if bars is None else _paragraph(say(bars), "bars")
        return _section(say(v.CURVES), shown, _paragraph(say(NOT_DRAWN), "soft"))
    figures = [_figure(chart, account, say) for chart in found]
    return _section(say(v.CURVES), element("div", *figures, class_="charts"))


def _figure(chart: Chart, account: Account, say: Say) -> Html:
    small = [say(v.BY_EPOCH if chart.along == "epoch" else v.BY_STEP)]
    if chart.logarithmic:
        small.append(say(v.LOGARITHMIC))
    if any(value != value or abs(value) == float("inf") for line in chart.lines for value in line.y):
        small.append(say(v.ODD))
    own = [line for line in chart.lines if not line.reference]
    legend = [_key(line, own, account, say) for line in chart.lines]
    title = say(chart.title)
    caption = element("figcaption", element("b", title), *legend, element("small", " · ".join(small)))
    return element("figure", caption, drawing.draw(chart, title))


def _key(line: Line, own: Sequence[Line], account: Account, say: Say) -> Html:
    if line.reference:
        swatch = element("i", class_="dashed", style="border-color: var(--reference)")
        return element("span", swatch, say(account.against[0].called))
    swatch = element("i", style=f"border-color: var(--series-{own.index(line) % drawing.SERIES + 1})")
    return element("span", swatch, say(line.called))


def _values(account: Account, say: Say) -> Html | None:
    rows = list(outline.values(account.record, say))
    if not rows:
        return None
    return _section(
        say(v.VALUES), _table([say(words) for words in v.VALUES_HEADING], rows, numbers=(1, 2, 3))
    )


def _time(account: Account, say: Say) -> Html | None:
    facts = account.record.facts
    ratio = outline.goodput(facts.phase_seconds)
    if ratio is None:
        return None
    line = say(Words(f"{ratio:.0%} {v.GOODPUT.en}.", f"{ratio:.0%} {v.GOODPUT.zh}。"))
    parts: list[Content] = [_paragraph(line), _shares(outline.shares(facts.phase_seconds, v.PHASES, say))]
    within = outline.shares(facts.part_seconds, v.PARTS, say)
    if len(within) > 1:
        parts += [element("h3", say(v.STEP)), _shares(within)]
    return _section(say(v.TIME), *parts)


def _shares(shares: Sequence[Share]) -> Html:
    rows = [
        (share.name, element("meter", value=f"{share.ratio:.4f}", max="1"), share.took, f"{share.ratio:.0%}")
        for share in shares
    ]
    return _table((), rows, numbers=(2, 3))


def _gpus(account: Account, say: Say) -> Html | None:
    rows = [outline.gpu_row(use) for use in account.record.facts.gpus]
    if not rows:
        return None
    return _section(
        say(v.GPUS), _table([say(words) for words in v.GPU_HEADING], rows, numbers=(1, 2, 3, 4, 5))
    )


def _raised(account: Account, say: Say) -> Html:
    record = account.record
    rows = [outline.raised_row(raised, say) for raised in record.raised]
    counted = [_paragraph(line) for line in outline.counts(record, say)]
    table = _table((), rows) if rows else None
    nothing = None if rows or counted else _paragraph(say(v.NOTHING_RAISED), "soft")
    return _section(say(v.ALERTS_RAISED), table, *counted, nothing)


def _foot(account: Account, say: Say, now: float) -> Html:
    command = element("code", f"epochwatch report {account.record.head.run_id}")
    return element("footer", f"epochwatch · {moment(now)} · ", command)


def _section(title: str, *content: Content) -> Html:
    return element("section", element("h2", title), *content)


def _paragraph(content: Content, class_: str | None = None) -> Html:
    return element("p", content, class_=class_)


def _table(
    heading: Sequence[str], rows: Iterable[Sequence[Content] | Row], numbers: Sequence[int] = ()
) -> Html:
    def cell(tag: str, place: int, content: Content) -> Html:
        return element(tag, content, class_="number" if place in numbers else None)

    top = element("tr", *(cell("th", place, text) for place, text in enumerate(heading))) if heading else None
    body = [element("tr", *(cell("td", place, text) for place, text in enumerate(row))) for row in rows]
    return element("div", element("table", top, *body), class_="scroll")
