"""Every link in the documentation leads somewhere."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest
from tests.docs.pages import ROOT, anchors, links, pages


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", pages(), ids=named)
def test_relative_links_and_anchors_resolve(page: Path) -> None:
    """A link to a file finds it, and one to a heading finds that heading."""
    broken = []
    for link in links(page):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)

    assert broken == []


@pytest.mark.parametrize("page", [page for page in pages() if ".zh-CN." in page.name], ids=named)
def test_a_chinese_page_leads_to_chinese_pages(page: Path) -> None:
    """Of a page that is there in both languages it links the Chinese one; only to its own English one it leads over."""
    own = page.with_name(page.name.replace(".zh-CN", ""))
    linked = {(page.parent / unquote(link).partition("#")[0]).resolve() for link in links(page)}
    chinese = {
        target: target.with_name(f"{target.stem}.zh-CN.md") for target in linked if target.suffix == ".md"
    }

    assert own in linked
    assert sorted(target.name for target, other in chinese.items() if target != own and other.exists()) == []


def test_every_page_of_the_documentation_is_in_the_index() -> None:
    """docs/README.md leads to each page; a Chinese one stands beside its English one."""
    index = ROOT / "docs/README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    written = {page for page in pages() if page.parent == index.parent and page != index}

    assert sorted(page.name for page in written - linked) == []


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_readme_leads_to_the_index(name: str) -> None:
    """From either front page, the index and every page are one step away, in its language where there is one."""
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in links(ROOT / name)}
    written = {page for page in pages() if page.parent == ROOT / "docs" and ".zh-CN." not in page.name}
    if ".zh-CN." in name:
        translated = {page: page.with_name(f"{page.stem}.zh-CN.md") for page in written}
        written = {chinese if chinese.exists() else page for page, chinese in translated.items()}

    assert sorted(page.name for page in written - linked) == []


def test_anchors_follow_githubs_rule(tmp_path: Path) -> None:
    """Punctuation goes, spaces become hyphens, Chinese stays, and a second heading of the same words is numbered."""
    page = tmp_path / "page.md"
    page.write_text("# What `a.b` (is)\n## 快速开始：一步\n## Same\n## Same\n```\n# no heading\n```\n")

    assert anchors(page) == {"what-ab-is", "快速开始一步", "same", "same-1"}
