"""Draws charts with matplotlib, as SVG that stands in a page and takes its colours; the only module that imports it.

Colours are placeholders that become CSS variables, so that one drawing serves light, dark and print. Only numbers are
written in it: words are the page's, in any language.
"""

from __future__ import annotations

import importlib.util
import io
import math
import re
from collections.abc import Sequence
from typing import Any

from .charts import Chart, Line
from .markup import Html

INSTALL = "pip install 'epochwatch[report]'"
SIZE_INCHES = (4.6, 2.5)
SERIES = 4
_INK, _GRID, _REFERENCE, _ODD = "#000101", "#000102", "#000103", "#000104"
_VARIABLES = {
    _INK: "--ink-soft",
    _GRID: "--grid",
    _REFERENCE: "--reference",
    _ODD: "--worse",
    **{f"#0002{number:02x}": f"--series-{number + 1}" for number in range(SERIES)},
}
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "epochwatch",  # the same curves give the same file
    "font.size": 9.0,
    "axes.formatter.use_mathtext": False,
    "axes.formatter.offset_threshold": 6,
    "path.simplify": True,
}


def can_draw() -> bool:
    """Tells whether matplotlib is here."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(chart: Chart, label: str) -> Html:
    """Takes a chart and gives it as an SVG element.

    Args:
        label: What it shows, for those who do not see it.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        _lay_out(axes, chart)
        own = [line for line in chart.lines if not line.reference]
        for line in chart.lines:
            _draw_line(axes, line, own.index(line) if line in own else -1)
        if chart.best is not None and math.isfinite(chart.best[1]):
            axes.plot(*chart.best, "o", color=_series(0), markersize=6, markeredgecolor=_INK)
        drawn = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(drawn, format="svg", transparent=True, metadata=nothing)
    return _inline(drawn.getvalue(), label)


def _series(index: int) -> str:
    return f"#0002{index % SERIES:02x}"


def _lay_out(axes: Any, chart: Chart) -> None:
    axes.tick_params(which="both", colors=_INK)
    axes.grid(True, color=_GRID, linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_GRID)
    if chart.logarithmic:
        axes.set_yscale("log")
    elif chart.percent:
        axes.yaxis.set_major_formatter(lambda ratio, place: f"{ratio * 100:.4g}%")
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=7)


def _draw_line(axes: Any, line: Line, index: int) -> None:
    look: dict[str, Any] = {"color": _series(index), "linewidth": 1.8}
    if line.reference:
        look = {"color": _REFERENCE, "linewidth": 1.4, "linestyle": (0, (4, 2)), "zorder": 1.5}
    if len(line.x) < 2:
        look["marker"] = "."
    values = [value if math.isfinite(value) else math.nan for value in line.y]
    axes.plot(line.x, values, **look)
    for x in _odd_places(line):
        axes.axvline(x, color=_ODD, linewidth=1.0, linestyle=":")


def _odd_places(line: Line, limit: int = 20) -> Sequence[float]:
    return [x for x, y in zip(line.x, line.y, strict=True) if not math.isfinite(y)][:limit]


def _inline(document: str, label: str) -> Html:
    """Takes an SVG file and gives the element as it stands in HTML."""
    from html import escape

    svg = document[document.index("<svg") :]
    # Of several charts in one page; nothing refers to groups.
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>',
        rf'<svg viewBox="\1" role="img" aria-label="{escape(label)}">',
        svg,
    )
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return Html(svg)
