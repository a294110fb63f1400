"""What the subcommands share: the configuration option, and errors as one clear message."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from alertbridge.configfile import environment, load
from alertbridge.errors import AlertbridgeError, ConfigError
from alertbridge.secret import Secret, mask
from alertbridge.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])

_option = click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="ALERTBRIDGE_CONFIG",
    metavar="FILE",
    help="The configuration. Without it, DINGTALK_WEBHOOK and DINGTALK_SECRET make one receiver, `default`.",
)


def config_option(command: Command) -> Command:
    """Adds `--config FILE`."""
    return _option(command)


def teaching_errors(command: Command) -> Command:
    """Makes the command end with exit code 1 and the message of our own errors, without a traceback."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except AlertbridgeError as error:
            raise click.ClickException(mask(str(error))) from None

    return guarded  # type: ignore[return-value]


def read_settings(config: Path | None) -> Settings:
    """Takes the configuration's path or none, gives the settings; `.env` in the working directory counts.

    Raises:
        ConfigError: says what is wrong, and where.
    """
    return load(config, environment(Path.cwd()))


def with_overrides(settings: Settings, *, listen: str | None, storage: str | None) -> Settings:
    """Takes settings and what the command line says instead, gives them together.

    Raises:
        ConfigError: `listen` is no address.
    """
    values: dict[str, Any] = {}
    if listen is not None:
        values["listen"] = listen
    if storage is not None:
        values["storage"] = Secret(storage)
    if not values:
        return settings
    try:
        return Settings.model_validate({**dict(settings), **values})
    except ValueError:
        raise ConfigError(
            f"--listen {listen!r} is no address; write HOST:PORT, for example 127.0.0.1:8060"
        ) from None
