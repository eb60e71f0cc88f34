"""The only place that says what a pool lets its clients do: who enters, which tools there are, how much comes back."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from sessionware.asgi.problems import Problem, problem
from sessionware.proxy.mcp.messages import Body
from sessionware.proxy.mcp.tools import ToolChoice

SHOWN_MAX: Final = 100  # characters of a tool's name in an answer


class PoolRules(Struct, frozen=True, kw_only=True):
    """`tools` None: all of them. `groups`: any of these, none: whoever comes. `max_answer` 0: no bound."""

    tools: ToolChoice | None = None
    groups: frozenset[str] = frozenset()
    max_answer: int = 0

    def refusal(self, body: Body | None, *, names_session: bool) -> Problem | None:
        """Why a request is not for an upstream, although its sender was let in.

        With an `Mcp-Session-Id` in it a 404 is a command to begin anew, so that one is 403.
        """
        tool = None if self.tools is None or body is None else self.tools.hidden_call(body)
        if tool is None:
            return None
        shown = "".join(character for character in tool[:SHOWN_MAX] if character.isprintable())
        return problem(403 if names_session else 404, f"Tool not available: {shown}", "tool_not_available")


NO_RULES: Final = PoolRules()
