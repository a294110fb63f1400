"""Takes a table, gives its builder: one query a column, joined by the labels of the rows."""

from __future__ import annotations

import string
from typing import Any

from grafana.board import (
    BLUE,
    Column,
    Key,
    Language,
    Table,
)
from grafana.house_style import mapping, overrides, thresholds
from grafana_foundation_sdk.builders import common, dashboard, table
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_types
from grafana_foundation_sdk.models import dashboard as types


def table_panel(panel: Table, language: Language) -> table.Panel:
    builder = (
        table.Panel()
        .cell_height(common_types.TableCellHeight.SM)
        .show_header(True)
        .cell_options(common_types.TableAutoCellOptions())
        .color_scheme(dashboard.FieldColor().mode(types.FieldColorModeId.THRESHOLDS))
        .thresholds(thresholds(((None, "text"),)))
    )
    for transformation in _arranged(panel, language):
        builder = builder.with_transformation(transformation)
    for key in panel.keys:
        if properties := _key_properties(key):
            builder = builder.override_by_name(key.title.say(language), overrides(properties))
    for column in panel.columns:
        builder = builder.override_by_name(
            column.title.say(language), overrides(_column_properties(column, language))
        )
    if panel.sort:
        order = common.TableSortByFieldState().display_name(panel.sort.say(language)).desc(panel.descending)
        builder = builder.sort_by([order])
    return builder


def _arranged(panel: Table, language: Language) -> list[types.DataTransformerConfig]:
    """Gives what makes one table of many answers: rows joined by their labels, columns named and in order."""
    value = {letter: f"Value #{letter}" for letter in string.ascii_uppercase}
    if len(panel.columns) == 1:
        value["A"] = "Value"  # what the data source calls it where it is the only one
    fields = [(key.label, key.title) for key in panel.keys]
    fields += [
        (value[letter], column.title)
        for letter, column in zip(string.ascii_uppercase, panel.columns, strict=False)
    ]
    organize = {
        "excludeByName": dict.fromkeys(("Time", *panel.hidden), True),
        "indexByName": {name: index for index, (name, _) in enumerate(fields)},
        "renameByName": {name: title.say(language) for name, title in fields},
    }
    return [
        types.DataTransformerConfig(id_val="merge", options={}),
        types.DataTransformerConfig(id_val="organize", options=organize),
    ]


def _key_properties(key: Key) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    if key.width:
        properties["custom.width"] = key.width
    if key.link:
        properties["links"] = [{"title": key.title.en, "url": key.link}]
    if key.colours:
        options = {text: {"text": text, "color": colour} for text, colour in key.colours}
        properties["mappings"] = [{"type": "value", "options": options}]
        properties["custom.cellOptions"] = {"type": "color-text"}
    return properties


def _column_properties(column: Column, language: Language) -> dict[str, Any]:
    properties: dict[str, Any] = {"unit": column.unit}
    if column.decimals is not None:
        properties["decimals"] = column.decimals
    if column.width:
        properties["custom.width"] = column.width
    if steps := column.steps or (((None, BLUE),) if column.meter is not None else ()):
        properties["thresholds"] = {
            "mode": "absolute",
            "steps": [{"value": value, "color": colour} for value, colour in steps],
        }
        properties["custom.cellOptions"] = {"type": "color-text"}
    if column.meter is not None:
        properties |= {"min": 0, "max": column.meter}
        properties["custom.cellOptions"] = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
    if column.codes:
        properties["mappings"] = [JSONEncoder().default(mapping(column.codes, language))]
        properties["custom.cellOptions"] = {"type": "color-background", "mode": "basic"}
    return properties
