"""The notebook: every visitor has one of their own, and takes it along when they log in."""

from collections.abc import AsyncGenerator
from typing import Any

from litestar import Controller, Litestar, get, post, websocket
from litestar.connection import WebSocket
from litestar.params import FromPath, JSONBody
from litestar.response import ServerSentEvent
from msgspec import Struct

from sessionware.integrations.litestar import CurrentSession, SessionwarePlugin, limited


class Note(Struct):
    """What is written down."""

    text: str


class Login(Struct):
    """Whom the app believes: look the password up in your own database first."""

    user: str


class Notes(Controller):
    """The notes of the session."""

    path = "/notes"

    @get("/")
    async def read(self, session: CurrentSession) -> dict[str, Any]:
        return {"user": session.user_id, "notes": session.data.get("notes", [])}

    @post("/", guards=[limited("10/minute per session"), limited("write=20/minute per client")])
    async def write(self, session: CurrentSession, data: JSONBody[Note]) -> dict[str, int]:
        session.data.setdefault("notes", []).append(data.text)
        return {"count": len(session.data["notes"])}

    @get("/{number:int}", guards=[limited("30/minute per session")])
    async def one(self, session: CurrentSession, number: FromPath[int]) -> Note:
        return Note(session.data["notes"][number])

    @get("/stream")
    async def stream(self, session: CurrentSession) -> ServerSentEvent:
        notes = list(session.data.get("notes", []))

        async def events() -> AsyncGenerator[str, None]:
            for note in notes:
                yield note

        return ServerSentEvent(events())


@post("/login")
async def login(session: CurrentSession, data: JSONBody[Login]) -> dict[str, str | None]:
    """The session gets a new id, in the user's name; its notes are kept."""
    await session.login(data.user)
    return {"user": session.user_id}


@websocket("/live", guards=[limited("10/minute per session")])
async def live(socket: WebSocket[Any, Any, Any], session: CurrentSession) -> None:
    """Writes down whatever is said, until the client leaves."""
    await socket.accept()
    async for text in socket.iter_data("text"):
        session.data.setdefault("notes", []).append(text)
        await session.save()
        await socket.send_json({"count": len(session.data["notes"])})


app = Litestar(
    [Notes, login, live],
    plugins=[SessionwarePlugin(api="/auth", limits="100/minute per session")],
)
