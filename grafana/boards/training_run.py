"""Dashboard "Training run": one run, from its state down to its GPUs.

Where a run has several ranks, a loss is averaged over those that know one (with pipeline parallelism not all
do), a count is the furthest rank's, a rate is summed.
"""

from __future__ import annotations

from grafana.board import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    YELLOW,
    Bands,
    Board,
    Column,
    Curve,
    Key,
    Mark,
    Number,
    Query,
    Section,
    Table,
    Variable,
    Words,
)
from grafana.boards import gpu_panels
from grafana.boards.states import RUN_CODES, WORKING, coded

ONE = 'run="$run"'
RUN = 'run="$run", rank=~"$rank"'
NO_GPU = gpu_panels.WHY_NONE
NO_VALIDATION = "the run tells no validation loss"


def rate(metric: str, more: str = "") -> str:
    """Gives a counter's rate over the run."""
    return f"rate({metric}{{{RUN}{more}}}[$__rate_interval])"


OWN_PARTS = ', part=~"forward|backward|optimizer"'
WAITS = ', part=~"data_wait|sync_wait"'
STEP_BUCKETS = f"sum by (le) ({rate('training_step_duration_seconds_bucket')})"
SINCE_BEST = (
    f"scalar(max(training_epochs{{{RUN}}})) - max by (phase) (training_loss_best_epoch{{{RUN}{{phase}}}})"
)
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

LEARNING = Section(
    Words("Learning", "学习情况"),
    (
        Curve(
            Words("Loss", "损失"),
            Words(
                "Mean loss of each phase. A gap is NaN or infinite; "
                "dashed is the best validation loss. Vertical lines are "
                "alerts, starts and ends; checkpoints and new bests can be switched on above.",
                "各阶段的平均损失。断点表示 NaN 或无穷；"
                "虚线为迄今最佳验证损失。竖线为告警、启动、检查点和结束。",
            ),
            "none",
            (
                Query(f"avg by (phase) (training_loss{{{RUN}}})", "{{phase}}"),
                Query(f'min(training_loss_best{{{RUN}, phase="validation"}})', "best"),
            ),
            height=9,
            dashed=("best",),
            colours=(("train", BLUE), ("validation", ORANGE)),
        ),
        Curve(
            Words("Accuracy", "准确率"),
            Words("Last reported accuracy of each phase.", "各阶段最近一次上报的准确率。"),
            "percentunit",
            (Query(f"avg by (phase) (training_accuracy_ratio{{{RUN}}})", "{{phase}}"),),
            height=9,
            high=1,
            colours=(("train", BLUE), ("validation", ORANGE)),
            absent="the run tells no accuracy",
        ),
        Curve(
            Words("Learning rate", "学习率"),
            Words("Of each parameter group, in powers of ten.", "各参数组的学习率（对数坐标）。"),
            "sci",
            decimals=2,
            queries=(Query(f"max by (group) (training_learning_rate{{{RUN}}})", "group {{group}}"),),
            width=8,
            logarithmic=True,
            absent="the run tells no learning rate",
        ),
        Curve(
            Words("Gradient norm", "梯度范数"),
            Words(
                "Global L2 norm before clipping, in powers of ten. Growing without end: diverging; "
                "falling to nothing: no longer learning.",
                "裁剪前的全局 L2 范数（对数坐标）。持续增大意味着发散，趋近于零意味着不再学习。",
            ),
            "none",
            (Query(f"max(training_gradient_norm{{{RUN}}})", "norm"),),
            width=8,
            logarithmic=True,
            absent="the run tells no gradient norm",
        ),
        Curve(
            Words("Epochs without a better loss", "未改善轮次"),
            Words(
                "Climbs while nothing gets better; the plateau alert fires at the dashed line.",
                "没有改善时每轮加一；到达虚线时触发停滞告警。",
            ),
            "none",
            (
                Query(SINCE_BEST.replace("{phase}", ""), "{{phase}}"),
                Query(f"max(training_plateau_patience_epochs{{{RUN}}})", "patience"),
            ),
            width=8,
            low=0,
            dashed=("patience",),
            colours=(("train", BLUE), ("validation", ORANGE)),
        ),
        Curve(
            Words("NaN, spikes, skipped steps", "NaN、突跳、跳过的步"),
            Words(
                "What went wrong in single steps: non-finite values by "
                "kind, losses that stood out, optimizer steps left out.",
                "单步中的异常：各类非有限值、明显突跳的损失、被跳过的优化步。",
            ),
            "short",
            (
                Query(
                    f"sum by (kind) (increase(training_nonfinite_total{{{RUN}}}[$__rate_interval]))",
                    "not finite: {{kind}}",
                ),
                Query(f"max(increase(training_loss_spikes_total{{{RUN}}}[$__rate_interval]))", "loss spikes"),
                Query(
                    f"max by (reason) (increase(training_skipped_steps_total{{{RUN}}}[$__rate_interval]))",
                    "skipped: {{reason}}",
                ),
            ),
            width=8,
            low=0,
            bars=True,
        ),
        Curve(
            Words("Your own metrics", "自定义指标"),
            Words(
                "What the training reports with run.step or run.log beside loss and accuracy, last values.",
                "训练用 run.step 或 run.log 上报的其他指标的最近值。",
            ),
            "none",
            (Query(f"avg by (name, phase) (training_metric{{{RUN}}})", "{{name}} {{phase}}"),),
            width=8,
            absent="the run tells no metric of its own",
        ),
        Curve(
            Words("Loss scale", "损失缩放"),
            Words(
                "Of the mixed-precision GradScaler, in powers of ten. It halves at each overflow; "
                "below 1 it has given up.",
                "混合精度 GradScaler 的缩放系数（对数坐标）。每次溢出减半，低于 1 即已失效。",
            ),
            "short",
            (Query(f"min(training_loss_scale{{{RUN}}})", "scale"),),
            width=8,
            logarithmic=True,
            absent="the run uses no GradScaler",
        ),
    ),
)

SPEED = Section(
    Words("Speed", "速度"),
    (
        Curve(
            Words("Where a step's time goes", "单步耗时构成"),
            Words(
                "Seconds of a step by part, mean of the ranks. "
                "Waiting for data or for other ranks is time lost.",
                "单步各部分耗时（秒），各进程平均。等数据（data_wait）或等其他进程（sync_wait）都是损失。",
            ),
            "s",
            (
                Query(
                    f"sum by (part) ({rate('training_step_part_seconds_total')})"
                    f" / scalar(sum({rate('training_steps_total')}))",
                    "{{part}}",
                ),
            ),
            low=0,
            stacked=True,
            colours=(
                ("forward", BLUE),
                ("backward", PURPLE),
                ("optimizer", GREEN),
                ("data_wait", ORANGE),
                ("sync_wait", RED),
                ("other", GREY),
            ),
        ),
        Curve(
            Words("Step time", "单步耗时"),
            Words(
                "Time from one optimizer step to the next: half of the steps, and 95 in 100, are faster.",
                "相邻优化步之间的时间：50% 与 95% 的步比这更快。",
            ),
            "s",
            (
                Query(f"histogram_quantile(0.5, {STEP_BUCKETS})", "p50"),
                Query(f"histogram_quantile(0.95, {STEP_BUCKETS})", "p95"),
            ),
            low=0,
        ),
        Curve(
            Words("Throughput", "吞吐"),
            Words("Samples trained on each second, all ranks together.", "所有进程合计每秒训练的样本数。"),
            "short",
            (Query(f"sum({rate('training_samples_total')})", "samples/s"),),
            width=8,
            low=0,
        ),
        Curve(
            Words("Where the time goes", "时间去向"),
            Words(
                "Part of the time by what it was spent on. That of training is the goodput.",
                "时间按用途的占比；其中 train 的占比即有效产出（goodput）。",
            ),
            "percentunit",
            (
                Query(
                    f"sum by (phase) ({rate('training_phase_seconds_total')})"
                    f" / scalar(sum({rate('training_phase_seconds_total')}))",
                    "{{phase}}",
                ),
            ),
            width=8,
            low=0,
            high=1,
            stacked=True,
            colours=(
                ("train", GREEN),
                ("evaluate", BLUE),
                ("checkpoint", PURPLE),
                ("startup", GREY),
                ("idle", ORANGE),
            ),
        ),
        Curve(
            Words("Age of the last checkpoint", "距上次检查点"),
            Words(
                "What a crash would cost now. Dashed is three of the "
                "usual intervals, 30 minutes at least: beyond it the "
                "alert fires.",
                "此刻崩溃会损失的时间。虚线为通常间隔的三倍（至少 30 分钟），超过即告警。",
            ),
            "s",
            (
                Query(f"time() - max(training_last_checkpoint_timestamp_seconds{{{RUN}}})", "age"),
                Query(f"clamp_min(3 * max(training_checkpoint_interval_seconds{{{RUN}}}), 1800)", "alert"),
            ),
            width=8,
            low=0,
            dashed=("alert",),
            absent="the run makes no checkpoints",
        ),
    ),
)

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
        ),
    ),
)

DEVICE = "rank {{rank}} GPU {{gpu}}"
GPU = Section(
    Words("GPU", "GPU"),
    (
        gpu_panels.utilization(RUN, "rank, gpu", DEVICE, width=6),
        gpu_panels.memory(RUN, "rank, gpu", DEVICE, width=6),
        gpu_panels.temperature(RUN, "rank, gpu", DEVICE, width=6),
        gpu_panels.power(RUN, "rank, gpu", DEVICE, width=6),
    ),
)

# A supervisor's job and its training are two targets of one host; where ports are hidden, their common name tells.
AT_HOST = '"at", "$1", "instance", "(.+?)(?::[0-9]+)?"'
HERE = f"label_replace(training_run_info{{{RUN}}}, {AT_HOST})"
# cAdvisor names a container by its pod.
IN_POD = f'on (pod, namespace) group_left () max by (pod, namespace) (training_run_info{{{RUN}, pod!=""}})'
CONTAINER = 'container!="", container!="POD"'
NO_HOST = "neither started by `epochwatch run` nor in a pod that cAdvisor sees"


def of_jobs(values: str) -> str:
    """Takes values of jobs, gives those on the hosts of the run, and that of the run's name."""
    return (
        f"sum by (job_name) (label_replace({values}, {AT_HOST}) and on (at) {HERE})"
        f" or sum by (job_name) ({values} and on (job_name) label_replace(training_run_info{{{RUN}}},"
        ' "job_name", "$1", "run", "(.*)"))'
    )


HOST = Section(
    Words("CPU and memory", "CPU 与内存"),
    (
        Curve(
            Words("CPU", "CPU"),
            Words(
                "Cores in use by the jobs of `epochwatch run` on the run's hosts, loader workers included, "
                "and by the run's pods where cAdvisor sees them.",
                "训练所在主机上 epochwatch run 任务占用的 CPU 核数（含数据加载进程）；有 cAdvisor 时还包括训练的 Pod。",
            ),
            "short",
            (
                Query(of_jobs("rate(training_job_cpu_seconds_total[$__rate_interval])"), "{{job_name}}"),
                Query(
                    f"sum by (pod) (sum by (pod, namespace)"
                    f" (rate(container_cpu_usage_seconds_total{{{CONTAINER}}}[$__rate_interval])) * {IN_POD})",
                    "{{pod}}",
                ),
            ),
            low=0,
            absent=NO_HOST,
        ),
        Curve(
            Words("Memory", "内存"),
            Words(
                "Resident memory of these jobs, loader workers included; for pods the working set, "
                "by which the kernel kills.",
                "这些任务的常驻内存（含数据加载进程）；Pod 为工作集，内核据此触发 OOM。",
            ),
            "bytes",
            (
                Query(of_jobs("training_job_resident_memory_bytes"), "{{job_name}}"),
                Query(
                    f"sum by (pod) (sum by (pod, namespace)"
                    f" (container_memory_working_set_bytes{{{CONTAINER}}}) * {IN_POD})",
                    "{{pod}}",
                ),
            ),
            low=0,
            absent=NO_HOST,
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
