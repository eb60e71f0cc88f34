"""One record is one line, whatever a client put into it (LOG-01)."""

import io
import json
import logging

import pytest

from sessionware.telemetry.logs import JsonFormatter, TextFormatter, configure_logging, escaped

FORMATTERS = [TextFormatter(), JsonFormatter()]


def record(message, *arguments, error=None, **extra):
    made = logging.makeLogRecord({"name": "sessionware.test", "levelname": "WARNING", "msg": message} | extra)
    made.args, made.created = arguments, 1_800_000_000.25
    made.exc_info = (type(error), error, error.__traceback__) if error is not None else None
    return made


def test_text_says_when_how_grave_where_and_what():
    line = TextFormatter().format(record("session %s ended", "s-abc", ref="s-abc"))
    assert line == "2027-01-15T08:00:00.250Z warning sessionware.test: session s-abc ended"


def test_json_says_the_same_and_what_was_given_beside():
    said = json.loads(JsonFormatter().format(record("ended", ref="s-abc", tries=3, what=["x"])))
    assert said == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "warning",
        "logger": "sessionware.test",
        "message": "ended",
        "ref": "s-abc",
        "tries": 3,
        "what": "['x']",
    }


@pytest.mark.parametrize("formatter", FORMATTERS)
@pytest.mark.parametrize("text", ["a\r\nb", "\x1b[31m", "\x00\x7f\x9b", "\u202e", "\u2028", "\udcff", "\u200f"])
def test_log_01_control_characters_are_spelled_out(formatter, text):
    """LOG-01."""
    line = formatter.format(record("%s", text, field=text))
    assert line.isprintable()
    line.encode()


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_log_01_a_traceback_cannot_pose_as_a_record(formatter):
    """LOG-01."""
    lines = formatter.format(record("failed", error=ValueError("x\n2027 error: forged\x1b"))).split("\n")
    assert all(line.startswith("    ") for line in lines[1:])
    assert all(line.isprintable() for line in lines)
    assert any("forged" in line for line in lines)


def test_log_01_a_long_message_is_cut():
    """LOG-01."""
    assert len(escaped("x" * 100_000)) == 4_096
    assert escaped("\n" * 3, at_most=2) == "\\x0a…"


@pytest.mark.parametrize(("log_format", "start"), [("text", "20"), ("json", '{"time"')])
def test_only_our_own_logger_is_configured(log_format, start):
    logger, stream = logging.getLogger("sessionware"), io.StringIO()
    before = (logger.handlers, logger.propagate, logger.level)
    try:
        configure_logging(log_format, "info", stream=stream)
        configure_logging(log_format, "info", stream=stream)
        logging.getLogger("sessionware.reaper").info("hello")
        logging.getLogger("sessionware.reaper").debug("too detailed")
        assert stream.getvalue().startswith(start)
        assert stream.getvalue().count("hello") == stream.getvalue().count("\n") == 1
    finally:
        logger.handlers, logger.propagate = before[0], before[1]
        logger.setLevel(before[2])
