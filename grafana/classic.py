"""Takes a `Board`, gives the JSON that Grafana provisions: the house style of every panel is here.

It is classic JSON: Grafana 13 refuses the v2 form in file provisioning. What the SDK leaves out is set by hand:
panel ids, query letters, transformations of tables.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence
from typing import Any

from grafana.board import (
    BLUE,
    RED,
    Bands,
    Board,
    Code,
    Column,
    Curve,
    Key,
    Language,
    Mark,
    Meters,
    Number,
    Panel,
    Query,
    Section,
    Steps,
    Table,
    Variable,
    Words,
    queries_of,
)
from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
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
        _drawn(panel, language)
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


def _drawn(panel: Panel, language: Language) -> Any:
    if isinstance(panel, Curve):
        return _curve(panel)
    if isinstance(panel, Number):
        return _number(panel, language)
    if isinstance(panel, Bands):
        return _bands(panel, language)
    if isinstance(panel, Meters):
        return _meters(panel)
    if isinstance(panel, Table):
        return _table(panel, language)
    raise TypeError(f"{type(panel).__name__} is no kind of panel that can be drawn")


def _curve(panel: Curve) -> timeseries.Panel:
    builder = (
        timeseries.Panel()
        .line_width(1 if panel.bars else 2)
        .fill_opacity(_filling(panel))
        .show_points(common_types.VisibilityMode.NEVER if panel.bars else common_types.VisibilityMode.AUTO)
        .draw_style(common_types.GraphDrawStyle.BARS if panel.bars else common_types.GraphDrawStyle.LINE)
        .axis_border_show(False)
        .color_scheme(dashboard.FieldColor().mode(types.FieldColorModeId.PALETTE_CLASSIC))
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(common_types.LegendDisplayMode.LIST)
            .placement(common_types.LegendPlacement.BOTTOM)
            .calcs([] if panel.bars or panel.many else ["lastNotNull"])
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(common_types.TooltipDisplayMode.MULTI)
            .sort(common_types.SortOrder.DESCENDING)
        )
    )
    if panel.low is not None:
        builder = builder.min(panel.low)
    if panel.high is not None:
        builder = builder.max(panel.high)
    if panel.stacked:
        builder = builder.stacking(common.StackingConfig().mode(common_types.StackingMode.NORMAL).group("A"))
    if panel.logarithmic:
        builder = builder.scale_distribution(
            common.ScaleDistributionConfig().type(common_types.ScaleDistribution.LOG).log(10)
        )
    if panel.limit is not None:
        builder = builder.thresholds(
            _thresholds(((None, "transparent"), (panel.limit, RED)))
        ).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(common_types.GraphThresholdsStyleMode.DASHED)
        )
    if panel.bars:
        builder = builder.axis_soft_max(1)
    if panel.every:
        builder = builder.interval(panel.every)
    for name in panel.dashed:
        builder = builder.override_by_name(name, _properties(_DASHED))
    for name, colour in panel.colours:
        builder = builder.override_by_name(name, _properties({"color": _fixed(colour)}))
    return builder


def _filling(panel: Curve) -> int:
    """Gives the opacity below a line, in per cent: bars and piles are areas, a line is a line."""
    return 80 if panel.bars else 40 if panel.stacked else 0


def _fixed(colour: str) -> dict[str, str]:
    return {"mode": "fixed", "fixedColor": colour}


_DASHED: dict[str, object] = {
    "custom.lineStyle": {"fill": "dash", "dash": [8, 8]},
    "custom.lineWidth": 1,
    "custom.fillOpacity": 0,
    "color": _fixed(RED),
}


def _properties(values: dict[str, Any]) -> list[types.DynamicConfigValue]:
    return [types.DynamicConfigValue(id_val=key, value=value) for key, value in values.items()]


def _thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    return (
        dashboard.ThresholdsConfig()
        .mode(types.ThresholdsMode.ABSOLUTE)
        .steps([types.Threshold(value=value, color=colour) for value, colour in steps])
    )


def _number(panel: Number, language: Language) -> stat.Panel:
    coloured = common_types.BigValueColorMode
    builder = (
        stat.Panel()
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .graph_mode(
            common_types.BigValueGraphMode.AREA if panel.trend else common_types.BigValueGraphMode.NONE
        )
        .color_mode(coloured.BACKGROUND if panel.codes else coloured.VALUE)
        .text_mode(common_types.BigValueTextMode.VALUE)
        .thresholds(_thresholds(panel.steps))
        .color_scheme(dashboard.FieldColor().mode(types.FieldColorModeId.THRESHOLDS))
    )
    if panel.codes:
        builder = builder.mappings([_mapping(panel.codes, language)])
    if panel.link:
        builder = builder.data_links([dashboard.DashboardLink(panel.title.say(language)).url(panel.link)])
    return builder


def _mapping(codes: Sequence[Code], language: Language) -> types.ValueMap:
    return types.ValueMap(
        options={
            str(code.value): types.ValueMappingResult(
                text=code.text.say(language), color=code.colour, index=index
            )
            for index, code in enumerate(codes)
        }
    )


def _bands(panel: Bands, language: Language) -> statetimeline.Panel:
    return (
        statetimeline.Panel()
        .mappings([_mapping(panel.codes, language)])
        .show_value(common_types.VisibilityMode.NEVER)
        .merge_values(True)
        .row_height(0.8)
        .fill_opacity(80)
        .line_width(0)
        .color_scheme(dashboard.FieldColor().mode(types.FieldColorModeId.THRESHOLDS))
        .thresholds(_thresholds(((None, "transparent"),)))
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(common_types.LegendDisplayMode.LIST)
            .placement(common_types.LegendPlacement.BOTTOM)
        )
    )


def _meters(panel: Meters) -> bargauge.Panel:
    builder = (
        bargauge.Panel()
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .orientation(common_types.VizOrientation.HORIZONTAL)
        .display_mode(common_types.BarGaugeDisplayMode.BASIC)
        .value_mode(common_types.BarGaugeValueMode.COLOR)
        .thresholds(_thresholds(panel.steps))
        .color_scheme(dashboard.FieldColor().mode(types.FieldColorModeId.THRESHOLDS))
        .min(panel.low)
    )
    return builder if panel.high is None else builder.max(panel.high)


def _table(panel: Table, language: Language) -> table.Panel:
    builder = (
        table.Panel()
        .cell_height(common_types.TableCellHeight.SM)
        .show_header(True)
        .cell_options(common_types.TableAutoCellOptions())
        .color_scheme(dashboard.FieldColor().mode(types.FieldColorModeId.THRESHOLDS))
        .thresholds(_thresholds(((None, "text"),)))
    )
    for transformation in _arranged(panel, language):
        builder = builder.with_transformation(transformation)
    for key in panel.keys:
        if properties := _key_properties(key):
            builder = builder.override_by_name(key.title.say(language), _properties(properties))
    for column in panel.columns:
        builder = builder.override_by_name(
            column.title.say(language), _properties(_column_properties(column, language))
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
        properties["mappings"] = [JSONEncoder().default(_mapping(column.codes, language))]
        properties["custom.cellOptions"] = {"type": "color-background", "mode": "basic"}
    return properties


def _number_panels(panels: Sequence[Any]) -> None:
    """Gives every panel its id, in reading order: the SDK leaves them out and Grafana links need them."""
    for number, panel in enumerate(_flat(panels), start=1):
        panel.id_val = number


def _flat(panels: Iterable[Any]) -> Iterable[Any]:
    for panel in panels:
        yield panel
        yield from _flat(getattr(panel, "panels", None) or [])
