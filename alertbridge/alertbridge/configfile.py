"""From a YAML file and the environment to `Settings`, with errors that name file, line and key.

Flow: text → YAML nodes (which know their lines) → values, `${ENV}` and `_file` filled in → checked models.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values
from pydantic import ValidationError

from alertbridge.configkeys import KeyPath, known_keys, secret_keys
from alertbridge.errors import ConfigError
from alertbridge.problems import Problem, problems
from alertbridge.settings import Settings
from alertbridge.targets import receivers_from_targets

_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LARGEST_SECRET_BYTES = 65_536


def environment(directory: Path, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Takes the directory that may hold a `.env`, gives the environment with that file's lines below it."""
    from_file = {
        name: value for name, value in dotenv_values(directory / ".env").items() if value is not None
    }
    return {**from_file, **(os.environ if environ is None else environ)}


def looked_up(name: str, environ: Mapping[str, str]) -> str | None:
    """Takes a variable's name, gives its value: what the file holds that NAME_FILE names, else NAME's own.

    The file wins, so that a container can have both: a default in the one, a mounted secret in the other.

    Raises:
        ConfigError: the file cannot be used.
    """
    file = environ.get(f"{name}_FILE", "").strip()
    if not file:
        return environ.get(name)
    try:
        return secret_in(Path(file).expanduser())
    except ConfigError as error:
        raise ConfigError(f"{name}_FILE: {error}") from None


def secret_in(file: Path) -> str:
    """Takes a file, gives the secret in it, without the white space around.

    Raises:
        ConfigError: it cannot be read, is no text or is empty.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(LARGEST_SECRET_BYTES).decode("utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not UTF-8 text") from None
    if not content:
        raise ConfigError(f"{file} is empty")
    return content


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Takes the configuration file's path, or none for the environment's one robot; gives the settings.

    Raises:
        ConfigError: with one line for each problem, file, line and key first.
    """
    if path is None:
        return _from_environment(environ)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    return parse(text, path, environ)


def parse(text: str, path: Path, environ: Mapping[str, str]) -> Settings:
    """Takes a configuration file's text and path (for messages and relative files), gives the settings.

    Raises:
        ConfigError: as `load`.
    """
    document = _Document(path, environ)
    values = document.read(text)
    document.stop_on_problems()
    try:
        return _placed(Settings.model_validate(values), path.parent)
    except ValidationError as error:
        for problem in problems(error):
            document.refuse(problem.place, _explain(problem))
    document.stop_on_problems()
    raise AssertionError("a failed validation has at least one problem")


def _placed(settings: Settings, directory: Path) -> Settings:
    if settings.templates_dir is None:
        return settings
    return settings.model_copy(update={"templates_dir": str(directory / settings.templates_dir)})


def _from_environment(environ: Mapping[str, str]) -> Settings:
    webhook = (looked_up("DINGTALK_WEBHOOK", environ) or "").strip()
    if not webhook:
        raise ConfigError(
            "no configuration: give one with --config FILE, or set DINGTALK_WEBHOOK (and DINGTALK_SECRET) "
            "in the environment or in .env"
        )
    secret = (looked_up("DINGTALK_SECRET", environ) or "").strip()
    robot: dict[str, Any] = {"webhook": webhook}
    if secret:
        robot["secret"] = secret
    return Settings.model_validate({"receivers": {"default": {"robots": [{"dingtalk": robot}]}}})


@dataclass
class _Document:
    """One file being read: remembers the line of each key, and collects problems."""

    path: Path
    environ: Mapping[str, str]
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)

    def read(self, text: str) -> Any:
        try:
            loader = yaml.SafeLoader(text)
            node = loader.get_single_node()
            if node is None:
                raise ConfigError(f"{self.path}: the file is empty; it needs at least receivers:")
            values = self._value(loader, node, (), ())
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise ConfigError(
                f"{self.path}:{line}: not YAML: it has the character #x{error.character:04x}"
            ) from None
        except yaml.YAMLError as error:
            raise ConfigError(f"{self.path}{_yaml_place(error)}") from None
        except RecursionError:
            raise ConfigError(f"{self.path}: not YAML: nested too deeply") from None
        if not isinstance(values, dict):
            raise ConfigError(f"{self.path}:1: must be a mapping of keys such as receivers:")
        if "targets" in values:
            receivers_from_targets(values, self.lines, self.refuse)
        return values

    def refuse(self, place: KeyPath, message: str) -> None:
        """Notes a problem at a key."""
        known = place
        while known and known not in self.lines:
            known = known[:-1]
        name = ".".join(map(str, place))
        self.problems.append((self.lines.get(known, 1), f"{name}: {message}" if name else message))

    def stop_on_problems(self) -> None:
        if self.problems:
            ordered = dict.fromkeys(sorted(self.problems))
            raise ConfigError("\n".join(f"{self.path}:{line}: {message}" for line, message in ordered))

    def _value(self, loader: yaml.SafeLoader, node: yaml.Node, place: KeyPath, above: tuple[int, ...]) -> Any:
        self.lines.setdefault(place, node.start_mark.line + 1)
        if id(node) in above:
            self.refuse(place, "an alias that contains itself")
            return None
        above = (*above, id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(loader, node, place, above)
        if isinstance(node, yaml.SequenceNode):
            return [
                self._value(loader, item, (*place, index), above) for index, item in enumerate(node.value)
            ]
        if node.tag == "tag:yaml.org,2002:timestamp":
            return self._filled_in(node.value, place)  # no setting is a date; a keyword may look like one
        try:
            value = loader.construct_object(node)
        except (ValueError, LookupError):  # whose texts hold the value, which may be a secret
            self.refuse(place, "cannot be read as what its tag says")
            return None
        return self._filled_in(value, place) if isinstance(value, str) else value

    def _mapping(
        self, loader: yaml.SafeLoader, node: yaml.MappingNode, place: KeyPath, above: tuple[int, ...]
    ) -> dict[str, Any]:
        own_keys = [key.value for key, _ in node.value]
        loader.flatten_mapping(node)
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            inner = (*place, key)
            self.lines[inner] = key_node.start_mark.line + 1
            if key in values and own_keys.count(key) > 1:
                self.refuse(inner, "stands here twice; keep one of them")
            value = self._value(loader, value_node, inner, above)
            # A variable that is set but empty counts as absent: Compose hands every variable through.
            if value == "" and value_node.value:
                continue
            values[key] = value
        for key in [f"{name}_file" for name in secret_keys() if f"{name}_file" in values]:
            self._read_secret_file(values, key, place)
        return values

    def _read_secret_file(self, values: dict[str, Any], key: str, place: KeyPath) -> None:
        name = values.pop(key)
        target = key.removesuffix("_file")
        here = (*place, key)
        self.lines.setdefault((*place, target), self.lines[here])
        if target in values:
            self.refuse(here, f"{target} is given too; keep one of them")
            return
        if not isinstance(name, str) or not name:
            self.refuse(here, "must be the path of a file")
            return
        try:
            values[target] = secret_in(self.path.parent / Path(name).expanduser())
        except ConfigError as error:
            values[target] = ""
            self.refuse(here, str(error))

    def _filled_in(self, text: str, place: KeyPath) -> str:
        def variable(match: re.Match[str]) -> str:
            name = match.group(1)
            if name is None:
                return "${"
            if not _NAME.fullmatch(name):
                self.refuse(place, f"${{{name}}} is no environment variable; write $${{ for a literal ${{")
                return ""
            try:
                found = looked_up(name, self.environ)
            except ConfigError as error:
                self.refuse(place, str(error))
                return ""
            if found is None:
                self.refuse(place, f"the environment variable {name} is not set (nor is it in .env)")
            return found or ""

        return _VARIABLE.sub(variable, text)


_MAPPING = "must be a mapping of keys, as in dingtalk: {webhook: ...}"
_LIST = "must be a list, as in [a, b]"
_NUMBER = "must be a number"
_WHOLE = "must be a whole number"
_TRUTH = "must be true or false"
# By pydantic's names of what can be wrong (https://docs.pydantic.dev/latest/errors/validation_errors/).
_IN_WORDS = {
    "missing": "is missing",
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "dict_type": _MAPPING,
    "tuple_type": _LIST,
    "list_type": _LIST,
    "too_short": "needs at least one",
    "string_type": "must be a text; write it in quotes",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "bool_type": _TRUTH,
    "bool_parsing": _TRUTH,
}


def _yaml_place(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        what = ", ".join(part for part in (error.context, error.problem) if part)
        return f":{error.problem_mark.line + 1}: not YAML: {what}"
    return f": not YAML: {' '.join(str(error).split())}"


def _explain(problem: Problem) -> str:
    if problem.kind == "extra_forbidden":
        known = known_keys(problem.place[:-1])
        near = difflib.get_close_matches(str(problem.place[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known))}"
        return f"unknown key; {hint}"
    return _IN_WORDS.get(problem.kind) or problem.message.replace("Input should", "must", 1)
