"""The command `epochwatch run`: flags in, one supervised run, its exit code out."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..errors import EpochwatchError
from . import logfile
from .durations import bytes_of, seconds_of
from .jobbook import JobBook
from .request import keep, requested
from .signals import Signals, received
from .spawn import hold_standard_streams
from .supervisor import PORT, Supervisor, read_settings

Read = Callable[[click.Context, click.Parameter, str | None], Any]


def read_by(read: Callable[[str], Any]) -> Read:
    """Takes what reads an option's text, its ValueError being the message, and gives a callback of click's."""

    def callback(context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
        try:
            return None if text is None else read(text)
        except ValueError as error:
            raise click.BadParameter(f"{error}; got {text!r}") from None

    return callback


@click.command(
    short_help="Run a command under supervision.",
    options_metavar="[OPTIONS] [--]",
    context_settings={"allow_interspersed_args": False, "show_default": True, "max_content_width": 100},
)
@click.option(
    "--job", metavar="NAME", envvar="EPOCHWATCH_JOB", help="The job's name. [default: the script's]"
)
@click.option(
    "--timeout",
    metavar="DURATION",
    callback=read_by(seconds_of),
    envvar="EPOCHWATCH_JOB_TIMEOUT",
    help='How long it may take, restarts included, as in "8h". At its end SIGTERM, then SIGKILL.',
)
@click.option(
    "--stop-grace",
    metavar="DURATION",
    callback=read_by(seconds_of),
    default="30s",
    envvar="EPOCHWATCH_JOB_STOP_GRACE",
    help="Between SIGTERM and SIGKILL, where the supervisor ends a process.",
)
@click.option(
    "--restarts",
    type=int,
    default=0,
    envvar="EPOCHWATCH_JOB_RESTARTS",
    help="How often it is started again if it fails.",
)
@click.option(
    "--restart-delay",
    metavar="DURATION",
    callback=read_by(seconds_of),
    default="10s",
    envvar="EPOCHWATCH_JOB_RESTART_DELAY",
    help="Before the first restart; doubled each time, to 5 minutes at most.",
)
@click.option(
    "--log-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="EPOCHWATCH_JOB_LOG_FILE",
    help="Write the output there too.",
)
@click.option(
    "--log-size",
    metavar="SIZE",
    callback=read_by(bytes_of),
    default="100M",
    envvar="EPOCHWATCH_JOB_LOG_SIZE",
    help="Turn the log over at this size: FILE becomes FILE.1.",
)
@click.option(
    "--log-files", type=int, default=5, envvar="EPOCHWATCH_JOB_LOG_FILES", help="How many old logs to keep."
)
@click.option(
    "--schedule",
    metavar="CRON",
    envvar="EPOCHWATCH_JOB_SCHEDULE",
    help='Stay, and start COMMAND by it, as in "0 2 * * *"; several jobs: `epochwatch schedule`.',
)
@click.option(
    "--expected-schedule",
    metavar="CRON",
    envvar="EPOCHWATCH_JOB_EXPECTED_SCHEDULE",
    help="By what somebody else (cron, Slurm) starts this: a start that does not come is then seen.",
)
@click.option(
    "--timezone",
    metavar="ZONE",
    envvar="EPOCHWATCH_JOB_TIMEZONE",
    help="Of the schedule, as in Asia/Shanghai. [default: this machine's]",
)
@click.option(
    "--grace",
    metavar="DURATION",
    callback=read_by(seconds_of),
    default="10m",
    envvar="EPOCHWATCH_JOB_GRACE",
    help="How late a start may be before it counts as missed.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="EPOCHWATCH_STATE_DIR",
    help="Where it is kept what became of a job with a name. [default: ~/.local/state/epochwatch]",
)
@click.option(
    "--textfile",
    metavar="DIRECTORY",
    type=click.Path(path_type=Path),
    envvar="EPOCHWATCH_JOB_TEXTFILE",
    help="Leave the job's metrics there, for node_exporter's textfile collector.",
)
@click.option(
    "--pushgateway",
    metavar="URL",
    envvar="EPOCHWATCH_JOB_PUSHGATEWAY",
    help="Push the job's metrics to this Pushgateway.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    envvar="EPOCHWATCH_JOB_PORT",
    help="Port of /metrics; 0 takes a free one, and so does a port that is taken.",
)
@click.option("--addr", envvar="EPOCHWATCH_ADDR", metavar="HOST", help="Address to serve on. [default: all]")
@click.option(
    "--alertmanager-url",
    metavar="URL",
    envvar="EPOCHWATCH_ALERTMANAGER_URL",
    help="Tell the end to Alertmanager; several separated by commas. The command is told of it too.",
)
@click.option(
    "--notify",
    metavar="ROBOT",
    envvar="EPOCHWATCH_NOTIFY",
    help="Tell it straight to a robot: dingtalk, feishu or wecom, whose address is in DINGTALK_WEBHOOK, ...",
)
@click.option(
    "--language", type=click.Choice(["zh", "en"]), envvar="EPOCHWATCH_LANGUAGE", help="Of a robot's messages."
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND [ARGS]...")
def run(job: str | None, port: int, command: tuple[str, ...], **options: Any) -> None:
    """Runs COMMAND, passes its output and signals through and its exit code out, and tells how it ended.

    Its own flags may follow as they are; -- before it does no harm:

    \b
      epochwatch run --timeout 8h --restarts 3 -- python train.py --lr 0.1
      epochwatch run --job nightly --schedule "0 2 * * *" --timezone Asia/Shanghai -- python train.py

    A job that is given a name is never run twice at once: the second start ends with 75. Each flag may come from the
    environment too, --timeout as EPOCHWATCH_JOB_TIMEOUT.
    """
    hold_standard_streams()
    logging.basicConfig(format="epochwatch: %(message)s", level=logging.WARNING)
    told = {name: options.pop(name) for name in ("addr", "alertmanager_url", "notify", "language")}
    try:
        request = requested(job, command, options)
        if request.spec.log_file is not None:
            logfile.check(request.spec.log_file)
        settings = read_settings({"run": request.spec.name, "port": port, **told}, os.environ)
        if request.scheduled:
            # Only where it is wanted: it reads YAML and draws tables besides.
            from .schedule_command import serve_schedule

            serve_schedule([request.spec], settings, request.places.state_dir)
            return
        books: list[JobBook] = []
        supervisor = Supervisor(settings, books)
        kept = keep(request, supervisor)
    except EpochwatchError as error:
        raise click.UsageError(str(error)) from None
    books.append(JobBook(request.spec) if kept is None else kept.book)
    supervisor.start()
    signals = Signals()
    with received(signals):
        try:
            if kept is None:
                code = supervisor.runner(books[0], interactive=True).run(signals).exit_code
            else:
                code = kept.run(signals)
        finally:
            supervisor.close(hold=not signals.asked_to_end, signals=signals)
    sys.exit(code)
