"""The command line of the exam: the official suite against our server directly, and through the proxy, compared.

    python -m tests.conformance.run                                          # both versions, through the proxy twice
    python -m tests.conformance.run --through 'another-proxy --listen {port} --to {upstreams}'
    python -m tests.conformance.run --direct                                 # nothing in front of the replicas
    python -m tests.conformance.run --url http://127.0.0.1:8080/mcp --spec-version 2026-07-28

Two replicas are started and then the command, with their URLs in SESSIONWARE_UPSTREAMS and in {upstreams}. The suite
runs against one replica and through the command. Exit code 1: failures, a difference, or fewer checks than there were.
"""

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.conformance.suite import FOLDER_VARIABLE, SPEC_VERSIONS, Result, SuiteBroken, SuiteMissing, run
from tests.mcp_servers import CONFORMANCE, replicas
from tests.servers import ServerDied, end, free_port, wait_until_it_listens

REPLICAS: Final = 2
TIMES: Final = 2  # what the first run leaves behind must not be in the way of the second
PROXY: Final = f"{shlex.quote(sys.executable)} -m sessionware proxy --port {{port}}"
# Hundreds of requests in a few seconds come from one address: limits that count, but that nobody reaches.
SETTINGS: Final = {
    "SESSIONWARE_LIMITS": "1M/minute per session", "SESSIONWARE_CREATE_LIMIT": "1M/minute per client",
    "SESSIONWARE_LOG_LEVEL": "warning", "SESSIONWARE_DRAIN_DELAY": "0", "SESSIONWARE_FORWARD_AUTHORIZATION": "strip",
}  # fmt: skip
CHECKS: Final = {"2025-11-25": 84, "2026-07-28": 152}  # that the suite made of our server when this was written
START_WITHIN_S: Final = 30.0
STOP_WITHIN_S: Final = 30.0  # open streams may finish


def main(argv: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(argv)
    try:
        return 0 if all(_examine(given)) else 1
    except (SuiteMissing, SuiteBroken, ServerDied) as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.run", description=__doc__.splitlines()[0])
    parser.add_argument("--url", help="examine what runs there, and start nothing")
    parser.add_argument(
        "--through", metavar="COMMAND", default=PROXY, help="start this in front; {port}, {upstreams} are filled in"
    )
    parser.add_argument("--direct", action="store_true", help="start nothing in front: examine both replicas")
    parser.add_argument("--path", default="/mcp", help="the path of the endpoint that COMMAND serves")
    parser.add_argument("--spec-version", action="append", choices=SPEC_VERSIONS, help="default: each in turn")
    parser.add_argument("--times", type=int, default=TIMES, help="how often in a row (2)")
    parser.add_argument("--output", type=Path, help="keep each check's details in this folder")
    return parser


def _examine(given: argparse.Namespace) -> list[bool]:
    """A verdict for each server and version; the next is examined whatever the last one was."""
    versions = given.spec_version or SPEC_VERSIONS
    if given.url:
        return [_passes(given, given.url, version, called="url") for version in versions]
    with replicas(REPLICAS, module=CONFORMANCE) as servers:
        urls = [server.url for server in servers]
        if not given.direct:
            with _in_front(given.through, urls) as port:
                through = f"http://127.0.0.1:{port}{given.path}"
                return [_passes_equally(given, version, direct=urls[0], through=through) for version in versions]
        named = {f"replica-{place}": url for place, url in enumerate(urls, start=1)}
        return [_passes(given, url, version, called=name) for version in versions for name, url in named.items()]


def _passes(given: argparse.Namespace, url: str, version: str, *, called: str) -> bool:
    results = [_run(given, url, version, called=called) for _ in range(given.times)]
    return all(_is_clean(result) for result in results)


def _passes_equally(given: argparse.Namespace, version: str, *, direct: str, through: str) -> bool:
    """Whether the runs through the front find nothing, and count what the direct run counts."""
    expected = _run(given, direct, version, called="direct")
    found = [_run(given, through, version, called="through") for _ in range(given.times)]
    for difference in {difference for result in found for difference in expected.differences(result)}:
        print(f"  direct and through differ: {difference}")
    if expected.total.passed < CHECKS[version]:
        print(f"  the suite makes {CHECKS[version]} checks of this server, if all is well")
        return False
    return all(_is_clean(result) for result in [expected, *found]) and all(result == expected for result in found)


def _run(given: argparse.Namespace, url: str, version: str, *, called: str) -> Result:
    result = run(url, version, output=given.output and given.output / version / called)
    print(f"{version} {called}: {result.total}", flush=True)
    for failure in result.failures:
        print(f"  {failure}")
    return result


def _is_clean(result: Result) -> bool:
    return result.total.failed == 0 and result.total.passed > 0


@contextmanager
def _in_front(command: str, urls: list[str]) -> Iterator[int]:
    """The command runs on a free port, and its process is ended afterwards."""
    port, upstreams = free_port(), ",".join(urls)
    words = [word.format(port=port, upstreams=upstreams) for word in shlex.split(command)]
    environment = os.environ | SETTINGS | {"SESSIONWARE_UPSTREAMS": upstreams, "SESSIONWARE_PORT": str(port)}
    environment.pop(FOLDER_VARIABLE, None)  # the suite's own, which the proxy would wonder about
    process = subprocess.Popen(words, env=environment)
    try:
        wait_until_it_listens(process, port, START_WITHIN_S)
        yield port
    finally:
        end(process, STOP_WITHIN_S)


if __name__ == "__main__":
    sys.exit(main())
