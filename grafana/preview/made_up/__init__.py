"""A made-up history of a team: what Prometheus would hold after hours of trainings, jobs and messages.

For the previews and for the tests of the dashboards, which need curves that no machine without GPUs and no test of a
minute can make. Flow: `runs`, `jobs` and `messages` say what is at a moment, `run_series` and `devices` what is
served of it, `team` whose it is, and `openmetrics` writes it down for `promtool tsdb create-blocks-from openmetrics`.
"""
