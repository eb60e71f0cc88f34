"""The only place that reads the files of deploy/: each in its own language, as far as the tests ask."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sessionware.config.load import Loaded, load
from sessionware.config.proxy_settings import ProxySettings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted(path for path in (DEPLOY / "kubernetes").glob("*.yaml") if path.name != "kustomization.yaml")
STORES = sorted((DEPLOY / "stores").glob("*.yml"))  # Compose files of single engines
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
_INSTRUCTION = re.compile(r"^([A-Z]+)\s+(.*)$", re.DOTALL)


class Instruction(NamedTuple):
    """One of a Dockerfile: its word, and the rest."""

    word: str
    text: str


def dockerfile() -> dict[str, list[Instruction]]:
    """The instructions of each stage, in order; those before the first stage belong to the stage ``."""
    text = re.sub(r"\\\n", "", re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE))
    stages: dict[str, list[Instruction]] = {"": []}
    name = ""
    for line in filter(None, text.splitlines()):
        found = _INSTRUCTION.match(line)
        assert found, f"no instruction: {line}"
        each = Instruction(*found.groups())
        if each.word == "FROM":
            name = each.text.rpartition(" AS ")[2]
            stages[name] = []
        stages[name].append(each)
    return stages


def only(instructions: list[Instruction], word: str) -> str:
    (found,) = [each.text for each in instructions if each.word == word]
    return found


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text("utf-8"))
    return found


def manifests() -> dict[tuple[str, str], dict[str, Any]]:
    """What would be applied to a cluster, by kind and name."""
    found = [each for path in MANIFESTS for each in yaml.safe_load_all(path.read_text("utf-8"))]
    named = {(each["kind"], each["metadata"]["name"]): each for each in found}
    assert len(named) == len(found), "two of one kind and name"
    return named


def unit() -> list[tuple[str, str]]:
    """The settings of the systemd unit, in order; one may come twice."""
    lines = (DEPLOY / "systemd" / "sessionware-proxy.service").read_text("utf-8").splitlines()
    return [(name, value) for name, _, value in (each.partition("=") for each in lines if each and each[0] not in "#[")]


def env_file(path: Path) -> dict[str, str]:
    lines = [each for each in path.read_text("utf-8").splitlines() if each and not each.startswith("#")]
    return dict(each.split("=", 1) for each in lines)


def nginx() -> list[Any]:
    """The directives of nginx.conf: words, and for a block a list of its own at the end. Raises where it is none."""
    text = re.sub(r"#.*", "", (DEPLOY / "nginx" / "nginx.conf").read_text("utf-8"))
    whole = re.findall(r'"[^"]*"|[{};]|[^\s{};"]+', text)
    open_blocks: list[list[Any]] = [[]]
    current: list[Any] = []
    for word in whole:
        match word:
            case ";":
                open_blocks[-1].append(current)
                current = []
            case "{":
                block: list[Any] = []
                open_blocks[-1].append([*current, block])
                open_blocks.append(block)
                current = []
            case "}":
                assert not current, f"a directive without its `;`: {current}"
                open_blocks.pop()
                assert open_blocks, "a block is closed that was never opened"
            case _:
                current.append(word.strip('"'))
    assert len(open_blocks) == 1, "a block is not closed"
    assert not current, f"a directive without its `;`: {current}"
    return open_blocks[0]


def block(directives: list[Any], *words: str) -> list[Any]:
    """The directives inside the one block that begins with these words."""
    (found,) = [each[-1] for each in directives if isinstance(each[-1], list) and tuple(each[:-1]) == words]
    return found


def haproxy() -> dict[str, list[list[str]]]:
    """The lines of each section of haproxy.cfg, by its words."""
    sections: dict[str, list[list[str]]] = {}
    name = ""
    for line in (DEPLOY / "haproxy" / "haproxy.cfg").read_text("utf-8").splitlines():
        words = shlex.split(line, comments=True)
        if words and not line[0].isspace():
            name = " ".join(words)
            sections[name] = []
        elif words:
            sections[name].append(words)
    return sections


def envoy() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "envoy" / "envoy.yaml").read_text("utf-8"))
    return found


def loaded(variables: Mapping[str, str]) -> tuple[Loaded, ProxySettings]:
    """What the proxy would make of these variables alone. Raises ConfigError."""
    found = load(environ=variables, for_proxy=True)
    assert found.proxy is not None
    return found, found.proxy


def seconds(text: str) -> int:
    """`35`, `330s`, `5m`, as all of these programs write it."""
    found = re.fullmatch(r"(\d+)([smh]?)", str(text))
    assert found, f"no duration: {text}"
    return int(found[1]) * _UNITS[found[2]]
