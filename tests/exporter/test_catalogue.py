"""One catalogue for code, documentation, rules and dashboards."""

import importlib.util
import re
from pathlib import Path

import pytest

from epochwatch.catalogue import CATALOGUE
from epochwatch.supervisor.catalogue import JOB_CATALOGUE

ROOT = Path(__file__).parents[2]
USERS = sorted([*ROOT.glob("prometheus/rules/*.yml"), *ROOT.glob("grafana/dashboards/*.json")])
SUFFIXES = ("", "_bucket", "_sum", "_count")


def test_the_documentation_is_the_catalogues() -> None:
    """docs/metrics.md is what docs/metrics.py makes now."""
    spec = importlib.util.spec_from_file_location("docs_metrics", ROOT / "docs" / "metrics.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "metrics.md").read_text() == module.page(), "run: python docs/metrics.py"


@pytest.mark.parametrize("user", USERS, ids=lambda path: path.name)
def test_every_name_used_exists(user: Path) -> None:
    """Rules and dashboards ask for no series that the training side does not serve."""
    # Not behind a colon: those are the rules' own recorded names.
    used = set(re.findall(r"(?<![:\w])training_[a-z0-9_]+(?![\w:])", user.read_text()))
    known = {metric.name + suffix for metric in (*CATALOGUE, *JOB_CATALOGUE) for suffix in SUFFIXES}
    assert used - known == set()


def test_there_are_rules_and_dashboards_to_check() -> None:
    """The test above is not empty."""
    assert {"training.yml", "gpu.yml", "jobs.yml"} <= {path.name for path in USERS}
    assert any(path.suffix == ".json" for path in USERS)
