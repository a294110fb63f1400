"""The panels of GPUs, which two dashboards draw: of one run, and of all."""

from __future__ import annotations

from grafana.board import RED, Curve, Query, Words

WHY_NONE = "a training on the CPU has no GPU"


def utilization(selector: str, by: str, legend: str, width: int = 8, many: bool = False) -> Curve:
    return Curve(
        Words("GPU utilization", "GPU 利用率"),
        Words(
            "Part of the time in which a kernel ran. Low while "
            "training: the loop waits for data or for other ranks.",
            "有核函数运行的时间占比。训练中偏低通常是在等数据或等其他进程。",
        ),
        "percentunit",
        (Query(f"max by ({by}) (training_gpu_utilization_ratio{{{selector}}})", legend),),
        width=width,
        many=many,
        low=0,
        high=1,
        absent=WHY_NONE,
    )


def memory(selector: str, by: str, legend: str, width: int = 8, many: bool = False) -> Curve:
    return Curve(
        Words("GPU memory", "显存"),
        Words(
            "Device memory in use by all processes; dashed is what there is on the smallest device.",
            "所有进程占用的显存；虚线为最小一张卡的显存总量。",
        ),
        "bytes",
        (
            Query(f"max by ({by}) (training_gpu_memory_used_bytes{{{selector}}})", legend),
            Query(f"min(training_gpu_memory_total_bytes{{{selector}}})", "total"),
        ),
        width=width,
        many=many,
        low=0,
        dashed=("total",),
        absent=WHY_NONE,
    )


def temperature(selector: str, by: str, legend: str, width: int = 8, many: bool = False) -> Curve:
    return Curve(
        Words("GPU temperature", "GPU 温度"),
        Words(
            "Temperature of the chip; at the dashed line the device slows itself down.",
            "芯片温度；到达虚线时设备会自行降频。",
        ),
        "celsius",
        (
            Query(f"max by ({by}) (training_gpu_temperature_celsius{{{selector}}})", legend),
            Query(f"min(training_gpu_slowdown_temperature_celsius{{{selector}}})", "slow-down"),
        ),
        width=width,
        many=many,
        dashed=("slow-down",),
        absent=WHY_NONE,
    )


def power(selector: str, by: str, legend: str, width: int = 8, many: bool = False) -> Curve:
    return Curve(
        Words("GPU power", "GPU 功耗"),
        Words(
            "Power drawn; dashed is the lowest limit in force. A "
            "GPU at full load touches its limit, which is no fault.",
            "当前功耗；虚线为最低的功耗上限。满载时触及上限属正常。",
        ),
        "watt",
        (
            Query(f"max by ({by}) (training_gpu_power_watts{{{selector}}})", legend),
            Query(f"min(training_gpu_power_limit_watts{{{selector}}})", "limit"),
        ),
        width=width,
        many=many,
        low=0,
        dashed=("limit",),
        absent=WHY_NONE,
    )


def clock(selector: str, by: str, legend: str, width: int = 8, many: bool = False) -> Curve:
    return Curve(
        Words("GPU clock", "GPU 频率"),
        Words(
            "Clock of the multiprocessors. It falls where heat or power holds the device down.",
            "流多处理器（SM）的频率。受温度或功耗限制时会下降。",
        ),
        "hertz",
        (Query(f"max by ({by}) (training_gpu_sm_clock_hertz{{{selector}}})", legend),),
        width=width,
        many=many,
        low=0,
        absent=WHY_NONE,
    )


def throttling(selector: str, by: str, legend: str, width: int = 8, many: bool = False) -> Curve:
    return Curve(
        Words("Time held down", "降频时间占比"),
        Words(
            "Part of the time below the wanted clock, by what held "
            "it down. Thermal, board limit and reliability are "
            "worth a look; power at full load is not.",
            "低于目标频率的时间占比，按原因。thermal、board_limit、reliability "
            "值得检查；满载时的 power 属正常。",
        ),
        "percentunit",
        (
            Query(
                f"sum by ({by}, reason) "
                f"(rate(training_gpu_throttle_seconds_total{{{selector}}}[$__rate_interval]))"
                " > 0",
                f"{legend} {{{{reason}}}}",
            ),
        ),
        width=width,
        many=many,
        low=0,
        absent="only where a GPU is held down",
        colours=(("thermal", RED),),
    )
