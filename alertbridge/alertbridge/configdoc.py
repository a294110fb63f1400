"""Writes docs/configuration.md from the models: `python -m alertbridge.configdoc > docs/configuration.md`."""

from __future__ import annotations

import json
import sys
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from alertbridge.configkeys import holds_secret, models
from alertbridge.secret import Secret

HEAD = """# Configuration of alertbridge

Generated from the code (`python -m alertbridge.configdoc`); a test compares the two.

One YAML file, given with `--config FILE` or `ALERTBRIDGE_CONFIG`. Unknown keys are refused with the line and the
nearest known key. Any text may hold `${NAME}`, filled in from the environment or from `.env` in the working
directory, or from the file that `NAME_FILE` names there, which wins; a variable that is set but empty counts as an
absent key; `$${` stands for `${`. A secret (marked so below) can come from a file instead: write its key with `_file`
behind and the path, relative to this file.
`alertbridge check-config` reads the file and says what is wrong; `POST /-/reload` or SIGHUP make a running bridge
read it again, and a bad file changes nothing. `listen` and `storage` take a restart.

Without a file, `DINGTALK_WEBHOOK` (and `DINGTALK_SECRET`), or their `_FILE` forms, make one receiver called `default`.

The `targets:` of a prometheus-webhook-dingtalk file (url, secret, mention, timeout) are read as they are; its Go
templates are refused.
"""


def document() -> str:
    """Gives the page: one section a model, one row a key."""
    return "\n".join([HEAD, *(_section(model) for model in models())])


def _section(model: type[BaseModel]) -> str:
    rows = [_row(name, field) for name, field in model.model_fields.items()]
    title = model.__name__.removesuffix("Settings") or "The whole file"
    about = " ".join((model.__doc__ or "").split())
    return "\n".join(
        [f"## {title}", "", about, "", "| key | type | default | meaning |", "|---|---|---|---|", *rows, ""]
    )


def _row(name: str, field: FieldInfo) -> str:
    return f"| `{name}` | {_type(field.annotation)} | {_default(field)} | {field.description} |"


def _type(annotation: Any) -> str:
    if holds_secret(annotation):
        return "secret"
    if annotation is type(None):
        return ""
    inside = get_args(annotation)
    origin = get_origin(annotation)
    if origin is Annotated:
        return _type(inside[0])
    if origin in (Union, types.UnionType):
        return _type(next(one for one in inside if one is not type(None)))
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in inside)
    if origin is dict:
        return f"mapping of names to {_type(inside[1])}"
    if origin is tuple:
        return f"list of {_type(inside[0])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        title = annotation.__name__.removesuffix("Settings")
        return f"[{title}](#{title.lower()})"
    return {str: "text", int: "whole number", float: "number", bool: "true or false"}[annotation]


def _default(field: FieldInfo) -> str:
    default = field.default
    if default is PydanticUndefined:
        return "required"
    if default is None or isinstance(default, BaseModel):
        return ""
    if isinstance(default, Secret):
        # The only one with a default is the storage's address, and that is no secret.
        return f"`{default.reveal()}`"
    return f"`{json.dumps(list(default) if isinstance(default, tuple) else default, ensure_ascii=False)}`"


if __name__ == "__main__":
    sys.stdout.write(document())
