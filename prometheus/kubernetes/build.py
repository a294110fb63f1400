#!/usr/bin/env python3
"""Takes the shipped rules, routes and scrape job, writes them as resources of the Prometheus operator.

    prometheus/kubernetes/build.py                                          the committed files
    prometheus/kubernetes/build.py --namespace research --label release=monitoring --runbooks https://wiki/...
    prometheus/kubernetes/build.py --check                                  writes nothing; fails if out of step

Written are rules.yml, alertmanager.yml, monitors.yml and kustomization.yml; people edit the other files.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
SHIPPED = HERE.parent
RUNBOOKS = "https://github.com/epochwatch/epochwatch/blob/main/docs"
HEADER = "# Made by prometheus/kubernetes/build.py from {source}. Change that, or its arguments, and run it again.\n"
API = "monitoring.coreos.com/v1"
# One port for each rank of a pod, named as in training-job.yml; what a pod does not have is left out.
RANKS_PER_POD = 8
OURS = "Training.+|Alertbridge.+"
# How AlertmanagerConfig calls what alertmanager.yml calls otherwise.
ROUTE_KEYS = {
    "receiver": "receiver",
    "group_by": "groupBy",
    "group_wait": "groupWait",
    "group_interval": "groupInterval",
    "repeat_interval": "repeatInterval",
}
WEBHOOK_KEYS = {"max_alerts": "maxAlerts", "send_resolved": "sendResolved"}


class Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, as people do, and repeats instead of pointing back."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: Dumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


Dumper.add_representer(str, _text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Takes arguments, writes the files or checks them, gives the exit status."""
    parser = argparse.ArgumentParser(description="Writes the Prometheus operator's resources.")
    parser.add_argument("--namespace", default="ml", help="of the trainings and of the bridge (ml)")
    parser.add_argument(
        "--label", action="append", default=[], metavar="NAME=VALUE", help="that your Prometheus selects by"
    )
    parser.add_argument(
        "--runbooks", default=RUNBOOKS, help="the folder that runbooks.md is in, as an address"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is out of step")
    options = parser.parse_args(arguments)
    if wrong := [label for label in options.label if "=" not in label]:
        parser.error(f"argument --label: must look like release=monitoring, not {wrong[0]!r}")
    labels = dict(label.split("=", 1) for label in options.label)
    wanted = files(options.namespace, labels, options.runbooks)
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    if options.check:
        for path in stale:
            print(f"{path} is out of step; run: prometheus/kubernetes/build.py", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(wanted[path], "utf-8")
        print(f"wrote {path}")
    return 0


def files(namespace: str, labels: dict[str, str], runbooks: str = RUNBOOKS) -> dict[Path, str]:
    """Takes what differs by cluster, gives each file with its content."""
    return {
        HERE / "rules.yml": page("rules/*.yml", *rules(runbooks)),
        HERE / "alertmanager.yml": page("alertmanager.yml", alertmanager_config(namespace)),
        HERE / "monitors.yml": page("prometheus.yml", *monitors()),
        HERE / "kustomization.yml": page("its arguments", kustomization(namespace, labels)),
    }


def page(source: str, *documents: dict[str, Any]) -> str:
    """Takes documents, gives them as YAML."""
    text = yaml.dump_all(
        documents, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=1_000_000, explicit_start=True
    )
    return HEADER.format(source=source) + text


def resource(api: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec}


def rules(runbooks: str) -> Iterator[dict[str, Any]]:
    """Gives a PrometheusRule for each rule file; what is in it stays as it is, but for the runbooks' address."""
    for path in sorted(SHIPPED.glob("rules/*.yml")):
        groups = yaml.safe_load(path.read_text("utf-8").replace(RUNBOOKS, runbooks.rstrip("/")))
        yield resource(API, "PrometheusRule", f"epochwatch-{path.stem}", groups)


def alertmanager_config(namespace: str) -> dict[str, Any]:
    """Gives the shipped routes and inhibitions for the alerts of one namespace.

    The heart-beat has no namespace, so that no AlertmanagerConfig ever sees it: its route is left out.
    """
    shipped = yaml.safe_load((SHIPPED / "alertmanager.yml").read_text("utf-8"))
    top = shipped["route"]
    children = [child for child in top["routes"] if child["receiver"] != "watchdog"]
    route = {**route_of(top), "matchers": [{"name": "alertname", "matchType": "=~", "value": OURS}]}
    spec = {
        "route": {**route, "routes": [route_of(child) for child in children]},
        "inhibitRules": [
            {
                "sourceMatch": matchers(rule["source_matchers"]),
                "targetMatch": matchers(rule["target_matchers"]),
                "equal": rule["equal"],
            }
            for rule in shipped["inhibit_rules"]
        ],
        "receivers": [
            receiver_of(each, namespace) for each in shipped["receivers"] if each["name"] != "watchdog"
        ],
    }
    return resource("monitoring.coreos.com/v1alpha1", "AlertmanagerConfig", "epochwatch", spec)


def route_of(route: dict[str, Any]) -> dict[str, Any]:
    """Takes a route of alertmanager.yml without its children, gives it in the operator's words."""
    said = {new: route[old] for old, new in ROUTE_KEYS.items() if old in route}
    return said | ({"matchers": matchers(route["matchers"])} if "matchers" in route else {})


def matchers(texts: list[str]) -> list[dict[str, str]]:
    """Takes matchers such as `severity=~"warning|info"`, gives them in parts."""
    found = []
    for text in texts:
        operator = next(sign for sign in ("=~", "!~", "!=", "=") if sign in text)
        name, value = text.split(operator, 1)
        found.append({"name": name, "matchType": operator, "value": value.strip('"')})
    return found


def receiver_of(receiver: dict[str, Any], namespace: str) -> dict[str, Any]:
    """Takes a receiver, gives it with the bridge's address as the Alertmanager of another namespace sees it."""
    hooks = [
        {
            "url": hook["url"].replace("//alertbridge:", f"//alertbridge.{namespace}.svc:"),
            **{new: hook[old] for old, new in WEBHOOK_KEYS.items() if old in hook},
        }
        for hook in receiver["webhook_configs"]
    ]
    return {"name": receiver["name"], "webhookConfigs": hooks}


def monitors() -> Iterator[dict[str, Any]]:
    """Gives what makes Prometheus scrape trainings, schedulers and the bridge, with the names the rules ask for."""
    interval = yaml.safe_load((SHIPPED / "prometheus.yml").read_text("utf-8"))["global"]["scrape_interval"]

    def endpoint(port: str, job: str) -> dict[str, Any]:
        # The operator adds labels that differ between the ranks of one run, and so would part its alerts.
        relabelings = [
            {"action": "replace", "targetLabel": "job", "replacement": job},
            {"action": "labeldrop", "regex": "endpoint|container"},
        ]
        return {"port": port, "interval": interval, "honorLabels": True, "relabelings": relabelings}

    ranks = ["metrics", *(f"metrics-{rank}" for rank in range(1, RANKS_PER_POD))]
    trainings = [endpoint(port, "training") for port in ranks]
    selector = {"matchLabels": {"epochwatch": "training"}}
    endpoints = [*trainings, endpoint("scheduler", "training-scheduler")]
    yield resource(
        API, "PodMonitor", "epochwatch-training", {"selector": selector, "podMetricsEndpoints": endpoints}
    )
    bridge = {"selector": {"matchLabels": {"app": "alertbridge"}}, "endpoints": [{"port": "http"}]}
    yield resource(API, "ServiceMonitor", "alertbridge", bridge)


def kustomization(namespace: str, labels: dict[str, str]) -> dict[str, Any]:
    """Gives what puts everything into one namespace, with the labels that Prometheus selects by."""
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "namespace": namespace}
    selected = {"labels": [{"pairs": labels}]} if labels else {}
    return {
        **head,
        **selected,
        "resources": ["rules.yml", "monitors.yml", "alertmanager.yml", "alertbridge.yml"],
    }


if __name__ == "__main__":
    sys.exit(main())
