"""What a dashboard states: panels, variables and marks as data, each text in English and Chinese.

Flow: a module of `boards` states a `Board` with these, `classic` turns it into Grafana's own types, `build` writes the
files. A panel without title, description or unit cannot be written down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]

GREEN, YELLOW, ORANGE, RED, BLUE, PURPLE = "green", "yellow", "orange", "red", "blue", "purple"
TEXT, GREY = "text", "#8e8e8e"

Steps = tuple[tuple[float | None, str], ...]
"""Colours by value, the first from minus infinity: ((None, GREEN), (80, RED))."""


@dataclass(frozen=True)
class Words:
    """One text in both languages."""

    en: str
    zh: str

    def say(self, language: Language) -> str:
        return self.zh if language == "zh" else self.en


@dataclass(frozen=True)
class Code:
    """What a number stands for, with the colour it has wherever it is shown."""

    value: int
    text: Words
    colour: str


@dataclass(frozen=True)
class Query:
    """A PromQL expression and the name of its series in the legend.

    Attributes:
        absent: Why it may rightly have no data; one without a reason is held to have some.
    """

    expr: str
    legend: str = ""
    absent: str = ""


@dataclass(frozen=True)
class Panel:
    """What every panel states.

    Attributes:
        unit: Grafana's id of the unit; `none` for a plain number.
        width: Columns of the 24 that a row has.
        absent: Why all of it may rightly be empty.
    """

    title: Words
    description: Words
    unit: str = "none"
    queries: tuple[Query, ...] = ()
    width: int = 12
    height: int = 8
    decimals: int | None = None
    absent: str = ""


@dataclass(frozen=True)
class Curve(Panel):
    """Values over time.

    Attributes:
        low: Lower end of the axis; open if None.
        high: Upper end of the axis; open if None.
        reaches: What the axis reaches at least; bars reach 1.
        logarithmic: Whether the axis is in powers of ten.
        stacked: Whether the series are piled up.
        bars: Whether they are drawn as bars: counts of an interval, not values at a moment.
        dashed: Names of series drawn as dashed limits.
        limit: A value drawn as a dashed line that means trouble.
        colours: Names of series that have a colour of their own.
        every: The least time between two points, "5m": what a rate is taken over to be smooth.
        many: Whether there are so many series that their last values would flood the legend.
    """

    low: float | None = None
    high: float | None = None
    reaches: float | None = None
    logarithmic: bool = False
    stacked: bool = False
    bars: bool = False
    dashed: tuple[str, ...] = ()
    limit: float | None = None
    colours: tuple[tuple[str, str], ...] = ()
    every: str = ""
    many: bool = False


@dataclass(frozen=True)
class Number(Panel):
    """One value now.

    Attributes:
        codes: What the value stands for, if it is a code.
        trend: Whether its course is drawn behind it.
        link: An address that opens from the number.
    """

    width: int = 4
    height: int = 3
    steps: Steps = ((None, TEXT),)
    codes: tuple[Code, ...] = ()
    trend: bool = False
    link: str = ""


@dataclass(frozen=True)
class Bands(Panel):
    """Which state each series is in, as bands over time."""

    width: int = 24
    height: int = 5
    codes: tuple[Code, ...] = ()


@dataclass(frozen=True)
class Meters(Panel):
    """One bar for each series, from `low` to `high`."""

    low: float = 0
    high: float | None = None
    steps: Steps = ((None, GREEN),)


@dataclass(frozen=True)
class Column:
    """A column of a table, filled by one query that gives a value for each row.

    Attributes:
        meter: Draws the value as a bar that is full at this value.
        absent: Why it may rightly be empty in every row.
    """

    title: Words
    expr: str
    unit: str = "none"
    decimals: int | None = None
    width: int | None = None
    steps: Steps = ()
    codes: tuple[Code, ...] = ()
    meter: float | None = None
    absent: str = ""


@dataclass(frozen=True)
class Key:
    """A label that tells the rows of a table apart, and what its column is called.

    Attributes:
        link: An address that opens from the cell; ${__data.fields.<label>} is a label of the row.
        colours: Values that have a colour of their own.
    """

    label: str
    title: Words
    width: int | None = None
    link: str = ""
    colours: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Table(Panel):
    """One row for each combination of the keys, now.

    Attributes:
        hidden: Labels of the series that are no column.
        sort: Title of the column that sorts the rows.
    """

    width: int = 24
    keys: tuple[Key, ...] = ()
    columns: tuple[Column, ...] = ()
    hidden: tuple[str, ...] = ()
    sort: Words | None = None
    descending: bool = False


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
    """Vertical lines in every curve, where `expr` has a sample.

    Attributes:
        value_is_time: Whether the sample's value is the moment, in milliseconds.
        shown: Whether it is switched on from the start.
    """

    name: Words
    expr: str
    title: str
    text: str
    colour: str
    value_is_time: bool = False
    shown: bool = True
    absent: str = ""


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


def board_link(uid: str, variables: str) -> str:
    """Takes a board's uid and `var-run=...`, gives an address that keeps the data source and the time range."""
    return f"/d/{uid}?${{datasource:queryparam}}&{variables}&${{__url_time_range}}"


def queries_of(panel: Panel) -> tuple[Query, ...]:
    """Gives what a panel asks; a table asks once for each column that has a value."""
    if not isinstance(panel, Table):
        return panel.queries
    return tuple(Query(column.expr, absent=column.absent) for column in panel.columns)
