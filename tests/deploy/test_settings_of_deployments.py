"""The settings that the deployments name exist, load without a warning, and agree with what stands beside them."""

import pytest

from sessionware.config.table import BY_KEY
from tests.deploy.reading import DEPLOY, compose, dockerfile, env_file, loaded, manifests, seconds, unit

PREFIX = "SESSIONWARE_"


def _of_cluster():
    found = manifests()
    pod = found["Deployment", "sessionware-proxy"]["spec"]["template"]["spec"]
    variables: dict[str, str] = {}
    for source in pod["containers"][0]["envFrom"]:
        if "configMapRef" in source:
            variables |= found["ConfigMap", source["configMapRef"]["name"]]["data"]
        else:
            variables |= found["Secret", source["secretRef"]["name"]]["stringData"]
    return variables


def _of_image():
    text = " ".join(each.text for each in dockerfile()["proxy"] if each.word == "ENV")
    return dict(each.split("=", 1) for each in text.split() if each.startswith(PREFIX))


DEPLOYMENTS = {
    "docker-compose": lambda: _of_image() | compose()["services"]["proxy"]["environment"],
    "kubernetes": lambda: _of_image() | _of_cluster(),
    "systemd": lambda: env_file(DEPLOY / "systemd" / "proxy.env"),
}


@pytest.fixture(params=DEPLOYMENTS)
def variables(request):
    return DEPLOYMENTS[request.param]()


def test_every_variable_exists(variables):
    unknown = [name for name in variables if name.removeprefix(PREFIX).lower() not in BY_KEY]
    assert variables
    assert unknown == []


def test_what_is_deployed_loads_and_warns_of_nothing_but_an_open_door(variables):
    found, _ = loaded(variables)
    warnings = found.warnings
    assert [each for each in warnings if "credential" not in each] == []


def test_where_tokens_are_checked_nobody_comes_in_without_one(variables):
    settings = loaded(variables)[0].settings
    assert (settings.anonymous == "off") is settings.proves_users


def test_a_store_is_shared_where_several_may_run():
    stores = {name: loaded(each())[0].settings.store.partition(":")[0] for name, each in DEPLOYMENTS.items()}
    assert stores == {"docker-compose": "redis", "kubernetes": "redis", "systemd": "sqlite"}


def test_whoever_stops_the_proxy_waits_until_it_has_drained():
    pod = manifests()["Deployment", "sessionware-proxy"]["spec"]["template"]["spec"]
    patience = {
        "docker-compose": seconds(compose()["services"]["proxy"]["stop_grace_period"]),
        "kubernetes": pod["terminationGracePeriodSeconds"],
        "systemd": seconds(dict(unit())["TimeoutStopSec"]),
    }
    for name, each in DEPLOYMENTS.items():
        _, proxy = loaded(each())
        assert patience[name] * 1000 > proxy.drain_delay + proxy.drain_timeout, name


def test_no_more_pods_run_than_share_an_allowance_while_the_store_is_away():
    most = manifests()["HorizontalPodAutoscaler", "sessionware-proxy"]["spec"]["maxReplicas"]
    found, _ = loaded(DEPLOYMENTS["kubernetes"]())
    assert found.settings.workers_hint == most


def test_only_the_balancer_is_believed_about_who_asks():
    """A network as wide as `private` would let every neighbour say who it is."""
    for name in ("kubernetes", "systemd"):
        found, _ = loaded(DEPLOYMENTS[name]())
        networks = found.settings.trusted_proxies
        assert len(networks) == 1
        assert "private" not in str(networks)
