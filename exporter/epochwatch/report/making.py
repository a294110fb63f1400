"""Makes the report of one run and puts it where it belongs, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from epochwatch.errors import HistoryError
from epochwatch.tolerance import Tolerance

from .account import Account, account
from .closing import REPORTS, file_name
from .comparison import DEFAULT_TOLERANCE
from .markdown import markdown
from .outline import Language
from .page import page
from .store import History

Format = Literal["html", "md"]
FORMATS: dict[Format, Callable[[Account, Language, float], str]] = {"html": page, "md": markdown}


@dataclass(frozen=True)
class Wish:
    """What a report is to be held against, and how it is to look."""

    baseline: str | None = None
    tolerance: Tolerance = DEFAULT_TOLERANCE
    language: Language = "zh"
    prometheus_url: str | None = None


def make(history: History, run_id: str, wish: Wish, now: float, form: Format = "html") -> tuple[str, str]:
    """Takes a run and gives its report and what could not be had for it; "" if nothing was amiss.

    Raises:
        HistoryError: The history cannot be read, or the run is not there.
    """
    trouble = ""
    if wish.prometheus_url is not None:
        from . import alerts  # brings an HTTP client along

        try:
            found = alerts.fired(wish.prometheus_url, history.record(run_id).head)
            # Kept, as Prometheus forgets.
            history.add_raised(run_id, found, alerts.SOURCE)
        except HistoryError as error:
            trouble = str(error)
    told = account(history, run_id, wish.baseline, wish.tolerance)
    return FORMATS[form](told, wish.language, now), trouble


def usual_place(history: History, run_id: str) -> Path:
    """Gives where a run's report lies.

    Raises:
        HistoryError: The history cannot be read, or the run is not there.
    """
    return history.directory / REPORTS / file_name(history.record(run_id).head)


def put(text: str, path: Path) -> None:
    """Writes a file, so that nobody ever sees half of it.

    Raises:
        HistoryError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", errors="replace", dir=path.parent, suffix=".tmp", delete=False
        ) as file:
            written = Path(file.name)
            try:
                file.write(text)
                file.close()
                # Temporary files are closed to others, reports are for them.
                written.chmod(0o666 & ~_umask())
                written.replace(path)
            except BaseException:
                with contextlib.suppress(OSError):
                    written.unlink()
                raise
    except OSError as error:
        raise HistoryError(
            f"{path} cannot be written ({error.strerror or error}); name another with --output"
        ) from error


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
