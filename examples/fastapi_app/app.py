"""The chat service itself. Everything about sessions is in `sessionware`; this is only what the app does."""

import hmac
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import Body, Depends, FastAPI, HTTPException, WebSocket
from fastapi.responses import StreamingResponse

from examples.fastapi_app.model import answer, cost_of
from sessionware import LimitExceeded, Sessionware
from sessionware.integrations.fastapi import CurrentSession, Limited

PASSWORDS = {"alice": "wonderland", "bob": "builder"}  # your own user database, with hashed passwords
ANSWER_AT_MOST = 50  # tokens that are reserved for an answer before its length is known

app = FastAPI(title="Chat")
sessionware = Sessionware.from_env(
    session_cookie="session",  # browsers and `curl -c` keep it; nothing is stored until something is written
    session_body_field="session_id",  # old clients send the id in the body of every call
    session_query="session_id",  # EventSource and WebSocket of browsers cannot send headers
    limits=["120/minute per session", "daily=2_000 tokens/day per user for /api/chat/**,/api/ws"],
)
sessionware.install(app, api="/auth")  # sessions on every path, and the session API under /auth

Text = Annotated[str, Body(embed=True)]


@app.post("/api/login", dependencies=[Limited("login=30/minute per client")])
async def login(session: CurrentSession, user: Text, password: Text) -> dict[str, Any]:
    """The session gets a new id in the user's name; what was said before is kept."""
    if not password or not hmac.compare_digest(PASSWORDS.get(user, "").encode(), password.encode()):
        raise HTTPException(403, "Wrong user or password")
    await session.login(user)
    return who(session)


@app.post("/api/logout")
async def logout(session: CurrentSession) -> None:
    """End this session, and take its cookie back."""
    await session.logout()


@app.post("/api/logout-everywhere-else")
async def logout_everywhere_else(session: CurrentSession) -> dict[str, int]:
    """End the user's sessions on all other devices. `GET /auth/sessions` lists them."""
    return {"ended": len(await session.logout_everywhere())}


@app.post("/api/chat", dependencies=[Limited("60/minute per session")])
async def chat(session: CurrentSession, message: Text) -> dict[str, Any]:
    """One message, one answer; the words of both are taken from the day's tokens."""
    await session.spend(tokens=cost_of(message))
    turn = await say(session, "user", message)
    reply = " ".join([word async for word in answer(message, turn=turn)])
    await session.charge(tokens=cost_of(reply))  # it was made already: booked, even over the allowance
    await session.context.append({"role": "assistant", "content": reply})
    return {"reply": reply} | who(session)


async def estimate(session: CurrentSession, message: str) -> AsyncIterator[Any]:
    """Tokens for an answer of unknown length: a 429 before the first byte, settled in the stream.

    FastAPI leaves the block when the response is over. A client that leaves early has paid for the estimate.
    """
    async with session.reserve(tokens=cost_of(message) + ANSWER_AT_MOST) as hold:
        yield hold


@app.get("/api/chat/stream", dependencies=[Limited("60/minute per session")])
async def stream(session: CurrentSession, message: str, hold: Annotated[Any, Depends(estimate)]) -> StreamingResponse:
    """The same as server-sent events, for EventSource."""
    turn = await say(session, "user", message)

    async def events() -> AsyncIterator[str]:
        words = []
        async for word in answer(message, turn=turn):
            words.append(word)
            yield f"data: {word}\n\n"
        await hold.settle(tokens=cost_of(message) + len(words))
        await session.context.append({"role": "assistant", "content": " ".join(words)})
        yield "event: done\ndata:\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


@app.websocket("/api/ws", dependencies=[Limited("30/minute per session")])
async def socket(socket: WebSocket, session: CurrentSession) -> None:
    """A conversation; it closes when the session ends, wherever it is ended."""
    await socket.accept()
    async for message in socket.iter_text():
        try:
            await session.spend(tokens=cost_of(message))
        except LimitExceeded as error:
            await socket.send_json({"error": str(error), "retry_after": error.retry_after})
            continue
        turn = await say(session, "user", message)
        async for word in answer(message, turn=turn):
            await socket.send_json({"word": word})
        await socket.send_json({"done": True, "turns": turn})


@app.get("/api/state")
async def state(session: CurrentSession) -> dict[str, Any]:
    """Who is talking, and what was said in this session."""
    return who(session) | {"messages": await session.context.last(20), "calls": session.data.get("calls", [])}


@app.post("/api/{call}")
async def other(
    session: CurrentSession, call: Literal["interrupt", "network-switch", "transaction-result"]
) -> dict[str, Any]:
    """The client's other calls: all belong to its session."""
    session.data.setdefault("calls", []).append(call)
    return who(session)


async def say(session: CurrentSession, role: str, content: str) -> int:
    """Add to the conversation; answers how many turns it has now."""
    turns = session.data["turns"] = session.data.get("turns", 0) + 1
    await session.context.append({"role": role, "content": content})
    return int(turns)


def who(session: CurrentSession) -> dict[str, Any]:
    """What may be shown of a session: its public `ref`, never its id."""
    return {"session": session.ref, "user": session.user_id, "turns": session.data.get("turns", 0)}
