"""The audit trail: one line per event, private, and never a reason for a request to fail."""

import json
import os
import stat

import pytest

from sessionware.core.admission import Admitted, Outcome
from sessionware.core.decision import Refused
from sessionware.core.ids import ref
from sessionware.core.session import Ended, EndReason
from sessionware.errors import ConfigError
from sessionware.stores.memory import MemoryStore
from sessionware.telemetry import Telemetry, Who
from sessionware.telemetry.audit import TEXT_MAX, AuditEvent, FileSink, Happening, line_of, open_sink
from sessionware.testing import Maker, ManualClock

MAKE = Maker.of(MemoryStore(clock=ManualClock()))
SESSION = MAKE.session("secret-name", org_id="acme")
TIME = "2027-01-15T08:00:00.000Z"
SAID: list[AuditEvent] = []


def trail(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def telemetry_to(sink):
    return Telemetry(audit=sink, wall=lambda: MAKE.now)


def test_d7_every_event_is_one_line_with_user_org_event_ref_and_time(tmp_path):
    """D7."""
    path = tmp_path / "audit.jsonl"
    told = telemetry_to(open_sink(f"file:{path}"))
    alice = {"ref": ref(SESSION.key), "user": "alice", "org": "acme"}
    who = Who(**alice)
    refused = Refused(code="rate_limited", status_hint=429, message="no", answer=Admitted(Outcome.LIMITED, 0))
    told.started(SESSION)
    told.ended(Ended(SESSION, EndReason.EVICTED, 0))
    told.refused(refused, who)
    told.foreign_id(who)
    told.revoked("token", who, sessions=2)
    told.key_used("ci", who)
    told.admin("cleanup", who, {"removed": 3})
    assert trail(path) == [
        {"time": TIME, "event": "start"} | alice,
        {"time": TIME, "event": "end"} | alice | {"reason": "evicted", "details": {"requests": 0}},
        {"time": TIME, "event": "refused"} | alice | {"reason": "rate_limited"},
        {"time": TIME, "event": "foreign_id"} | alice,
        {"time": TIME, "event": "revoked"} | alice | {"reason": "token", "details": {"sessions": 2}},
        {"time": TIME, "event": "key_used"} | alice | {"details": {"key": "ci"}},
        {"time": TIME, "event": "admin"} | alice | {"reason": "cleanup", "details": {"removed": 3}},
    ]
    assert "secret-name" not in path.read_text()


def test_d8_a_sink_of_ones_own_gets_the_event():
    """D8."""
    SAID.clear()
    telemetry_to(open_sink(f"{__name__}:SAID.append")).foreign_id(Who(user="bob"))
    (event,) = SAID
    assert event == AuditEvent(time=TIME, event=Happening.FOREIGN_ID, user="bob")


def test_standard_error_gets_lines(capsys):
    telemetry_to(open_sink("stderr")).foreign_id(Who(user="bob"))
    assert json.loads(capsys.readouterr().err) == {"time": TIME, "event": "foreign_id", "user": "bob"}


def test_the_file_is_its_owners_alone_and_is_followed_when_rotated(tmp_path):
    path = tmp_path / "audit.jsonl"
    path.write_text("")
    path.chmod(0o644)
    sink = FileSink(path)
    told = telemetry_to(sink)
    told.foreign_id()
    path.rename(tmp_path / "audit.1")
    told.foreign_id()
    assert len(trail(path)) == len(trail(tmp_path / "audit.1")) == 1
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "audit.1").stat().st_mode) == 0o600
    sink.close()


def test_a_symbolic_link_is_not_followed(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="cannot be written"):
        open_sink(f"file:{tmp_path / 'link'}")


def test_a_sink_that_fails_is_counted_said_once_and_harms_nobody(caplog):
    def full(event):
        raise OSError("disk full")

    told = telemetry_to(full)
    for _ in range(5):
        told.key_used("k1")
    assert {tuple(map(str, label)): number for label, number in told.counts.degraded.items()} == {
        ("audit", "failed", "dropped"): 5
    }
    assert [record.getMessage() for record in caplog.records] == ["audit: key_used event lost: disk full (and 0 since)"]


@pytest.mark.parametrize("text", ["a\r\nb", "\x1b[2J", "\x7f\x9b", "\u202e\u2028", "\udc80", '"}\n{"'])
def test_log_01_nothing_can_break_out_of_its_line(text):
    """LOG-01."""
    line = line_of(AuditEvent(time=TIME, event=Happening.ADMIN, user=text, reason=text, details={text: text}))
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["user"] == text


def test_log_01_long_texts_are_cut():
    """LOG-01."""
    details = {f"{number:03}" * 100: "x" * 1000 for number in range(100)}
    event = AuditEvent(time=TIME, event=Happening.ADMIN, user="x" * 10_000, details=details)
    said = json.loads(line_of(event))
    assert len(said["user"]) == TEXT_MAX
    assert len(said["details"]) == 16
    assert max(map(len, said["details"])) == 64


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("syslog", "write stderr"),
        ("file:", "names no file"),
        ("file:/nowhere/at/all", "cannot be written"),
        ("no_such_module:thing", "cannot be imported"),
        ("json:nothing", "no callable 'nothing'"),
        ("json:decoder", "no callable"),
    ],
)
def test_a_bad_sink_is_said_at_the_start(spec, match):
    with pytest.raises(ConfigError, match=match):
        open_sink(spec)


def test_an_async_sink_is_refused():
    with pytest.raises(ConfigError, match="is async"):
        open_sink("asyncio:open_connection")


def test_off_is_nothing():
    assert [open_sink(spec) for spec in ("off", "", None)] == [None] * 3
    Telemetry().foreign_id()


def test_a_partly_written_line_is_an_error(tmp_path, monkeypatch):
    sink = FileSink(tmp_path / "audit")
    monkeypatch.setattr(os, "write", lambda file, line: len(line) - 1)
    with pytest.raises(OSError, match="disk full"):
        sink(AuditEvent(time=TIME, event=Happening.START))
