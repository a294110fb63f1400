"""The Kubernetes resources: in step with rules and routes, and right for an operator and a cluster.

There is no cluster here: what the operator makes of an AlertmanagerConfig is done by its documentation, and tried
with amtool.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.stack.kubernetes import FOLDER, RESOURCES, named

from demo.stack import ROOT, binary, console_script

BUILD = FOLDER / "build.py"


def test_files_are_in_step() -> None:
    """What is committed is what the rules, routes and scrape jobs give."""
    done = subprocess.run([sys.executable, BUILD, "--check"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_rules_are_the_shipped_ones() -> None:
    """Each rule file is a PrometheusRule with the same groups."""
    shipped = {
        path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "prometheus/rules").glob("*.yml")
    }
    built = {
        each["metadata"]["name"].removeprefix("epochwatch-"): each["spec"]
        for each in RESOURCES
        if each["kind"] == "PrometheusRule"
    }

    assert built == shipped


def merged(namespace: str) -> dict[str, Any]:
    """Gives the alertmanager.yml of an operator with our AlertmanagerConfig in it.

    By its documentation: the top route and both sides of each inhibition match the namespace, names are made unique,
    and the route goes on to the next.
    """
    spec = named("AlertmanagerConfig")["spec"]
    own = f'namespace="{namespace}"'
    words = {"groupBy": "group_by", "groupWait": "group_wait", "groupInterval": "group_interval",
             "repeatInterval": "repeat_interval"}  # fmt: skip

    def texts(matchers: list[dict[str, str]]) -> list[str]:
        return [f'{each["name"]}{each["matchType"]}"{each["value"]}"' for each in matchers]

    def route(node: dict[str, Any]) -> dict[str, Any]:
        plain = {words[key]: value for key, value in node.items() if key in words}
        inner = [route(child) for child in node.get("routes", [])]
        return {
            **plain,
            "receiver": f"{namespace}/{node['receiver']}",
            "matchers": texts(node["matchers"]),
            "routes": inner,
        }

    top = route(spec["route"])
    return {
        "route": {"receiver": "cluster", "routes": [{**top, "matchers": [own, *top["matchers"]], "continue": True}]},
        "inhibit_rules": [
            {
                "source_matchers": [own, *texts(rule["sourceMatch"])],
                "target_matchers": [own, *texts(rule["targetMatch"])],
                "equal": rule["equal"],
            }
            for rule in spec["inhibitRules"]
        ],
        "receivers": [
            {"name": "cluster"},
            *(
                {
                    "name": f"{namespace}/{each['name']}",
                    "webhook_configs": [
                        {"url": hook["url"], "max_alerts": hook["maxAlerts"]} for hook in each["webhookConfigs"]
                    ],
                }
                for each in spec["receivers"]
            ),
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ("alertname=TrainingFailed severity=critical namespace=ml", "ml/critical"),
        ("alertname=TrainingLossPlateau severity=warning namespace=ml", "ml/default"),
        ("alertname=TrainingNewBest severity=info namespace=ml", "ml/calm"),
        ("alertname=TrainingFailed severity=critical event=true namespace=ml", "ml/events"),
        ("alertname=AlertbridgeBacklog severity=warning namespace=ml", "ml/default"),
        ("alertname=TrainingFailed severity=critical event=true", "cluster"),  # an event without the label
        ("alertname=TrainingFailed severity=critical namespace=other", "cluster"),
        ("alertname=KubePodCrashLooping severity=warning namespace=ml", "cluster"),
        ("alertname=Watchdog severity=info", "cluster"),
    ],
)
def test_operator_routes_what_is_in_the_namespace(tmp_path: Path, labels: str, receiver: str) -> None:
    """Our alerts of the namespace go where the shipped file sends them; everybody else's stay where they were."""
    path = tmp_path / "alertmanager.yml"
    path.write_text(yaml.safe_dump(merged("ml")))
    done = subprocess.run(
        [binary("amtool"), "config", "routes", "test", f"--config.file={path}", *labels.split()],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == receiver


def test_inhibitions_are_the_shipped_ones() -> None:
    """Within its namespace each inhibition is that of alertmanager.yml."""
    shipped = yaml.safe_load((ROOT / "prometheus/alertmanager.yml").read_text())["inhibit_rules"]
    spaces = str.maketrans({'"': None, " ": None})
    own = 'namespace="ml"'

    def plain(rules: list[dict[str, list[str]]]) -> list[dict[str, list[str]]]:
        return [
            {key: [text.translate(spaces) for text in texts if text != own] for key, texts in rule.items()}
            for rule in rules
        ]

    assert plain(merged("ml")["inhibit_rules"]) == plain(shipped)


def test_monitor_finds_the_example() -> None:
    """The example's labels and port names are those that the PodMonitor selects, one for each rank."""
    pod = named("Job")["spec"]["template"]
    monitor = named("PodMonitor")["spec"]
    ports = [port["name"] for port in pod["spec"]["containers"][0]["ports"]]

    assert monitor["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert set(ports) <= {endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]}
    assert f"--nproc-per-node={len(ports)}" in pod["spec"]["containers"][0]["command"]


def test_ranks_stay_one_alert() -> None:
    """Labels that the operator adds and that differ by rank are dropped, or left out by every rule."""
    by_rank = {"endpoint", "container"}  # `pod` and `instance` are left out by the rules
    for endpoint in named("PodMonitor")["spec"]["podMetricsEndpoints"]:
        dropped = [each["regex"] for each in endpoint["relabelings"] if each["action"] == "labeldrop"]
        assert {name for name in by_rank if any(re.fullmatch(regex, name) for regex in dropped)} == by_rank
        assert endpoint["honorLabels"] is True
        assert endpoint["interval"] == "15s"  # `for` of TrainingProcessDied bears no more


def test_jobs_are_called_as_the_rules_ask() -> None:
    """`up{job="alertbridge"}` and the scheduler's job are what the monitors make."""
    jobs = {
        each["replacement"]
        for endpoint in named("PodMonitor")["spec"]["podMetricsEndpoints"]
        for each in endpoint["relabelings"]
        if each.get("targetLabel") == "job"
    }
    rules = "".join(path.read_text() for path in (ROOT / "prometheus/rules").glob("*.yml"))
    asked = set(re.findall(r'up\{job="([\w-]+)"\}', rules))

    # A ServiceMonitor's job is the Service's name.
    assert asked <= jobs | {named("Service")["metadata"]["name"]}


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_pod_is_confined(kind: str) -> None:
    """Not root, nothing written to the image, no rights to gain, memory limited, whatever can be written a volume."""
    pod = named(kind)["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 10000
    assert container["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}


def test_bridge_accepts_its_configuration(tmp_path: Path) -> None:
    """The ConfigMap's file is one that the bridge starts with, given the example's Secret."""
    for name, value in named("Secret")["stringData"].items():
        (tmp_path / name).write_text(value)
    text = named("ConfigMap")["data"]["alertbridge.yml"].replace("/run/secrets/alertbridge", str(tmp_path))
    config = tmp_path / "alertbridge.yml"
    config.write_text(text)
    done = subprocess.run(
        [console_script("alertbridge"), "check-config", "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_probes_are_the_bridges_own() -> None:
    """Alive and ready are asked at the addresses that the bridge has, on the port that it listens on."""
    (container,) = named("Deployment")["spec"]["template"]["spec"]["containers"]
    port = container["ports"][0]["containerPort"]

    assert container["livenessProbe"]["httpGet"] == {"path": "/-/healthy", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/-/ready", "port": "http"}
    assert f":{port}\n" in named("ConfigMap")["data"]["alertbridge.yml"]
    address = f"http://alertbridge.ml.svc:{port}/dingtalk/default/send"
    receivers = named("AlertmanagerConfig")["spec"]["receivers"]
    assert {hook["url"] for each in receivers for hook in each["webhookConfigs"]} == {address}


def test_kustomization_names_what_is_there() -> None:
    """Every resource but the example of a secret and of a training is applied, and each is a file."""
    kustomization = yaml.safe_load((FOLDER / "kustomization.yml").read_text())
    there = {path.name for path in FOLDER.glob("*.yml")}

    assert set(kustomization["resources"]) == there - {
        "kustomization.yml", "secret.example.yml", "training-job.yml",
    }  # fmt: skip


def test_arguments_change_what_differs_by_cluster(tmp_path: Path) -> None:
    """Namespace, labels and the runbooks' address are given once, and are then everywhere."""
    (tmp_path / "kubernetes").mkdir()
    (tmp_path / "kubernetes/build.py").write_text(BUILD.read_text())
    for name in ("rules", "alertmanager.yml", "prometheus.yml"):
        (tmp_path / name).symlink_to(ROOT / "prometheus" / name)
    arguments = [
        "--namespace",
        "research",
        "--label",
        "release=monitoring",
        "--runbooks",
        "https://wiki.example.com/ml/",
    ]
    subprocess.run(
        [sys.executable, tmp_path / "kubernetes/build.py", *arguments], check=True, capture_output=True
    )
    texts = {path.name: path.read_text() for path in (tmp_path / "kubernetes").glob("*.yml")}

    assert "http://alertbridge.research.svc:8060/" in texts["alertmanager.yml"]
    assert "https://wiki.example.com/ml/runbooks.md#trainingfailed" in texts["rules.yml"]
    assert "github.com" not in texts["rules.yml"]
    kustomization = yaml.safe_load(texts["kustomization.yml"])
    assert kustomization["namespace"] == "research"
    assert kustomization["labels"] == [{"pairs": {"release": "monitoring"}}]


def test_a_label_without_a_value_is_refused() -> None:
    """The message says how a label looks."""
    done = subprocess.run(
        [sys.executable, BUILD, "--label", "release"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert "--label: must look like release=monitoring, not 'release'" in done.stderr
