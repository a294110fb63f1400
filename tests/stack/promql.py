"""What a PromQL expression asks for."""

from __future__ import annotations

import promql_parser


def selectors(expr: str) -> list[promql_parser.VectorSelector]:
    """Takes an expression, gives every selector in it.

    Raises:
        ValueError: it is no PromQL.
    """
    found: list[promql_parser.VectorSelector] = []

    def keep(node: object) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    promql_parser.walk(promql_parser.parse(expr), keep)
    return found
