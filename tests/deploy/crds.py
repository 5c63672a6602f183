"""Schemas of the custom resources that the manifests use, as far as they use them.

Written after the reference pages of KEDA 2.12 (ScaledObject, TriggerAuthentication, metrics-api)
and of the Prometheus operator 0.70 (ServiceMonitor). What is not named here is
refused, so a field that those do not know cannot slip in; one that we come to use is added.
"""

from typing import Any


def _object(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [*required],
        "properties": {**required, **optional},
        "additionalProperties": False,
    }


TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
TEXTS: dict[str, Any] = {"type": "object", "additionalProperties": TEXT}
COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
NUMBER_TEXT: dict[str, Any] = {"type": "string", "pattern": r"^\d+(\.\d+)?$"}
SPAN: dict[str, Any] = {"type": "string", "pattern": r"^(\d+(ms|s|m|h|d))+$"}


def _list(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1}


_METRICS_API = _object(
    {"url": TEXT, "valueLocation": TEXT, "targetValue": NUMBER_TEXT},
    activationTargetValue=NUMBER_TEXT,
    authMode={"enum": ["apiKey", "basic", "tls", "bearer"]},
)
_TRIGGER = _object(
    {"name": TEXT, "type": {"const": "metrics-api"}, "metadata": _METRICS_API},
    authenticationRef=_object({"name": TEXT}),
)
SPECS = {
    ("keda.sh/v1alpha1", "ScaledObject"): _object(
        {"scaleTargetRef": _object({"name": TEXT}), "triggers": _list(_TRIGGER)},
        minReplicaCount=COUNT,
        maxReplicaCount=COUNT,
        pollingInterval=COUNT,
        cooldownPeriod=COUNT,
        advanced=_object(
            {},
            scalingModifiers=_object(
                {"formula": TEXT, "target": NUMBER_TEXT},
                activationTarget=NUMBER_TEXT,
                metricType={"enum": ["AverageValue", "Value"]},
            ),
            horizontalPodAutoscalerConfig=_object(
                {}, behavior=_object({}, scaleDown=_object({"stabilizationWindowSeconds": COUNT}))
            ),
        ),
    ),
    ("keda.sh/v1alpha1", "TriggerAuthentication"): _object(
        {"secretTargetRef": _list(_object({"parameter": TEXT, "name": TEXT, "key": TEXT}))}
    ),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _object(
        {
            "selector": _object({"matchLabels": TEXTS}),
            "endpoints": _list(
                _object(
                    {"port": TEXT},
                    path=TEXT,
                    interval=SPAN,
                    scrapeTimeout=SPAN,
                    authorization=_object(
                        {"type": TEXT, "credentials": _object({"name": TEXT, "key": TEXT})}
                    ),
                )
            ),
        }
    ),
}
"""Of each kind the schema of its `spec`."""

KUSTOMIZATION = _object(
    {"apiVersion": TEXT, "kind": TEXT, "resources": _list(TEXT)},
    namespace=TEXT,
    images=_list(_object({"name": TEXT, "newTag": TEXT})),
)
