"""Puts together what keeps a run for later, from the settings; nothing where no history is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from . import catalogue
from .books import Books
from .collector import Source
from .herald import Chronicle
from .masking import masked
from .notify import settings_secrets
from .ranks import Place
from .supervised import Supervised


def make_chronicle(
    books: Books,
    place: Place,
    run_info: tuple[str, ...],
    devices: Sequence[Source],
    environ: Mapping[str, str],
    supervised: Supervised | None,
) -> Chronicle | None:
    """Gives what keeps a run, not started; None if nothing does: no history is wanted, or another rank keeps it.

    Args:
        run_info: The values of run_info's labels.
        devices: The sources that read the GPUs.
        environ: Holds secrets that must not be kept.
        supervised: The supervisor, if there is one.
    """
    settings = books.settings
    if settings.history is None or place.rank != 0:
        return None
    # Not at the module's head: a training that keeps nothing has no use for SQLite.
    from .historian import Historian
    from .portrait import Identity

    known = dict(zip(catalogue.RUN_INFO.labels, run_info, strict=True))
    secrets = list(settings_secrets(settings))
    identity = Identity(
        run_id=known["run_id"],
        host=known["host"],
        framework=" ".join(filter(None, (known["framework"], known["version"]))),
        git_commit=known["git_commit"],
        world_size=place.world_size,
        restarts=place.restarts or 0,
    )
    return Historian(
        books,
        identity,
        devices,
        lambda text: masked(text, environ, secrets),
        environ,
        supervised=supervised,
    )
