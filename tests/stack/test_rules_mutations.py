"""Whether the rules' tests would notice: each element of each rule is changed, and a test must fail for it.

An element is a comparison, a number, a window, a set operator, an aggregation over ranks, a value that a label is
matched with, `for` and `keep_firing_for`. All mutants of a rule stand side by side in one rule file under names of
their own, and each test of the rule asks for each of them, so that a situation is played once for all.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.stack import binary

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, eq=False)
class Rule:
    """A rule of a file, as data."""

    file: str
    content: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.content.get("alert") or self.content["record"])

    @property
    def expr(self) -> str:
        return str(self.content["expr"])


@dataclass(frozen=True, eq=False)
class Element:
    """One changeable place of a rule, and what the rule becomes when it is changed."""

    rule: Rule
    what: str
    mutants: tuple[dict[str, Any], ...]

    def __str__(self) -> str:
        return f"{self.rule.file} {self.rule.name}, {self.what}"


RULES = [
    Rule(path.stem, rule)
    for path in sorted((ROOT / "prometheus/rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
GROUPS: list[tuple[str, dict[str, Any]]] = [
    (path.stem, group)
    for path in sorted((ROOT / "prometheus/tests").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["tests"]
]

RECORDED = re.compile(r"\b(?:run|rank):\w+:\w+")
ALTERNATIVES = re.compile(r'(\w+)(=~)"([^"]+)"')
EQUAL = re.compile(r'(\w+)="(\w+)"')
COMPARISON = re.compile(r"(?<![=!<>])(>=|<=|==|!=|>|<)(?![=~])")
NUMBER = re.compile(r"(?<![\w\[:.\"|])(\d+(?:\.\d+)?(?:e-\d+)?)(?![\w\].:\"|])")
WINDOW = re.compile(r"(?<=\[)\d+[smhd](?=\])|(?<=offset )\d+[smhd]")
SET = re.compile(r"\b(and|or|unless)\b(?= |\n|$)")
RANKS = re.compile(r"without \(rank, instance, pod")
AGGREGATION = re.compile(r"\b(max|min)(?= without)")

FLIPPED = {">": "<=", "<": ">=", ">=": "<", "<=": ">", "==": "!=", "!=": "=="}
SET_SWAPPED = {"and": "unless", "unless": "and", "or": "and"}

# Changes that no test can notice, each with the reason.
EQUIVALENT = {
    "alertbridge Watchdog, line 1, column 8: 1": "any value fires",
    "jobs TrainingJobOverrunning, line 2, column 58: 7d": "a week would have to be played",
    "training TrainingStalled, line 1, column 1: max": "changes the value alone, which the test of the text compares",
}


def elements(rule: Rule) -> Iterator[Element]:
    """Takes a rule, gives every element of it that is to matter."""
    expr = rule.expr

    def element(match: re.Match[str], *replacements: str, group: int = 0, note: str = "") -> Element:
        start, end = match.span(group)
        line = expr[:start].count("\n") + 1
        changed = [expr[:start] + new + expr[end:] for new in replacements]
        return Element(
            rule,
            f"line {line}, column {start - expr.rfind(chr(10), 0, start)}: {match[group]}{note}",
            tuple({**rule.content, "expr": text} for text in changed),
        )

    for match in COMPARISON.finditer(expr):
        yield element(match, FLIPPED[match[0]])
    for match in NUMBER.finditer(expr):
        value = float(match[0])
        yield element(match, *(f"{new:.10g}" for new in ((value * 2, value / 2) if value else (1.0, -1.0))))
    for match in WINDOW.finditer(expr):
        yield element(match, scaled(match[0], 4), scaled(match[0], 0.25))
    for match in SET.finditer(expr):
        yield element(match, SET_SWAPPED[match[0]])
    for match in RANKS.finditer(expr):
        yield element(match, "without (instance, pod")
    for match in AGGREGATION.finditer(expr):
        yield element(match, {"max": "min", "min": "max"}[match[0]])
    for match in EQUAL.finditer(expr):
        yield element(match, "other", group=2)
    for match in ALTERNATIVES.finditer(expr):
        values = match[3].split("|")
        for value in values:
            rest = "|".join(other for other in values if other != value)
            yield element(match, rest, group=3, note=f" without {value}")
    for key in ("for", "keep_firing_for"):
        if key in rule.content:
            without = {name: value for name, value in rule.content.items() if name != key}
            yield Element(rule, f"{key} left out", (without,))
            yield Element(rule, f"{key} longer", ({**rule.content, key: scaled(rule.content[key], 4)},))


def scaled(duration: str, factor: float) -> str:
    """Takes a duration of one unit, gives a multiple of it, in seconds."""
    seconds = int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[duration[-1]]
    return f"{int(seconds * factor)}s"


def sources_of(rule: Rule) -> list[Rule]:
    """Takes a rule, gives the recording rules it is computed from, in the order of the files."""
    recording = {each.name: each for each in RULES if "record" in each.content}
    wanted, todo = set[str](), [rule]
    while todo:
        names = set(RECORDED.findall(todo.pop().expr)) - wanted
        wanted |= names
        todo += [recording[name] for name in names]
    return [each for each in RULES if each.name in wanted]


class Trial:
    """A rule beside its mutants, in files for promtool. Mutant 0 is the rule itself, which has to pass."""

    def __init__(self, folder: Path, number: int, rule: Rule) -> None:
        self.rule = rule
        self.elements = list(elements(rule))
        self.rule_file = folder / f"rules-{number}.yml"
        self.test_file = folder / f"test-{number}.yml"
        contents = [rule.content] + [mutant for element in self.elements for mutant in element.mutants]
        self.mutants = {f"M{number}x{place}": content for place, content in enumerate(contents)}
        self.killed: set[str] = set()

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The tests of the rule: those of its file whose names begin with its own."""
        return [
            group
            for file, group in GROUPS
            if file == self.rule.file and group["name"].startswith(self.rule.name + ": ")
        ]

    def write(self) -> None:
        """Writes the files, without the mutants that are dead."""
        alive = {name: content for name, content in self.mutants.items() if name not in self.killed}
        kind = "alert" if "alert" in self.rule.content else "record"
        rules = [each.content for each in sources_of(self.rule)]
        rules += [{**content, kind: name} for name, content in alive.items()]
        plain = [{key: value for key, value in rule.items() if key != "annotations"} for rule in rules]
        tests = [
            {
                "interval": group["interval"],
                "input_series": group["input_series"],
                "promql_expr_test": [
                    {**test, "expr": test["expr"].replace(self.rule.name, name)}
                    for test in group["promql_expr_test"]
                    for name in alive
                ],
            }
            for group in self.groups
        ]
        self.rule_file.write_text(dump({"groups": [{"name": "mutants", "rules": plain}]}))
        self.test_file.write_text(
            dump({"rule_files": [self.rule_file.name], "evaluation_interval": "1m", "tests": tests})
        )

    def survivors(self) -> list[str]:
        """Gives each element none of whose mutants is dead."""
        place = 1
        alive = []
        for element in self.elements:
            names = list(self.mutants)[place : place + len(element.mutants)]
            place += len(element.mutants)
            if not self.killed.intersection(names):
                alive.append(str(element))
        return alive


def dump(document: object) -> str:
    return str(yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False))


def play(trials: Sequence[Trial]) -> None:
    """Takes trials, runs their tests, marks the mutants that are dead."""
    waiting = list(trials)
    while waiting:
        for trial in waiting:
            trial.write()
        check_valid(waiting)
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(run_promtool, [waiting[0::2], waiting[1::2]]))
        said = "\n".join(answers)
        failed = set(re.findall(r"\bM\d+x\d+\b", said))
        # A rule that cannot be evaluated ends its group's test; the others have to be played again without it.
        broken = set(re.findall(r"rule: (M\d+x\d+),", said))
        again = []
        for trial in waiting:
            trial.killed |= failed.intersection(trial.mutants)
            if broken.intersection(trial.mutants):
                again.append(trial)
        waiting = again


def run_promtool(trials: Sequence[Trial]) -> str:
    """Takes trials, gives what promtool says of the tests that fail."""
    if not trials:
        return ""
    done = subprocess.run(
        [binary("promtool"), "test", "rules", *(trial.test_file for trial in trials)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GOGC": "400"},
    )
    return done.stdout + done.stderr


def check_valid(trials: Sequence[Trial]) -> None:
    """Takes trials, sees that each mutant is a rule Prometheus would load: a broken one proves nothing."""
    done = subprocess.run(
        [binary("promtool"), "check", "rules", "--lint=none", *(trial.rule_file for trial in trials)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    """Every rule, tried beside its mutants."""
    folder = tmp_path_factory.mktemp("mutants")
    made = [Trial(folder, number, rule) for number, rule in enumerate(RULES)]
    play(made)
    return made


def test_every_rule_has_tests(trials: list[Trial]) -> None:
    """No rule, recording rules included, is without a test of its own."""
    assert [trial.rule.name for trial in trials if not trial.groups] == []


def test_unchanged_rules_pass(trials: list[Trial]) -> None:
    """Beside its mutants each rule itself passes: what kills a mutant is the change."""
    assert [trial.rule.name for trial in trials if next(iter(trial.mutants)) in trial.killed] == []


def test_every_element_matters(trials: list[Trial]) -> None:
    """No comparison, number, window, operator, selector or duration can be changed unnoticed."""
    survivors = [element for trial in trials for element in trial.survivors()]

    assert sorted(survivors) == sorted(EQUIVALENT)


def test_mutants_are_many(trials: list[Trial]) -> None:
    """The elements are really found: several in each rule on average."""
    assert sum(len(trial.elements) for trial in trials) > 5 * len(RULES)
