"""The images: small, without a compiler or privileges, built from files that exist, and healthy when they answer."""

import json
import os
import subprocess
import sys
import tomllib

import pytest

from tests.deploy.reading import DEPLOY, ROOT, compose, dockerfile, only, unit
from tests.serving import Server

STAGES = dockerfile()
FINAL = ("demo", "proxy")


def test_the_proxy_is_built_when_no_target_is_named():
    assert list(STAGES) == ["", "build", "build-demo", "bare", "demo", "proxy"]


def test_every_file_that_is_copied_exists_and_is_let_through():
    let_through = {
        line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines() if line[0] == "!"
    }
    copied = set()
    for each in (each for stage in STAGES.values() for each in stage if each.word == "COPY"):
        if not each.text.startswith("--from="):
            copied |= set(each.text.split()[:-1])
    assert copied == let_through
    assert [name for name in copied if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("stage", FINAL)
def test_an_image_has_no_privileges_and_nothing_to_build_with(stage):
    instructions = STAGES["bare"] + STAGES[stage]
    assert only(instructions, "USER") == "10001:10001"
    assert instructions[-1].word in {"ENTRYPOINT", "CMD"}
    ran = " ".join(each.text for each in instructions if each.word == "RUN")
    assert ran.startswith("useradd --system --uid 10001 ")
    assert "apt-get" not in ran
    assert "pip" not in ran


def test_wheels_alone_are_installed_at_the_versions_that_were_tested():
    assert "PIP_ONLY_BINARY=:all:" in only(STAGES["build"], "ENV")
    installs = [
        part for stage in STAGES.values() for each in stage if each.word == "RUN" for part in each.text.split("&&")
        if " install " in part
    ]  # fmt: skip
    assert len(installs) == 3
    assert [each for each in installs if "--constraint constraints.txt" not in each] == []


def test_the_extras_of_the_images_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    assert ".whl)[proxy,redis,postgres]" in text
    assert ".whl)[demo]" in text
    assert {"proxy", "redis", "postgres", "demo"} <= extras.keys()


def test_an_image_runs_the_command_that_is_installed():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    (command,) = json.loads(only(STAGES["proxy"], "ENTRYPOINT"))
    assert command in scripts
    assert json.loads(only(STAGES["proxy"], "CMD")) == ["proxy"]


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_asks_whether_the_proxy_lives(status, code):
    asked = []

    async def app(scope, receive, send):
        asked.append(scope["path"])
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    words = json.loads(only(STAGES["proxy"], "HEALTHCHECK").partition("CMD ")[2])
    assert words[:2] == ["python", "-c"]
    with Server(app, lifespan="auto") as server:
        environ = {**os.environ, "SESSIONWARE_PORT": str(server.port)}
        done = subprocess.run([sys.executable, *words[1:]], env=environ, capture_output=True, check=False)
    assert (asked, done.returncode) == (["/health"], code)


def test_the_demo_of_an_image_takes_the_options_that_it_is_given():
    words = json.loads(only(STAGES["demo"], "ENTRYPOINT"))
    given = compose()["services"]["one"]["command"]
    done = subprocess.run([sys.executable, *words[1:], *given, "--help"], capture_output=True, check=False)
    assert done.returncode == 0


def test_compose_builds_stages_that_exist_and_hardens_every_service():
    services = compose()["services"]
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        if "build" in service:
            assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == (
                DEPLOY / "Dockerfile"
            )
            assert service["build"].get("target", "proxy") in STAGES


def test_compose_reaches_the_upstreams_and_the_store_that_it_starts():
    services = compose()["services"]
    environment = services["proxy"]["environment"]
    port = only(STAGES["demo"], "EXPOSE")
    wanted = ",".join(f"http://{name}:{port}/mcp" for name in ("one", "two"))
    assert environment["SESSIONWARE_UPSTREAMS"] == wanted
    assert environment["SESSIONWARE_STORE"] == "redis://redis:6379/0"
    assert services["proxy"]["depends_on"].keys() == {"one", "two", "redis"}
    assert services["proxy"]["ports"] == ["127.0.0.1:8080:8080"]


@pytest.mark.parametrize(
    "command",
    [
        [*json.loads(only(STAGES["proxy"], "ENTRYPOINT")), *json.loads(only(STAGES["proxy"], "CMD"))],
        dict(unit())["ExecStart"].split(),
    ],
    ids=["image", "unit"],
)
def test_what_is_started_is_a_command_of_ours(command):
    program, *words = command
    assert program.rpartition("/")[2] == "sessionware"
    done = subprocess.run([sys.executable, "-m", "sessionware", *words, "--help"], capture_output=True, check=False)
    assert done.returncode == 0
