"""The commands that read the history: `epochwatch runs | compare | report | baseline`.

Exit codes: 0, 1 for "worse" of `compare` alone, 2 for whatever is wrong: usage, an unknown run, no history.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from epochwatch.errors import HistoryError
from epochwatch.tolerance import Tolerance, parse

from . import listing
from .comparison import DEFAULT_TOLERANCE, At, compare, shared
from .drawing import INSTALL, can_draw
from .making import Format, Wish, make, put, usual_place
from .outline import Language
from .record import Mode
from .reference import check_baseline_name, find, find_baseline, nearest
from .store import History
from .table import table

WORSE = 1
WRONG = 2
Command = TypeVar("Command", bound=Callable[..., Any])


def read_tolerance(context: click.Context, parameter: click.Parameter, text: str) -> Tolerance:
    """Takes a threshold as a user writes it."""
    try:
        return parse(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} {error}") from None


def on_history(command: Command) -> Command:
    """Gives a command the history that --history names, and turns its errors into exit code 2."""

    @click.option(
        "--history",
        envvar="EPOCHWATCH_HISTORY",
        type=click.Path(path_type=Path, file_okay=False),
        default="runs",
        show_default=True,
        help="Directory of the history, as given to epochwatch.start(history=...). [EPOCHWATCH_HISTORY]",
    )
    @wraps(command)
    def run(history: Path, **options: Any) -> Any:
        try:
            return command(History(history), **options)
        except HistoryError as error:
            click.echo(f"Error: {error}", err=True)
            raise SystemExit(WRONG) from None

    return cast("Command", run)


threshold_option = click.option(
    "--threshold",
    envvar="EPOCHWATCH_THRESHOLD",
    callback=read_tolerance,
    metavar="TEXT",
    default=str(DEFAULT_TOLERANCE),
    show_default=True,
    help='How much worse is still as good: "0.5%" of the magnitude of A\'s value, or a distance like "0.005". '
    "[EPOCHWATCH_THRESHOLD]",
)


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON list instead of a table.")
@click.option(
    "--limit", type=click.IntRange(1), default=30, show_default=True, help="How many, newest first."
)
@on_history
def runs(history: History, name: str | None, as_json: bool, limit: int) -> None:
    """List the runs in the history, newest first; those called NAME if it is given."""
    heads = history.heads()
    if name is not None:
        # Says which names there are if there is none of that name.
        wanted = find(name, heads, history.baselines()).name
        heads = [head for head in heads if head.name == wanted]
    records = [history.record(head.run_id) for head in heads[:limit]]
    show = listing.runs_json if as_json else listing.runs_table
    click.echo(show(records, history.baselines(), time.time()))


@click.command("compare")
@click.argument("a")
@click.argument("b")
@click.option("--metric", help="As phase/metric, e.g. validation/accuracy; default: what B's run monitored.")
@click.option("--mode", type=click.Choice(["min", "max"]), help="Whether less or more of it is better.")
@threshold_option
@click.option(
    "--at",
    type=click.Choice(["best", "final"]),
    default="best",
    show_default=True,
    help="Which value of each run.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
@on_history
def compare_command(
    history: History,
    a: str,
    b: str,
    metric: str | None,
    mode: Mode | None,
    threshold: Tolerance,
    at: At,
    as_json: bool,
) -> None:
    """Hold run B against run A: exit code 0 if B is not worse, 1 if it is, 2 if that cannot be said.

    A and B are each a run's id, the beginning of one, a baseline, the name of a run (its newest) or NAME~1 (the one
    before), NAME~2, ...
    """
    heads, baselines = history.heads(), history.baselines()
    reference, candidate = (history.record(find(name, heads, baselines).run_id) for name in (a, b))
    judged = compare(reference, candidate, metric=metric, mode=mode, tolerance=threshold, at=at)
    others = shared(reference, candidate, threshold, at)
    now = time.time()
    states = reference.head.at(now), candidate.head.at(now)
    show = listing.comparison_json if as_json else listing.comparison_text
    click.echo(show(*states, judged, others))
    raise SystemExit(WORSE if judged.verdict == "worse" else 0)


@click.group()
def baseline() -> None:
    """Name runs that others are held against."""


@baseline.command("set")
@click.argument("name")
@click.argument("run")
@on_history
def set_baseline(history: History, name: str, run: str) -> None:
    """Let baseline NAME be RUN from now on; it is kept however old it gets."""
    heads = history.heads()
    check_baseline_name(name, heads)
    head = find(run, heads, history.baselines())
    history.set_baseline(name, head.run_id, time.time())
    click.echo(f"baseline {name} is {head.name} ({head.run_id})")


@baseline.command("list")
@on_history
def list_baselines(history: History) -> None:
    """List the baselines and their runs."""
    heads = {head.run_id: head for head in history.heads()}
    rows = [(name, run_id, heads[run_id].name) for name, run_id in history.baselines().items()]
    click.echo(table(("BASELINE", "RUN ID", "NAME"), rows))


@baseline.command("remove")
@click.argument("name")
@on_history
def remove_baseline(history: History, name: str) -> None:
    """Forget that NAME is a baseline; its run stays in the history."""
    known = history.baselines()
    if name not in known:
        raise HistoryError(
            f"there is no baseline {name!r}; known baselines: {', '.join(nearest(name, known)) or 'none'}"
        )
    history.remove_baseline(name)
    click.echo(f"{name} is no baseline any more")


@click.command("report")
@click.argument("run")
@click.option(
    "--baseline",
    envvar="EPOCHWATCH_BASELINE",
    help="Hold it against this baseline or run, too. [EPOCHWATCH_BASELINE]",
)
@threshold_option
@click.option(
    "--language",
    envvar="EPOCHWATCH_LANGUAGE",
    type=click.Choice(["zh", "en"]),
    default="zh",
    show_default=True,
    help="[EPOCHWATCH_LANGUAGE]",
)
@click.option(
    "--prometheus-url",
    envvar="EPOCHWATCH_PROMETHEUS_URL",
    help="Ask it which alerts fired. [EPOCHWATCH_PROMETHEUS_URL]",
)
@click.option("--format", "form", type=click.Choice(["html", "md"]), default="html", show_default=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="File to write, - for standard output; default: in the history's reports, Markdown on standard output.",
)
@on_history
def report(
    history: History,
    run: str,
    baseline: str | None,
    threshold: Tolerance,
    language: Language,
    prometheus_url: str | None,
    form: Format,
    output: Path | None,
) -> None:
    """Make the report of RUN: one self-contained HTML file, or Markdown.

    RUN is a run's id, the beginning of one, a baseline, the name of a run (its newest) or NAME~1 (the one before).
    """
    heads, baselines = history.heads(), history.baselines()
    run_id = find(run, heads, baselines).run_id
    if baseline is not None:
        find_baseline(baseline, heads, baselines)
    wish = Wish(baseline, threshold, language, prometheus_url)
    text, trouble = make(history, run_id, wish, time.time(), form)
    if trouble:
        click.echo(f"Warning: {trouble}", err=True)
    if form == "html" and not can_draw():
        click.echo(f"Warning: without curves, as matplotlib is not installed: {INSTALL}", err=True)
    if output == Path("-") or (output is None and form == "md"):
        click.echo(text, nl=False)
        return
    path = output or usual_place(history, run_id)
    put(text, path)
    click.echo(path)


COMMANDS = (runs, compare_command, report, baseline)
