"""The only place that knows how the proxy under test and its peers are started, all with one worker on one upstream."""

from __future__ import annotations

import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks.processes import Program

OURS: Final = [sys.executable, "-m", "sessionware", "proxy", "--port", "{port}"]  # configured by the environment
SECRET: Final = "a secret of more than thirty-two bytes, for benchmarks"
ISSUER: Final = "https://login.example"
LIMITS: Final = "100M/minute per session; 100M/hour per user"  # both are counted, neither refuses
NOT_ON_PATH: Final = "not installed: {name} is not on PATH (Debian, Ubuntu: apt-get install {name})"

PEERS: Final = Path("build/peers")  # whose requirements do not go with ours
_DEMO: Final = [sys.executable, "-m", "sessionware.demo", "--port", "{port}", "--json"]
_FASTMCP: Final = str(Path(__file__).with_name("fastmcp_proxy.py"))
_UPSTREAM: Final = [sys.executable, "-m", "benchmarks.proxy_upstream", "--port", "{port}"]
_BARE: Final = [
    sys.executable, "-m", "uvicorn", "benchmarks.proxy_upstream:bare", "--port", "{port}", "--http", "httptools",
    "--loop", "uvloop", "--no-access-log", "--log-level", "warning",
]  # fmt: skip

_NGINX: Final = """
worker_processes 1; daemon off; master_process off; pid nginx.pid; error_log stderr error;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s; server_tokens off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  {body}
}}
"""
_STATIC: Final = """
  map $http_mcp_protocol_version $begun {{ default ""; "" "upstream-session"; }}
  server {{
    listen 127.0.0.1:{{port}}; default_type application/json; add_header Mcp-Session-Id $begun;
    location / {{ return 200 '{answer}'; }}
  }}
"""
_REVERSE: Final = """
  upstream mcp {{
    hash $http_x_session_id consistent;
    server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{{port}};
    location / {{ proxy_pass http://mcp; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $http_host; proxy_buffering off; }}
  }}
"""
_HAPROXY: Final = """
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 3s
  timeout client 300s
  timeout server 300s
  http-reuse always
listen mcp
  bind 127.0.0.1:{{port}}
  balance leastconn
  stick-table type string len 128 size 100k expire 30m
  stick on req.hdr(x-session-id)
  server one 127.0.0.1:{upstream}
"""


def mcp_url(server: Program) -> str:
    return f"http://127.0.0.1:{server.port}/mcp"


class Standing:
    """Everything that runs at the moment; what is missing on this machine has a reason in its place."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self.missing: dict[str, str] = {}

    def started(self, command: list[str], environ: dict[str, str] | None = None) -> Program:
        return self._stack.enter_context(Program(command, folder=self._folder, environ=environ))

    def ours(self, upstream_url: str, *, logs_requests: bool = False) -> Program:
        """The proxy with a memory store, verified tokens and two limits; like its peers here it logs no requests."""
        environ = {
            "UPSTREAMS": upstream_url, "LIMITS": LIMITS, "STORE": "memory://", "JWT_SECRET": SECRET,
            "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": "mcp", "LOG_LEVEL": "info" if logs_requests else "warning",
        }  # fmt: skip
        return self.started(OURS, {f"SESSIONWARE_{name}": value for name, value in environ.items()})

    def upstream(self, answer: str, *, is_own: bool = False) -> tuple[Program, str]:
        """A server that gives that answer, and what it is: nginx where it is installed, else one of our own.

        nginx answers as soon as it has the head, and reads the body later; ours answers a whole request.
        """
        if is_own or shutil.which("nginx") is None:
            return self.own_upstream(), "bare httptools"
        return self._nginx(_STATIC.format(answer=answer)), "static nginx"

    def own_upstream(self) -> Program:
        return self.started(_UPSTREAM)

    def uvicorn(self) -> Program:
        return self.started(_BARE)

    def nginx(self, upstream: Program) -> Program | None:
        if self._lacks("nginx"):
            return None
        return self._nginx(_REVERSE.format(upstream=upstream.port))

    def haproxy(self, upstream: Program) -> Program | None:
        if self._lacks("haproxy"):
            return None
        return self._configured(["haproxy", "-db", "-f"], _HAPROXY.format(upstream=upstream.port))

    def demo(self) -> Program:
        """A real MCP server, which answers with JSON."""
        return self.started(_DEMO)

    def fastmcp(self, upstream: Program) -> Program | None:
        python = self._peer("fastmcp", "python")
        return None if python is None else self.started([python, _FASTMCP, "{port}", mcp_url(upstream)])

    def mcp_proxy(self, upstream: Program) -> Program | None:
        """It speaks HTTP on one side and stdio on the other: two of them, back to back, are an HTTP proxy."""
        found = self._peer("mcp-proxy", "mcp-proxy")
        if found is None:
            return None
        return self.started(
            [found, "--port", "{port}", "--", found, "--transport", "streamablehttp", mcp_url(upstream)]
        )

    def _peer(self, name: str, program: str) -> str | None:
        path = PEERS / name / "bin" / program
        if not path.exists():
            self.missing[name] = f"not installed: make bench-proxy installs it to {path.parents[1]}"
            return None
        return str(path.absolute())

    def _lacks(self, name: str) -> bool:
        if shutil.which(name) is None:
            self.missing[name] = NOT_ON_PATH.format(name=name)
        return name in self.missing

    def _nginx(self, body: str) -> Program:
        return self._configured(["nginx", "-p", str(self._folder), "-c"], _NGINX.format(body=body))

    def _configured(self, command: list[str], text: str) -> Program:
        """A program that reads its port from a file."""
        program = Program(command, folder=self._folder)
        return self._stack.enter_context(program.configured(text))
