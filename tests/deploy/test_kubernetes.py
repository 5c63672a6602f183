"""The manifests: their schemas, what they refer to, and that what they run, runs."""

from pathlib import Path
from typing import Any

import jsonschema_rs
import kubernetes_validate
import pytest
import yaml

from headrace.wire.routes import ROUTES

from .crds import KUSTOMIZATION, SPECS
from .files import ROOM_S, documents, manifests, of_kind, option, pods, seconds

KUBERNETES = ("1.29", kubernetes_validate.latest_version().rpartition(".")[0])
"""The oldest in which all that is used is no longer beta, and the newest that is known."""


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", manifests())
def test_every_manifest_fits_its_schema(name: str, version: str) -> None:
    for one in documents(name):
        own = (one["apiVersion"], one["kind"])
        if one["kind"] == "Kustomization":
            jsonschema_rs.validate(KUSTOMIZATION, one)
        elif own in SPECS:
            jsonschema_rs.validate(SPECS[own], one["spec"])
            assert {*one} == {"apiVersion", "kind", "metadata", "spec"}
        else:
            kubernetes_validate.validate(one, version, strict=True)


def test_the_schemas_find_a_field_that_does_not_exist() -> None:
    deployment = of_kind("Deployment")["headrace-worker"]
    deployment["spec"]["template"]["spec"]["containers"][0]["readonly"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, KUBERNETES[0], strict=True)
    scaled = of_kind("ScaledObject")["headrace-worker"]
    scaled["spec"]["triggers"][0]["metadata"]["location"] = "value"
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(SPECS[scaled["apiVersion"], "ScaledObject"], scaled["spec"])


def test_kustomize_takes_what_needs_no_operator_and_no_more() -> None:
    [kustomization] = documents("kubernetes/kustomization.yaml")
    operators = {"servicemonitor.yaml", "keda.yaml", "kustomization.yaml"}
    files = {Path(name).name for name in manifests()}
    assert {*kustomization["resources"]} == files - operators


def test_selectors_ports_claims_and_budgets_find_what_they_mean() -> None:
    labels = {name: pod["metadata"]["labels"] for name, pod in pods().items()}

    def selected(wanted: dict[str, str]) -> list[str]:
        return [name for name, had in labels.items() if wanted.items() <= had.items()]

    services = of_kind("Service")
    for service in services.values():
        assert selected(service["spec"]["selector"]) == ["headrace"]
        assert service["spec"]["ports"][0]["targetPort"] == "http"
    stateful = of_kind("StatefulSet")["headrace"]
    assert services[stateful["spec"]["serviceName"]]["spec"]["clusterIP"] == "None"
    for kind in ("PodDisruptionBudget", "StatefulSet", "Deployment"):
        for name, one in of_kind(kind).items():
            assert selected(one["spec"]["selector"]["matchLabels"]) == [name]
    for name, policy in of_kind("NetworkPolicy").items():
        assert selected(policy["spec"]["podSelector"]["matchLabels"]) == [name]
    monitor = of_kind("ServiceMonitor")["headrace"]
    wanted = monitor["spec"]["selector"]["matchLabels"]
    monitored = [
        name
        for name, service in services.items()
        if wanted.items() <= service["metadata"].get("labels", {}).items()
    ]
    assert monitored == ["headrace"]
    for pod in pods().values():
        spec = pod["spec"]
        volumes = {volume["name"] for volume in spec.get("volumes", ())} | {"data"}
        for container in containers(pod):
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            if "ports" in container:
                assert container["ports"][0]["name"] == "http"


def test_every_container_is_locked_down() -> None:
    for pod in pods().values():
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(pod):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]
    worker = pods()["headrace-worker"]["spec"]
    assert not any("persistentVolumeClaim" in volume for volume in worker["volumes"])


def test_probes_ask_routes_that_need_no_key() -> None:
    public = {route.path for route in ROUTES if route.public}
    [server] = pods()["headrace"]["spec"]["containers"]
    asked = {
        kind: server[f"{kind}Probe"]["httpGet"]["path"]
        for kind in ("startup", "readiness", "liveness")
    }
    assert asked == {"startup": "/livez", "readiness": "/readyz", "liveness": "/livez"}
    assert {*asked.values()} <= public


def test_kubernetes_waits_longer_than_a_stop_may_take() -> None:
    settings = yaml.safe_load(of_kind("ConfigMap")["headrace"]["data"]["headrace.yaml"])
    worker = pods()["headrace-worker"]["spec"]["containers"][0]
    drains = {
        "headrace": seconds(settings["drain"]),
        "headrace-worker": seconds(option(worker["args"], "--drain")),
    }
    for name, drain_s in drains.items():
        grace_s = pods()[name]["spec"]["terminationGracePeriodSeconds"]
        assert grace_s >= drain_s + ROOM_S, name
