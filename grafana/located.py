"""Takes the text of a JSON file, gives what is in it together with the line at which each part stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

Path = tuple[str | int, ...]


def lines_of(text: str) -> dict[Path, int]:
    """Gives the line, counted from 1, of each value by its path: ("panels", 3, "title").

    JSON is YAML, whose parser tells the places that a JSON parser keeps to itself.

    Raises:
        yaml.YAMLError: it is no JSON.
    """
    root = yaml.compose(text, Loader=yaml.CSafeLoader)
    return dict(_walk(root, ())) if root else {}


def _walk(node: yaml.Node, path: Path) -> Iterator[tuple[Path, int]]:
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _walk(value, (*path, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _walk(value, (*path, index))


def panels(board: dict[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Gives every panel that draws something, those in folded rows too, with its path."""
    for index, panel in enumerate(board.get("panels", [])):
        if panel.get("type") != "row":
            yield ("panels", index), panel
        for inner, one in enumerate(panel.get("panels", [])):
            yield ("panels", index, "panels", inner), one
