"""The Kubernetes manifests: what points to something points to what is there, and nothing has a privilege."""

import pytest
import yaml

from sessionware.config.load import load
from tests.deploy.reading import DEPLOY, MANIFESTS, loaded, manifests

FOUND = manifests()
DEPLOYED = ["sessionware-proxy", "mcp-upstream"]


def _pod(name):
    return FOUND["Deployment", name]["spec"]["template"]["spec"]


def _settings():
    return loaded(FOUND["ConfigMap", "sessionware-proxy"]["data"] | FOUND["Secret", "sessionware-proxy"]["stringData"])


def _ports(name):
    return {each["name"]: each["containerPort"] for each in _pod(name)["containers"][0]["ports"]}


def test_every_manifest_is_applied():
    applied = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text("utf-8"))
    assert sorted(applied["resources"]) == [path.name for path in MANIFESTS]
    assert applied["namespace"] == FOUND["Namespace", "mcp"]["metadata"]["name"]
    images = {_pod(name)["containers"][0]["image"] for name in DEPLOYED}
    assert {each["name"] for each in applied["images"]} == images


@pytest.mark.parametrize("name", DEPLOYED)
def test_no_pod_has_a_privilege(name):
    """As the namespace demands: pod-security.kubernetes.io/enforce: restricted."""
    pod = _pod(name)
    (container,) = pod["containers"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False  # else SESSIONWARE_… of a service would look like settings
    assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("name", DEPLOYED)
def test_services_policies_and_budgets_select_the_pods_they_are_for(name):
    labels = FOUND["Deployment", name]["spec"]["template"]["metadata"]["labels"]
    assert FOUND["Deployment", name]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert FOUND["Service", name]["spec"]["selector"].items() <= labels.items()
    assert FOUND["NetworkPolicy", name]["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    for port in FOUND["Service", name]["spec"]["ports"]:
        assert port["targetPort"] in _ports(name)


def test_the_autoscaler_and_the_budget_are_the_proxys():
    labels = FOUND["Deployment", "sessionware-proxy"]["spec"]["template"]["metadata"]["labels"]
    budget = FOUND["PodDisruptionBudget", "sessionware-proxy"]["spec"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    scaler = FOUND["HorizontalPodAutoscaler", "sessionware-proxy"]["spec"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "sessionware-proxy"}
    assert "replicas" not in FOUND["Deployment", "sessionware-proxy"]["spec"]  # or each apply would undo the scaling
    assert scaler["minReplicas"] >= 2


def test_the_ports_are_those_of_the_settings():
    found, proxy = _settings()
    _, _, admin = str(proxy.admin_bind).rpartition(":")
    assert _ports("sessionware-proxy") == {"http": found.settings.port, "admin": int(admin)}
    annotations = FOUND["Deployment", "sessionware-proxy"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == admin


def test_the_probes_ask_what_the_proxy_answers_without_a_session():
    (container,) = _pod("sessionware-proxy")["containers"]
    exempt = load(environ={}).settings.exempt_paths
    asked = {each: container[each]["httpGet"] for each in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {each["port"] for each in asked.values()} == {"http"}
    assert {name: each["path"] for name, each in asked.items()} == {
        "startupProbe": "/health", "livenessProbe": "/health", "readinessProbe": "/ready",
    }  # fmt: skip
    assert {each["path"] for each in asked.values()} <= set(exempt)


def test_a_pod_that_drains_is_out_of_the_service_before_it_stops_serving():
    probe = _pod("sessionware-proxy")["containers"][0]["readinessProbe"]
    _, proxy = _settings()
    assert probe["periodSeconds"] * probe["failureThreshold"] * 1000 < proxy.drain_delay


def test_the_upstreams_are_all_addresses_of_the_headless_service():
    service = FOUND["Service", "mcp-upstream"]
    assert service["spec"]["clusterIP"] == "None"
    (port,) = service["spec"]["ports"]
    upstreams = FOUND["ConfigMap", "sessionware-proxy"]["data"]["SESSIONWARE_UPSTREAMS"]
    assert upstreams == f"dns+http://mcp-upstream.mcp.svc.cluster.local:{port['port']}/mcp"


def test_only_the_proxy_reaches_the_upstreams_and_only_monitoring_the_administration():
    proxy = FOUND["Deployment", "sessionware-proxy"]["spec"]["template"]["metadata"]["labels"]
    (rule,) = FOUND["NetworkPolicy", "mcp-upstream"]["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": proxy}}]
    everyone, some = FOUND["NetworkPolicy", "sessionware-proxy"]["spec"]["ingress"]
    assert (everyone["ports"], "from" in everyone) == ([{"port": "http"}], False)
    assert (some["ports"], "from" in some) == ([{"port": "admin"}], True)
