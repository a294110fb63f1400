"""The Prometheus and Alertmanager that tests run on: the installed ones, and Debian trixie's where they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.stack import BINARIES, ROOT

NEWER = ROOT / ".stack/trixie/bin"


def each_version(program: str) -> list[object]:
    """Takes a program's name, gives a parameter for it in each version; one that is not installed is skipped."""
    folders = [BINARIES, *([NEWER] if NEWER != BINARIES else [])]
    return [_parameter(folder / program) for folder in folders]


def _parameter(path: Path) -> object:
    missing = pytest.mark.skipif(
        not path.exists(),
        reason=f"no {path.relative_to(ROOT)}; prometheus/install.py --suite trixie gets it",
    )
    return pytest.param(path, id=path.parts[-3].lstrip("."), marks=missing)
