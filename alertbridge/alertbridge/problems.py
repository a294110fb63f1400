"""What is wrong with a value, as pydantic found it, cut down to what a person needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where (keys and indices from the outside in), of which kind, and in words."""

    place: tuple[str | int, ...]
    kind: str
    message: str


def problems(error: ValidationError) -> Iterator[Problem]:
    """Takes a failed validation, gives its problems, the innermost only, without any of the values.

    A list with a bad item is called empty as well; the item's own problem says it all.
    """
    found = error.errors(include_url=False, include_input=False, include_context=False)
    places = [problem["loc"] for problem in found]
    for problem in found:
        place = problem["loc"]
        if not any(len(other) > len(place) and other[: len(place)] == place for other in places):
            yield Problem(place, problem["type"], problem["msg"].removeprefix("Value error, "))
