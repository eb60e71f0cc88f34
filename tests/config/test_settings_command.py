"""`sessionware config`: what holds, where it came from, and what is wrong with it."""

import os

import pytest

from sessionware.cli import main

SECRET = "hunter2-hunter2-hunter2-hunter2-hunter2"


@pytest.fixture(autouse=True)
def nothing_is_set(tmp_path, monkeypatch):
    """An empty folder, and none of our variables."""
    monkeypatch.chdir(tmp_path)
    ours = [name for name in os.environ if name.startswith("SESSIONWARE_")]
    for name in [*ours, "REDIS_URL", "WEB_CONCURRENCY"]:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def config(capsys, *arguments):
    code = main(["config", *arguments])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.splitlines()


def test_b6_the_defaults_are_5_sessions_and_1800_seconds(capsys):
    code, out, err = config(capsys)
    assert (code, err) == (0, [])
    assert "SESSIONWARE_MAX_SESSIONS_PER_USER=5" in out
    assert "SESSIONWARE_SESSION_TTL=1800" in out


def test_c30_a_preset_shows_and_a_variable_beside_it_wins(capsys, monkeypatch):
    monkeypatch.setenv("SESSIONWARE_PRESET", "dev")
    _, out, _ = config(capsys)
    assert {"SESSIONWARE_SESSION_TTL=300", "SESSIONWARE_CLEANUP_INTERVAL=60"} <= set(out)
    monkeypatch.setenv("SESSIONWARE_SESSION_TTL", "9")
    _, out, _ = config(capsys)
    assert {"SESSIONWARE_SESSION_TTL=9", "SESSIONWARE_CLEANUP_INTERVAL=60"} <= set(out)


def test_each_limit_is_told_in_words(capsys, monkeypatch):
    monkeypatch.setenv("SESSIONWARE_LIMITS", "5/second per client; 1M tokens/calendar-day@Europe/Berlin per user")
    _, out, _ = config(capsys)
    start = out.index("SESSIONWARE_LIMITS=5/second per client; 1M tokens/calendar-day@Europe/Berlin per user")
    assert out[start + 1 : start + 5] == [
        "#   requests-second-client: 5 requests per client; sliding 1 s",
        "#   tokens-calendar-day-europe-berlin-user: 1_000_000 tokens per user; resets 00:00 Europe/Berlin",
        "SESSIONWARE_CREATE_LIMIT=60/minute per user",
        "#   create: 60 new sessions per user; sliding 60 s",
    ]


def test_the_origin_of_each_setting_is_told_on_request(capsys, monkeypatch, tmp_path):
    (tmp_path / "sessionware.toml").write_text('preset = "single"\nlog_format = "json"\n')
    (tmp_path / "secret").write_text(SECRET)
    monkeypatch.setenv("SESSIONWARE_PORT", "81")
    monkeypatch.setenv("SESSIONWARE_JWT_SECRET_FILE", "secret")
    code, out, _ = config(capsys, "--show-origin")
    assert code == 0
    assert {
        "SESSIONWARE_PORT=81  # environment",
        "SESSIONWARE_LOG_FORMAT=json  # file: log_format in sessionware.toml",
        "SESSIONWARE_SESSION_TTL=3600  # preset single",
        "SESSIONWARE_JWT_SECRET=(set)  # environment: SESSIONWARE_JWT_SECRET_FILE",
        "SESSIONWARE_WORKERS=1  # default",
    } <= set(out)


def test_another_file_may_be_named(capsys, monkeypatch, tmp_path):
    (tmp_path / "sessionware.toml").write_text("this is not read")
    (tmp_path / "other.toml").write_text("port = 82")
    monkeypatch.setenv("SESSIONWARE_CONFIG", "other.toml")
    code, out, _ = config(capsys)
    assert (code, "SESSIONWARE_PORT=82" in out) == (0, True)


def test_secrets_are_never_printed(capsys, monkeypatch):
    monkeypatch.setenv("SESSIONWARE_JWT_SECRET", SECRET)
    monkeypatch.setenv("SESSIONWARE_STORE", "redis://me:hunter2@host/0")
    monkeypatch.setenv("SESSIONWARE_SECRET_KEYS", "BwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSY=")
    for arguments in [(), ("--show-origin",), ("--check",)]:
        code, out, err = config(capsys, *arguments)
        text = "\n".join(out + err)
        assert "hunter2" not in text
        assert "BwgJ" not in text
        assert code == 1  # the key is no random one


def test_check_fails_and_tells_every_problem(capsys, monkeypatch):
    monkeypatch.setenv("SESSIONWARE_SESSION_TTL", "soon")
    monkeypatch.setenv("SESSIONWARE_PORT", "99999")
    monkeypatch.setenv("SESSIONWARE_SESION_TTL", "5")
    code, out, err = config(capsys, "--check")
    assert (code, out) == (1, ["2 errors, 1 warning"])
    assert [line.split(" ")[:2] for line in err] == [
        ["warning:", "SESSIONWARE_SESION_TTL"],
        ["error:", "SESSIONWARE_SESSION_TTL:"],
        ["error:", "SESSIONWARE_PORT:"],
    ]


def test_a34_check_knows_the_stores(capsys, monkeypatch):
    monkeypatch.setenv("SESSIONWARE_STORE", "mysql://host/0")
    code, _, err = config(capsys, "--check")
    assert (code, len(err)) == (1, 1)
    assert err[0].startswith("error: SESSIONWARE_STORE: unknown store scheme mysql://. Known are ")


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        (
            "STORE=sqlite:///no/such.db",
            "session store {here}/no/such.db: the folder {here}/no does not exist: make it first",
        ),
        ("STORE=sqlite:///folder", "session store {here}/folder is a folder: name a file inside it"),
        (
            "API_KEYS_FILE=no.jsonl",
            "'no.jsonl' does not exist: make it with `sessionware key add USER --file no.jsonl`",
        ),
        ("API_KEYS_FILE=folder", "cannot read folder: Is a directory"),
        ("AUDIT=file:/no/such/audit", "the folder /no/such of 'file:/no/such/audit' does not exist: make it first"),
        ("AUDIT=file:{here}/folder", "'file:{here}/folder' is a folder: name a file"),
        ("AUDIT=file:{here}/link", "'file:{here}/link' is a link: name a file"),
    ],
)
def test_check_looks_at_the_files_that_are_named(capsys, monkeypatch, tmp_path, setting, problem):
    name, _, value = setting.partition("=")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setenv(f"SESSIONWARE_{name}", value.format(here=tmp_path))
    said = f"error: SESSIONWARE_{name}: {problem.format(here=tmp_path)}"
    assert config(capsys, "--check") == (1, ["1 error, 0 warnings"], [said])


def test_check_makes_none_of_the_files_that_may_be_made(capsys, monkeypatch, tmp_path):
    (tmp_path / "keys.jsonl").touch()
    monkeypatch.setenv("SESSIONWARE_STORE", "sqlite:///new.db")
    monkeypatch.setenv("SESSIONWARE_AUDIT", f"file:{tmp_path}/audit.jsonl")
    monkeypatch.setenv("SESSIONWARE_API_KEYS_FILE", "keys.jsonl")
    assert config(capsys, "--check") == (0, ["0 errors, 0 warnings"], [])
    assert [path.name for path in tmp_path.iterdir()] == ["keys.jsonl"]


def test_check_runs_nobodys_factory(capsys, monkeypatch):
    monkeypatch.setenv("SESSIONWARE_STORE", "no_such_module:factory")
    assert config(capsys, "--check")[0] == 0


def test_c31_two_workers_with_the_memory_store_are_refused(capsys, monkeypatch):
    monkeypatch.setenv("SESSIONWARE_WORKERS", "2")
    code, _, err = config(capsys, "--check")
    assert (code, len(err)) == (1, 1)
    assert "SESSIONWARE_WORKERS: 2 processes with memory://" in err[0]


def test_check_is_content_with_the_defaults(capsys):
    assert config(capsys, "--check") == (0, ["0 errors, 0 warnings"], [])
