"""The command line: one clear line for every mistake, and never a touch of live data."""

import os
import signal
import subprocess
import sys
from base64 import b64decode
from importlib.metadata import version

import pytest

from sessionware.cli import main
from sessionware.testing.check import laws
from tests.redis_words import say
from tests.selection import is_selected
from tests.servers import RedisServer

A_STORE = """
from sessionware.stores.memory import MemoryStore

class Broken(MemoryStore):
    async def tail(self, key, log, count, *, now):
        return []

SHARED = MemoryStore()

def shared(clock):
    return SHARED

def failing(clock):
    raise ValueError("no config\\nat all")

def ending(clock):
    raise SystemExit("a script, not a module")

class Ending(MemoryStore):
    async def __aenter__(self):
        raise SystemExit(0)

def impatient(clock):
    raise KeyboardInterrupt
"""


RUN = "import sys; from sessionware.cli import main; sys.exit(main())"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of our own, with a module of stores in it, as the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "a_store.py").write_text(A_STORE)
    yield tmp_path
    sys.modules.pop("a_store", None)


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"sessionware {version('sessionware')}\n")


def test_the_memory_store_is_checked(capsys):
    assert main(["check-store", "memory://"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len([line for line in out if line.startswith("holds   ")]) == len(laws())
    assert out[-1].startswith(f"memory://: {len(laws())} of {len(laws())} laws hold (")


def test_c18_a_store_of_ones_own_is_checked_by_its_factory(here, capsys):
    assert main(["check-store", "a_store:Broken", "--quiet", "--only", "log"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert "BROKEN  a log is bounded and still counts" in out
    assert any(line.startswith("        logs.py:") for line in out)
    assert "are broken" in out[-1]


@pytest.mark.skipif(not is_selected("sqlite"), reason="not among STORES")
def test_a_sqlite_file_is_never_opened_and_nothing_is_left_beside_it(here, capsys):
    live = here / "live.db"
    live.write_bytes(b"not even a database")
    before = live.stat()
    assert main(["check-store", "sqlite:///live.db", "--quiet", "--only", "payload"]) == 0
    assert "sqlite:///live.db: " in capsys.readouterr().out
    assert (live.read_bytes(), live.stat().st_mtime_ns) == (b"not even a database", before.st_mtime_ns)
    assert sorted(path.name for path in here.iterdir() if path.name != "__pycache__") == ["a_store.py", "live.db"]


@pytest.mark.skipif(not is_selected("sentinel"), reason="not among STORES")
def test_a_store_behind_sentinel_is_examined_where_its_primary_is_and_left_clean(redis_sentinel_url, capsys):
    seed = int(redis_sentinel_url.partition(":")[2].rpartition(",")[2].partition("/")[0].rpartition(":")[2])
    assert main(["check-store", redis_sentinel_url, "--quiet", "--only", "session"]) == 0
    _, port = say(seed, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
    assert not [key for key in say(int(port), "KEYS", "*") if "check-" in key]
    assert "laws hold" in capsys.readouterr().out


@pytest.mark.skipif(not is_selected("redis"), reason="not among STORES")
def test_live_keys_in_redis_are_never_touched_and_none_are_left(capsys):
    with RedisServer() as server:
        say(server.port, "SET", "sw:live", "data")
        assert main(["check-store", server.url, "--quiet", "--only", "session"]) == 0
        assert say(server.port, "KEYS", "*") == ["sw:live"]
        assert say(server.port, "GET", "sw:live") == "data"
    assert "laws hold" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say what to do"),
        (["check-store", "mysql://x"], "unknown store scheme mysql://"),
        (["check-store", "bla"], "neither a URL nor a module:factory"),
        (["check-store", ""], "neither a URL nor a module:factory"),
        (["check-store", "no_such_module:Store"], "there is no module 'no_such_module'"),
        (["check-store", "a_store:nothing"], "has no callable 'nothing'"),
        (["check-store", "a_store:failing"], "cannot be opened: ValueError: no config at all"),
        (["check-store", "collections:OrderedDict"], "cannot be opened: TypeError"),
        (["check-store", "a_store:ending"], "the factory ended the process (sys.exit)"),
        (["check-store", "a_store:Ending"], "ended the process (sys.exit) when it was opened"),
        (["check-store", "a_store:shared"], "the factory must return a new, empty store each time"),
        (["check-store", "sqlite:////no/such/folder/x.db"], "the folder /no/such/folder does not exist"),
        (["check-store", "sqlite:///."], "is a folder: name a file inside it"),
        (["check-store", f"sqlite:///{'x' * 300}.db"], "File name too long"),
        (["check-store", "sqlite:///a%00b.db"], "cannot hold the character NUL"),
        (["check-store", "redis://[::1/0"], "write an IPv6 address as [::1]"),
        (["check-store", "redis://alice@127.0.0.1:1"], "write redis://:PASSWORD@host"),
        (["check-store", "memory://", "--only", "no such law"], "no law has 'no such law' in its name"),
    ],
)
def test_a_mistake_is_one_clear_line(here, capsys, arguments, said):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith("usage:")]
    assert (out, len(lines)) == ("", 1)
    assert lines[0].startswith("sessionware: ")
    assert said in lines[0]


@pytest.mark.skipif(not is_selected("redis"), reason="not among STORES")
def test_a_server_that_is_away_is_one_clear_line_without_its_password(capsys):
    assert main(["check-store", "redis://me:hunter2@127.0.0.1:1/0"]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert "store redis://***@127.0.0.1:1/0 cannot be opened" in err
    assert "hunter2" not in err


def test_a_factory_that_hands_out_a_store_in_use_is_refused(here, capsys):
    script = (
        "import asyncio, sys, a_store\n"
        "from sessionware.cli import main\n"
        "from sessionware.testing import Maker\n"
        "make = Maker.of(a_store.SHARED)\n"
        "asyncio.run(a_store.SHARED.create(make.new(make.session()), operation=b'x' * 16, now=make.now))\n"
        "sys.exit(main(['check-store', 'a_store:shared']))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["", *sys.path])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "holds 1 sessions" in done.stderr


@pytest.mark.skipif(not is_selected("sqlite"), reason="not among STORES")
def test_a_factory_over_a_live_store_without_sessions_is_refused_before_any_law(here, capsys):
    live = "from sessionware.stores.sqlite import SqliteStore\ndef live(clock):\n    return SqliteStore('live.db')\n"
    (here / "live_store.py").write_text(live)
    assert main(["check-store", "live_store:live"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "opened twice and is the same installation" in err


@pytest.mark.skipif(not is_selected("redis"), reason="not among STORES")
def test_a_server_that_wants_a_password_says_so_in_one_line(capsys):
    with RedisServer() as server:
        assert say(server.port, "CONFIG", "SET", "requirepass", "hunter2") == "OK"
        assert main(["check-store", server.url]) == 2
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1
        assert "NOAUTH" in err
        assert main(["check-store", f"redis://:hunter3@127.0.0.1:{server.port}"]) == 2
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1
        assert "WRONGPASS" in err
        assert "hunter3" not in err
        url = f"redis://:hunter2@127.0.0.1:{server.port}"
        assert main(["check-store", url, "--quiet", "--only", "payload"]) == 0
        assert "hunter2" not in "".join(capsys.readouterr())


@pytest.mark.skipif(not is_selected("cluster"), reason="not among STORES")
def test_a_check_of_a_cluster_leaves_no_key_on_any_of_its_servers(redis_cluster_url, capsys):
    url = f"{redis_cluster_url}?prefix=scratch:"
    assert main(["check-store", url, "--quiet", "--only", "payload"]) == 0
    ports = [int(place.rpartition(":")[2]) for place in redis_cluster_url.removeprefix("redis+cluster://").split(",")]
    assert [say(port, "KEYS", "scratch:*") for port in ports] == [[]] * len(ports)
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not is_selected("redis"), reason="not among STORES")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_check_of_redis_that_is_stopped_leaves_nothing(number, code):
    with RedisServer() as server:
        stopped, err = stopped_by(number, server.url)
        assert (stopped, say(server.port, "KEYS", "*")) == (code, [])
        assert "Traceback" not in err


@pytest.mark.skipif(not is_selected("sqlite"), reason="not among STORES")
def test_a_check_of_sqlite_that_is_stopped_leaves_nothing(tmp_path):
    code, err = stopped_by(signal.SIGTERM, f"sqlite:///{tmp_path}/sessions.db")
    assert (code, list(tmp_path.iterdir())) == (143, [])
    assert "Traceback" not in err


def stopped_by(number: int, url: str) -> tuple[int, str]:
    """The exit code and the last words of a check that got a signal after its first law."""
    command = [sys.executable, "-c", RUN, "check-store", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("holds")
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    return process.returncode, err


def test_an_interrupt_is_one_line(here, capsys):
    assert main(["check-store", "a_store:impatient"]) == 130
    assert capsys.readouterr().err == "sessionware: interrupted\n"


def test_a_reader_that_has_seen_enough_gets_no_traceback():
    command = [sys.executable, "-c", RUN, "check-store", "memory://"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_without_assertions_nothing_is_checked_and_one_line_says_so():
    command = [sys.executable, "-O", "-c", RUN, "check-store", "memory://"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "run check-store without -O" in done.stderr


def test_a_new_key_is_fit_for_secret_keys(capsys):
    assert main(["keys", "new"]) == 0
    first = capsys.readouterr().out.strip()
    main(["keys", "new"])
    assert len(b64decode(first, validate=True)) == 32
    assert first != capsys.readouterr().out.strip()


def test_unknown_commands_are_refused_by_name(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["chek-store"])
    assert caught.value.code == 2
    assert "chek-store" in capsys.readouterr().err
