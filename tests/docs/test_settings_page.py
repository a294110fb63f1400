"""docs/settings.md is made from the code."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

import pytest

import epochwatch

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def settings() -> ModuleType:
    """docs/settings.py, as a module."""
    spec = importlib.util.spec_from_file_location("docs_settings", ROOT / "docs/settings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_code_says(settings: ModuleType) -> None:
    """docs/settings.md is what docs/settings.py makes now."""
    assert (ROOT / "docs/settings.md").read_text(encoding="utf-8") == settings.page(), (
        "run: python docs/settings.py"
    )


def test_every_argument_of_start_is_on_it(settings: ModuleType) -> None:
    """None is missing from the docstring that the page is made from, and none has an empty meaning."""
    told = dict(settings.start_arguments())

    assert list(told) == list(inspect.signature(epochwatch.start).parameters)
    assert all(told.values())
