"""`sessionware sessions export` and `import`: sessions go from one store into another, sealed, and go on there."""

import asyncio
import json
import os
import stat
from pathlib import Path

import pytest
from msgspec.structs import replace

from sessionware import Sessionware
from sessionware.assembly.visiting import PATIENCE_MS
from sessionware.cli import main
from sessionware.config.settings import Settings
from sessionware.core.session import Link
from sessionware.core.store import Log
from sessionware.stores.sealing import new_key, read_keys
from tests.postgres_server import PostgresServer
from tests.redis_groups import RedisCluster
from tests.selection import is_selected
from tests.servers import RedisServer

OLD, NEW = "sqlite:///old.db", "sqlite:///new.db"
SECRET = "nobody reads this"
pytestmark = pytest.mark.skipif(not is_selected("sqlite"), reason="not among STORES")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder of our own, and no setting but one: the key that seals."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("SESSIONWARE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SESSIONWARE_SECRET_KEYS", new_key())
    return tmp_path


@pytest.fixture(params=["sqlite", "redis", "postgres"])
def target(request):
    """An empty store to import into."""
    if not is_selected(request.param):
        pytest.skip("not among STORES")
    if request.param == "sqlite":
        yield NEW
        return
    with (RedisServer if request.param == "redis" else PostgresServer)() as server:
        yield server.url


def serve(store, work):
    keys = read_keys(os.environ["SESSIONWARE_SECRET_KEYS"])

    async def visit():
        async with Sessionware(Settings(store=store, secret_keys=keys, store_timeout=PATIENCE_MS)) as sessionware:
            return await work(sessionware.sessions)

    return asyncio.run(visit())


def run(capsys, *arguments):
    code = main(list(arguments))
    return code, *capsys.readouterr()


async def begin(sessions):
    """A user's session with all that one can have, and a stranger's; answers the stranger's id."""
    runtime = sessions.runtime
    started = await sessions.start(
        "work", by=sessions.user("alice"), metadata={"device": SECRET}, data={"note": SECRET}
    )
    record = started.session.record
    for number in range(3):
        await sessions.append_context(started.session.handle, {"role": "user", "content": f"{SECRET} {number}"})
    link = Link(
        key=runtime.addresses.link_key(record.key.bucket, "a legacy id"), session=record.key, owner=record.birth.owner,
        pool="default", upstream="one", upstream_id="theirs", version="2025-11-25", created_at=runtime.now(),
        seen_at=runtime.now(), client="editor", handshake=SECRET.encode(),
    )  # fmt: skip
    await runtime.store.link(link, operation=runtime.operation(), now=runtime.now())
    await runtime.store.rebind(record.key, pool="default", was=None, to="one", now=runtime.now())
    return (await sessions.start()).id


async def known(sessions):
    """All that the store knows of every session."""
    runtime, found = sessions.runtime, {}
    for each in (await sessions.list()).sessions:
        session = await runtime.store.get(each.record.key, now=runtime.now())
        found[each.handle] = (
            replace(session, birth=replace(session.birth, holds=())),
            await runtime.store.tail(session.key, Log.CONTEXT, 10, now=runtime.now()),
        )
    return found


def test_sessions_go_on_in_another_store_under_their_ids(capsys, here, target):
    stranger = serve(OLD, begin)
    before = serve(OLD, known)
    assert run(capsys, "sessions", "export", "all.jsonl", "--store", OLD) == (0, "exported 2\n", "")
    assert SECRET not in (here / "all.jsonl").read_text()
    assert stat.S_IMODE((here / "all.jsonl").stat().st_mode) == 0o600
    assert run(capsys, "sessions", "import", "all.jsonl", "--store", target) == (0, "2 made, 0 there, 0 expired\n", "")
    assert serve(target, known) == before

    async def use(sessions):
        hers = await sessions.get("work", by=sessions.user("alice"))
        return hers.data, (await sessions.ping(stranger)).id

    assert serve(target, use) == ({"note": SECRET}, stranger)


@pytest.mark.skipif(not is_selected("cluster"), reason="not among STORES")
def test_ids_go_on_in_a_cluster_and_back_again_though_sessions_lie_in_other_buckets_there(capsys):
    stranger = serve(OLD, begin)
    before = serve(OLD, known)

    async def use(sessions):
        hers = await sessions.get("work", by=sessions.user("alice"))
        return hers.data, (await sessions.ping(stranger)).id

    async def inside(sessions):
        """Of each session: does it lie where its id is looked for, and which sessions do it and its links name."""
        runtime = sessions.runtime
        found = [
            await runtime.store.get(each.record.key, now=runtime.now()) for each in (await sessions.list()).sessions
        ]
        return [
            (
                each.key.bucket == runtime.addresses.bucket(each.birth.tag),
                {each.key} | {link.session for link in each.links},
            )
            for each in found
        ]

    with RedisCluster(masters=2, replicas=0) as cluster:
        assert run(capsys, "sessions", "export", "there.jsonl", "--store", OLD)[0] == 0
        assert run(capsys, "sessions", "import", "there.jsonl", "--store", cluster.url)[1].startswith("2 made")
        assert all(is_home and len(keys) == 1 for is_home, keys in serve(cluster.url, inside))
        assert run(capsys, "sessions", "export", "back.jsonl", "--store", cluster.url)[0] == 0
        assert run(capsys, "sessions", "import", "back.jsonl", "--store", NEW)[1].startswith("2 made")
        assert serve(NEW, known) == before
        assert serve(cluster.url, use) == ({"note": SECRET}, stranger)


def test_what_is_there_is_left_alone_and_what_has_expired_stays_out(capsys):
    async def begin_and_end(sessions):
        await begin(sessions)
        await sessions.start("short", by=sessions.user("bob"), ttl=60)

    async def change(sessions):
        await sessions.update("work", lambda data: {"note": "newer"}, by=sessions.user("alice"))

    async def note(sessions):
        return (await sessions.get("work", by=sessions.user("alice"))).data, await sessions.count()

    serve(OLD, begin_and_end)
    assert run(capsys, "sessions", "export", "all.jsonl", "--store", OLD)[0] == 0
    serve(OLD, change)
    code, _, err = run(capsys, "sessions", "import", "all.jsonl", "--store", OLD)
    assert (code, "the store holds 3 sessions: --merge brings in the others" in err) == (2, True)
    expire("all.jsonl", name="short")
    code, out, _ = run(capsys, "sessions", "import", "all.jsonl", "--store", NEW, "--json")
    assert (code, json.loads(out)) == (0, {"made": 2, "there": 0, "expired": 1, "faults": []})
    assert (
        run(capsys, "sessions", "import", "all.jsonl", "--store", OLD, "--merge")[1] == "0 made, 2 there, 1 expired\n"
    )
    assert serve(OLD, note) == ({"note": "newer"}, 3)


def expire(file, *, name):
    """As if a year had passed for one of them."""
    lines = [json.loads(line) for line in Path(file).read_text().splitlines()]
    for line in lines:
        if name in line.get("session", {}).get("birth", []):
            line["session"]["expires_at"] = 1
    Path(file).write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))


def test_a_line_that_was_altered_is_told_and_the_others_come_in(capsys, here):
    serve(OLD, begin)
    assert run(capsys, "sessions", "export", "all.jsonl", "--store", OLD)[0] == 0
    heading, first, second, end = (here / "all.jsonl").read_text().splitlines()
    sealed = json.loads(first)
    sealed["session"]["data"], sealed["session"]["metadata"] = sealed["session"]["metadata"], sealed["session"]["data"]
    (here / "altered.jsonl").write_text("\n".join([heading, json.dumps(sealed), second, end]) + "\n")
    code, out, err = run(capsys, "sessions", "import", "altered.jsonl", "--store", NEW)
    assert (code, out) == (1, "1 made, 0 there, 0 expired\n")
    assert "altered.jsonl, line 2: metadata of session s-" in err
    (here / "cut.jsonl").write_text("\n".join([heading, first[:100]]))
    code, out, err = run(capsys, "sessions", "import", "cut.jsonl", "--store", "sqlite:///cut.db")
    assert (code, out.startswith("0 made"), "line 2: " in err, "the end: it is cut" in err) == (1, True, True, True)


def test_other_keys_open_nothing(capsys, monkeypatch):
    serve(OLD, begin)
    assert run(capsys, "sessions", "export", "all.jsonl", "--store", OLD)[0] == 0
    monkeypatch.setenv("SESSIONWARE_SECRET_KEYS", new_key())
    code, out, err = run(capsys, "sessions", "import", "all.jsonl", "--store", NEW)
    assert (code, out, err.count("which is not among SECRET_KEYS")) == (1, "0 made, 0 there, 0 expired\n", 2)


def test_without_keys_it_is_said_that_the_file_tells_all(capsys, monkeypatch, here):
    monkeypatch.setenv("SESSIONWARE_SECRET_KEYS", "")
    serve(OLD, begin)
    code, out, _ = run(capsys, "sessions", "export", "all.jsonl", "--store", OLD)
    assert (code, out) == (0, "exported 2, what they hold in the clear (no SECRET_KEYS)\n")
    assert run(capsys, "sessions", "import", "all.jsonl", "--store", NEW)[1] == "2 made, 0 there, 0 expired\n"


def test_mistakes_are_one_clear_line_and_write_nothing(capsys, here):
    serve(OLD, begin)
    serve("sqlite:///other.db", begin)
    assert run(capsys, "sessions", "export", "all.jsonl", "--store", OLD)[0] == 0
    whole = (here / "all.jsonl").read_bytes()
    (here / "else.txt").write_text("{}\n")
    for arguments, said in [
        (["export", "all.jsonl", "--store", OLD], "cannot write all.jsonl: File exists"),
        (["export", "no/such/folder", "--store", OLD], "cannot write no/such/folder: No such file or directory"),
        (["export", "x.jsonl", "--store", "memory://"], "memory:// lives inside the process"),
        (["import", "none.jsonl", "--store", NEW], "cannot read none.jsonl: No such file or directory"),
        (["import", "else.txt", "--store", NEW], "else.txt is no export of ours"),
        (["import", "all.jsonl", "--store", "sqlite:///other.db"], "a salt of its own"),
        (["import", "all.jsonl", "--store", "sqlite:///other.db", "--merge"], "a salt of its own"),
    ]:
        code, out, err = run(capsys, "sessions", *arguments)
        assert (code, out, len(err.splitlines()), said in err) == (2, "", 1, True), (arguments, err)
    assert (here / "all.jsonl").read_bytes() == whole
    assert not (here / "new.db").exists()
    assert not (here / "x.jsonl").exists()
