"""The commands `epochwatch schedule` and `epochwatch jobs`."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from ..errors import EpochwatchError
from ..settings import Settings
from ..troubles import LOGGER
from . import jobsfile
from .cron import Cron, zone_of
from .jobbook import JobBook
from .jobspec import JobSpec
from .jobtable import moment, table
from .lock import run_lock
from .scheduledjob import ScheduledJob
from .scheduler import Scheduler
from .signals import Signals, received, suspendable
from .spawn import hold_standard_streams
from .statefile import check_name, default_directory, states
from .supervisor import PORT, Supervisor, check_usable, read_settings

STARTS_SHOWN = 3
# What a scheduler cannot change while it runs, of what its file and flags say.
FIXED = ("port", "addr", "alertmanager_url", "notify", "language", "labels")
HEEDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)

state_dir_option = click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="EPOCHWATCH_STATE_DIR",
    help="Where it is kept what became of each job.  [default: ~/.local/state/epochwatch]",
)


@dataclass(frozen=True)
class Plan:
    """What a scheduler goes by."""

    jobs: Sequence[JobSpec]
    settings: Settings
    directory: Path

    @classmethod
    def read(cls, file: Path, state_dir: Path | None, given: Mapping[str, object]) -> Plan:
        """Takes a file and what was given besides, which wins, and gives what a scheduler could begin with.

        Raises:
            EpochwatchError: If anything in it cannot be used.
        """
        read = jobsfile.load(file)
        settings = read_settings({"run": "jobs", "port": PORT, **read.settings, **given}, os.environ)
        check_usable(settings, os.environ)
        for spec in read.jobs:
            check_name(spec.name)
        return cls(read.jobs, settings, state_dir or read.state_dir or default_directory(os.environ))

    def differences(self, other: Plan) -> list[str]:
        """Gives the keys, but for the jobs, in which another plan differs."""
        changed = [name for name in FIXED if getattr(self.settings, name) != getattr(other.settings, name)]
        return changed if self.directory == other.directory else ["state_dir", *changed]


@click.command(context_settings={"show_default": True, "max_content_width": 100})
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@state_dir_option
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    envvar="EPOCHWATCH_JOB_PORT",
    help=f"Port of /metrics, for all jobs.  [default: {PORT}]",
)
@click.option("--addr", metavar="HOST", envvar="EPOCHWATCH_ADDR", help="Address to serve on.  [default: all]")
@click.option(
    "--alertmanager-url",
    metavar="URL",
    envvar="EPOCHWATCH_ALERTMANAGER_URL",
    help="Tell ends and missed starts to Alertmanager; several separated by commas.",
)
@click.option(
    "--notify",
    metavar="ROBOT",
    envvar="EPOCHWATCH_NOTIFY",
    help="Tell them straight to a robot: dingtalk, feishu or wecom.",
)
@click.option("--check", is_flag=True, help="Only read FILE, and say when each job would start next.")
def schedule(file: Path, state_dir: Path | None, check: bool, **options: object) -> None:
    """Starts the jobs of FILE by their schedules, until SIGTERM; reads FILE again at SIGHUP.

    Runs as process 1 of a container too. A start may be late by the job's grace, after a restart for example; later
    than that it is missed, told, and the next regular one is waited for.
    """
    logging.basicConfig(format="epochwatch: %(message)s", level=logging.WARNING)
    given = {name: value for name, value in options.items() if value is not None}
    try:
        plan = Plan.read(file, state_dir, given)
        if check:
            _say_next_starts(plan.jobs, time.time())
            return

        def reload() -> Sequence[JobSpec]:
            again = Plan.read(file, state_dir, given)
            for key in plan.differences(again):
                LOGGER.warning("%s: %s has changed; it takes a restart", file, key)
            return again.jobs

        serve_schedule(plan.jobs, plan.settings, plan.directory, reload)
    except EpochwatchError as error:
        raise click.ClickException(str(error)) from None


@click.command()
@state_dir_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def jobs(state_dir: Path | None, as_json: bool) -> None:
    """Shows each job's last run and its next start, as the state directory has them."""
    directory = state_dir or default_directory(os.environ)
    try:
        found = states(directory)
        running = frozenset(name for name in found if run_lock(directory, name).is_held())
        if as_json:
            listed = {name: {**asdict(state), "running": name in running} for name, state in found.items()}
            click.echo(json.dumps(listed, indent=2, ensure_ascii=False))
        elif found:
            click.echo(table(found, running, time.time(), zone_of))
        else:
            click.echo(f"no job has its state in {directory}")
    except EpochwatchError as error:
        raise click.ClickException(str(error)) from None


def serve_schedule(
    specs: Sequence[JobSpec],
    settings: Settings,
    directory: Path,
    reload: Callable[[], Sequence[JobSpec]] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Has charge of the jobs until this process is told to end.

    Raises:
        EpochwatchError: If a schedule, the state, the address or a robot's address cannot be used.
    """
    LOGGER.setLevel(logging.INFO)
    hold_standard_streams()
    books: list[JobBook] = []
    supervisor = Supervisor(settings, books, environ, scrape_job="training-scheduler")

    def make_job(spec: JobSpec, on_end: Callable[[], None]) -> ScheduledJob:
        return ScheduledJob(
            spec, directory, supervisor.herald, supervisor.troubles, supervisor.runner, on_end=on_end
        )

    nursery = supervisor.nursery
    scheduler = Scheduler(make_job, books, reap=nursery.reap_orphans)
    signals = Signals()
    with (
        received(signals, HEEDED),
        suspendable(
            stop=lambda: nursery.signal_all(signal.SIGSTOP), go_on=lambda: nursery.signal_all(signal.SIGCONT)
        ),
    ):
        try:
            supervisor.start()
            scheduler.take_up(specs, now := time.time())
            for name, job in scheduler.jobs.items():
                LOGGER.info("job %s: next start %s", name, job.next_after(now))
            scheduler.serve(signals, reload)
        finally:
            scheduler.close()
            supervisor.close(hold=False)
            signals.close()


def _say_next_starts(specs: Sequence[JobSpec], now: float) -> None:
    for spec in specs:
        cron = Cron(spec.schedule or "", spec.timezone or "")
        at, shown = now, []
        for _ in range(STARTS_SHOWN):
            at = cron.next_after(at)
            shown.append(moment(at, cron.zone))
        click.echo(f"{spec.name}: {', '.join(shown)}")
