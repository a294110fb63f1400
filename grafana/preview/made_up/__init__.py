"""A made-up history of a team: what Prometheus would hold after hours of trainings, jobs and messages.

For the previews and for the tests of the dashboards, which need curves that no machine without GPUs and no test of a
minute can make. Flow: `runs`, `jobs` and `messages` state series as functions of time, `team` says whose, `openmetrics`
writes them down for `promtool tsdb create-blocks-from openmetrics`.
"""
