"""Dashboard "Training run": one run, from its state down to its GPUs.

Where a run has several ranks, a loss is averaged over those that know one (with pipeline parallelism not all
do), a count is the furthest rank's, a rate is summed.
"""

from __future__ import annotations

from grafana.board import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    YELLOW,
    Bands,
    Board,
    Mark,
    Number,
    Query,
    Section,
    Variable,
    Words,
)
from grafana.boards.one_run import NO_VALIDATION, ONE, RUN, SINCE_BEST
from grafana.boards.states import RUN_CODES, WORKING, coded
from grafana.boards.training_run_learning import LEARNING
from grafana.boards.training_run_machine import GPU, HOST
from grafana.boards.training_run_ranks import RANKS
from grafana.boards.training_run_speed import SPEED

# By the pace of this process: what a resume brought along was not made by it. Epochs first, else steps.
TIME_LEFT = (
    f"((max(training_planned_epochs{{{ONE}}}) - max(training_epochs{{{ONE}}}))"
    f" / (max(training_epochs{{{ONE}}} * training_steps_total{{{ONE}}} / training_global_step{{{ONE}}}) > 0"
    f" or max(training_epochs{{{ONE}}}) > 0)"
    f" or (max(training_planned_steps{{{ONE}}}) - max(training_global_step{{{ONE}}}))"
    f" / (max(training_steps_total{{{ONE}}}) > 0))"
    f" * max(time() - training_start_timestamp_seconds{{{ONE}}})"
    f" and on () max(training_run_state{{{ONE}, {WORKING}}}) == 1"
)

NOW = Section(
    Words("Now", "当前"),
    (
        Number(
            Words("State", "状态"),
            Words(
                "What the training loop does at this moment. Where ranks differ, the worst counts.",
                "训练循环此刻在做什么；各进程不同时取最差的。",
            ),
            "none",
            (Query(coded("training_run_state", "run", RUN, RUN_CODES), "state"),),
            codes=RUN_CODES,
        ),
        Number(
            Words("Epochs", "轮次"),
            Words("Completed epochs, resumed ones included.", "已完成的轮次，含恢复前的。"),
            "none",
            (Query(f"max(training_epochs{{{RUN}}})"),),
            width=3,
            decimals=0,
        ),
        Number(
            Words("Done", "完成比例"),
            Words(
                "Completed epochs (or steps) as part of the planned "
                "ones; no data if the run was not told how many.",
                "已完成的轮次（或步数）占计划的比例；未告知计划时无数据。",
            ),
            "percentunit",
            (
                Query(
                    f"max(training_epochs{{{RUN}}}) / max(training_planned_epochs{{{RUN}}})"
                    f" or max(training_global_step{{{RUN}}}) / max(training_planned_steps{{{RUN}}})"
                ),
            ),
            width=3,
            decimals=0,
        ),
        Number(
            Words("Time left", "剩余时间"),
            Words(
                "By the pace so far, evaluation and checkpoints "
                "included; none before the first epoch and after the end.",
                "按目前的平均速度（含评估与检查点）估计；第一轮结束前和训练结束后无数据。",
            ),
            "s",
            (Query(TIME_LEFT),),
            width=3,
            absent="none before the first epoch and after the end",
        ),
        Number(
            Words("Best loss", "最佳损失"),
            Words("Lowest finite validation loss so far.", "迄今最低的有限验证损失。"),
            "none",
            (Query(f'min(training_loss_best{{{RUN}, phase="validation"}})'),),
            width=3,
            decimals=4,
            absent=NO_VALIDATION,
        ),
        Number(
            Words("Epochs flat", "未改善轮次"),
            Words(
                "Epochs since the best validation loss. At the run's patience the plateau alert fires.",
                "距最佳验证损失已过的轮次。达到该任务的耐心值时触发停滞告警。",
            ),
            "none",
            (Query(SINCE_BEST.replace("{phase}", ', phase="validation"')),),
            width=3,
            decimals=0,
            steps=((None, GREEN), (5, YELLOW), (10, RED)),
            absent=NO_VALIDATION,
        ),
        Number(
            Words("Last progress", "距上次进展"),
            Words(
                "Time since the last step, evaluation batch or checkpoint "
                "part of the slowest rank. The stall alert goes "
                "by the run's own learned time-out, 5 minutes at least.",
                "最慢进程距上一个训练步、评估批次或检查点的时间。卡住告警按任务自己学到的时限，至少 5 分钟。",
            ),
            "s",
            (Query(f"time() - min(training_last_progress_timestamp_seconds{{{RUN}}})"),),
            width=3,
            steps=((None, GREEN), (60, YELLOW), (300, RED)),
        ),
        Number(
            Words("Alerts", "告警"),
            Words("Alerts of this run that fire now.", "该任务当前触发的告警数。"),
            "none",
            (Query(f'count(ALERTS{{{ONE}, alertstate="firing", severity!="info"}}) or vector(0)'),),
            width=2,
            steps=((None, GREEN), (1, RED)),
        ),
        Bands(
            Words("State over time", "状态变化"),
            Words("What the loop did, over time.", "训练循环各时段在做什么。"),
            "none",
            (Query(coded("training_run_state", "run", RUN, RUN_CODES), "{{run}}"),),
            height=4,
            codes=RUN_CODES,
        ),
    ),
)

TRAINING_RUN = Board(
    uid="epochwatch-run",
    title=Words("Training run", "训练任务"),
    description=Words(
        "One training: does it run, does it learn, how fast, and how are its ranks and GPUs.",
        "单个训练任务：是否在运行、是否在学习、速度如何、各进程与 GPU 状况如何。",
    ),
    variables=(
        Variable("run", Words("Run", "任务"), "label_values(training_run_info, run)"),
        Variable(
            "rank", Words("Rank", "进程"), 'label_values(training_rank_info{run="$run"}, rank)', several=True
        ),
    ),
    sections=(NOW, LEARNING, SPEED, RANKS, GPU, HOST),
    marks=(
        Mark(
            Words("Alerts", "告警"),
            f'ALERTS{{{ONE}, alertstate="firing", severity!="info"}}',
            "{{alertname}}",
            "{{severity}}",
            RED,
            absent="only where something is wrong",
        ),
        Mark(
            Words("Starts", "启动"),
            f'training_start_timestamp_seconds{{{ONE}, rank="0"}} * 1000',
            "start",
            "{{run}}",
            BLUE,
            value_is_time=True,
        ),
        Mark(
            Words("Checkpoints", "检查点"),
            f"max(training_last_checkpoint_timestamp_seconds{{{ONE}}}) * 1000",
            "checkpoint",
            "",
            PURPLE,
            value_is_time=True,
            shown=False,
            absent="the run makes no checkpoints",
        ),
        Mark(
            Words("Ends", "结束"),
            f'(training_run_state{{{ONE}, rank="0", state=~"finished|failed|interrupted"}} == 1)'
            f" * on (run, rank) group_left () training_end_timestamp_seconds{{{ONE}}} * 1000",
            "{{state}}",
            "{{run}}",
            ORANGE,
            value_is_time=True,
            absent="the run goes on",
        ),
        Mark(
            Words("New best losses", "最佳损失更新"),
            f'max(training_loss_best_epoch{{{ONE}, phase="validation"}}) == max(training_epochs{{{ONE}}})',
            "new best",
            "",
            GREEN,
            shown=False,
            absent="only in the epoch after a new best",
        ),
    ),
)
