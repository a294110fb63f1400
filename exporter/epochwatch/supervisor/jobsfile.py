"""From the YAML file of `epochwatch schedule` to jobs, with errors that name file, line and key.

Every value is taken as it is written: `30` in a command is the text 30, and `on` is no truth value.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..errors import JobError, ScheduleError
from .cron import Cron
from .durations import bytes_of, seconds_of
from .jobspec import JobSpec

# What a key of the file is called inside, and how its value is read; ValueError says what it must be.
Keys = Mapping[str, tuple[str, Callable[[yaml.Node], object]]]


@dataclass(frozen=True)
class JobsFile:
    """What a file says.

    Attributes:
        settings: Of the scheduler itself, by the names that `Settings` has; only those that were given.
        state_dir: Where the jobs' state is kept; None if the file does not say.
    """

    jobs: tuple[JobSpec, ...]
    settings: Mapping[str, object]
    state_dir: Path | None


def load(path: Path) -> JobsFile:
    """Takes a file's path, relative paths in which are relative to its directory, and gives its jobs.

    Raises:
        ScheduleError: With one line for each problem: file, line, key, and what to write.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ScheduleError(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8") from None
    except OSError as error:
        raise ScheduleError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        node = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ScheduleError(f"{path}{_yaml_place(error)}") from None
    return _Reader(path).file(node)


@dataclass
class _Reader:
    """Walks through a file's nodes and collects what is wrong with them."""

    path: Path
    problems: list[tuple[int, str]] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)

    def file(self, node: yaml.Node | None) -> JobsFile:
        given = {} if node is None else self._mapping("", node, _FILE_KEYS)
        jobs, defaults = given.pop("jobs", None), given.pop("defaults", None)
        common = {} if defaults is None else self._mapping("defaults", defaults, _JOB_KEYS)
        specs = [] if jobs is None else list(self._jobs(jobs, common))
        if not specs and not self.problems:
            self._refuse(
                "jobs", 'must name a job, as in jobs: {nightly: {schedule: "0 2 * * *", command: …}}'
            )
        if self.problems:
            ordered = dict.fromkeys(sorted(self.problems))
            raise ScheduleError("\n".join(f"{self.path}:{line}: {text}" for line, text in ordered))
        state_dir = given.pop("state_dir", None)
        return JobsFile(tuple(specs), given, None if state_dir is None else self.path.parent / state_dir)

    def _jobs(self, node: yaml.Node, common: Mapping[str, Any]) -> Iterator[JobSpec]:
        for name, entry in self._entries("jobs", node):
            place = f"jobs.{name}"
            own = {} if _is_empty(entry) else self._mapping(place, entry, _JOB_KEYS)
            values = {**common, **own}
            missing = [key for key in ("schedule", "command") if not self._has(place, key, values)]
            if not missing:
                yield from self._job(place, name, values)

    def _job(self, place: str, name: str, values: dict[str, Any]) -> Iterator[JobSpec]:
        for path in ("log_file", "cwd"):
            if path in values:
                values[path] = self.path.parent / values[path]
        try:
            spec = JobSpec(name=name, **values)
            Cron(spec.schedule or "", spec.timezone or "")
        except JobError as error:
            at = next((key for key in _JOB_KEYS if f"(key {key}:" in str(error)), "")
            self._refuse(f"{place}.{at}", str(error))
        except ScheduleError as error:
            self._refuse(f"{place}.{'timezone' if 'time zone' in str(error) else 'schedule'}", str(error))
        else:
            yield spec

    def _has(self, place: str, key: str, values: Mapping[str, Any]) -> bool:
        if key not in values and f"{place}.{key}" not in self.refused:
            self._refuse(f"{place}.{key}", f"is missing; write {_EXAMPLES[key]}")
        return key in values

    def _mapping(self, place: str, node: yaml.Node, keys: Keys) -> dict[str, Any]:
        """Gives a mapping's values by their inner names; what is wrong is noted and left out.

        A key that is left empty counts as not given.
        """
        values = {}
        for key, value in self._entries(place, node):
            here = f"{place}.{key}" if place else key
            if key not in keys:
                self._refuse(here, f"unknown key; {_hint(key, keys)}")
                continue
            if _is_empty(value):
                continue
            name, read = keys[key]
            try:
                values[name] = read(value)
            except ValueError as error:
                self._refuse(here, str(error))
        return values

    def _entries(self, place: str, node: yaml.Node) -> Iterator[tuple[str, yaml.Node]]:
        """Gives the keys of a mapping and their values."""
        if not isinstance(node, yaml.MappingNode):
            self.lines.setdefault(place, node.start_mark.line + 1)
            self._refuse(place, "must be a mapping of keys")
            return
        own = [key.value for key, _ in node.value]
        self._merge(place, node)
        for key_node, value in node.value:
            key = str(key_node.value)
            here = f"{place}.{key}" if place else key
            self.lines[here] = key_node.start_mark.line + 1
            if own.count(key) > 1:
                self._refuse(here, "stands here twice; keep one of them")
            else:
                yield key, value

    def _merge(self, place: str, node: yaml.MappingNode) -> None:
        """Puts what `<<` brings in first, so that the mapping's own keys win."""
        lines = [key.start_mark.line + 1 for key, _ in node.value if key.tag == "tag:yaml.org,2002:merge"]
        try:
            yaml.SafeLoader("").flatten_mapping(node)
        except yaml.YAMLError:
            here = f"{place}.<<" if place else "<<"
            self.lines[here] = lines[0]
            self._refuse(here, "must bring in a mapping by its anchor, as in <<: *common")

    def _refuse(self, place: str, message: str) -> None:
        self.refused.add(place)
        known = place
        while known and known not in self.lines:
            known = known.rpartition(".")[0]
        self.problems.append(
            (self.lines.get(known, 1), f"{place.removesuffix('.')}: {message}".removeprefix(": "))
        )


def _is_empty(node: yaml.Node) -> bool:
    return bool(node.tag == "tag:yaml.org,2002:null")


def _text(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise ValueError("must be a text")
    return str(node.value)


def _node(node: yaml.Node) -> yaml.Node:
    return node


def _whole(node: yaml.Node) -> int:
    try:
        return int(_text(node))
    except ValueError:
        raise ValueError("must be a whole number") from None


def _seconds(node: yaml.Node) -> float:
    return seconds_of(_text(node))


def _bytes(node: yaml.Node) -> int:
    return bytes_of(_text(node))


def _path(node: yaml.Node) -> Path:
    return Path(_text(node))


def _command(node: yaml.Node) -> tuple[str, ...]:
    if isinstance(node, yaml.SequenceNode):
        return tuple(_text(part) for part in node.value)
    try:
        return tuple(shlex.split(_text(node)))
    except ValueError as error:
        raise ValueError(
            f'must be a program and its arguments ({error}), as in [python, "train.py"]'
        ) from None


def _texts(node: yaml.Node) -> dict[str, str]:
    if not isinstance(node, yaml.MappingNode):
        raise ValueError("must map names to texts")
    return {str(key.value): _text(value) for key, value in node.value}


_JOB_KEYS: Keys = {
    "command": ("command", _command),
    "schedule": ("schedule", _text),
    "timezone": ("timezone", _text),
    "grace": ("grace_seconds", _seconds),
    "timeout": ("timeout_seconds", _seconds),
    "stop_grace": ("stop_grace_seconds", _seconds),
    "restarts": ("restarts", _whole),
    "restart_delay": ("restart_delay_seconds", _seconds),
    "log_file": ("log_file", _path),
    "log_size": ("log_size_bytes", _bytes),
    "log_files": ("log_files", _whole),
    "env": ("env", _texts),
    "cwd": ("cwd", _path),
}
_FILE_KEYS: Keys = {
    "jobs": ("jobs", _node),
    "defaults": ("defaults", _node),
    "state_dir": ("state_dir", _path),
    "port": ("port", _whole),
    "addr": ("addr", _text),
    "alertmanager_url": ("alertmanager_url", _text),
    "notify": ("notify", _text),
    "language": ("language", _text),
    "labels": ("labels", _texts),
}
_EXAMPLES = {
    "schedule": 'five fields, as in schedule: "0 2 * * *"',
    "command": 'a program and its arguments, as in command: [python, train.py, --epochs, "30"]',
}


def _hint(key: str, keys: Keys) -> str:
    near = difflib.get_close_matches(key, keys, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(keys))}"


def _yaml_place(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        what = ", ".join(part for part in (error.context, error.problem) if part)
        return f":{error.problem_mark.line + 1}: not YAML: {what}"
    return f": not YAML: {' '.join(str(error).split())}"
