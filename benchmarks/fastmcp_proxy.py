"""The peer fastmcp as a proxy, run by the interpreter it is installed for: fastmcp_proxy.py PORT URL."""

from __future__ import annotations

import sys

from fastmcp.server import create_proxy

if __name__ == "__main__":
    create_proxy(sys.argv[2]).run(
        transport="http",
        host="127.0.0.1",
        port=int(sys.argv[1]),
        json_response=True,
        show_banner=False,
        log_level="ERROR",
    )
