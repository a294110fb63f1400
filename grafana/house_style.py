"""Colours, limits and codes as Grafana's types have them: what every kind of panel shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grafana.board import (
    RED,
    Code,
    Language,
    Steps,
)
from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as types


def fixed(colour: str) -> dict[str, str]:
    """Gives one colour for all of a series."""
    return {"mode": "fixed", "fixedColor": colour}


DASHED: dict[str, object] = {
    "custom.lineStyle": {"fill": "dash", "dash": [8, 8]},
    "custom.lineWidth": 1,
    "custom.fillOpacity": 0,
    "color": fixed(RED),
}


def overrides(values: dict[str, Any]) -> list[types.DynamicConfigValue]:
    """Takes options by their ids, gives them as an override has them."""
    return [types.DynamicConfigValue(id_val=key, value=value) for key, value in values.items()]


def thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    """Gives colours by value."""
    return (
        dashboard.ThresholdsConfig()
        .mode(types.ThresholdsMode.ABSOLUTE)
        .steps([types.Threshold(value=value, color=colour) for value, colour in steps])
    )


def mapping(codes: Sequence[Code], language: Language) -> types.ValueMap:
    """Gives the text and the colour that each code is shown with."""
    return types.ValueMap(
        options={
            str(code.value): types.ValueMappingResult(
                text=code.text.say(language), color=code.colour, index=index
            )
            for index, code in enumerate(codes)
        }
    )
