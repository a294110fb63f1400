"""docs/existing-stack.md and scaling.md: every block to copy is one that promtool, amtool or the shell accepts."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.stack import ROOT, binary

PAGES = [
    ROOT / "docs" / f"{name}{suffix}"
    for name in ("existing-stack", "scaling")
    for suffix in (".md", ".zh-CN.md")
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(path: Path, language: str, first: str = "") -> list[str]:
    """Gives the page's blocks of one language; of YAML, those whose first line names that file."""
    return [
        text
        for kind, text in BLOCK.findall(path.read_text())
        if kind == language and text.startswith(f"# {first}" if first else "")
    ]


PROMETHEUS = [(path, text) for path in PAGES for text in blocks(path, "yaml", "prometheus.yml\n")]
ALERTMANAGER = [(path, text) for path in PAGES for text in blocks(path, "yaml", "alertmanager.yml\n")]
SHELL = [(path, text) for path in PAGES for text in blocks(path, "sh")]


def accepted(command: list[str | Path]) -> str:
    """Gives what a checker has against a file, or nothing."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


@pytest.mark.parametrize(("page", "text"), PROMETHEUS)
def test_prometheus_takes_the_block(page: Path, text: str, tmp_path: Path) -> None:
    """A prometheus.yml with nothing but the block is one that Prometheus takes."""
    path = tmp_path / "prometheus.yml"
    path.write_text(text)

    assert accepted([binary("promtool"), "check", "config", "--syntax-only", path]) == ""


@pytest.mark.parametrize(("page", "text"), ALERTMANAGER)
def test_alertmanager_takes_the_block(page: Path, text: str, tmp_path: Path) -> None:
    """In a file that has a receiver of its own already, the block is one that Alertmanager takes."""
    config: dict[str, Any] = yaml.safe_load(text)
    config["route"] = {"receiver": "yours", **config.get("route", {})}
    config["receivers"] = [{"name": "yours"}, *config.get("receivers", [])]
    path = tmp_path / "alertmanager.yml"
    path.write_text(yaml.safe_dump(config))

    assert accepted([binary("amtool"), "check-config", path]) == ""


@pytest.mark.parametrize(("page", "text"), SHELL)
def test_the_shell_takes_the_block(page: Path, text: str, tmp_path: Path) -> None:
    """The commands are well formed, and the files of ours that they name are there."""
    path = tmp_path / "commands.sh"
    path.write_text(text)

    assert accepted(["bash", "-n", path]) == ""
    for name in re.findall(r"(?<![\w/])(?:prometheus|examples)/[\w./-]+", text):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_block_is_checked(page: Path) -> None:
    """Each YAML block says in its first line which file it belongs to."""
    checked = blocks(page, "yaml", "prometheus.yml\n") + blocks(page, "yaml", "alertmanager.yml\n")

    assert blocks(page, "yaml") == checked
    assert checked


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_to_files(page: Path) -> None:
    """Each relative link is to something that is there."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_both_languages_copy_the_same() -> None:
    """The blocks are the same in both languages."""
    english, chinese, *_ = PAGES

    assert BLOCK.findall(english.read_text()) == BLOCK.findall(chinese.read_text())


def test_the_folder_job_is_the_shipped_one() -> None:
    """The block with a targets folder is the snippet's scrape job."""
    shipped = yaml.safe_load((ROOT / "prometheus/snippets/prometheus.yml").read_text())["scrape_configs"][0]
    jobs = [job for _, text in PROMETHEUS for job in yaml.safe_load(text).get("scrape_configs", [])]
    folder = next(job for job in jobs if "file_sd_configs" in job)

    assert {**folder, "file_sd_configs": None} == {**shipped, "file_sd_configs": None}
    assert folder["file_sd_configs"][0]["files"] == shipped["file_sd_configs"][0]["files"]


@pytest.mark.parametrize("suffix", [".md", ".zh-CN.md"])
@pytest.mark.parametrize("name", ["many-ranks.yml", "shard.yml", "federation.yml"])
def test_the_blocks_of_scaling_are_the_snippets(name: str, suffix: str) -> None:
    """Relabelling, remote write and federation are the same on the page and in the files that are tried out."""
    snippet = yaml.safe_load((ROOT / "prometheus/snippets" / name).read_text())
    shown = [yaml.safe_load(text) for page, text in PROMETHEUS if page.name == f"scaling{suffix}"]
    jobs = [job for each in shown for job in each.get("scrape_configs", [])]
    writes = [write for each in shown for write in each.get("remote_write", [])]

    assert snippet["scrape_configs"][0] in jobs
    assert all(write in writes for write in snippet.get("remote_write", []))
