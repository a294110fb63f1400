"""Which keys the configuration knows, place by place, read off the models.

Serves the hint in an error about an unknown key, and docs/configuration.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from alertbridge.secret import Secret
from alertbridge.settings import Settings

KeyPath = tuple[str | int, ...]


def known_keys(place: KeyPath) -> list[str]:
    """Takes a place in the file such as ("auth",), gives the keys that may stand there,
    `_file` forms included.
    """
    annotation: Any = Settings
    for key in place:
        annotation = _step(annotation, key)
    model = _without_none(annotation)
    return list(_keys_of(model)) if _is_model(model) else []


def secret_keys() -> frozenset[str]:
    """Gives the keys, anywhere in the file, that hold a secret and so have a `_file` form."""
    return frozenset(
        name
        for model in models()
        for name, field in model.model_fields.items()
        if holds_secret(field.annotation)
    )


def models() -> list[type[BaseModel]]:
    """Gives every model of the configuration, the outermost first."""
    found: list[type[BaseModel]] = []
    ahead: list[Any] = [Settings]
    while ahead:
        annotation = ahead.pop(0)
        if _is_model(annotation):
            if annotation not in found:
                found.append(annotation)
                ahead.extend(field.annotation for field in annotation.model_fields.values())
        else:
            ahead.extend(get_args(annotation))
    return found


def holds_secret(annotation: Any) -> bool:
    return _without_none(annotation) is Secret


def _keys_of(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield name
        if holds_secret(field.annotation):
            yield f"{name}_file"


def _step(annotation: Any, key: str | int) -> Any:
    annotation = _without_none(annotation)
    if _is_model(annotation):
        field = annotation.model_fields.get(str(key))
        return None if field is None else field.annotation
    # dict[str, X] and tuple[X, ...] lead to X.
    inside = get_args(annotation)
    if not inside:
        return None
    return inside[1] if get_origin(annotation) is dict else inside[0]


def _without_none(annotation: Any) -> Any:
    choices = get_args(annotation)
    if type(None) in choices:
        return next(choice for choice in choices if choice is not type(None))
    return annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
