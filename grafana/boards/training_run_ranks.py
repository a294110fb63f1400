"""The processes of a run side by side: which one holds the others up."""

from __future__ import annotations

from grafana.board import (
    GREEN,
    RED,
    YELLOW,
    Column,
    Curve,
    Key,
    Query,
    Section,
    Table,
    Words,
)
from grafana.boards import gpu_panels
from grafana.boards.one_run import RUN, rate
from grafana.boards.states import RUN_CODES, coded

OWN_PARTS = ', part=~"forward|backward|optimizer"'
WAITS = ', part=~"data_wait|sync_wait"'
NO_GPU = gpu_panels.WHY_NONE
OF_RANK = "max by (rank, instance)"
OWN_WORK = (
    f"sum by (rank, instance) ({rate('training_step_part_seconds_total', OWN_PARTS)})"
    f" / sum by (rank, instance) ({rate('training_steps_total')})"
)
WAITING = (
    f"sum by (rank, instance) ({rate('training_step_part_seconds_total', WAITS)})"
    f" / sum by (rank, instance) ({rate('training_step_part_seconds_total')})"
)

RANKS = Section(
    Words("Ranks compared", "进程对比"),
    (
        Table(
            Words("Ranks", "各进程"),
            Words(
                "One line for each process. The slowest sets the pace "
                "of all: look for a rank whose own work takes longer, "
                "or whose GPU is slower, than that of the others. The others show it as waiting.",
                "每个进程一行。最慢者决定整体速度：留意自身计算更久或 GPU 更慢的进程，其余进程会表现为等待。",
            ),
            height=7,
            keys=(Key("rank", Words("Rank", "进程"), 70), Key("instance", Words("Address", "地址"))),
            columns=(
                Column(
                    Words("State", "状态"),
                    coded("training_run_state", "rank, instance", RUN, RUN_CODES),
                    width=120,
                    codes=RUN_CODES,
                ),
                Column(Words("Step", "步数"), f"{OF_RANK} (training_global_step{{{RUN}}})", decimals=0),
                Column(Words("Own work a step", "每步自身计算"), OWN_WORK, "s"),
                Column(Words("Waiting", "等待占比"), WAITING, "percentunit", 0, meter=1),
                Column(
                    Words("Last progress", "距上次进展"),
                    f"time() - {OF_RANK} (training_last_progress_timestamp_seconds{{{RUN}}})",
                    "s",
                    steps=((None, GREEN), (60, YELLOW), (300, RED)),
                ),
                Column(
                    Words("GPU", "GPU 利用率"),
                    f"{OF_RANK} (training_gpu_utilization_ratio{{{RUN}}})",
                    "percentunit",
                    0,
                    meter=1,
                    absent=NO_GPU,
                ),
                Column(
                    Words("Torch memory", "torch 显存"),
                    f"{OF_RANK} (training_cuda_memory_allocated_bytes{{{RUN}}})",
                    "bytes",
                    absent="the loop takes no CUDA memory through torch",
                ),
            ),
            sort=Words("Rank", "进程"),
        ),
        Curve(
            Words("Own work a step, by rank", "各进程每步自身计算"),
            Words(
                "Forward, backward and optimizer, without waits. One line above the others is a straggler.",
                "前向、反向与优化器耗时，不含等待。明显高于其他的一条即为掉队者。",
            ),
            "s",
            (Query(OWN_WORK.replace("rank, instance", "rank"), "rank {{rank}}"),),
            low=0,
            absent="the loop does not tell the parts of its steps",
        ),
        Curve(
            Words("Steps behind the first", "落后步数"),
            Words(
                "How far a rank's step count is behind the furthest. "
                "Ranks that train together differ by a few: they are "
                "scraped seconds apart.",
                "各进程步数与最快者之差。同步训练的进程只差几步，因为抓取时刻相差几秒。",
            ),
            "short",
            (
                Query(
                    f"scalar(max(training_global_step{{{RUN}}})) - "
                    f"max by (rank) (training_global_step{{{RUN}}})",
                    "rank {{rank}}",
                ),
            ),
            low=0,
            reaches=10,
        ),
    ),
)
