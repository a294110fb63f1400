"""Dashboard "GPUs": the devices of all trainings, each as the training that uses it sees it.

Legends name a device as run rank/GPU.
"""

from __future__ import annotations

from grafana.board import (
    GREEN,
    RED,
    YELLOW,
    Board,
    Column,
    Curve,
    Key,
    Number,
    Query,
    Section,
    Table,
    Variable,
    Words,
    board_link,
)
from grafana.boards import gpu_panels

GPUS = 'run=~"$run", rank=~"$rank"'
NO_GPU = gpu_panels.WHY_NONE
BY = "run, rank, gpu"
LEGEND = "{{run}} {{rank}}/{{gpu}}"
TO_RUN = board_link("epochwatch-run", "var-run=${__data.fields.run}")


def device(metric: str, more: str = "") -> str:
    """Gives a value of each device."""
    return f"max by ({BY}) ({metric}{{{GPUS}{more}}})"


NOW = Section(
    Words("Now", "当前"),
    (
        Number(
            Words("GPUs", "GPU 数"),
            Words("Devices in use, each once.", "在用的 GPU 数，每张只计一次。"),
            "none",
            (Query(f"count(count by (uuid) (training_gpu_info{{{GPUS}}}))"),),
            width=3,
            decimals=0,
            absent=NO_GPU,
        ),
        Number(
            Words("Utilization", "利用率"),
            Words("Mean of these devices.", "这些 GPU 的平均利用率。"),
            "percentunit",
            (Query(f"avg(training_gpu_utilization_ratio{{{GPUS}}})"),),
            width=3,
            decimals=0,
            steps=((None, RED), (0.3, YELLOW), (0.7, GREEN)),
            absent=NO_GPU,
        ),
        Number(
            Words("Memory in use", "显存占用"),
            Words("Of all these devices' memory together.", "所有 GPU 显存的总占用比例。"),
            "percentunit",
            (
                Query(
                    f"sum(training_gpu_memory_used_bytes{{{GPUS}}})"
                    f" / sum(training_gpu_memory_total_bytes{{{GPUS}}})"
                ),
            ),
            width=3,
            decimals=0,
            steps=((None, GREEN), (0.9, YELLOW), (0.98, RED)),
            absent=NO_GPU,
        ),
        Number(
            Words("Heat margin", "温度余量"),
            Words(
                "Degrees left until the hottest device slows itself down. Within 5 the alert fires.",
                "最热的 GPU 距自行降频还有多少度；不足 5 度时告警。",
            ),
            "celsius",
            (
                Query(
                    f"min({device('training_gpu_slowdown_temperature_celsius')}"
                    f" - {device('training_gpu_temperature_celsius')})"
                ),
            ),
            width=3,
            decimals=0,
            steps=((None, RED), (5, YELLOW), (15, GREEN)),
            absent=NO_GPU,
        ),
        Number(
            Words("Power", "功耗"),
            Words("Drawn by these devices together.", "这些 GPU 的功耗之和。"),
            "watt",
            (Query(f"sum(training_gpu_power_watts{{{GPUS}}})"),),
            width=3,
            absent=NO_GPU,
        ),
        Number(
            Words("Energy", "能耗"),
            Words("Drawn in the time shown.", "所选时间内的总能耗。"),
            "kwatth",
            (Query(f"sum(increase(training_gpu_energy_joules_total{{{GPUS}}}[$__range])) / 3600000"),),
            width=3,
            absent=NO_GPU,
        ),
        Number(
            Words("Xid errors", "Xid 错误"),
            Words(
                "Errors that the driver reported since the trainings "
                "started. Some mean broken hardware: see the runbook.",
                "训练启动以来驱动报告的 Xid 错误数。部分 Xid 表示硬件损坏，见处理手册。",
            ),
            "none",
            (Query(f"sum(training_gpu_xid_errors_total{{{GPUS}}}) or vector(0)"),),
            width=3,
            decimals=0,
            steps=((None, GREEN), (1, RED)),
        ),
        Number(
            Words("ECC errors", "ECC 错误"),
            Words(
                "In the time shown. Results after one are not to be trusted.",
                "所选时间内的次数。出现后结果不可信。",
            ),
            "none",
            (
                Query(
                    f'sum(increase(training_gpu_ecc_errors_total{{{GPUS}, severity="uncorrected"}}[$__range]))'
                ),
            ),
            width=3,
            decimals=0,
            steps=((None, GREEN), (1, RED)),
            absent=NO_GPU,
        ),
        Table(
            Words("Devices", "设备"),
            Words(
                "One line for each device of each training; a click on "
                "the run opens it. A device that several ranks use is "
                "read by one of them.",
                "每个任务的每张 GPU 一行，点击任务名查看详情。被多个进程共用的 GPU 只由其中一个读取。",
            ),
            height=11,
            keys=(
                Key("run", Words("Run", "任务"), link=TO_RUN),
                Key("rank", Words("Rank", "进程"), 70),
                Key("gpu", Words("GPU", "GPU"), 60),
                Key("name", Words("Model", "型号"), 190),
            ),
            columns=(
                # The one column whose rows know the model; the others join by run, rank and gpu.
                Column(
                    Words("Utilization", "利用率"),
                    f"{device('training_gpu_utilization_ratio')}"
                    f" * on ({BY}) group_left (name) max by ({BY}, name) (training_gpu_info{{{GPUS}}})",
                    "percentunit",
                    0,
                    width=150,
                    meter=1,
                ),
                Column(
                    Words("Memory", "显存"),
                    f"{device('training_gpu_memory_used_bytes')} "
                    f"/ {device('training_gpu_memory_total_bytes')}",
                    "percentunit",
                    0,
                    width=150,
                    meter=1,
                ),
                Column(
                    Words("Temperature", "温度"),
                    device("training_gpu_temperature_celsius"),
                    "celsius",
                    0,
                    width=115,
                    steps=((None, GREEN), (75, YELLOW), (85, RED)),
                ),
                Column(Words("Power", "功耗"), device("training_gpu_power_watts"), "watt", 0, width=85),
                Column(Words("Limit", "上限"), device("training_gpu_power_limit_watts"), "watt", 0, width=85),
                Column(Words("Clock", "频率"), device("training_gpu_sm_clock_hertz"), "hertz", 2, width=95),
                Column(
                    Words("Held down", "降频占比"),
                    f"sum by ({BY}) (rate(training_gpu_throttle_seconds_total{{{GPUS},"
                    f' reason=~"thermal|board_limit|reliability"}}[$__rate_interval]))',
                    "percentunit",
                    0,
                    width=95,
                    steps=((None, GREEN), (0.1, RED)),
                ),
                Column(
                    Words("Xid", "Xid"),
                    f"sum by ({BY}) (training_gpu_xid_errors_total{{{GPUS}}})",
                    decimals=0,
                    width=70,
                    steps=((None, GREEN), (1, RED)),
                ),
            ),
            sort=Words("Run", "任务"),
            absent=NO_GPU,
        ),
    ),
)

LOAD = Section(
    Words("Load", "负载"),
    (
        gpu_panels.utilization(GPUS, BY, LEGEND, width=12, many=True),
        gpu_panels.memory(GPUS, BY, LEGEND, width=12, many=True),
        Curve(
            Words("Memory of PyTorch", "PyTorch 显存"),
            Words(
                "By run: what tensors hold, and what torch's allocator keeps "
                "from the device for them. A wide gap is fragmentation.",
                "按任务：张量占用的显存，以及 torch 分配器向设备保留的显存；差距大说明碎片多。",
            ),
            "bytes",
            (
                Query(f"sum by (run) (training_cuda_memory_allocated_bytes{{{GPUS}}})", "{{run}} tensors"),
                Query(f"sum by (run) (training_cuda_memory_reserved_bytes{{{GPUS}}})", "{{run}} reserved"),
            ),
            low=0,
            many=True,
            absent="the loop takes no CUDA memory through torch",
        ),
        Curve(
            Words("Allocations that were retried", "重试的显存分配"),
            Words(
                "Each is a pause: torch had to free its cache "
                "first. Many of them: hardly any memory is left.",
                "每次重试都意味着停顿：torch 需先释放缓存。频繁出现说明显存即将用尽。",
            ),
            "short",
            (
                Query(
                    f"sum by ({BY}) "
                    f"(increase(training_cuda_alloc_retries_total{{{GPUS}}}[$__rate_interval]))"
                    f" and on ({BY}) increase(training_cuda_alloc_retries_total[$__range]) > 0",
                    LEGEND,
                ),
            ),
            low=0,
            bars=True,
            absent="only where an allocation was retried",
        ),
    ),
)

HEALTH = Section(
    Words("Heat, power, health", "温度、功耗与健康"),
    (
        gpu_panels.temperature(GPUS, BY, LEGEND, many=True),
        gpu_panels.power(GPUS, BY, LEGEND, many=True),
        gpu_panels.clock(GPUS, BY, LEGEND, many=True),
        gpu_panels.throttling(GPUS, BY, LEGEND, many=True),
        Curve(
            Words("Memory errors", "显存错误"),
            Words(
                "Corrected ones do no harm, but more and more of them announce a device that fails.",
                "已纠正的错误无害，但持续增多预示显卡即将故障。",
            ),
            "short",
            (
                Query(
                    f"sum by ({BY}, severity) "
                    f"(increase(training_gpu_ecc_errors_total{{{GPUS}}}[$__rate_interval]))"
                    f" and on ({BY}, severity) increase(training_gpu_ecc_errors_total[$__range]) > 0",
                    f"{LEGEND} {{{{severity}}}}",
                ),
            ),
            width=8,
            low=0,
            bars=True,
            absent="only where memory has failed",
        ),
        Table(
            Words("Last Xid errors", "最近的 Xid 错误"),
            Words(
                "What the driver reported, newest first. 48, 62, 64, 74, "
                "79, 95, 119 and 120 mean broken hardware or a lost device.",
                "驱动报告的错误，最新在前。48、62、64、74、79、95、119、120 表示硬件故障或设备丢失。",
            ),
            width=8,
            keys=(
                Key("run", Words("Run", "任务"), link=TO_RUN),
                Key("rank", Words("Rank", "进程"), 60),
                Key("gpu", Words("GPU", "GPU"), 60),
                Key("xid", Words("Xid", "Xid"), 60),
            ),
            columns=(
                Column(
                    Words("When", "时间"),
                    f"max by ({BY}, xid) (training_gpu_xid_last_timestamp_seconds{{{GPUS}}}) * 1000",
                    "dateTimeFromNow",
                    width=120,
                ),
            ),
            sort=Words("When", "时间"),
            descending=True,
            absent="only after an Xid error",
        ),
    ),
)

GPU_BOARD = Board(
    uid="epochwatch-gpus",
    title=Words("GPUs", "GPU"),
    description=Words(
        "The GPUs of all trainings: busy, full, hot, throttled or broken.",
        "所有训练任务的 GPU：利用率、显存、温度、降频与故障。",
    ),
    variables=(
        Variable("run", Words("Run", "任务"), "label_values(training_run_info, run)", several=True),
        Variable(
            "rank", Words("Rank", "进程"), 'label_values(training_rank_info{run=~"$run"}, rank)', several=True
        ),
    ),
    sections=(NOW, LOAD, HEALTH),
)
