"""`sessionware demo`: two MCP servers and the proxy, with nothing to set up and something to try."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from sessionware.cli.proxy import EXTRA
from sessionware.config.load import Loaded, load
from sessionware.errors import ConfigError

NEEDED: Final = (*EXTRA, "mcp")
HOST: Final = "127.0.0.1"
PORT: Final = 8080
PORTS_TRIED: Final = 50
SERVERS: Final = ("one", "two")


def add_to(commands: Any) -> None:
    """Teach the parser this command."""
    demo = commands.add_parser(
        "demo",
        help="start two MCP servers behind the proxy, and say what to try",
        description="Starts two MCP servers and the proxy in front of them, with sessions in memory, and prints a "
        "walk-through. Reads no settings. Ctrl-C stops all of it.",
    )
    demo.add_argument("--port", type=int, help=f"where the proxy listens; else {PORT}, or the next one that is free")
    demo.set_defaults(command=run)


def run(given: argparse.Namespace) -> int:
    """Serve until Ctrl-C; the exit code. Raises ConfigError, DemoBroken."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(f"demo needs {', '.join(missing)}: pip install 'sessionware[proxy,demo]'")
    from sessionware.demo.servers import demo_servers  # noqa: PLC0415  # an extra
    from sessionware.demo.tour import text  # noqa: PLC0415  # the same
    from sessionware.standalone.running import run as serve  # noqa: PLC0415  # the same

    port = given.port if given.port is not None else _free_port()
    print("starting two MCP servers ...", file=sys.stderr, flush=True)
    with demo_servers(SERVERS) as urls:
        loaded = _settings(urls, port)
        return serve(loaded, tell=lambda url: print(text(f"{url}/mcp", how_we_are_called()), flush=True))


def how_we_are_called() -> str:
    """What to type to get this very program."""
    beside = Path(sys.executable).parent / "sessionware"
    found = shutil.which("sessionware")
    if found is not None and Path(found) == beside:
        return "sessionware"
    if beside.is_file():
        here = Path.cwd()
        return os.fspath(beside.relative_to(here) if beside.is_relative_to(here) else beside)
    return f"{sys.executable} -m sessionware"


def _settings(urls: list[str], port: int) -> Loaded:
    """Of the demo's own: no environment and no file has a say."""
    from sessionware.demo.tour import LIMITS  # noqa: PLC0415  # an extra

    flags = {
        "upstreams": ",".join(f"{name}@{url}" for name, url in zip(SERVERS, urls, strict=True)),
        "host": HOST, "port": port, "preset": "dev", "limits": LIMITS, "forward_authorization": "strip",
        "log_level": "warning", "drain_delay": 0, "drain_timeout": "2s",
    }  # fmt: skip
    return load(flags=flags, environ={}, for_proxy=True)


def _free_port() -> int:
    """The first that nobody listens on. Raises ConfigError."""
    from sessionware.standalone.listening import listen  # noqa: PLC0415  # an extra

    for port in range(PORT, PORT + PORTS_TRIED):
        try:
            sockets = listen(HOST, port, named="PORT")
        except ConfigError:
            continue
        for each in sockets:
            each.close()
        return port
    raise ConfigError(f"the ports {PORT} to {PORT + PORTS_TRIED - 1} are all taken: name one, --port 9000")
