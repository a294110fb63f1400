"""Takes a dashboard, gives where it is not what Grafana's own types and linter want.

The types are in `schema/dashboard.schema.json`, made from Grafana's npm package; the house rules are those of Grafana's
dashboard-linter that do not depend on a server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path as File
from typing import Any

from grafana.located import Path, panels
from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError, best_match

SCHEMA = File(__file__).with_name("schema") / "dashboard.schema.json"
Fault = tuple[Path, str]
RATES = re.compile(r"\b(?:rate|irate|increase)\([^\[\]]*\[(?!\$__rate_interval\]|\$__range\])([^\]]*)\]")


def faults(board: dict[str, Any]) -> Iterator[Fault]:
    """Gives each fault with the path at which it stands."""
    # Panels apart: of a part that may be a panel or a row, a validator can only guess which was meant.
    yield from _types("Dashboard", board | {"panels": []}, ())
    for index, row in enumerate(board.get("panels", [])):
        if row.get("type") == "row":
            yield from _types("Dashboard/RowPanel", row | {"panels": []}, ("panels", index))
    for path, panel in panels(board):
        yield from _types("Dashboard/Panel", panel, path)
        kind = panel.get("type")
        if f"{kind}.options" not in _definitions():
            yield (
                (*path, "type"),
                f"nothing is known of panels of the type {kind}; add it to schema/generate.mjs",
            )
            continue
        yield from _types(f"{kind}.options", panel.get("options", {}), (*path, "options"))
        custom = panel.get("fieldConfig", {}).get("defaults", {}).get("custom", {})
        if f"{kind}.custom" in _definitions():
            yield from _types(f"{kind}.custom", custom, (*path, "fieldConfig", "defaults", "custom"))
        yield from _house_rules(path, panel)
    yield from _templated(board)


@cache
def _definitions() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))["definitions"]
    return found


@cache
def _validator(name: str) -> Draft7Validator:
    pointer = name.replace("/", "~1")
    return Draft7Validator({"$ref": f"#/definitions/{pointer}", "definitions": _definitions()})


def _types(name: str, value: Any, path: Path) -> Iterator[Fault]:
    for error in _validator(name).iter_errors(value):
        inmost = _inmost(error)
        # Where a part may be one of several things, the place is told by the outer error.
        yield (
            (*path, *(inmost.absolute_path or error.absolute_path)),
            f"not by Grafana's types: {inmost.message}",
        )


def _inmost(error: ValidationError) -> ValidationError:
    while error.context:
        found = best_match(error.context)
        if found is None:
            break
        error = found
    return error


def _house_rules(path: Path, panel: dict[str, Any]) -> Iterator[Fault]:
    for word in ("title", "description"):
        if not panel.get(word):
            yield path, f"the panel has no {word}"
    # A table has a unit for each column.
    if panel["type"] != "table" and not panel.get("fieldConfig", {}).get("defaults", {}).get("unit"):
        yield path, "the panel has no unit"
    if not panel.get("targets"):
        yield path, "the panel asks nothing"
    for place in (panel, *panel.get("targets", [])):
        if place.get("datasource", {}).get("uid") != "${datasource}":
            yield path, "the data source is not the one that the viewer chooses, ${datasource}"
            break
    for index, target in enumerate(panel.get("targets", [])):
        if window := RATES.search(target.get("expr", "")):
            yield (*path, "targets", index, "expr"), f"a rate over {window[1]}; take $__rate_interval"


def _templated(board: dict[str, Any]) -> Iterator[Fault]:
    variables = board.get("templating", {}).get("list", [])
    if not any(one.get("name") == "datasource" and one.get("type") == "datasource" for one in variables):
        yield ("templating",), "no variable for the data source"
