"""What the conformance server says or asks while a call runs: logs, progress, sampling, elicitation, changes."""

import asyncio
import warnings
from typing import Any, Final

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    ClientCapabilities,
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequestedSchema,
    SamplingCapability,
    SamplingMessage,
    TextContent,
)

PAUSE_S: Final = 0.05  # between two notices, as the suite wants it
AWAY_S: Final = 0.2  # long enough for a client to come back after RETRY_MS

DEFAULTS: Final[ElicitRequestedSchema] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    },
}
ENUMS: Final[ElicitRequestedSchema] = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {
            "type": "string",
            "oneOf": [
                {"const": "value1", "title": "First Option"},
                {"const": "value2", "title": "Second Option"},
                {"const": "value3", "title": "Third Option"},
            ],
        },
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
        "titledMulti": {
            "type": "array",
            "items": {
                "anyOf": [
                    {"const": "value1", "title": "First Choice"},
                    {"const": "value2", "title": "Second Choice"},
                    {"const": "value3", "title": "Third Choice"},
                ]
            },
        },
    },
}
CONTACT: Final[ElicitRequestedSchema] = {
    "type": "object",
    "properties": {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    },
    "required": ["username", "email"],
}

Call = Context[Any, Any]


def add_to(server: MCPServer[Any]) -> None:
    for tool in (
        test_tool_with_logging, test_tool_with_progress, test_sampling, test_elicitation,
        test_elicitation_sep1034_defaults, test_elicitation_sep1330_enums, test_reconnection, test_missing_capability,
        test_logging_tool, test_streaming_elicitation, test_trigger_tool_change, test_trigger_prompt_change,
    ):  # fmt: skip
        server.add_tool(tool, structured_output=False)


async def test_tool_with_logging(ctx: Call) -> str:
    """Log three times."""
    for text in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await _log(ctx, text)
        await asyncio.sleep(PAUSE_S)
    return "logged three times"


async def test_logging_tool(ctx: Call) -> str:
    """Log once; in the modern era only callers who asked for logs get it."""
    await _log(ctx, "a line that only those get who asked for it")
    return "logged once"


async def test_tool_with_progress(ctx: Call) -> str:
    """Report progress at 0, 50 and 100."""
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100)
        await asyncio.sleep(PAUSE_S)
    return "progress was reported three times"


async def test_sampling(prompt: str, ctx: Call) -> str:
    """Ask the client's model."""
    message = SamplingMessage(role="user", content=TextContent(text=prompt))
    answer = await ctx.session.send_request(
        CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=100)),
        CreateMessageResult,
        metadata=ServerMessageMetadata(related_request_id=ctx.request_id),
    )
    return f"LLM response: {answer.content.text if isinstance(answer.content, TextContent) else answer.content.type}"


async def test_elicitation(message: str, ctx: Call) -> str:
    """Ask the user for a name and an address."""
    return f"User response: {await _asked(ctx, message, CONTACT)}"


async def test_elicitation_sep1034_defaults(ctx: Call) -> str:
    """Ask with a default for each primitive type."""
    return f"Elicitation completed: {await _asked(ctx, 'Please check these values', DEFAULTS)}"


async def test_elicitation_sep1330_enums(ctx: Call) -> str:
    """Ask with each form of an enumeration."""
    return f"Elicitation completed: {await _asked(ctx, 'Please choose', ENUMS)}"


async def test_streaming_elicitation(ctx: Call) -> str:
    """Stream an answer: in the modern era a question may never be a request on that stream."""
    await ctx.report_progress(0, 1)
    return "asked nothing on the stream"


async def test_reconnection(ctx: Call) -> str:
    """Close the caller's stream in the middle of the call; the answer waits for the client to come back."""
    await ctx.close_sse_stream()
    await asyncio.sleep(AWAY_S)
    return "Reconnection test completed"


async def test_missing_capability(ctx: Call) -> str:
    """Refuse clients that cannot sample."""
    if ctx.client_capabilities is None or ctx.client_capabilities.sampling is None:
        needed = ClientCapabilities(sampling=SamplingCapability())
        data = {"requiredCapabilities": needed.model_dump(by_alias=True, mode="json", exclude_none=True)}
        raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "this tool needs a client that can sample", data)
    return "the client can sample"


async def test_trigger_tool_change(ctx: Call) -> str:
    """Say that the list of tools has changed."""
    await ctx.notify_tools_changed()
    return "said so"


async def test_trigger_prompt_change(ctx: Call) -> str:
    """Say that the list of prompts has changed."""
    await ctx.notify_prompts_changed()
    return "said so"


async def _log(ctx: Call, text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MCPDeprecationWarning)  # dropped in 2026-07-28, still examined before it
        await ctx.session.send_log_message("info", text, related_request_id=ctx.request_id)


async def _asked(ctx: Call, message: str, schema: ElicitRequestedSchema) -> str:
    answer = await ctx.session.elicit_form(message, schema, related_request_id=ctx.request_id)
    return f"action={answer.action}, content={answer.content}"
