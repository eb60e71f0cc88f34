"""What is remembered of callers has a bound in bytes, not only in number."""

import pytest

from sessionware.asgi.visits import HEADERS_MAX, PATH_MAX, VISITS_MAX
from sessionware.credentials.api_keys import Revoked, append, new_key
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
    usual = [path for visit in there.engine.visits.known.values() for _, path, *_ in visit.usual]
    assert usual == ["/short"]
    assert len("/short") <= PATH_MAX


def test_a_revoked_key_stops_within_a_second_however_its_uses_fall(tmp_path):
    """A visit may be made just before the file is looked at again."""
    text, key = new_key("alice", now=0, org=None, groups=(), scopes=())
    append(tmp_path / "keys", key)

    @scenario(api_keys_file=str(tmp_path / "keys"))
    async def run(there: World) -> None:
        assert (await there.get(headers=[("X-API-Key", text)])).status_code == 200
        append(tmp_path / "keys", Revoked(revoked=key.id, at=1))
        there.clock.advance(499)
        other = [("X-API-Key", text), ("X-Forwarded-For", "192.0.2.1")]
        assert (await there.get(headers=other)).status_code == 200  # the file was looked at half a second ago
        there.clock.advance(501)
        assert (await there.get(headers=other)).status_code == 401

    run()


def test_a_clock_set_back_lengthens_no_belief(tmp_path):
    """Section 4, clock jump."""
    text, key = new_key("alice", now=0, org=None, groups=(), scopes=())
    append(tmp_path / "keys", key)

    @scenario(api_keys_file=str(tmp_path / "keys"))
    async def run(there: World) -> None:
        for _ in range(2):
            assert (await there.get(headers=[("X-API-Key", text)])).status_code == 200
        append(tmp_path / "keys", Revoked(revoked=key.id, at=1))
        there.clock.jump(-3_600_000)
        assert (await there.get(headers=[("X-API-Key", text)])).status_code == 401

    run()
