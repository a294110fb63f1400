"""What runs and jobs can be doing, as numbers: a panel shows one series for each run and not one for each state.

Where the ranks of a run differ, the worst counts: it has the highest number.
"""

from __future__ import annotations

from grafana.board import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, YELLOW, Code, Words

TRAINING_CODE = 3
RUN_CODES = (
    Code(1, Words("finished", "已完成"), "dark-green"),
    Code(2, Words("starting", "启动中"), GREY),
    Code(TRAINING_CODE, Words("training", "训练中"), GREEN),
    Code(4, Words("evaluating", "评估中"), BLUE),
    Code(5, Words("checkpointing", "保存检查点"), PURPLE),
    Code(6, Words("interrupted", "已中断"), ORANGE),
    Code(7, Words("failed", "失败"), RED),
)
JOB_CODES = (
    Code(1, Words("idle", "空闲"), GREY),
    Code(2, Words("running", "运行中"), GREEN),
    Code(3, Words("restarting", "重启中"), YELLOW),
)
WORKING = 'state=~"starting|training|evaluating|checkpointing"'


def coded(metric: str, by: str, selector: str, codes: tuple[Code, ...]) -> str:
    """Takes 0/1 series with a label `state`, gives one series by `by` whose value is the state's code."""
    worst_first = sorted(codes, key=lambda code: -code.value)
    terms = (f'({metric}{{{selector}, state="{code.text.en}"}} == 1) * {code.value}' for code in worst_first)
    return f"max by ({by}) ({' or '.join(terms)})"
