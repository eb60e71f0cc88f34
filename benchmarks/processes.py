"""The only place that starts the programs of a benchmark, and reads what they cost from the kernel."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.servers import end, free_port, plain_environ, wait_until_it_listens

START_WITHIN_S: Final = 30.0  # importing an MCP package takes seconds on a busy machine
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Program:
    """A server on a free port, for the length of a `with`; `{port}` in its command is that port."""

    def __init__(self, command: list[str], *, folder: Path, environ: dict[str, str] | None = None) -> None:
        self.port = free_port()
        self._command = [part.replace("{port}", str(self.port)) for part in command]
        self._log = folder / f"{self.port}.log"
        self._environ = plain_environ() | (environ or {})
        self._process: subprocess.Popen[bytes] | None = None

    def configured(self, text: str) -> Self:
        """Let the program read this text from a file, the last argument of its command; `{port}` is its port there."""
        path = self._log.with_suffix(".conf")
        path.write_text(text.replace("{port}", str(self.port)))
        self._command.append(str(path))
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None, "the program does not run"
        return self._process.pid

    def __enter__(self) -> Self:
        with self._log.open("wb") as said:
            process = subprocess.Popen(
                self._command, env=self._environ, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )
        self._process = process
        try:
            wait_until_it_listens(process, self.port, START_WITHIN_S)
        except Exception as error:
            end(process)
            raise RuntimeError(f"{' '.join(self._command)}: {error}\n{self.said()}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            end(self._process)

    def said(self) -> str:
        """The end of what it has printed."""
        return self._log.read_text("utf-8", "replace")[-2000:]

    def cpu_seconds(self) -> float:
        """Of the whole life of the process, in user mode and in the kernel."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE
