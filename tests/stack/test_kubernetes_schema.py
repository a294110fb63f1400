"""The Kubernetes resources follow the published schemas: those of Kubernetes and of the Prometheus operator."""

from __future__ import annotations

from typing import Any

import pytest
from cloudcoil.models.kubernetes.apps.v1 import Deployment
from cloudcoil.models.kubernetes.batch.v1 import CronJob, Job
from cloudcoil.models.kubernetes.core.v1 import ConfigMap, PersistentVolumeClaim, Secret, Service
from cloudcoil.models.prometheus_operator.v1 import PodMonitor, PrometheusRule, ServiceMonitor
from cloudcoil.models.prometheus_operator.v1alpha1 import AlertmanagerConfig
from pydantic import BaseModel, ValidationError
from tests.stack.kubernetes import EXAMPLES, RESOURCES, named

MODELS: dict[str, type[BaseModel]] = {
    model.__name__: model
    for model in (
        AlertmanagerConfig, ConfigMap, CronJob, Deployment, Job, PersistentVolumeClaim, PodMonitor, PrometheusRule,
        Secret, Service, ServiceMonitor,
    )
}  # fmt: skip


def unknown_keys(given: object, understood: object, place: str = "") -> list[str]:
    """Takes what was given and what the schema has of it, gives where a key was ignored."""
    if isinstance(given, dict) and isinstance(understood, dict):
        return [
            found
            for key, value in given.items()
            for found in (
                unknown_keys(value, understood[key], f"{place}.{key}")
                if key in understood
                else [f"{place}.{key}"]
            )
        ]
    if isinstance(given, list) and isinstance(understood, list):
        pairs = zip(given, understood, strict=True)
        return [
            found for number, pair in enumerate(pairs) for found in unknown_keys(*pair, f"{place}[{number}]")
        ]
    return []


def faults(resource: dict[str, Any]) -> list[str]:
    """Takes a resource, gives what the published schema of its kind has against it."""
    try:
        model = MODELS[resource["kind"]].model_validate(resource)
    except ValidationError as error:
        return [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    understood = model.model_dump(by_alias=True, exclude_unset=True, mode="json")
    return unknown_keys(resource, understood)


@pytest.mark.parametrize(
    "resource", [*RESOURCES, *EXAMPLES], ids=lambda each: f"{each['kind']}-{each['metadata']['name']}"
)
def test_resource_follows_the_published_schema(resource: dict[str, Any]) -> None:
    """Every key is one that the schema knows, with a value of the right type and form."""
    assert faults(resource) == []


@pytest.mark.parametrize("route", [named("AlertmanagerConfig")["spec"]["route"]["routes"]])
def test_inner_routes_follow_the_schema_too(route: list[dict[str, Any]]) -> None:
    """The schema leaves the routes within a route open; each is one itself."""
    config = named("AlertmanagerConfig")

    for each in route:
        assert faults({**config, "spec": {**config["spec"], "route": each}}) == []


@pytest.mark.parametrize(
    ("kind", "change", "fault"),
    [
        ("PrometheusRule", {"groups": [{"name": "x", "rules": [{"expr": "1", "fore": "1m"}]}]}, "fore"),
        ("PrometheusRule", {"groups": [{"name": "x", "rules": [{"expr": "1", "for": "1 m"}]}]}, "pattern"),
        ("PodMonitor", {"podMetricsEndpoints": [{"honourLabels": True}]}, "honourLabels"),
        ("Deployment", {"replicas": "one"}, "integer"),
        ("Job", {"backofLimit": 0}, "backofLimit"),
    ],
)  # fmt: skip
def test_a_fault_would_be_noticed(kind: str, change: dict[str, Any], fault: str) -> None:
    """The check above names a key that is not there, and a value that is wrong."""
    resource = next(each for each in RESOURCES if each["kind"] == kind)

    assert fault in "".join(faults({**resource, "spec": {**resource["spec"], **change}}))
