"""docs/deploy.md: what it says to set can be set, and the numbers that it names are those of the files."""

import re
import shlex

import pytest

from tests.deploy.reading import DEPLOY, ROOT, loaded, manifests, seconds, unit
from tests.docs.blocks import DOCS, blocks

PAGE = DOCS / "deploy.md"
TEXT = PAGE.read_text("utf-8")
SETTINGS = [dict(line.split("=", 1) for line in block.text.splitlines()) for block in blocks(PAGE, "env")]


def test_the_page_shows_settings_for_a_laptop_a_host_and_a_cluster():
    stores = [loaded(variables)[0].settings.store.partition(":")[0] for variables in SETTINGS]
    assert stores == ["memory", "sqlite", "redis"]


@pytest.mark.parametrize("variables", SETTINGS, ids=["laptop", "host", "cluster"])
def test_what_the_page_sets_loads_and_only_the_laptop_is_open(variables):
    found, _ = loaded(variables)
    assert found.settings.proves_users is ("SESSIONWARE_JWT_ISSUER" in variables)
    assert (found.settings.anonymous == "off") is found.settings.proves_users
    assert [each for each in found.warnings if found.settings.proves_users] == []


def test_every_file_that_a_command_of_the_page_names_exists():
    commands = [shlex.split(line) for block in blocks(PAGE, "sh") for line in block.text.splitlines()]
    named = [word for words in commands for word in words if word.startswith("deploy/")]
    assert len(named) == 5
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_variable_and_target_that_the_page_names_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert {"lint-deploy", "bench-proxy"} <= set(re.findall(r"`make ([a-z-]+)`", TEXT)) & targets


def test_the_patience_that_the_page_names_is_that_of_the_files():
    pod = manifests()["Deployment", "sessionware-proxy"]["spec"]["template"]["spec"]
    unit_waits = seconds(dict(unit())["TimeoutStopSec"])
    compose_waits = re.search(r"stop_grace_period: (\d+)s", (DEPLOY / "docker-compose.yml").read_text("utf-8"))
    assert compose_waits is not None
    assert {int(compose_waits[1]), pod["terminationGracePeriodSeconds"], unit_waits} == {30, 35}
    assert "the files here wait 30 or 35 s" in TEXT
    _, proxy = loaded(SETTINGS[0])
    assert f"DRAIN_DELAY {proxy.drain_delay // 1000} s" in TEXT
    assert f"DRAIN_TIMEOUT {proxy.drain_timeout // 1000} s" in TEXT
    assert f"`STREAM_IDLE_TIMEOUT` ({proxy.stream_idle_timeout // 1000} s)" in TEXT
