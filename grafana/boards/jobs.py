"""Dashboard "Jobs": what `epochwatch run` starts, by hand or by a schedule."""

from __future__ import annotations

from grafana.board import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    TEXT,
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
    board_link,
)
from grafana.boards.states import JOB_CODES, coded

JOB = 'job_name=~"$job_name"'
TO_RUN = board_link("epochwatch-run", "var-run=${__data.fields.job_name}")
UNSCHEDULED = "no job has a schedule"
NONE_ENDED = "no run has come to its end"
OUTCOME_COLOURS = (
    ("success", GREEN),
    ("failure", RED),
    ("cuda_oom", PURPLE),
    ("host_oom", "dark-purple"),
    ("timeout", ORANGE),
    ("signal", BLUE),
    ("skipped", GREY),
)


def of_job(metric: str) -> str:
    """Gives a value of each job; a job that moved to another supervisor is still one."""
    return f"max by (job_name) (training_job_{metric}{{{JOB}}})"


LATE = f"time() - {of_job('next_start_timestamp_seconds')}"
MISSED = f"({LATE}) > {of_job('start_grace_seconds')}"
# As the alert has it: only while it runs, and once a run has succeeded.
RUNNING_FOR = (
    f"(time() - {of_job('last_start_timestamp_seconds')})"
    f' and on (job_name) max by (job_name) (training_job_state{{{JOB}, state="running"}}) == 1'
)

NOW = Section(
    Words("Now", "当前"),
    (
        Number(
            Words("Jobs", "任务数"),
            Words("That a supervisor looks after now.", "当前由监督进程负责的任务数。"),
            "none",
            (Query(f"count({of_job('info')})"),),
            decimals=0,
        ),
        Number(
            Words("Running", "运行中"),
            Words("Jobs whose command runs now.", "命令正在运行的任务数。"),
            "none",
            (Query(f'sum(max by (job_name) (training_job_state{{{JOB}, state="running"}}))'),),
            decimals=0,
            steps=((None, GREEN),),
        ),
        Number(
            Words("Next start", "下次启动"),
            Words(
                "Until the soonest start by a schedule; none where no job has one. Below zero: it is late.",
                "距最近一次定时启动的时间；没有定时任务时无数据。负数表示已经晚了。",
            ),
            "s",
            (Query(f"min({of_job('next_start_timestamp_seconds')}) - time()"),),
            steps=((None, RED), (0, TEXT)),
            absent=UNSCHEDULED,
        ),
        Number(
            Words("Missed starts", "未按时启动"),
            Words(
                "Jobs that should have started and have not, beyond their grace.",
                "应启动而未启动（超过宽限）的任务数。",
            ),
            "none",
            (Query(f"count({MISSED}) or vector(0)"),),
            decimals=0,
            steps=((None, GREEN), (1, RED)),
        ),
        Number(
            Words("Last run failed", "上次失败"),
            Words(
                "Jobs whose last run ended with another exit code than 0.", "上次运行退出码不为 0 的任务数。"
            ),
            "none",
            (Query(f"count({of_job('last_exit_code')} != 0) or vector(0)"),),
            decimals=0,
            steps=((None, GREEN), (1, RED)),
        ),
        Number(
            Words("Alerts", "告警"),
            Words("Alerts on jobs that fire now.", "当前触发的任务告警数。"),
            "none",
            (
                Query(
                    'count(ALERTS{alertname=~"TrainingJob.*|TrainingScheduler.*", alertstate="firing"}) or vector(0)'
                ),
            ),
            decimals=0,
            steps=((None, GREEN), (1, RED)),
        ),
        Table(
            Words("Jobs", "任务"),
            Words(
                "One line for each job; a click on its name opens the "
                "training of that name. Exit codes: 0 is success, 137 is "
                "killed, most often for want of memory.",
                "每个任务一行，点击名称打开同名的训练。退出码：0 为成功，137 表示被杀死，多半是内存不足。",
            ),
            height=8,
            keys=(
                Key("job_name", Words("Job", "任务"), link=TO_RUN),
                Key("schedule", Words("Schedule", "计划"), 110),
            ),
            columns=(
                Column(
                    Words("State", "状态"),
                    f"{coded('training_job_state', 'job_name', JOB, JOB_CODES)}"
                    f" * on (job_name) group_left (schedule)"
                    f" max by (job_name, schedule) (training_job_info{{{JOB}}})",
                    width=105,
                    codes=JOB_CODES,
                ),
                Column(
                    Words("Last start", "上次启动"),
                    f"{of_job('last_start_timestamp_seconds')} * 1000",
                    "dateTimeFromNow",
                    width=130,
                ),
                Column(
                    Words("Next start", "下次启动"),
                    f"{of_job('next_start_timestamp_seconds')} * 1000",
                    "dateTimeFromNow",
                    width=130,
                    absent=UNSCHEDULED,
                ),
                Column(
                    Words("Exit code", "退出码"),
                    of_job("last_exit_code"),
                    decimals=0,
                    width=85,
                    steps=((None, TEXT), (0, GREEN), (1, RED)),
                    absent=NONE_ENDED,
                ),
                Column(
                    Words("Last duration", "上次时长"),
                    of_job("last_duration_seconds"),
                    "s",
                    1,
                    width=115,
                    absent=NONE_ENDED,
                ),
                Column(Words("Running for", "已运行"), RUNNING_FOR, "s", 1, width=105, absent="no job runs"),
                Column(
                    Words("Longest, 7 d", "7 天内最长"),
                    f"max by (job_name) (max_over_time(training_job_last_duration_seconds{{{JOB}}}[7d]))",
                    "s",
                    1,
                    width=110,
                    absent=NONE_ENDED,
                ),
                Column(
                    Words("CPU", "CPU 核数"),
                    f"sum by (job_name) (rate(training_job_cpu_seconds_total{{{JOB}}}[$__rate_interval]))",
                    "none",
                    1,
                    width=80,
                ),
                Column(
                    Words("Memory", "内存"),
                    f"sum by (job_name) (training_job_resident_memory_bytes{{{JOB}}})",
                    "bytes",
                    1,
                    width=95,
                    absent="no job runs",
                ),
            ),
            sort=Words("Job", "任务"),
        ),
        Bands(
            Words("When jobs ran", "运行时段"),
            Words("What each job did, over time.", "各任务各时段的状态。"),
            "none",
            (Query(coded("training_job_state", "job_name", JOB, JOB_CODES), "{{job_name}}"),),
            height=6,
            codes=JOB_CODES,
        ),
    ),
)

RUNS = Section(
    Words("Runs", "运行情况"),
    (
        Curve(
            Words("Outcomes", "结果"),
            Words(
                "Runs that ended, by how: success, failure, out of memory "
                "on the GPU or the host, time-out, signal; skipped: it "
                "was still going on.",
                "已结束的运行，按结果：成功、失败、显存不足、主机内存不足、超时、信号；"
                "skipped 表示上一次尚未结束而跳过。",
            ),
            "short",
            (
                Query(
                    f"sum by (outcome) (increase(training_job_runs_total{{{JOB}}}[$__rate_interval]))",
                    "{{outcome}}",
                ),
            ),
            width=8,
            low=0,
            bars=True,
            stacked=True,
            colours=OUTCOME_COLOURS,
        ),
        Curve(
            Words("Duration", "时长"),
            Words(
                "Of the last run that ended. Half as long again as the "
                "longest of a week, and ten minutes: the alert fires.",
                "最近一次结束的运行的时长。超过一周内最长时长的 1.5 倍再加十分钟即告警。",
            ),
            "s",
            (Query(of_job("last_duration_seconds"), "{{job_name}}"),),
            width=8,
            low=0,
            absent=NONE_ENDED,
        ),
        Curve(
            Words("Late by", "启动延迟"),
            Words(
                "How long a start is overdue, until it comes; dashed "
                "is the shortest grace, at which the alert fires.",
                "启动已晚了多久，直到真正启动；虚线为最短宽限，到达即告警。",
            ),
            "s",
            (
                Query(f"clamp_min({LATE}, 0)", "{{job_name}}"),
                Query(f"min({of_job('start_grace_seconds')})", "grace"),
            ),
            width=8,
            low=0,
            dashed=("grace",),
            absent=UNSCHEDULED,
        ),
        Curve(
            Words("Found in the log", "日志匹配"),
            Words(
                "Lines of the jobs' logs that tell of trouble: CUDA "
                "out of memory, NCCL, tracebacks, a full disk, NaN.",
                "日志中的故障迹象：CUDA out of memory、NCCL 错误、Traceback、磁盘已满、NaN。",
            ),
            "short",
            (
                Query(
                    f"sum by (pattern) (increase(training_job_log_matches_total{{{JOB}}}[$__rate_interval]))",
                    "{{pattern}}",
                ),
            ),
            width=8,
            low=0,
            bars=True,
            stacked=True,
        ),
        Curve(
            Words("CPU", "CPU"),
            Words("Cores in use by a job and all its processes.", "任务及其所有子进程占用的 CPU 核数。"),
            "short",
            (
                Query(
                    f"sum by (job_name) (rate(training_job_cpu_seconds_total{{{JOB}}}[$__rate_interval]))",
                    "{{job_name}}",
                ),
            ),
            width=8,
            low=0,
        ),
        Curve(
            Words("Memory", "内存"),
            Words("Resident memory of a job and all its processes.", "任务及其所有子进程的常驻内存。"),
            "bytes",
            (Query(f"sum by (job_name) (training_job_resident_memory_bytes{{{JOB}}})", "{{job_name}}"),),
            width=8,
            low=0,
            absent="no job runs",
        ),
    ),
)

JOBS = Board(
    uid="epochwatch-jobs",
    title=Words("Jobs", "定时与托管任务"),
    description=Words(
        "Jobs that `epochwatch run` starts and looks after: did "
        "they start on time, how did they end, what do they take.",
        "由 epochwatch run 启动并看护的任务：是否按时启动、结果如何、占用多少资源。",
    ),
    variables=(
        Variable("job_name", Words("Job", "任务"), "label_values(training_job_info, job_name)", several=True),
    ),
    sections=(NOW, RUNS),
    marks=(
        Mark(
            Words("Alerts", "告警"),
            'ALERTS{alertname=~"TrainingJob.*|TrainingScheduler.*", alertstate="firing"}',
            "{{alertname}}",
            "{{job_name}}",
            RED,
            absent="only where something is wrong",
        ),
        Mark(
            Words("Starts", "启动"),
            f"{of_job('last_start_timestamp_seconds')} * 1000",
            "start",
            "{{job_name}}",
            BLUE,
            value_is_time=True,
            shown=False,
        ),
    ),
    since="now-2d",
)
