"""The only place that knows which tools of a pool there are for its clients, and takes the others out of answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from sessionware.core.globs import name_regex
from sessionware.proxy.mcp.messages import TOOLS_CALL, Body

TOOLS_LIST: Final = "tools/list"


class ToolChoice(Struct, frozen=True):
    """`[pools.NAME] tools`: those pass that `include` names (empty: all) and `exclude` does not."""

    include: tuple[re.Pattern[str], ...] = ()
    exclude: tuple[re.Pattern[str], ...] = ()

    def offers(self, tool: str) -> bool:
        if self.include and not any(glob.match(tool) for glob in self.include):
            return False
        return not any(glob.match(tool) for glob in self.exclude)

    def hidden_call(self, body: Body) -> str | None:
        """The first tool that this body calls and that there is not for its client."""
        called = [message.tool for message in body.messages if message.method == TOOLS_CALL]
        return next((tool for tool in called if not self.offers(tool)), None)


class _Named(Struct):
    """A tool, as far as it is looked at."""

    name: str = ""


_MEMBERS: Final = msgspec.json.Decoder(dict[str, Raw])
_ITEMS: Final = msgspec.json.Decoder(list[Raw])
_NAMED: Final = msgspec.json.Decoder(_Named)


def choice_of(include: Sequence[str], exclude: Sequence[str]) -> ToolChoice | None:
    """The choice that these globs (without fault) make; None: there is nothing to choose."""
    if not include and not exclude:
        return None
    return ToolChoice(tuple(map(name_regex, include)), tuple(map(name_regex, exclude)))


def lists_tools(body: Body) -> bool:
    return any(message.method == TOOLS_LIST for message in body.messages)


def without_hidden(answer: bytes, choice: ToolChoice) -> bytes:
    """A JSON-RPC answer, or a batch of them, without the tools that are not offered; all else byte for byte.

    Raises msgspec.DecodeError for what is no JSON.
    """
    if answer.lstrip(b" \t\r\n")[:1] == b"[":
        parts = [without_hidden(bytes(each), choice) for each in _ITEMS.decode(answer)]
        return b"[" + b",".join(parts) + b"]"
    try:
        message = _MEMBERS.decode(answer)
        result = _MEMBERS.decode(message["result"])
        tools = _ITEMS.decode(result["tools"])
    except (KeyError, msgspec.ValidationError):  # an error, a notification, another result
        return answer
    kept = [tool for tool in tools if _is_offered(tool, choice)]
    if len(kept) == len(tools):
        return answer
    result["tools"] = _encoded(kept)
    message["result"] = _encoded(result)
    return msgspec.json.encode(message)


def _is_offered(tool: Raw, choice: ToolChoice) -> bool:
    """A tool without a name cannot be called: it is nobody's secret."""
    try:
        return choice.offers(_NAMED.decode(tool).name)
    except msgspec.ValidationError:
        return True


def _encoded(value: Any) -> Raw:
    return Raw(msgspec.json.encode(value))
