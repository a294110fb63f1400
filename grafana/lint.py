"""Takes the dashboards, gives a line for each fault: file, line, panel, where the builder states it, what is wrong.

    python -m grafana.lint            the committed dashboards, and whether they are what the builder builds
    python -m grafana.lint FILE ...   these files alone

Found are JSON that Grafana's types or house rules do not allow, expressions that do not parse, metrics that nothing
exports, and files that differ from what is built.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from grafana import conformity
from grafana.located import lines_of, panels
from prometheus.lint import Expression, Problem, exported, fault_of, plain, recorded
from prometheus.lint import faults as expression_faults

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FOLDERS = ("dashboards", "dashboards-zh")
Asked = tuple[tuple[str | int, ...], str, str]


def main(arguments: Sequence[str]) -> int:
    """Takes file names, or none for the committed dashboards; prints the faults, gives the exit status."""
    if arguments:
        found = [fault for name in arguments for fault in lint(Path(name).resolve())]
    else:
        committed = [path for folder in FOLDERS for path in sorted((HERE / folder).glob("*.json"))]
        found = [*(fault for path in committed for fault in lint(path)), *differences()]
    for problem in sorted(set(found)):
        print(problem)
    return 1 if found else 0


def differences() -> Iterator[Problem]:
    """Gives what was changed in the builder or by hand alone, and what is wrong with what would be built."""
    try:
        from grafana import build
    except ModuleNotFoundError:
        # The SDK needs Python 3.11; the committed files are checked all the same.
        return
    wanted = build.files()
    for line in build.out_of_step(wanted):
        name, _, fault = line.partition(": ")
        yield Problem(Path(name), 1, f"{fault}; run: python -m grafana.build")
        if text := wanted.get(Path(name)):
            yield from lint(Path(name), text)


def lint(path: Path, text: str | None = None) -> Iterator[Problem]:
    """Takes a dashboard's file, or the text that would be in it; gives its faults."""
    try:
        text = path.read_text(encoding="utf-8") if text is None else text
        lines = lines_of(text)
        board = json.loads(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line, said = fault_of(error)
        yield Problem(path, line, said.replace("YAML", "JSON"))
        return
    except json.JSONDecodeError as error:
        yield Problem(path, error.lineno, f"no JSON: {error.msg}")
        return
    except OSError as error:
        yield Problem(path, 1, f"cannot be read: {error.strerror}")
        return
    if not isinstance(board, dict):
        yield Problem(path, 1, "no dashboard: not an object")
        return
    for place, said in conformity.faults(board):
        yield Problem(path, _line(lines, place), f"{_whose(path, board, place)}{said}")
    known = exported() | recorded(ROOT.glob("prometheus/rules/*.yml"))
    for place, whose, expr in asked(board):
        for fault in expression_faults(Expression(path, _line(lines, place), plain(expr)), known):
            yield Problem(path, fault.line, f"{_whose(path, board, place)}{whose}: {fault.text}")


def asked(board: dict[str, Any]) -> Iterator[Asked]:
    """Gives every expression of a dashboard: its path, whose it is, and its text."""
    for path, panel in panels(board):
        for index, target in enumerate(panel.get("targets", [])):
            if "expr" in target:
                yield (*path, "targets", index, "expr"), f"query {target.get('refId')}", target["expr"]
    for index, mark in enumerate(board.get("annotations", {}).get("list", [])):
        if "expr" in mark:
            yield ("annotations", "list", index, "expr"), f"annotation {mark.get('name')}", mark["expr"]
    for index, variable in enumerate(board.get("templating", {}).get("list", [])):
        if values := re.fullmatch(r"label_values\((.*), *(\w+)\)", str(variable.get("query"))):
            yield ("templating", "list", index, "query"), f"variable {variable.get('name')}", values[1]


def _line(lines: dict[tuple[str | int, ...], int], place: tuple[str | int, ...]) -> int:
    """Gives the line of a path, or of the nearest part around it that is there."""
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)


def _whose(path: Path, board: dict[str, Any], place: tuple[str | int, ...]) -> str:
    """Takes the path of a fault, gives the panel it is in and where the builder states it."""
    within = [
        (panel_path, panel) for panel_path, panel in panels(board) if place[: len(panel_path)] == panel_path
    ]
    if not within:
        return ""
    title = str(within[0][1].get("title", ""))
    stated = builders_place(path.stem, title)
    return f'panel "{title}"{f" ({stated})" if stated else ""}: '


def builders_place(slug: str, title: str) -> str:
    """Takes a dashboard's file name and a panel's title in either language, gives file and line of the builder."""
    if not title:
        return ""
    stated = re.compile(rf'\w+\(\s*(Words\((?:"{re.escape(title)}"|\s*"[^"]*",\s*"{re.escape(title)}"))')
    for module in _modules(slug):
        text = module.read_text(encoding="utf-8")
        if match := stated.search(text):
            return f"{module.relative_to(ROOT)}:{text[: match.start(1)].count(chr(10)) + 1}"
    return ""


def _modules(slug: str) -> Iterable[Path]:
    """Gives the modules that state a dashboard: its own, those of its sections, and the panels that several draw."""
    boards, name = HERE / "boards", slug.replace("-", "_")
    modules = [boards / f"{name}.py", *sorted(boards.glob(f"{name}_*.py")), boards / "gpu_panels.py"]
    return [module for module in modules if module.exists()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
