"""Runs message templates: the built-in ones and those of `templates_dir`, both in the same sandbox.

A template sees only text that `markdown.clean` has made harmless. It cannot reach Python, nor run for long,
nor grow without bound; whatever goes wrong in it becomes one `TemplateError` that names the file and the line.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from alertbridge.errors import TemplateError
from alertbridge.markdown import Markdown, clean, coloured, link, shorten

BUILT_IN = ("training", "generic")
SECONDS = 1.0
MOST_STEPS = 200_000
LONGEST_RANGE = 1000
LONGEST_TEXT = 100_000

# Methods and filters that make much out of little; none is of use in a message.
_GROWING_METHODS = {"format", "format_map", "center", "ljust", "rjust", "zfill", "expandtabs", "translate"}
_GROWING_FILTERS = ("center", "indent", "wordwrap", "tojson", "pprint", "xmlattr", "urlize", "slice", "batch")
_WIDE_FORMAT = re.compile(r"%[^%A-Za-z]*(\d{3,}|\*)")

Clock = Callable[[], float]


class _RefusedError(Exception):
    """A template does what no message needs; becomes a `TemplateError` with file and line."""


class Templates:
    """Finds and runs templates.

    Args:
        templates_dir: where the templates of `template: FILE` are; None if there are none.
        clock: gives the seconds that bound a template's run; its own CPU time, as a busy machine is no endless loop.
    """

    def __init__(self, templates_dir: Path | None = None, *, clock: Clock = time.thread_time) -> None:
        self._directory = templates_dir
        self._environment = _Environment(_loader(templates_dir), clock)

    def render(self, name: str, view: Mapping[str, Any]) -> tuple[Markdown, str]:
        """Takes a template's file name and what it shows, gives its text and the title that it sets, or "".

        Raises:
            TemplateError: there is no such template, it is wrong, or it takes too long.
        """
        self._environment.begin()
        try:
            module = self._environment.get_template(name).make_module(dict(view))
            return Markdown(module), str(getattr(module, "title", ""))
        except Exception as error:
            # A template may raise anything: it is a program that somebody else has written.
            raise self._explained(name, error) from None

    def _explained(self, name: str, error: Exception) -> TemplateError:
        if isinstance(error, jinja2.TemplateNotFound):
            where = f" in {self._directory}" if self._directory else ""
            return TemplateError(
                f"there is no template {str(error)!r}{where}; built in are {' and '.join(BUILT_IN)}, "
                "any other is a file of templates_dir"
            )
        if isinstance(error, jinja2.TemplateSyntaxError):
            return TemplateError(f"template {error.name or name}, line {error.lineno}: {error.message}")
        return TemplateError(f"template {_place(error.__traceback__) or name}: {_reason(error)}")


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja2's sandbox, with bounds on time and size and with Markdown in the place of HTML."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, loader: jinja2.BaseLoader, clock: Clock) -> None:
        super().__init__(
            loader=loader,
            autoescape=True,
            finalize=_as_markdown,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._clock = clock
        self._running = threading.local()
        for name in _GROWING_FILTERS:
            del self.filters[name]
        self.filters |= {
            "counted": self._counted,
            "together": _together,
            "format": _format,
            "coloured": coloured,
            "shorten": lambda value, limit: clean(shorten(str(value), limit)),
        }
        # Autoescaping is what turns macros into Markdown; no template is to switch it off.
        del self.globals["lipsum"]
        self.globals |= {"range": _range, "link": link}

    def begin(self) -> None:
        """Starts counting anew; each thread renders on its own account."""
        self._running.steps = 0
        self._running.until = self._clock() + SECONDS

    def step(self) -> None:
        """Counts one turn of a loop or one call.

        Raises:
            _RefusedError: there have been too many, or they have taken too long.
        """
        self._running.steps += 1
        if self._running.steps > MOST_STEPS or self._clock() > self._running.until:
            raise _RefusedError(
                f"it takes too long (at most {SECONDS:g} s and {MOST_STEPS} steps); is a loop endless?"
            )

    def get_template(
        self,
        name: str | jinja2.Template,
        parent: str | None = None,
        globals: Any = None,  # noqa: A002
    ) -> jinja2.Template:
        self.step()
        # The compiler writes the name into its code, where only a plain text can be read again.
        return super().get_template(str(name) if isinstance(name, str) else name, parent, globals)

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:
        self.step()
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and (abs(left) > LONGEST_TEXT or abs(right) > 64):
            raise _RefusedError("the power is too large")
        if operator == "*" and _product_size(left, right) > LONGEST_TEXT:
            raise _RefusedError(f"a text would be longer than {LONGEST_TEXT} characters")
        if operator == "%" and isinstance(left, str):
            return _format(left, *(right if isinstance(right, tuple) else (right,)))
        return _bounded(super().call_binop(context, operator, left, right))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str) and attr in _GROWING_METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        return None  # refused in is_safe_attribute

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        _Bounding().visit(tree)
        return tree

    @jinja2.pass_context
    def _counted(self, context: Context, items: Iterable[Any]) -> Iterator[Any]:
        # With the context it is never folded into a constant.
        for item in items:
            self.step()
            yield item


class _Bounding(NodeTransformer):
    """Puts a counter into every loop, and our own joining in the place of `~`, which would write HTML."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 - Jinja2's name
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "counted", node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes), "together", node.lineno)


def _filtered(node: nodes.Node, name: str, line: int) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=line)


def _loader(templates_dir: Path | None) -> jinja2.BaseLoader:
    built_in = jinja2.PackageLoader("alertbridge", "templates")
    own = [jinja2.FileSystemLoader(templates_dir)] if templates_dir else []
    return jinja2.ChoiceLoader([jinja2.PrefixLoader({"builtin": built_in}), *own])


def _as_markdown(value: Any) -> Any:
    return value if isinstance(value, jinja2.Undefined) else Markdown.escape(value)


@jinja2.pass_context
def _together(context: Context, parts: Iterable[Any]) -> Markdown:
    text = Markdown("").join(Markdown.escape(_as_markdown(part)) for part in parts)
    return Markdown(_bounded(text))


def _format(value: Any, *args: Any, **kwargs: Any) -> Any:
    if _WIDE_FORMAT.search(value):
        raise _RefusedError("the width of a format is too large")
    return _bounded(value % (kwargs or args))


def _range(*args: int) -> range:
    made = range(*args)
    if len(made) > LONGEST_RANGE:
        raise _RefusedError(f"the range is longer than {LONGEST_RANGE}")
    return made


def _product_size(left: Any, right: Any) -> int:
    size = len(left) if hasattr(left, "__len__") else len(right) if hasattr(right, "__len__") else 0
    return size * (right if hasattr(left, "__len__") else left) if size else 0


def _bounded(value: Any) -> Any:
    if hasattr(value, "__len__") and len(value) > LONGEST_TEXT:
        raise _RefusedError(f"a text is longer than {LONGEST_TEXT} characters")
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, _RefusedError | jinja2.TemplateError):
        return str(error)
    if isinstance(error, RecursionError):
        return "it calls or includes itself without end"
    return f"{type(error).__name__}: {error}"


def _place(traceback: TracebackType | None) -> str | None:
    """Takes a traceback, gives the innermost template in it and the line there, if it went through one."""
    place = None
    while traceback is not None:
        template = traceback.tb_frame.f_globals.get("__jinja_template__")
        if template is not None:
            place = f"{template.name}, line {template.get_corresponding_lineno(traceback.tb_lineno)}"
        traceback = traceback.tb_next
    return place
