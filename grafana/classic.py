"""Takes a `Board`, gives the JSON that Grafana provisions.

It is classic JSON: Grafana 13 refuses the v2 form in file provisioning. What the SDK leaves out is set by hand:
panel ids, query letters, transformations of tables.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence
from typing import Any

from grafana.board import (
    Board,
    Language,
    Mark,
    Meters,
    Number,
    Panel,
    Query,
    Section,
    Table,
    Variable,
    Words,
    queries_of,
)
from grafana.kinds import drawn
from grafana_foundation_sdk.builders import dashboard, prometheus
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_types
from grafana_foundation_sdk.models import dashboard as types
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = common_types.DataSourceRef(type_val="prometheus", uid="${datasource}")
NO_DATA = Words("no data", "无数据")
NO_VALUE = Words("–", "–")
TAG = "epochwatch"


def to_json(board: Board, language: Language) -> str:
    """Takes a board, gives the file that Grafana provisions."""
    builder = _skeleton(board, language)
    for section in board.sections:
        builder = _add_section(builder, section, language)
    model = builder.build()
    _number_panels(model.panels or [])
    for control in [*(model.annotations.list_val or []), *(model.links or [])]:
        # The SDK's default would fold each of them into a menu.
        control.placement = None
    # The SDK still has these, Grafana's types no longer do.
    for variable in model.templating.list_val or []:
        variable.auto = variable.auto_count = variable.auto_min = None
    for panel in _flat(model.panels or []):
        if panel.type_val == "table":
            panel.options.footer = None
    return JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False).encode(model) + "\n"


def _skeleton(board: Board, language: Language) -> dashboard.Dashboard:
    builder = (
        dashboard.Dashboard(board.title.say(language))
        .uid(board.uid)
        .description(board.description.say(language))
        .tags([TAG])
        .time(board.since, "now")
        .refresh("15s")
        .timezone(common_types.TimeZoneBrowser)
        .tooltip(types.DashboardCursorSync.CROSSHAIR)
        .editable()
        .with_variable(
            dashboard.DatasourceVariable("datasource")
            .label(Words("Data source", "数据源").say(language))
            .type("prometheus")
        )
        .link(
            dashboard.DashboardLink(Words("Training dashboards", "训练看板").say(language))
            .type(types.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
    )
    for variable in board.variables:
        builder = builder.with_variable(_variable(variable, language))
    for mark in board.marks:
        builder = builder.annotation(_annotation(mark, language))
    return builder


def _variable(variable: Variable, language: Language) -> dashboard.QueryVariable:
    builder = (
        dashboard.QueryVariable(variable.name)
        .label(variable.label.say(language))
        .datasource(SOURCE)
        .query(variable.query)
        .refresh(types.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(types.VariableSort.NATURAL_ASC)
    )
    if not variable.several:
        return builder
    everything = types.VariableOption(selected=True, text="All", value="$__all")
    return builder.multi(True).include_all(True).all_value(".*").current(everything)


def _annotation(mark: Mark, language: Language) -> dashboard.AnnotationQuery:
    builder = (
        dashboard.AnnotationQuery()
        .name(mark.name.say(language))
        .datasource(SOURCE)
        .enable(mark.shown)
        .expr(mark.expr)
        .title_format(mark.title)
        .text_format(mark.text)
        .icon_color(mark.colour)
        .step("15s")
    )
    return builder.use_value_for_time(True) if mark.value_is_time else builder


def _add_section(builder: dashboard.Dashboard, section: Section, language: Language) -> dashboard.Dashboard:
    row = dashboard.Row(section.title.say(language)).collapsed(section.folded)
    panels = [_panel(panel, language) for panel in section.panels]
    if section.folded:
        for panel in panels:
            row = row.with_panel(panel)
        return builder.with_row(row)
    builder = builder.with_row(row)
    for panel in panels:
        builder = builder.with_panel(panel)
    return builder


def _panel(panel: Panel, language: Language) -> Any:
    builder = (
        drawn(panel, language)
        .title(panel.title.say(language))
        .description(panel.description.say(language))
        .datasource(SOURCE)
        .unit(panel.unit)
        .span(panel.width)
        .height(panel.height)
        .no_value((NO_VALUE if isinstance(panel, Number | Table) else NO_DATA).say(language))
    )
    if panel.decimals is not None:
        builder = builder.decimals(panel.decimals)
    for letter, query in zip(string.ascii_uppercase, queries_of(panel), strict=False):
        builder = builder.with_target(_target(letter, query, panel))
    return builder


def _target(letter: str, query: Query, panel: Panel) -> prometheus.Dataquery:
    builder = (
        prometheus.Dataquery().ref_id(letter).datasource(SOURCE).expr(query.expr).legend_format(query.legend)
    )
    if isinstance(panel, Table):
        return builder.instant().format(PromQueryFormat.TABLE)
    if isinstance(panel, Meters) or (isinstance(panel, Number) and not panel.trend):
        return builder.instant().format(PromQueryFormat.TIME_SERIES)
    return builder.range()


def _number_panels(panels: Sequence[Any]) -> None:
    """Gives every panel its id, in reading order: the SDK leaves them out and Grafana links need them."""
    for number, panel in enumerate(_flat(panels), start=1):
        panel.id_val = number


def _flat(panels: Iterable[Any]) -> Iterable[Any]:
    for panel in panels:
        yield panel
        yield from _flat(getattr(panel, "panels", None) or [])
