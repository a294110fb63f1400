"""What a run takes of its machines: GPUs, CPU, memory."""

from __future__ import annotations

from grafana.board import (
    Curve,
    Query,
    Section,
    Words,
)
from grafana.boards import gpu_panels
from grafana.boards.one_run import RUN

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
