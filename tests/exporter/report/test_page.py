"""The report: one file that needs nothing else, says everything in two languages, and obeys no foreign text."""

import math
import re
import sys
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import Result

from epochwatch.report.account import Account, account
from epochwatch.report.charts import charts
from epochwatch.report.comparison import DEFAULT_TOLERANCE
from epochwatch.report.markdown import markdown
from epochwatch.report.page import page
from epochwatch.report.record import Facts, GpuUse, Raised
from epochwatch.report.store import History

from .conftest import BEGAN, HOUR

Keep = Callable[..., str]
Command = Callable[..., Result]

FACTS = Facts(
    host="gpu-01",
    framework="pytorch 2.13",
    git_commit="0123456789abcdef",
    world_size=8,
    checkpoint="checkpoints/best.pt",
    samples=81_920,
    labels={"team": "vision"},
    details={"model": "ViT-B/16", "batch_size": "256"},
    phase_seconds={"startup": 10.0, "train": 450.0, "evaluate": 100.0, "checkpoint": 40.0, "idle": 0.0},
    part_seconds={"data_wait": 50.0, "other": 400.0},
    counts={"nonfinite loss": 2, "skipped_steps amp_overflow": 3},
    gpus=(
        GpuUse("0", "NVIDIA H100", 60, 0.93, 60 * 2**30, 80 * 2**30, 55 * 2**30, 512.0, 71.0, 3.6e6),
        GpuUse("1"),
    ),
)
RAISED = (Raised(BEGAN + 2 * HOUR, "TrainingEvent", "warning", "disk nearly full", "磁盘将满"),)


class Reader(HTMLParser):
    """Reads a page as a browser would: open elements, addresses, and the text that is seen."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.seen: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag != "meta":
            self.open.append(tag)
        for name, value in attrs:
            if name in ("href", "src", "srcset", "xlink:href", "action", "data", "poster"):
                self.addresses.append(value or "")
            assert not name.startswith("on"), f"{tag} has a handler"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self.open[-1:]:
            self.seen.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.seen).split())


def told(history: History, run_id: str, baseline: str | None = None) -> Account:
    return account(history, run_id, baseline, DEFAULT_TOLERANCE)


@pytest.fixture
def full(history: History, keep: Keep) -> Account:
    """A run with everything: a baseline, a previous run, GPUs, events, a diverging metric."""
    old = keep(
        "vit", {"validation/accuracy": [0.5, 0.95], "validation/loss": [1.0, 0.3], "train/loss": [2.0, 1.0]}
    )
    history.set_baseline("v1.0", old, BEGAN)
    keep("vit", {"validation/accuracy": [0.5, 0.90], "validation/loss": [1.0, 0.4]})
    values = {
        "validation/accuracy": [0.5, 0.93, 0.92],
        "validation/loss": [1.0, 0.2, math.nan],
        "train/loss": [2.0, 1.0, 0.04],
        "train/learning_rate": [0.1, 0.01, 0.001],
        "validation/f1": [0.1, 0.3, 0.2],
    }
    return told(history, keep("vit", values, facts=FACTS, raised=RAISED, planned=30), "v1.0")


def test_the_page_needs_nothing_from_anywhere(full: Account) -> None:
    """No script, no frame, no address that leads out of the file; every element is closed."""
    text = page(full, "en", BEGAN + 9 * HOUR)
    reader = Reader(text)
    assert not reader.open
    assert not reader.tags & {"script", "link", "iframe", "object", "embed", "form", "img"}
    assert all(address.startswith("#") for address in reader.addresses)
    assert not re.findall(r"@import|url\((?!#)", text)
    assert {"svg", "table", "meter", "style"} <= reader.tags


@pytest.mark.parametrize(
    ("language", "said"),
    [
        (
            "en",
            [
                "finished, worse than baseline v1.0",
                "▼ worse than baseline v1.0: accuracy 95.00% → 93.00%, -2.00 pp",
                "▲ better than the previous run",
                "the runs differ in length; after as many epochs: 95.00% → 93.00%",
                "best accuracy, more is better, differences up to 0.5% count as none",
                "model ViT-B/16",
                "batch size 256",
                "epochs 3/30",
                "samples 81,920",
                "git commit 0123456789ab ranks 8",
                "75% of the time was training.",
                "waiting for data 50 s 11%",
                "0 NVIDIA H100 93% 60.0 / 80 GiB 512 W 71 °C 1.00 kWh",
                "warning own event disk nearly full",
                "losses that were not finite: 2",
                "skipped steps (amp_overflow): 3",
                "validation loss 0.2 2 NaN",
                "validation f1 0.1 … 0.3 0.2",
            ],
        ),
        (
            "zh",
            [
                "已完成，差于基线 v1.0",
                "▼ 差于基线 v1.0：验证准确率 95.00% → 93.00%，-2.00 pp",
                "批大小 256",
                "75% 的时间用于训练。",
                "警告 自定义消息 磁盘将满",
                "学习率",
                "非有限的损失值: 2",
            ],
        ),
    ],
)
def test_the_page_says_it_all(language: str, said: Sequence[str], full: Account) -> None:
    """What ran, values, comparisons, times, GPUs and what was raised, in the reader's language."""
    text = Reader(page(full, language, BEGAN + 9 * HOUR)).text
    assert [part for part in said if part not in text] == []


def test_the_curves_take_the_pages_colours(full: Account) -> None:
    """Every colour of a drawing is one of the page's, so that it is seen in light, dark and print."""
    text = page(full, "en", BEGAN)
    drawings = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert len(drawings) == 4
    for drawing in drawings:
        assert not re.findall(r"(?:fill|stroke): #(?!ffffff)[0-9a-f]{6}", drawing)
        assert "var(--series-1)" in drawing
    used, named = (set(re.findall(pattern, text)) for pattern in (r"var\((--[\w-]+)\)", r"(--[\w-]+):"))
    assert used <= named


def test_the_charts_belong_together(full: Account) -> None:
    """Loss, accuracy, own metrics, learning rate; along epochs, with the baseline's curve and the best marked."""
    found = charts(full)
    assert [chart.title.en for chart in found] == ["Loss", "Accuracy", "f1", "Learning rate"]
    assert {chart.along for chart in found} == {"epoch"}
    loss, accuracy, f1, rate = found
    assert [(line.called.en, line.reference) for line in loss.lines] == [
        ("validation loss", False),
        ("training loss", False),
        ("validation loss", True),
    ]
    assert accuracy.best == (2.0, 0.93)
    assert (loss.logarithmic, rate.logarithmic, f1.logarithmic) == (True, True, False)


def test_foreign_text_is_shown_and_not_obeyed(history: History, keep: Keep) -> None:
    """Names, details, events and checkpoints of hostile content are text."""
    hostile = "<script>alert(1)</script>\"'&"
    facts = Facts(details={hostile: hostile}, checkpoint=hostile, failure=hostile, host=hostile)
    values = {f"validation/{hostile}": [1.0, 2.0], "validation/accuracy": [0.1, 0.2]}
    raised = (Raised(BEGAN, hostile, hostile, hostile, hostile),)
    keep(hostile, values, facts=facts, raised=raised)
    run = told(history, keep(hostile, values, facts=facts, raised=raised))
    reader = Reader(page(run, "en", BEGAN))
    assert "script" not in reader.tags
    assert hostile in reader.text
    assert "<script>" not in markdown(run, "en", BEGAN).replace("\\<", "")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"validation/loss": [math.nan]},
        {"validation/loss": [math.nan, math.inf, -math.inf]},
        {"validation/loss": [-1.0, -2.0], "train/loss": [1e300, -1e300]},
        {"validation/loss": [0.0, 0.0, 0.0]},
        {"validation/accuracy": [0.5]},
    ],
    ids=["nothing", "NaN", "never finite", "below zero and huge", "zero", "one epoch"],
)
def test_an_odd_run_has_a_report_too(values: dict[str, list[float]], history: History, keep: Keep) -> None:
    """Neither the drawing nor the tables fail on it, with one like it before."""
    keep("odd", values)
    for language in ("en", "zh"):
        assert not Reader(page(told(history, keep("odd", values)), language, BEGAN)).open


def test_without_matplotlib_there_are_tables_and_a_note(
    full: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report says what to install, and shows the monitored curve as bars."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    text = page(full, "en", BEGAN)
    assert "<svg" not in text
    seen = Reader(text).text
    assert (
        "which is not installed here: pip install 'epochwatch[report]', then make the report again." in seen
    )
    assert "accuracy ▁▇▇ 50.00% → 92.00%" in seen


def test_the_markdown_form_is_for_a_chat(full: Account) -> None:
    """Lists instead of tables, the curve as bars."""
    lines = markdown(full, "en", BEGAN).splitlines()
    assert lines[:3] == ["### vit", "", "**finished, worse than baseline v1.0**"]
    assert "- ▼ worse than baseline v1.0: accuracy 95.00% → 93.00%, -2.00 pp" in lines
    assert "accuracy ▁▇▇ 50.00% → 92.00%" in lines
    assert "- accuracy: best 93.00% (epoch 2), last 92.00%" in lines
    assert not [line for line in lines if line.startswith("|")]


def test_the_command_writes_the_report(
    full: Account, history: History, command: Command, tmp_path: Path
) -> None:
    """To its usual place, to a file, or to standard output; a run is named as everywhere."""
    run_id = full.record.head.run_id
    result = command("report", "vit", "--language", "en")
    place = history.directory / "reports" / f"vit-{run_id}.html"
    assert (result.exit_code, result.output) == (0, f"{place}\n")
    assert "finished, better than the previous run" in place.read_text()
    assert place.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in place.parent.iterdir()] == [place.name]
    named = command("report", run_id, "--baseline", "v1.0", "--output", str(tmp_path / "new" / "r.html"))
    assert named.exit_code == 0
    assert "差于基线 v1.0" in (tmp_path / "new" / "r.html").read_text()
    assert command("report", "vit~1", "--format", "md", "--language", "en").stdout.startswith("### vit\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("report", "vit", "--baseline", "v2"), "Error: there is no baseline 'v2'; known baselines: v1.0"),
        (("report", "vitt"), "Error: no run or baseline is called 'vitt'; known are: vit"),
        (("report", "vit", "--output", "/proc/no/r.html"), "Error: /proc/no/r.html cannot be written"),
        (("report", "vit", "--threshold", "-1"), "Invalid value for '--threshold': '-1' must be a share"),
    ],
)
def test_a_report_that_cannot_be_made_says_why(
    arguments: tuple[str, ...], said: str, full: Account, command: Command
) -> None:
    """With exit code 2; a baseline that does not exist names the known ones."""
    result = command(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_prometheus_that_does_not_answer_is_a_warning(full: Account, command: Command) -> None:
    """The report is made without the alerts; the address' password is not said."""
    result = command(
        "report", "vit", "--prometheus-url", "http://me:hunter2000@127.0.0.1:9", "--format", "md"
    )
    assert result.exit_code == 0
    assert result.stderr == "Warning: Prometheus does not say which alerts fired (ConnectionError)\n"
