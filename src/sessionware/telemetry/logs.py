"""The only place that writes log lines: text or JSON, one line per record, nothing in it that a client could forge."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

LogFormat = Literal["text", "json"]

LOGGER: Final = "sessionware"
MESSAGE_MAX: Final = 4_096  # one record; a client's text is a part of it at most

# C0, DEL, C1, line and paragraph separators, what turns the direction of text around, and half surrogate pairs.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_OWN_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def escaped(text: str, *, at_most: int = MESSAGE_MAX) -> str:
    r"""The text on one line: control characters written as `\x1b` or `\u202e`, what is too long cut."""
    shown = text if len(text) <= at_most else text[: at_most - 1] + "…"
    return _CONTROL.sub(lambda found: _spelled(found.group()), shown)


def configure_logging(log_format: LogFormat, level: str, *, stream: TextIO | None = None) -> None:
    """Send what this package logs to standard error, in our format; the application's own loggers stay as they are.

    Called again it replaces what it has set before.
    """
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logger = logging.getLogger(LOGGER)
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(level.upper())


class TextFormatter(logging.Formatter):
    """`2026-01-15T10:00:00.000Z info sessionware.reaper: message`; tracebacks are indented below."""

    def format(self, record: logging.LogRecord) -> str:
        head = f"{_time_of(record)} {record.levelname.lower()} {record.name}: {escaped(record.getMessage())}"
        trace = _trace_of(self, record)
        return head if not trace else "\n    ".join([head, *[escaped(line) for line in trace.split("\n")]])


class JsonFormatter(logging.Formatter):
    """One JSON object per record: time, level, logger, message, then what was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, Any] = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": escaped(record.getMessage()),
        }
        for name, value in vars(record).items():
            if name not in _OWN_FIELDS and name not in said:
                said[name] = value if isinstance(value, int | float | bool | None) else escaped(str(value))
        trace = _trace_of(self, record)
        if trace:
            said["trace"] = trace[-MESSAGE_MAX:]
        return json.dumps(said, ensure_ascii=True).replace("\x7f", "\\u007f")


def _trace_of(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return formatter.formatException(record.exc_info) if record.exc_info else ""


def _time_of(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _spelled(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"  # noqa: PLR2004  # what two digits hold
