"""The SQLite store's files: who may read them, what stands in them, which version, and what a damaged one is worth."""

import asyncio
import logging
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile

import pytest
from msgspec.structs import replace

from sessionware.core.admission import Caps, Outcome
from sessionware.core.facts import OwnerRevocation, TokenRevocation, UserLimits
from sessionware.core.ids import anonymous_tag, mint
from sessionware.core.store import ENDED_MAX, Log, Move, Query
from sessionware.errors import ConfigError, PayloadUnreadable
from sessionware.stores.sealing import Sealer
from sessionware.stores.sqlite import SqliteStore, migrating
from sessionware.testing import Maker, ManualClock
from tests.stores.sqlite.workers import PATIENCE_MS, together, workers

KEY, OTHER_KEY = (bytes([start, *range(100, 131)]) for start in (1, 2))
PAGE = migrating.PAGE
CANARY = b"canary-"


def store_at(path, sealer=Sealer()):  # noqa: B008  # frozen once made
    return SqliteStore(path, clock=ManualClock(), timeout_ms=PATIENCE_MS, sealer=sealer)


def living(path, act, **options):
    """Open the store, let `act(store, make)` have it, close it."""

    async def run():
        async with store_at(path, **options) as store:
            return await act(store, Maker.of(store))

    return asyncio.run(run())


async def nothing(store, make):
    pass


async def create(store, make, session):
    await store.create(make.new(session), operation=os.urandom(16), now=make.now)
    return session


def in_file(path, statement, *values):
    """Do something to the file behind the store's back."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        return connection.execute(statement, values).fetchall()
    finally:
        connection.close()


def modes(folder):
    return {each.name: stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()}


# ---------------------------------------------------------------------- who may read them


def test_all_files_are_readable_by_their_owner_only(tmp_path):
    async def look(store, make):
        await create(store, make, make.session())
        return modes(tmp_path)

    found = living(tmp_path / "sessions.db", look)
    assert set(found) >= {"sessions.db", "sessions.db-wal", "sessions.db-shm"}
    assert set(found.values()) == {0o600}


def test_a_file_that_others_could_read_is_tightened_and_that_is_logged(tmp_path, caplog):
    path = tmp_path / "sessions.db"
    living(path, nothing)
    path.chmod(0o644)
    living(path, nothing)
    assert modes(tmp_path)["sessions.db"] == 0o600
    assert "had mode 0644, it is 0600 now" in caplog.text


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("missing/sessions.db", "does not exist"),
        ("folder", "is a folder"),
        ("pipe", "is not a regular file"),
        ("text", "file is not a database"),
        ("other.db", "a database of another program"),
    ],
)
def test_a_path_that_can_never_be_a_store_is_named(tmp_path, name, why):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text").write_text("not a database at all, but long enough to look into " * 400)
    in_file(tmp_path / "other.db", "CREATE TABLE theirs (one)")
    before = (tmp_path / "text").read_bytes()
    with pytest.raises(ConfigError, match=why) as caught:
        living(tmp_path / name, nothing)
    assert str(tmp_path / name) in str(caught.value)
    assert (tmp_path / "text").read_bytes() == before


def test_a_folder_without_the_right_to_write_is_named():
    """Root may write anywhere, so another user tries."""
    script = (
        "import asyncio, os, sys\n"
        "from sessionware.stores.sqlite import SqliteStore\n"
        "async def run():\n    async with SqliteStore(sys.argv[1]): pass\n"
        "os.getuid() or os.setuid(65534)\n"
        "try: asyncio.run(run())\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)  # noqa: PTH101
        done = subprocess.run(
            [sys.executable, "-c", script, f"{folder}/sessions.db"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
            capture_output=True,
            text=True,
            check=False,
        )
        os.chmod(folder, 0o755)  # noqa: PTH101
    assert done.stdout.startswith(f"ConfigError session store {folder}/sessions.db"), done.stderr
    assert "not writable" in done.stdout


def test_a_missing_file_whose_wal_is_left_is_not_begun_anew(tmp_path):
    path = tmp_path / "sessions.db"
    (tmp_path / "sessions.db-wal").write_bytes(b"what was committed last")
    with pytest.raises(ConfigError, match="-wal is there"):
        living(path, nothing)
    assert not path.exists()


# ---------------------------------------------------------------------- what stands in them


async def live_a_life(store, make):
    """Leave a trace of everything that a session can carry; answers what must not be found at rest."""
    tag = anonymous_tag(os.urandom(7))
    minted = mint(tag, os.urandom(32))
    anonymous = make.anonymous()
    birth = replace(anonymous.birth, key=store.addresses.minted_key(minted), tag=tag)
    await create(store, make, replace(anonymous, birth=birth))
    work = await create(store, make, make.session("work", data=CANARY + b"data", metadata=CANARY + b"metadata"))
    link = make.link(work, "legacy-secret", handshake=CANARY + b"handshake")
    await store.link(link, operation=os.urandom(16), now=make.now)
    await store.append(work.key, Log.CONTEXT, CANARY + b"item", keep=5, now=make.now)
    await store.admit(make.ask(work, once=True))
    gone = await create(store, make, make.session("gone", data=CANARY + b"gone"))
    await store.delete(gone.key, now=make.now)
    return [minted.text.encode(), minted.text.partition(".")[2].encode(), b"legacy-secret"]


def bytes_of(folder):
    return b"".join(each.read_bytes() for each in folder.iterdir() if each.is_file())


def test_ses_13_ids_and_secrets_are_nowhere_in_the_files(tmp_path):
    async def look(store, make):
        secrets = await live_a_life(store, make)
        return [secret for secret in secrets if secret in bytes_of(tmp_path)]

    assert living(tmp_path / "sessions.db", look) == []


def test_b28_with_keys_no_payload_is_in_the_files_in_the_clear(tmp_path):
    async def look(store, make):
        await live_a_life(store, make)
        return CANARY in bytes_of(tmp_path)

    assert not living(tmp_path / "sessions.db", look, sealer=Sealer([KEY]))
    assert CANARY not in bytes_of(tmp_path)


def test_b28_a_payload_is_readable_after_a_restart_with_the_key_and_with_no_other(tmp_path):
    path = tmp_path / "sessions.db"

    async def read(store, make):
        session = await store.get(make.key("work"), now=make.now)
        assert session is not None
        items = await store.tail(make.key("work"), Log.CONTEXT, 5, now=make.now)
        return session.data, session.metadata, session.links[0].handshake, items

    living(path, live_a_life, sealer=Sealer([KEY]))
    wanted = (CANARY + b"data", CANARY + b"metadata", CANARY + b"handshake", [CANARY + b"item"])
    assert living(path, read, sealer=Sealer([KEY])) == wanted
    assert living(path, read, sealer=Sealer([OTHER_KEY, KEY])) == wanted
    for sealer in (Sealer([OTHER_KEY]), Sealer()):
        with pytest.raises(PayloadUnreadable):
            living(path, read, sealer=sealer)


def test_enc_01_a_payload_that_was_moved_to_another_row_is_refused_by_get_and_admit(tmp_path):
    path = tmp_path / "sessions.db"
    sealer = Sealer([KEY])

    async def two(store, make):
        for name in ("one", "two"):
            await create(store, make, make.session(name, data=name.encode()))
        return make.key("one").hash, make.key("two").hash

    async def use(store, make):
        with pytest.raises(PayloadUnreadable):
            await store.get(make.key("two"), now=make.now)
        with pytest.raises(PayloadUnreadable):
            await store.admit(make.ask(make.session("two"), spends=(make.spend(),)))
        blind = await store.admit(make.ask(make.session("two"), spends=(make.spend(),), wants_data=False))
        ended = await store.delete(make.key("two"), now=make.now)
        return blind, ended

    one, two_ = living(path, two, sealer=sealer)
    in_file(path, "UPDATE payloads SET data = (SELECT data FROM payloads WHERE hash = ?) WHERE hash = ?", one, two_)
    blind, ended = living(path, use, sealer=sealer)
    assert blind.outcome is Outcome.ADMITTED  # what is not asked for is not opened
    assert [tally.counter.used for tally in blind.tallies] == [1]  # and the refused one was not charged
    assert (ended.session.data, ended.session.metadata) == (None, None)  # it ends all the same, and says so


def test_a_row_that_was_moved_to_another_key_is_refused_even_without_keys(tmp_path):
    path = tmp_path / "sessions.db"

    async def two(store, make):
        for name in ("one", "two"):
            await create(store, make, make.session(name))
        return make.key("one").hash, make.key("two").hash

    async def use(store, make):
        with pytest.raises(PayloadUnreadable, match="moved here"):
            await store.admit(make.ask(make.session("two"), wants_data=False))

    one, two_ = living(path, two)
    in_file(path, "UPDATE sessions SET birth = (SELECT birth FROM sessions WHERE hash = ?) WHERE hash = ?", one, two_)
    living(path, use)


def test_what_moves_with_a_rotated_session_is_sealed_for_its_new_place(tmp_path):
    path = tmp_path / "sessions.db"

    async def rotate(store, make):
        await live_a_life(store, make)
        session = await store.get(make.key("work"), now=make.now)
        assert session is not None
        birth = replace(session.birth, key=make.key("new"), name="new")
        await store.move(Move(session.key, birth, session.revision), now=make.now)

    async def read(store, make):
        session = await store.get(make.key("new"), now=make.now)
        assert session is not None
        items = await store.tail(make.key("new"), Log.CONTEXT, 5, now=make.now)
        return session.data, session.links[0].handshake, items

    living(path, rotate, sealer=Sealer([KEY]))
    assert living(path, read, sealer=Sealer([KEY])) == (CANARY + b"data", CANARY + b"handshake", [CANARY + b"item"])


def test_a_link_whose_handshake_was_altered_is_refused_but_still_closed(tmp_path):
    path = tmp_path / "sessions.db"
    sealer = Sealer([KEY])

    async def end(store, make):
        with pytest.raises(PayloadUnreadable):
            await store.get(make.key("work"), now=make.now)
        ended = await store.delete(make.key("work"), now=make.now)
        return [(link.upstream_id, link.handshake) for link in ended.session.links]

    living(path, live_a_life, sealer=sealer)
    in_file(path, "UPDATE links SET handshake = zeroblob(60)")
    assert living(path, end, sealer=sealer) == [("u-1", b"")]


def test_a_row_that_is_not_one_of_ours_is_refused(tmp_path):
    path = tmp_path / "sessions.db"

    async def use(store, make):
        with pytest.raises(PayloadUnreadable, match="cannot be read"):
            await store.admit(make.ask(make.session("work")))

    living(path, live_a_life)
    in_file(path, "UPDATE sessions SET birth = X'00'")
    living(path, use)


def test_a_payload_that_is_missing_is_refused(tmp_path):
    path = tmp_path / "sessions.db"

    async def use(store, make):
        with pytest.raises(PayloadUnreadable, match="is missing"):
            await store.get(make.key("work"), now=make.now)

    living(path, live_a_life)
    in_file(path, "DELETE FROM payloads")
    living(path, use)


def test_of_ends_that_nobody_acknowledges_the_oldest_are_forgotten(tmp_path):
    path = tmp_path / "sessions.db"
    many = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ENDED_MAX}) "

    async def one_more(store, make):
        session = await create(store, make, make.session("more"))
        await store.delete(session.key, now=make.now)

    living(path, nothing)
    in_file(path, many + "INSERT INTO ended (ended_at, claimed_until, body) SELECT i, i, X'' FROM n")
    living(path, one_more)
    assert in_file(path, "SELECT count(*), min(id) FROM ended") == [(ENDED_MAX, 2)]


def test_full_synchronisation_is_there_for_those_who_fear_power_failures(tmp_path):
    with pytest.raises(ConfigError, match="one of normal, full, got 'off'"):
        SqliteStore(tmp_path / "sessions.db", synchronous="off")  # type: ignore[arg-type]

    async def run():
        async with SqliteStore(tmp_path / "sessions.db", synchronous="full") as store:
            return await store.reap(now=0, limit=0)

    assert asyncio.run(run()) == []


# ---------------------------------------------------------------------- which version


def test_a_file_from_the_future_is_refused_by_naming_both_versions(tmp_path):
    path = tmp_path / "sessions.db"
    living(path, nothing)
    in_file(path, f"PRAGMA user_version = {migrating.VERSION + 7}")
    with pytest.raises(ConfigError, match=f"version {migrating.VERSION + 7}, .* up to {migrating.VERSION}"):
        living(path, nothing)


def test_an_older_file_is_brought_up_step_by_step_each_in_one_transaction(tmp_path):
    path = tmp_path / "sessions.db"
    living(path, nothing)
    steps = {1: "ALTER TABLE orgs ADD COLUMN note TEXT; UPDATE orgs SET note = ''", 2: "CREATE TABLE third (one)"}
    broken = {**steps, 2: "CREATE TABLE third (one); SELECT no_such_function()"}
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        with pytest.raises(sqlite3.OperationalError):
            migrating.migrate(connection, path, steps=broken, to=3)
        assert migrating.version_of(connection, path) == 2
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'third'").fetchone() == (0,)
        migrating.migrate(connection, path, steps=steps, to=3)
        assert migrating.version_of(connection, path) == 3
        assert connection.execute("SELECT count(note) FROM orgs").fetchone() == (0,)
    finally:
        connection.close()


def test_an_older_file_that_others_use_is_not_changed_under_them(tmp_path):
    path = tmp_path / "sessions.db"

    async def start_another(store, make):
        in_file(path, "PRAGMA user_version = 0")
        return await asyncio.to_thread(together, 1, "open", path)

    (answer,) = living(path, start_another)
    assert "stop them all" in answer


def test_a_file_without_its_salt_is_refused(tmp_path):
    path = tmp_path / "sessions.db"
    living(path, nothing)
    in_file(path, "DELETE FROM installation")
    with pytest.raises(ConfigError, match="has lost its salt"):
        living(path, nothing)


def test_a_file_that_was_removed_under_others_is_not_made_anew(tmp_path):
    path = tmp_path / "sessions.db"

    async def start_another(store, make):
        path.unlink()
        return await asyncio.to_thread(together, 1, "open", path)

    (answer,) = living(path, start_another)
    assert "was removed while other processes use it" in answer


def test_the_salt_is_made_once_and_kept(tmp_path):
    async def salt(store, make):
        return store.addresses.salt

    first = living(tmp_path / "sessions.db", salt)
    assert living(tmp_path / "sessions.db", salt) == first
    assert living(tmp_path / "other.db", salt) != first


def test_another_bucket_count_stops_the_start(tmp_path):
    path = tmp_path / "sessions.db"
    living(path, nothing)
    in_file(path, "UPDATE installation SET buckets = 256")
    with pytest.raises(ConfigError, match="256 buckets"):
        living(path, nothing)


# ---------------------------------------------------------------------- damaged

SESSIONS = 300


async def populate(store, make):
    for number in range(SESSIONS):
        session = await create(store, make, make.session(f"s{number}", data=f"{number};".encode() * 100))
        await store.admit(make.ask(session, spends=(make.spend(over=str(number)),)))
    await store.append(make.key("s0"), Log.CONTEXT, b"item", keep=3, now=make.now)
    await store.link(make.link(make.session("s0")), operation=os.urandom(16), now=make.now)
    await store.revoke(TokenRevocation(make.token("stolen").hash, make.now + 10**9), now=make.now)
    await store.revoke(OwnerRevocation(0, make.owner("mallory"), make.now), now=make.now)
    await store.record([UserLimits(0, make.owner(), {"calls": 77})], now=make.now)


async def survivors(store, make):
    """Which sessions are whole, and that what must never be lost is there."""
    stolen = await store.admit(make.ask(make.session("s0"), token=make.token("stolen")))
    assert stolen.outcome in {Outcome.REVOKED, Outcome.UNKNOWN}
    new = make.new(make.session("new", user="mallory", created_at=make.now + 1))
    late = await store.admit(make.ask(new.session, new=new, token=make.token("old", issued_at=make.now)))
    assert late.outcome is Outcome.REVOKED
    found = []
    for number in range(SESSIONS):
        session = await store.get(make.key(f"s{number}"), now=make.now)
        if session is not None:
            assert session.data == f"{number};".encode() * 100
            found.append(number)
    total = (await store.list(Query(limit=0), now=make.now)).total
    assert total == len(found)
    return len(found)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "sessions.db"
    living(path, populate)
    return path


def damaged(whole, folder, at, size=PAGE):
    """A copy of a whole file with `size` bytes of it overwritten."""
    folder.mkdir()
    path = folder / "sessions.db"
    shutil.copyfile(whole, path)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(os.urandom(size))
    return path


def kept_aside(path):
    return [each for each in path.parent.iterdir() if ".corrupt-" in each.name]


def survivors_or_refusal(path):
    try:
        return living(path, survivors)
    except ConfigError as error:
        return str(error)


def test_c22_whichever_page_is_overwritten_nothing_is_lost_silently(whole, tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    pages = whole.stat().st_size // PAGE
    refused, repaired = 0, 0
    for page in [*range(4), *range(4, pages, 6)]:
        path = damaged(whole, tmp_path / str(page), page * PAGE)
        before = path.read_bytes()
        caplog.clear()
        count = survivors_or_refusal(path)
        if isinstance(count, str):
            assert str(path) in count
            assert path.read_bytes() == before
            refused += 1
            continue
        assert count > SESSIONS * 3 // 4
        assert [each.read_bytes() for each in kept_aside(path)] == [before], f"page {page}"
        assert f"{count} of {SESSIONS} sessions" in caplog.text
        assert [each.name for each in path.parent.iterdir() if "salvage" in each.name] == []
        repaired += 1
    assert repaired > refused


def test_c22_a_destroyed_header_is_replaced(whole, tmp_path):
    path = damaged(whole, tmp_path / "head", 0, 100)
    assert living(path, survivors) == SESSIONS
    assert len(kept_aside(path)) == 1


@pytest.mark.parametrize("table", ["tokens", "owners", "installation"])
def test_without_its_revocations_owners_or_salt_the_store_does_not_start(whole, tmp_path, table):
    roots = in_file(whole, "SELECT rootpage FROM sqlite_master WHERE tbl_name = ?", table)  # indexes hold it, too
    path = damaged(whole, tmp_path / table, (roots[0][0] - 1) * PAGE, len(roots) * PAGE)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=table) as caught:
        living(path, nothing)
    assert str(path) in str(caught.value)
    assert "REVOCATIONS" in str(caught.value)
    assert path.read_bytes() == before


def test_what_hangs_on_sessions_is_salvaged_with_them(whole, tmp_path):
    ((root,),) = in_file(whole, "SELECT rootpage FROM sqlite_master WHERE name = 'sessions_by_owner'")
    path = damaged(whole, tmp_path / "index", (root - 1) * PAGE)

    async def look(store, make):
        session = await store.get(make.key("s0"), now=make.now)
        items = await store.tail(make.key("s0"), Log.CONTEXT, 5, now=make.now)
        answer = await store.admit(make.ask(make.session("s0"), spends=(make.spend(over="0"),)))
        return len(session.links), items, [(tally.counter.used, tally.allowance) for tally in answer.tallies]

    assert living(path, look) == (1, [b"item"], [(2, 77)])


def test_levels_are_counted_anew_from_the_sessions_that_were_saved(tmp_path):
    path = tmp_path / "sessions.db"

    async def fill(store, make):
        level = make.level(allowance=10)
        for number in range(10):
            new = make.new(make.session(f"s{number}"), Caps(levels=(level,)))
            await store.create(new, operation=os.urandom(16), now=make.now)

    async def create_more(store, make):
        new = make.new(make.session("more"), Caps(levels=(make.level(allowance=10),)))
        return (await store.create(new, operation=os.urandom(16), now=make.now)).outcome.value

    living(path, fill)
    in_file(path, "DELETE FROM payloads WHERE rowid = 3")
    ((root,),) = in_file(path, "SELECT rootpage FROM sqlite_master WHERE name = 'links_by_session'")
    with path.open("r+b") as file:
        file.seek((root - 1) * PAGE)
        file.write(os.urandom(PAGE))
    assert living(path, create_more) == "created"
    assert living(path, create_more) == "exists"


def test_two_processes_that_start_on_a_damaged_file_salvage_it_once(whole, tmp_path):
    path = damaged(whole, tmp_path / "race", 20 * PAGE)
    counts = together(4, "open", path)
    assert len(set(counts)) == 1
    assert isinstance(counts[0], int), counts
    assert len(kept_aside(path)) == 1


def test_a_damaged_file_that_others_use_is_not_salvaged_under_them(whole, tmp_path):
    (tmp_path / "used").mkdir()
    path = tmp_path / "used" / "sessions.db"
    shutil.copyfile(whole, path)

    async def start_another(store, make):
        with workers(1, "overwrite", path, at=20 * PAGE, size=PAGE) as (vandal,):
            vandal.go()
            await asyncio.to_thread(vandal.process.wait, 10)
        return await asyncio.to_thread(together, 1, "open", path)

    (answer,) = living(path, start_another)
    assert "other processes use it" in answer
    assert kept_aside(path) == []
