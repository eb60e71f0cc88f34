"""`sessionware sessions` and `cleanup`: beside servers that run, on the store that they share."""

import asyncio
import json
import os
import re

import httpx2
import pytest

from sessionware import Sessionware
from sessionware.assembly.visiting import PATIENCE_MS
from sessionware.cli import main
from sessionware.config.settings import Settings
from sessionware.core.store import CLAIM_MS
from tests.mcp_servers import McpServer
from tests.proxy.standing_proxy import TOKENS, serving, token
from tests.proxy.stories import FORMS, HELLO, asked, begun
from tests.selection import selected_stores
from tests.servers import RedisServer
from tests.serving import soon
from tests.stores.opening import some_place_on

SHARED = [kind for kind in selected_stores() if kind != "memory"]
HANDLE = re.compile(r"s-[a-z2-7]{34}")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder of our own, and no setting but those of the command line."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("SESSIONWARE_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture(params=SHARED)
def store(request, monkeypatch):
    """A store of each kind that can be shared, empty, and named by the environment."""
    if request.param == "sqlite":
        monkeypatch.setenv("SESSIONWARE_STORE", "sqlite:///s.db")
        yield "sqlite:///s.db"
        return
    if request.param == "postgres":
        url = some_place_on(request.getfixturevalue("postgres_url"))
        monkeypatch.setenv("SESSIONWARE_STORE", url)
        yield url
        return
    with RedisServer() as server:
        monkeypatch.setenv("SESSIONWARE_STORE", server.url)
        yield server.url


def serve(store, work):
    """What a server of this store does meanwhile."""

    async def visit():
        async with Sessionware(Settings(store=store, store_timeout=PATIENCE_MS)) as sessionware:
            return await work(sessionware.sessions)

    return asyncio.run(visit())


@pytest.fixture
def four(store):
    """Two users with two sessions each; answers the handles, and the id of a stranger's session."""

    async def work(sessions):
        handles = {}
        for user in ("alice", "bob"):
            for name in ("work", "home"):
                by = sessions.user(user)
                started = await sessions.start(name, by=by, metadata={"told": "a secret"}, data={"kept": "another"})
                handles[user, name] = started.session.handle
        return handles, (await sessions.start()).id

    return serve(store, work)


def run(capsys, *arguments):
    code = main(list(arguments))
    return code, *capsys.readouterr()


def handles_in(text):
    return HANDLE.findall(text)


def test_the_list_shows_handles_and_never_ids_or_what_is_kept(capsys, four):
    handles, stranger = four
    code, out, err = run(capsys, "sessions", "list")
    assert (code, err) == (0, "")
    head, *rows = (re.split("  +", line) for line in out.splitlines())
    assert head == ["HANDLE", "USER", "NAME", "CREATED", "LAST ACTIVE", "EXPIRES"]
    (strangers,) = [row[0] for row in rows if row[1] == "-"]
    assert {(user, name): handle for handle, user, name, *_ in rows} == handles | {("-", "-"): strangers}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", each) for row in rows for each in row[3:])
    for secret in (stranger, stranger.partition(".")[2], "a secret", "another"):
        assert secret not in out


def test_a_user_s_sessions_how_many_and_the_first_of_them(capsys, four):
    handles, _ = four
    code, out, _ = run(capsys, "sessions", "list", "--user", "bob", "--json")
    told = json.loads(out)
    assert (code, told["count"], {each["handle"] for each in told["sessions"]}) == (
        0, 2, {handles["bob", "work"], handles["bob", "home"]},
    )  # fmt: skip
    assert run(capsys, "sessions", "list", "--count") == (0, "5\n", "")
    assert run(capsys, "sessions", "list", "--count", "--user", "nobody") == (0, "0\n", "")
    code, out, err = run(capsys, "sessions", "list", "--limit", "2")
    assert (len(handles_in(out)), err) == (2, "sessionware: 2 of 5 are shown: --limit 5 shows all\n")


def test_a_session_is_found_by_its_handle_its_ref_and_its_name(capsys, four):
    handles, stranger = four
    handle = handles["bob", "home"]
    for which in ([handle], [handle[:10]], ["home", "--user", "bob"]):
        code, out, err = run(capsys, "sessions", "show", *which, "--json")
        told = json.loads(out)
        assert (code, err, told["handle"], told["user_id"], told["links"]) == (0, "", handle, "bob", [])
        assert "secret" not in out
    code, out, _ = run(capsys, "sessions", "show", stranger)
    assert (code, stranger in out) == (0, False)
    assert run(capsys, "sessions", "show", "attic", "--user", "bob")[0] == 1


def test_sessions_are_closed_one_by_one_or_all_of_a_user(capsys, four):
    handles, _ = four
    one, unknown = handles["bob", "home"], "s-" + "a" * 8
    code, out, err = run(capsys, "sessions", "close", one, unknown)
    assert (code, out, f"no live session is {unknown}" in err) == (1, f"closed {one}\n", True)
    assert run(capsys, "sessions", "close", one)[0] == 1
    code, out, _ = run(capsys, "sessions", "close", "--user", "alice", "--json")
    assert (code, sorted(json.loads(out)["handles"])) == (
        0,
        sorted([handles["alice", "work"], handles["alice", "home"]]),
    )
    assert run(capsys, "sessions", "list", "--count") == (0, "2\n", "")


@pytest.mark.skipif("sqlite" not in SHARED, reason="not among STORES")
def test_the_servers_of_the_store_are_handed_what_was_closed_and_tell_their_observers(capsys, here):
    store = "sqlite:///s.db"

    async def before(sessions):
        return (await sessions.start("work", by=sessions.user("alice"))).session.handle

    async def after(sessions):
        runtime = sessions.runtime
        claims_are_over = runtime.now() + CLAIM_MS + 1
        return [ended.session.birth.name for ended in await runtime.store.reap(now=claims_are_over, limit=10)]

    handle = serve(store, before)
    assert run(capsys, "sessions", "close", handle, "--store", store) == (0, f"closed {handle}\n", "")
    assert serve(store, after) == ["work"]


def test_whoever_is_revoked_has_no_session_left(capsys, four):
    handles, _ = four
    code, out, err = run(capsys, "sessions", "revoke", "--user", "bob")
    assert (code, sorted(handles_in(out)), err) == (0, sorted([handles["bob", "work"], handles["bob", "home"]]), "")
    assert run(capsys, "sessions", "list", "--count", "--user", "bob") == (0, "0\n", "")
    assert run(capsys, "sessions", "list", "--count", "--user", "alice") == (0, "2\n", "")


def test_cleanup_takes_what_was_idle_for_so_long_and_no_more(capsys, four):
    assert run(capsys, "cleanup") == (0, "removed none\n", "")
    assert run(capsys, "cleanup", "--idle", "1h") == (0, "removed none\n", "")
    code, out, _ = run(capsys, "cleanup", "--idle", "1ms", "--json")
    assert (code, json.loads(out)["removed"]) == (0, 5)


@pytest.mark.skipif("sqlite" not in SHARED, reason="not among STORES")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sessions", "list"], "SESSIONWARE_STORE: memory:// lives inside the process that serves it"),
        (["sessions", "list", "--store", "memory://"], "--store: memory:// lives inside"),
        (["cleanup", "--store", "sqlite:///none.db"], "--store: sqlite:///none.db is not there"),
        (["sessions", "list", "--store", "mysql://x"], "unknown store scheme mysql://"),
        (["sessions", "list", "--store", "sqlite:///s.db", "--limit", "0"], "--limit must be at least 1, got 0"),
        (["sessions", "list", "--store", "sqlite:///s.db", "--iss", "x"], "name the user, too"),
        (["sessions", "show", "--store", "sqlite:///s.db", "work"], "'work' is no handle"),
        (["sessions", "show", "--store", "sqlite:///s.db", "s-x"], "neither a handle (36 characters) nor a ref (10)"),
        (["sessions", "close", "--store", "sqlite:///s.db"], "sessions close: which?"),
        (
            ["sessions", "revoke", "--store", "sqlite:///s.db"],
            "exactly one of --user, --jti (with --iss) and --token -",
        ),
        (["cleanup", "--store", "sqlite:///s.db", "--idle", "soon"], "--idle: 'soon' is no duration"),
    ],
)
def test_a_mistake_is_one_clear_line_and_founds_no_store(here, capsys, arguments, said):
    async def nothing(_):
        return None

    serve("sqlite:///s.db", nothing)
    before = sorted(here.iterdir())
    code, out, err = run(capsys, *arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert said in err
    assert sorted(here.iterdir()) == before


@pytest.mark.skipif("redis" not in SHARED, reason="not among STORES")
def test_a_store_that_is_away_is_one_clear_line(capsys):
    code, out, err = run(capsys, "sessions", "list", "--store", "redis://me:hunter2@127.0.0.1:1/0")
    assert (code, out, len(err.splitlines()), "hunter2" in err) == (2, "", 1, False)
    assert "cannot be reached" in err


@pytest.mark.skipif("sqlite" not in SHARED, reason="not among STORES")
def test_a19_what_is_closed_from_the_command_line_ends_upstream_and_for_its_client(capsys, monkeypatch, here):
    store = f"sqlite:///{here}/s.db"
    with McpServer() as upstream, serving(upstream.url, store=store, store_timeout=10, **TOKENS) as server:
        headers = {"Authorization": f"Bearer {token('alice')}", "X-Session-ID": "work"}
        legacy_id = begun(server, **headers)
        whoami = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "whoami", "arguments": {}}}
        answer = asked(server, legacy_id, whoami, **headers).text
        (theirs,) = re.findall(r'\\"session\\": ?\\"([0-9a-f]+)', answer)
        monkeypatch.setenv("SESSIONWARE_STORE", store)
        monkeypatch.setenv("SESSIONWARE_UPSTREAMS", upstream.url)
        code, out, _ = run(capsys, "sessions", "show", "work", "--user", "alice", "--iss", TOKENS["jwt_issuer"])
        assert (code, "2025-11-25" in out, theirs in out, legacy_id in out) == (0, True, False, False)
        handle = handles_in(out)[0]
        assert run(capsys, "sessions", "close", handle) == (0, f"closed {handle}\n", "")
        straight = {"Mcp-Session-Id": theirs, "Accept": "application/json, text/event-stream"}
        assert httpx2.post(upstream.url, headers=straight, json=whoami).status_code == 404
        assert asked(server, legacy_id, **headers).status_code == 404


@pytest.mark.skipif("sqlite" not in SHARED, reason="not among STORES")
def test_a22_a_token_that_is_revoked_from_the_command_line_is_refused_everywhere(capsys, monkeypatch, here):
    store = f"sqlite:///{here}/s.db"
    with McpServer() as upstream, serving(upstream.url, store=store, store_timeout=10, **TOKENS) as server:
        hers, his = token("alice"), token("bob")
        alice, bob = ({"Authorization": f"Bearer {each}", "X-Session-ID": "work"} for each in (hers, his))
        legacy = {id(each): begun(server, **each) for each in (alice, bob)}
        monkeypatch.setattr("sys.stdin", _Said(hers))
        code, out, _ = run(capsys, "sessions", "revoke", "--token", "-", "--store", store)
        assert (code, len(handles_in(out)), hers in out) == (0, 1, False)
        assert asked(server, legacy[id(alice)], **alice).status_code == 401
        assert soon(lambda: httpx2.post(f"{server.url}/mcp", headers=FORMS | alice, json=HELLO).status_code == 401)
        assert asked(server, legacy[id(bob)], **bob).status_code == 200


class _Said:
    def __init__(self, text):
        self._text = text

    def read(self, _):
        return self._text
