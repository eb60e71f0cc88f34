"""What the conformance server answers in several rounds (2026-07-28): it asks back, and the client calls again."""

from typing import Any, Final

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp_types import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequest,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    TextContent,
)

Call = Context[Any, Any]
CONFIRMING: Final = "waits for a confirmation"


def add_to(server: MCPServer[Any]) -> None:
    for tool in (
        test_input_required_result_elicitation, test_input_required_result_sampling,
        test_input_required_result_list_roots, test_input_required_result_request_state,
        test_input_required_result_multiple_inputs, test_input_required_result_multi_round,
        test_input_required_result_tampered_state, test_input_required_result_capabilities,
    ):  # fmt: skip
        server.add_tool(tool, structured_output=False)
    server.prompt()(test_input_required_result_prompt)


async def test_input_required_result_elicitation(ctx: Call) -> str | InputRequiredResult:
    """Ask the user's name, then greet."""
    name = _answered(ctx, "user_name", "name")
    if name is None:
        return InputRequiredResult(input_requests={"user_name": _question("What is your name?", "name")})
    return f"Hello, {name}!"


async def test_input_required_result_sampling(ctx: Call) -> str | InputRequiredResult:
    """Ask the client's model."""
    answer = (ctx.input_responses or {}).get("capital_question")
    if answer is None:
        asked = _sampling("What is the capital of France?", max_tokens=100)
        return InputRequiredResult(input_requests={"capital_question": asked})
    return f"The model says: {answer.model_dump_json(by_alias=True)}"


async def test_input_required_result_list_roots(ctx: Call) -> str | InputRequiredResult:
    """Ask for the client's roots."""
    answer = (ctx.input_responses or {}).get("client_roots")
    if answer is None:
        return InputRequiredResult(input_requests={"client_roots": ListRootsRequest()})
    return f"The roots are: {answer.model_dump_json(by_alias=True)}"


async def test_input_required_result_request_state(ctx: Call) -> str | InputRequiredResult:
    """Ask for a confirmation and check the state that comes back with it."""
    return _confirmed(ctx)


async def test_input_required_result_tampered_state(ctx: Call) -> str | InputRequiredResult:
    """The same; the package seals the state and refuses a changed one."""
    return _confirmed(ctx)


async def test_input_required_result_multiple_inputs(ctx: Call) -> str | InputRequiredResult:
    """Ask three things at once."""
    asked: dict[str, InputRequest] = {
        "user_name": _question("What is your name?", "name"),
        "greeting": _sampling("Generate a greeting", max_tokens=50),
        "client_roots": ListRootsRequest(),
    }
    if asked.keys() - (ctx.input_responses or {}).keys():
        return InputRequiredResult(input_requests=asked, request_state="waits for three answers")
    return f"Hello, {_answered(ctx, 'user_name', 'name')}: all three answers are here"


async def test_input_required_result_multi_round(ctx: Call) -> str | InputRequiredResult:
    """Ask twice, one after the other; the first answer travels in the state."""
    name, color = _answered(ctx, "step1", "name"), _answered(ctx, "step2", "color")
    if color is not None:
        return f"{ctx.request_state}, and likes {color}"
    if name is not None:
        second = _question("Step 2: What is your favorite color?", "color")
        return InputRequiredResult(input_requests={"step2": second}, request_state=f"is called {name}")
    first = _question("Step 1: What is your name?", "name")
    return InputRequiredResult(input_requests={"step1": first}, request_state="knows nothing yet")


async def test_input_required_result_capabilities(ctx: Call) -> str | InputRequiredResult:
    """Ask only what the client says it can answer."""
    able = ctx.client_capabilities
    asked: dict[str, InputRequest] = {}
    if able is not None and able.sampling is not None:
        asked["greeting"] = _sampling("Generate a greeting", max_tokens=50)
    if able is not None and able.elicitation is not None:
        asked["user_name"] = _question("What is your name?", "name")
    if not asked or ctx.input_responses:
        return "nothing is left to ask"
    return InputRequiredResult(input_requests=asked)


async def test_input_required_result_prompt(ctx: Call) -> str | InputRequiredResult:
    """A prompt that needs to know its context first."""
    context = _answered(ctx, "user_context", "context")
    if context is None:
        asked = _question("What context should the prompt use?", "context")
        return InputRequiredResult(input_requests={"user_context": asked})
    return f"Work in this context: {context}"


def _confirmed(ctx: Call) -> str | InputRequiredResult:
    answer = (ctx.input_responses or {}).get("confirm")
    if ctx.request_state == CONFIRMING and isinstance(answer, ElicitResult):
        return "state-ok"
    asked = _question("Please confirm", "ok", kind="boolean")
    return InputRequiredResult(input_requests={"confirm": asked}, request_state=CONFIRMING)


def _answered(ctx: Call, key: str, field: str) -> str | None:
    """The field of the user's answer, when there is one."""
    answer = (ctx.input_responses or {}).get(key)
    if not isinstance(answer, ElicitResult) or answer.action != "accept" or not answer.content:
        return None
    value = answer.content.get(field)
    return value if isinstance(value, str) else None


def _question(message: str, field: str, *, kind: str = "string") -> ElicitRequest:
    schema = {"type": "object", "properties": {field: {"type": kind}}, "required": [field]}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def _sampling(text: str, *, max_tokens: int) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=TextContent(text=text))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=max_tokens))
