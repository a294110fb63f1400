"""The report as Markdown that chat robots show: headings, lists and bold, no tables; pure."""

from __future__ import annotations

from collections.abc import Iterator

from . import outline, wording
from . import vocabulary as v
from .account import Account
from .closing import curve_line
from .outline import Language


def markdown(account: Account, language: Language, now: float) -> str:
    """Takes a run with its comparisons and gives its report, without the curves but one."""
    return "\n".join(_lines(account, language, now)) + "\n"


def _lines(account: Account, language: Language, now: float) -> Iterator[str]:
    say = outline.speaker(language)
    record = account.record
    yield from (f"### {_plain(record.head.name)}", "", f"**{outline.headline(account, say, now)}**", "")
    yield from (f"- {say(wording.sentence(one.judged, one.called))}" for one in account.against)
    yield from (f"- {_plain(say(note))}" for note in account.notes)
    bars = curve_line(record)
    if bars is not None:
        yield from ("", say(bars))
    yield from ("", f"**{say(v.VALUES)}**", "")
    heading = [say(words) for words in v.VALUES_HEADING]
    for name, best, epoch, final in outline.values(record, say):
        place = f" ({heading[2]} {epoch})" if epoch else ""
        yield f"- {_plain(name)}: {heading[1]} {best}{place}, {heading[3]} {final}"
    yield from ("", f"**{say(v.WHAT_RAN)}**", "")
    yield from (f"- {_plain(name)}: {_plain(value)}" for name, value in outline.what_ran(record, say))
    yield from ("", f"**{say(v.TIME)}**", "")
    phases = outline.shares(record.facts.phase_seconds, v.PHASES, say)
    yield from (f"- {share.name}: {share.took} ({share.ratio:.0%})" for share in phases)
    for use in record.facts.gpus:
        yield from ("", f"- {' · '.join(outline.gpu_row(use))}")
    yield from ("", f"**{say(v.ALERTS_RAISED)}**", "")
    raised = [" · ".join(map(_plain, outline.raised_row(one, say))) for one in record.raised]
    counted = outline.counts(record, say)
    yield from (f"- {line}" for line in ([*raised, *counted] or [say(v.NOTHING_RAISED)]))


def _plain(text: str) -> str:
    """Gives a foreign text without what Markdown acts on."""
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>#|" else sign for sign in " ".join(text.split()))
