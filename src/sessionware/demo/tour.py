"""The only place that says what a visitor may try: the text that `sessionware demo` prints, and its commands."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct

LIMITS: Final = "100/minute per session; slow=3/hour per session for tool sleep"
TRIES: Final = 4  # one more than that limit allows


class Step(Struct, frozen=True):
    """One thing to try: why, and the words of the command."""

    why: str
    words: tuple[str, ...]
    repeat: int = 1

    def line(self, command: str) -> str:
        """What to paste into a shell; `command` calls sessionware."""
        once = f"{command} {shlex.join(self.words)}"
        if self.repeat == 1:
            return once
        return f"for n in {' '.join(str(number) for number in range(1, self.repeat + 1))}; do {once}; done"


def steps(url: str) -> Iterator[Step]:
    """The walk, in its order; every command works by itself."""
    yield Step("Which tools are there?", ("call", url))
    yield Step(
        "Alice's session is bound to one of the two servers, which remembers what she says.",
        _call(url, "remember", {"text": "Alice likes tea", "handle": "note"}, "alice"),
    )
    yield Step("Her next call reaches the same server.", _call(url, "recall", {"handle": "note"}, "alice"))
    yield Step(
        "Bob's session is another one: the server that it is bound to says its name.", _call(url, "whoami", {}, "bob")
    )
    yield Step("Progress comes as it happens.", _call(url, "sleep", {"seconds": 2}, "alice"))
    yield Step(
        "A tool may be called three times an hour in each session: the fourth call is refused, and says why.",
        _call(url, "sleep", {"seconds": 0}, "carol"),
        repeat=TRIES,
    )
    yield Step(
        "A client of the older protocol gets a session of its own.",
        ("call", url, "counter", "--legacy"),
    )


def text(url: str, command: str) -> str:
    """The whole walk-through."""
    base = url.rsplit("/", 1)[0]
    walk = "\n".join(f"  # {step.why}\n  {step.line(command)}\n" for step in steps(url))
    return f"""\
Two MCP servers, and the proxy in front of them: {url}

Paste these into another terminal:

{walk}
In a browser: {base}/ready and {base}/metrics

For an editor, as mcp.json:

{mcp_json(url)}

Ctrl-C stops everything.
"""


def mcp_json(url: str) -> str:
    """What editors read."""
    return json.dumps({"mcpServers": {"sessionware-demo": {"type": "http", "url": url}}}, indent=2)


def _call(url: str, tool: str, arguments: dict[str, Any], session: str) -> tuple[str, ...]:
    return ("call", url, tool, json.dumps(arguments), "--session", session)
