"""The house style of every dashboard: what a panel must say, and how it is turned into Grafana's own types.

A dashboard module states its panels as data (`Curve`, `Number`, `States`); here they become builders of the
grafana-foundation-sdk. Every text is a pair, English and Chinese. A panel without title, description or
unit cannot be written down.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_types
from grafana_foundation_sdk.models import dashboard as types
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

Language = Literal["en", "zh"]

SOURCE = common_types.DataSourceRef(type_val="prometheus", uid="${datasource}")
GREEN, YELLOW, RED, BLUE, GREY = "green", "yellow", "red", "blue", "#8e8e8e"

# One colour for each state wherever it is shown.
STATE_COLOURS = {
    "starting": GREY,
    "training": GREEN,
    "evaluating": BLUE,
    "checkpointing": "purple",
    "finished": "dark-green",
    "interrupted": "orange",
    "failed": RED,
}


@dataclass(frozen=True)
class Words:
    """One text in both languages."""

    en: str
    zh: str

    def say(self, language: Language) -> str:
        return self.zh if language == "zh" else self.en


@dataclass(frozen=True)
class Query:
    """A PromQL expression and the name of its series in the legend."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """What every panel states.

    Attributes:
        unit: Grafana's id of the unit; `none` for a plain number.
        width: Columns of the 24 that a row has.
    """

    title: Words
    description: Words
    unit: str
    queries: tuple[Query, ...]
    width: int = 12
    height: int = 8
    decimals: int | None = None


@dataclass(frozen=True)
class Curve(Panel):
    """Values over time.

    Attributes:
        low: Lower end of the axis; open if None.
        high: Upper end of the axis; open if None.
        logarithmic: Whether the axis is in powers of ten.
        stacked: Whether the series are piled up.
        dashed: Names of series drawn as dashed limits.
    """

    low: float | None = None
    high: float | None = None
    logarithmic: bool = False
    stacked: bool = False
    dashed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Number(Panel):
    """One value now.

    Attributes:
        steps: Colours by value, the first from minus infinity: ((None, green), (80, red)).
        by_name: Shows the series' name in the colours of `STATE_COLOURS` in place of its value.
    """

    width: int = 4
    height: int = 4
    steps: tuple[tuple[float | None, str], ...] = ((None, BLUE),)
    by_name: bool = False


@dataclass(frozen=True)
class States(Panel):
    """Which of several 0/1 series is 1, as bands over time."""

    width: int = 24
    height: int = 4


@dataclass(frozen=True)
class Section:
    """A titled group of panels; `folded` ones are read only once opened."""

    title: Words
    panels: tuple[Panel, ...]
    folded: bool = False


@dataclass(frozen=True)
class Variable:
    """A choice at the top of the dashboard, filled by a query such as label_values(metric, label)."""

    name: str
    label: Words
    query: str
    several: bool = False


@dataclass(frozen=True)
class Mark:
    """Vertical lines in every curve, where `expr` has a sample."""

    name: Words
    expr: str
    title: str
    text: str
    colour: str
    value_is_time: bool = False


@dataclass(frozen=True)
class Board:
    """One dashboard; `uid` is part of the addresses in alerts and never changes."""

    uid: str
    title: Words
    description: Words
    variables: tuple[Variable, ...]
    sections: tuple[Section, ...]
    marks: tuple[Mark, ...] = ()
    since: str = "now-6h"


def to_json(board: Board, language: Language) -> str:
    """Takes a board, gives the file that Grafana provisions.

    It is classic JSON: Grafana 13 refuses the v2 form in file provisioning.
    """
    builder = _skeleton(board, language)
    for section in board.sections:
        builder = _add_section(builder, section, language)
    model = builder.build()
    _number_panels(model.panels or [])
    for control in [*(model.annotations.list_val or []), *(model.links or [])]:
        # The SDK's default would fold each of them into a menu.
        control.placement = None
    return JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False).encode(model) + "\n"


def _skeleton(board: Board, language: Language) -> dashboard.Dashboard:
    builder = (
        dashboard.Dashboard(board.title.say(language))
        .uid(board.uid)
        .description(board.description.say(language))
        .tags(["epochwatch"])
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
            .tags(["epochwatch"])
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
    return builder.multi(True).include_all(True).all_value(".*") if variable.several else builder


def _annotation(mark: Mark, language: Language) -> dashboard.AnnotationQuery:
    builder = (
        dashboard.AnnotationQuery()
        .name(mark.name.say(language))
        .datasource(SOURCE)
        .enable(True)
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
    if isinstance(panel, Curve):
        builder: Any = _curve(panel)
    elif isinstance(panel, Number):
        builder = _number(panel)
    else:
        builder = _states(panel)
    builder = (
        builder.title(panel.title.say(language))
        .description(panel.description.say(language))
        .datasource(SOURCE)
        .unit(panel.unit)
        .span(panel.width)
        .height(panel.height)
        .no_value(Words("no data", "无数据").say(language))
    )
    if panel.decimals is not None:
        builder = builder.decimals(panel.decimals)
    for letter, query in zip(string.ascii_uppercase, panel.queries, strict=False):
        builder = builder.with_target(_target(letter, query, now=isinstance(panel, Number)))
    return builder


def _target(letter: str, query: Query, now: bool) -> prometheus.Dataquery:
    builder = (
        prometheus.Dataquery().ref_id(letter).datasource(SOURCE).expr(query.expr).legend_format(query.legend)
    )
    return builder.instant().format(PromQueryFormat.TIME_SERIES) if now else builder.range()


def _curve(panel: Curve) -> timeseries.Panel:
    builder = (
        timeseries.Panel()
        .line_width(2)
        .fill_opacity(40 if panel.stacked else 0)
        .show_points(common_types.VisibilityMode.AUTO)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(common_types.LegendDisplayMode.LIST)
            .placement(common_types.LegendPlacement.BOTTOM)
            .calcs(["lastNotNull"])
        )
        .tooltip(common.VizTooltipOptions().mode(common_types.TooltipDisplayMode.MULTI))
    )
    if panel.low is not None:
        builder = builder.min(panel.low)
    if panel.high is not None:
        builder = builder.max(panel.high)
    if panel.stacked:
        builder = builder.stacking(common.StackingConfig().mode(common_types.StackingMode.NORMAL))
    if panel.logarithmic:
        builder = builder.scale_distribution(
            common.ScaleDistributionConfig().type(common_types.ScaleDistribution.LOG).log(10)
        )
    for name in panel.dashed:
        builder = builder.override_by_name(name, _properties(_DASHED))
    return builder


_DASHED = {
    "custom.lineStyle": {"fill": "dash", "dash": [8, 8]},
    "custom.lineWidth": 1,
    "color": {"mode": "fixed", "fixedColor": RED},
}


def _properties(values: dict[str, object]) -> list[types.DynamicConfigValue]:
    return [types.DynamicConfigValue(id_val=key, value=value) for key, value in values.items()]


def _number(panel: Number) -> stat.Panel:
    builder = (
        stat.Panel()
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .graph_mode(common_types.BigValueGraphMode.NONE)
        .color_mode(common_types.BigValueColorMode.VALUE)
        .text_mode(
            common_types.BigValueTextMode.NAME if panel.by_name else common_types.BigValueTextMode.VALUE
        )
        .thresholds(
            dashboard.ThresholdsConfig()
            .mode(types.ThresholdsMode.ABSOLUTE)
            .steps([types.Threshold(value=value, color=colour) for value, colour in panel.steps])
        )
        .color_scheme(dashboard.FieldColor().mode(types.FieldColorModeId.THRESHOLDS))
    )
    return _in_state_colours(builder) if panel.by_name else builder


def _states(panel: Panel) -> statetimeline.Panel:
    builder = (
        statetimeline.Panel()
        .show_value(common_types.VisibilityMode.NEVER)
        .merge_values(True)
        .row_height(0.8)
        .legend(common.VizLegendOptions().show_legend(False).placement(common_types.LegendPlacement.BOTTOM))
    )
    return _in_state_colours(builder)


def _in_state_colours(builder: Any) -> Any:
    for state, colour in STATE_COLOURS.items():
        fixed = _properties({"color": {"mode": "fixed", "fixedColor": colour}})
        builder = builder.override_by_name(state, fixed)
    return builder


def _number_panels(panels: Sequence[Any]) -> None:
    """Gives every panel its id, in reading order: the SDK leaves them out and Grafana links need them."""
    for number, panel in enumerate(_flat(panels), start=1):
        panel.id_val = number


def _flat(panels: Iterable[Any]) -> Iterable[Any]:
    for panel in panels:
        yield panel
        yield from _flat(getattr(panel, "panels", None) or [])
