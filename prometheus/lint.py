#!/usr/bin/env python3
"""Takes the shipped YAML and JSON files, gives a line for each fault: file, line, what is wrong.

    prometheus/lint.py              every shipped file
    prometheus/lint.py FILE ...     these

Found are files that are no YAML or JSON, expressions that Prometheus cannot parse, and metrics that nothing
exports: names come from epochwatch's catalogue, the bridge's source and the recording rules. Rules and
configurations are given to promtool and amtool besides. Needs .stack/bin (prometheus/install.py).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import promql_parser
import yaml

from epochwatch.catalogue import CATALOGUE
from epochwatch.supervisor.catalogue import JOB_CATALOGUE

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = (
    "prometheus/**/*.yml",
    "grafana/provisioning/**/*.yml",
    "grafana/dashboards*/*.json",
    "examples/**/*.yml",
    "examples/**/*.yaml",
    "alertbridge/*.yml",
    "docker-compose.yml",
)

PROMTOOL, AMTOOL = ("promtool", "check", "config"), ("amtool", "check-config")
# Not ours: what Prometheus makes itself, and the exporters of containers and of the stack's own programs.
FOREIGN = re.compile(r"up|ALERTS|ALERTS_FOR_STATE|(scrape|container|process|prometheus|alertmanager)_\w+")

GRAFANA_VARIABLES = {"$__rate_interval": "5m", "$__interval": "1m", "$__range": "1h"}


@dataclass(frozen=True, order=True)
class Problem:
    """One fault; `line` counts from 1."""

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        path = self.path.relative_to(ROOT) if self.path.is_relative_to(ROOT) else self.path
        return f"{path}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Expression:
    """One PromQL expression where it stands; `line` is that of its first character."""

    path: Path
    line: int
    text: str

    def line_of(self, word: str) -> int:
        """Takes a word of the expression, gives the line of the file it stands in."""
        before = self.text[: max(0, self.text.find(word))]
        return self.line + before.count("\n")


def main(arguments: Sequence[str]) -> int:
    """Takes file names, or none for all that is shipped; prints the faults, gives the exit status."""
    paths = [Path(name).resolve() for name in arguments] or list(shipped())
    problems = sorted(lint(paths))
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def shipped() -> Iterator[Path]:
    """Gives the files that are linted: what a team copies or starts."""
    for pattern in SHIPPED:
        yield from sorted(ROOT.glob(pattern))


def lint(paths: Iterable[Path]) -> Iterator[Problem]:
    """Takes files, gives their faults."""
    known = exported() | recorded(ROOT.glob("prometheus/rules/*.yml"))
    for path in paths:
        try:
            # JSON is YAML; marks are what a JSON parser does not give.
            documents = list(yaml.compose_all(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            yield Problem(path, *fault_of(error))
            continue
        except OSError as error:
            yield Problem(path, 1, f"cannot be read: {error.strerror}")
            continue
        found = [
            fault
            for document in documents
            for expression in expressions_in(path, document)
            for fault in faults(expression, known)
        ]
        # promtool would say the same of a broken expression once more.
        yield from found or refused(path)


def fault_of(error: Exception) -> tuple[int, str]:
    """Takes what the YAML parser says, gives its line and words."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return error.problem_mark.line + 1, f"no YAML: {error.problem}"
    return 1, f"no YAML: {error}"


def exported() -> frozenset[str]:
    """Gives the names of all series that epochwatch and the bridge export, as Prometheus stores them."""
    names: set[str] = set()
    for metric in (*CATALOGUE, *JOB_CATALOGUE):
        names |= series_of(metric.name, metric.kind)
    source = (ROOT / "alertbridge/alertbridge/metrics.py").read_text()
    for kind, name in re.findall(
        r'(Counter|Gauge|Histogram|GaugeMetricFamily)\(\s*"(alertbridge_\w+)"', source
    ):
        names |= series_of(name + "_total" if kind == "Counter" else name, kind.lower())
    return frozenset(names)


def series_of(name: str, kind: str) -> set[str]:
    """Takes a family's name and type, gives the names of its series."""
    return {name + end for end in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}


def recorded(rule_files: Iterable[Path]) -> frozenset[str]:
    """Takes rule files, gives the names that their recording rules make."""
    return frozenset(
        match[1]
        for path in rule_files
        for match in re.finditer(r"^ *- record: (\S+)$", path.read_text(), re.M)
    )


def expressions_in(path: Path, node: yaml.Node | None) -> Iterator[Expression]:
    """Takes a document, gives its PromQL: `expr` of rules, tests and panels, queries in templates, test series."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from expressions_in(path, item)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        if not isinstance(value, yaml.ScalarNode):
            yield from expressions_in(path, value)
            continue
        # A block's text begins below its `|`.
        line = value.start_mark.line + (2 if value.style in ("|", ">") else 1)
        if key.value in ("expr", "series"):
            yield Expression(path, line, plain(value.value))
        for query in re.findall(r"printf `([^`]*)`|query \"([^\"]*)\"", value.value):
            yield Expression(path, line, "".join(query).replace("%q", '"x"'))


def plain(text: str) -> str:
    """Takes a panel's expression, gives it with Grafana's variables filled in."""
    for variable, value in GRAFANA_VARIABLES.items():
        text = text.replace(variable, value)
    return re.sub(r"\$\{?\w+(?::\w+)?\}?", "x", text)


def faults(expression: Expression, known: frozenset[str]) -> Iterator[Problem]:
    """Takes an expression, gives that it does not parse, or each metric in it that nothing exports."""
    try:
        names = metric_names(expression.text)
    except ValueError as error:
        text = " ".join(str(error).split())
        yield Problem(expression.path, expression.line, f"the expression does not parse: {text}")
        return
    for name in names:
        if name in known or FOREIGN.fullmatch(name):
            continue
        near = get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        yield Problem(expression.path, expression.line_of(name), f"nothing exports the metric {name}{hint}")


def metric_names(text: str) -> list[str]:
    """Takes PromQL, gives the names of the metrics it asks for.

    Raises:
        ValueError: it is no PromQL.
    """
    names: list[str] = []

    def keep(node: object) -> bool:
        if isinstance(node, promql_parser.VectorSelector) and node.name:
            names.append(node.name)
        return True

    promql_parser.walk(promql_parser.parse(text), keep)
    return names


def refused(path: Path) -> Iterator[Problem]:
    """Takes a file, gives what promtool or amtool finds wrong with it if it is a rule file or a configuration."""
    if path.parent.name == "rules":
        answer = tool("promtool", "check", "rules", str(path))
    elif path.parent.name in ("prometheus", "snippets"):
        check = AMTOOL if path.name == "alertmanager.yml" else PROMTOOL
        answer = tool(*check, str(path))
    else:
        return
    if answer:
        said = answer.split("FAILED:", 1)[-1].split("amtool: error", 1)[0].replace(f"{path}: ", "")
        said = " ".join(said.split())
        yield Problem(path, place_of(said, path.read_text(encoding="utf-8")), f"refused: {said}")


def place_of(said: str, text: str) -> int:
    """Takes what a tool says of a file, gives the line: the one it names, or that of the words it quotes."""
    if named := re.search(r"\bline (\d+)|^(\d+):\d+:", said):
        return int(named[1] or named[2])
    rules = re.findall(r'rule \d+, "(\w+)"', said)
    for quoted in rules or reversed(re.findall(r'"([^"]+)"', said)):
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip().endswith((f": {quoted}", f'"{quoted}"')):
                return number
    return 1


def tool(name: str, *arguments: str) -> str:
    """Takes a call of promtool or amtool, gives what it says if it refuses, else nothing."""
    program = Path(os.environ.get("EPOCHWATCH_STACK") or ROOT / ".stack").resolve() / "bin" / name
    if not program.exists():
        raise SystemExit(f"no {program}; run prometheus/install.py first")
    answer = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    return answer.stdout + answer.stderr if answer.returncode else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
