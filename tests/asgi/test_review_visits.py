"""What is remembered of callers has a bound in bytes, not only in number."""

import pytest

from sessionware.asgi.visits import HEADERS_MAX, PATH_MAX, VISITS_MAX
from tests.asgi.test_guard import scenario
from tests.asgi.world import World

LONG = "x" * 60_000  # h11 lets so much in, httptools any length


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Session-Token", "Authorization", "X-API-Key"])
def test_headers_that_are_long_are_not_kept(name):
    """ASGI-04: 4,096 callers with a megabyte each would be 4 GiB, and nobody has to prove anything for it."""

    @scenario(limits="1/minute per client")
    async def run(there: World) -> None:
        for number in range(20):
            await there.get(headers=[(name, f"Basic {number}{LONG}")])
        kept = sum(len(part) for each in there.engine.visits.known for part in each if isinstance(part, bytes))
        assert kept <= HEADERS_MAX
        assert VISITS_MAX * HEADERS_MAX <= 64 * 2**20

    run()


@scenario()
async def test_paths_that_are_long_are_not_kept(there):
    for number in range(8):
        await there.get(f"/{number}{LONG}", user="alice")
    await there.get("/short", user="alice")
    usual = [path for visit in there.engine.visits.known.values() for _, path in visit.usual]
    assert usual == ["/short"]
    assert len("/short") <= PATH_MAX
