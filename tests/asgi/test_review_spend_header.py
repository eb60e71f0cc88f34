"""X-Sessionware-Spend is between the app and us, on every path."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests.asgi.test_guard import scenario_of


async def priced(_: Request) -> PlainTextResponse:
    return PlainTextResponse("done", headers={"X-Sessionware-Spend": "tokens=5"})


@scenario_of([Route("/health", priced)])()
async def test_an_exempt_path_tells_the_client_no_prices(there):
    """interface.md section 5: the header is removed before the client sees it."""
    assert "x-sessionware-spend" not in (await there.get("/health")).headers
