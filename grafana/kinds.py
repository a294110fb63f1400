"""Takes a panel, gives the builder of its kind in the house style: curve, number, bands, meters, table."""

from __future__ import annotations

from typing import Any

from grafana.board import (
    RED,
    Bands,
    Curve,
    Language,
    Meters,
    Number,
    Panel,
    Table,
)
from grafana.house_style import DASHED, fixed, mapping, overrides, thresholds
from grafana.tables import table_panel
from grafana_foundation_sdk.builders import bargauge, common, dashboard, stat, statetimeline, timeseries
from grafana_foundation_sdk.models import common as common_types
from grafana_foundation_sdk.models import dashboard as types


def drawn(panel: Panel, language: Language) -> Any:
    """Gives the builder of a panel, without what all kinds have.

    Raises:
        TypeError: nobody knows how to draw it.
    """
    if isinstance(panel, Curve):
        return _curve(panel)
    if isinstance(panel, Number):
        return _number(panel, language)
    if isinstance(panel, Bands):
        return _bands(panel, language)
    if isinstance(panel, Meters):
        return _meters(panel)
    if isinstance(panel, Table):
        return table_panel(panel, language)
    raise TypeError(f"{type(panel).__name__} is no kind of panel that can be drawn")


def _curve(panel: Curve) -> timeseries.Panel:
    bars = panel.bars
    styles, points = common_types.GraphDrawStyle, common_types.VisibilityMode
    builder = (
        timeseries.Panel()
        .line_width(1 if bars else 2)
        .fill_opacity(_filling(panel))
        .show_points(points.NEVER if bars else points.AUTO)
        .draw_style(styles.BARS if bars else styles.LINE)
        .axis_border_show(False)
        .color_scheme(dashboard.FieldColor().mode(types.FieldColorModeId.PALETTE_CLASSIC))
        .legend(_legend([] if bars or panel.many else ["lastNotNull"]))
        .tooltip(
            common.VizTooltipOptions()
            .mode(common_types.TooltipDisplayMode.MULTI)
            .sort(common_types.SortOrder.DESCENDING)
        )
    )
    if panel.every:
        builder = builder.interval(panel.every)
    for name in panel.dashed:
        builder = builder.override_by_name(name, overrides(DASHED))
    for name, colour in panel.colours:
        builder = builder.override_by_name(name, overrides({"color": fixed(colour)}))
    return _scaled(builder, panel)


def _scaled(builder: timeseries.Panel, panel: Curve) -> timeseries.Panel:
    """Gives the curve its axis: ends, powers of ten, piles, and the line that means trouble."""
    if panel.low is not None:
        builder = builder.min(panel.low)
    if panel.high is not None:
        builder = builder.max(panel.high)
    reaches = 1 if panel.bars and panel.reaches is None else panel.reaches
    if reaches is not None:
        builder = builder.axis_soft_max(reaches)
    if panel.stacked:
        builder = builder.stacking(common.StackingConfig().mode(common_types.StackingMode.NORMAL).group("A"))
    if panel.logarithmic:
        builder = builder.scale_distribution(
            common.ScaleDistributionConfig().type(common_types.ScaleDistribution.LOG).log(10)
        )
    if panel.limit is not None:
        dashed = common.GraphThresholdsStyleConfig().mode(common_types.GraphThresholdsStyleMode.DASHED)
        steps = ((None, "transparent"), (panel.limit, RED))
        builder = builder.thresholds(thresholds(steps)).thresholds_style(dashed)
    return builder


def _legend(calculations: list[str]) -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(common_types.LegendDisplayMode.LIST)
        .placement(common_types.LegendPlacement.BOTTOM)
        .calcs(calculations)
    )


def _filling(panel: Curve) -> int:
    """Gives the opacity below a line, in per cent: bars and piles are areas, a line is a line."""
    return 80 if panel.bars else 40 if panel.stacked else 0


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
        .thresholds(thresholds(panel.steps))
        .color_scheme(dashboard.FieldColor().mode(types.FieldColorModeId.THRESHOLDS))
    )
    if panel.codes:
        builder = builder.mappings([mapping(panel.codes, language)])
    if panel.link:
        builder = builder.data_links([dashboard.DashboardLink(panel.title.say(language)).url(panel.link)])
    return builder


def _bands(panel: Bands, language: Language) -> statetimeline.Panel:
    return (
        statetimeline.Panel()
        .mappings([mapping(panel.codes, language)])
        .show_value(common_types.VisibilityMode.NEVER)
        .merge_values(True)
        .row_height(0.8)
        .fill_opacity(80)
        .line_width(0)
        .color_scheme(dashboard.FieldColor().mode(types.FieldColorModeId.THRESHOLDS))
        .thresholds(thresholds(((None, "transparent"),)))
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
        .thresholds(thresholds(panel.steps))
        .color_scheme(dashboard.FieldColor().mode(types.FieldColorModeId.THRESHOLDS))
        .min(panel.low)
    )
    return builder if panel.high is None else builder.max(panel.high)
