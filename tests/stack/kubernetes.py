"""The committed Kubernetes resources, as the tests read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "prometheus/kubernetes"
RESOURCES: list[dict[str, Any]] = [
    document
    for path in sorted(FOLDER.glob("*.yml"))
    for document in yaml.safe_load_all(path.read_text())
    if document["kind"] != "Kustomization"
]

EXAMPLES: list[dict[str, Any]] = [
    document
    for path in sorted((FOLDER.parents[1] / "examples/kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]


def named(kind: str, name: str = "") -> dict[str, Any]:
    """Gives the resource of that kind, and of that name if there are several."""
    (found,) = (each for each in RESOURCES if each["kind"] == kind and name in ("", each["metadata"]["name"]))
    return found
