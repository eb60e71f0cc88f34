"""Which source wins, what each may say, and what becomes of names and files that are not as they should be."""

import os

import pytest

from sessionware.config.load import load, survey
from sessionware.config.settings import HOUR, MINUTE, SECOND, Settings
from sessionware.config.table import SETTINGS
from sessionware.errors import ConfigError

SECRET = "k" * 16 + "0123456789abcdef"
LINKS = {
    "SESSIONWARE_PORT": "tcp://10.0.0.1:8080",
    "SESSIONWARE_SERVICE_HOST": "10.0.0.1",
    "SESSIONWARE_SERVICE_PORT": "8080",
    "SESSIONWARE_SERVICE_PORT_HTTP": "8080",
    "SESSIONWARE_PORT_8080_TCP": "tcp://10.0.0.1:8080",
    "SESSIONWARE_PORT_8080_TCP_ADDR": "10.0.0.1",
    "SESSIONWARE_PORT_8080_TCP_PORT": "8080",
    "SESSIONWARE_PORT_8080_TCP_PROTO": "tcp",
    "SESSIONWARE_REDIS_SERVICE_HOST": "10.0.0.2",
    "SESSIONWARE_REDIS_PORT": "tcp://10.0.0.2:6379",
}


def said(*, environ=None, **sources):
    """What is raised for these sources; nothing else of this process counts."""
    with pytest.raises(ConfigError) as caught:
        load(environ=environ or {}, **sources)
    return str(caught.value)


def test_b6_with_nothing_set_a_user_has_5_sessions_of_30_minutes():
    loaded = load(environ={})
    assert loaded.settings == Settings()
    assert (loaded.settings.max_sessions_per_user, loaded.settings.session_ttl) == (5, 1_800_000)
    assert (set(loaded.origins.values()), loaded.warnings, loaded.problems) == ({"default"}, (), ())


def test_without_an_environment_given_the_one_of_the_process_counts(monkeypatch):
    monkeypatch.setenv("SESSIONWARE_SESSION_TTL", "7")
    assert load().settings.session_ttl == 7 * SECOND


def test_every_setting_has_a_row_and_every_row_a_setting():
    assert [row.key for row in SETTINGS if row.key not in Settings.__struct_fields__] == []
    assert {row.key for row in SETTINGS} == set(Settings.__struct_fields__)


def test_a_keyword_beats_a_flag_beats_a_variable_beats_the_file_beats_a_preset(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text('preset = "dev"\nsession_ttl = 4\n')
    sources = {
        "keywords": {"session_ttl": 1},
        "flags": {"session_ttl": "2"},
        "environ": {"SESSIONWARE_SESSION_TTL": "3"},
        "file": file,
    }
    seen = []
    for gone in ["keywords", "flags", "environ", None]:
        loaded = load(**sources)
        seen.append((loaded.settings.session_ttl, loaded.origins["session_ttl"]))
        sources |= {gone: {}} if gone else {}
    assert seen == [(1000, "keyword"), (2000, "flag"), (3000, "environment"), (4000, "file")]
    file.write_text('preset = "dev"')
    loaded = load(**sources)
    assert (loaded.settings.session_ttl, loaded.origins["session_ttl"]) == (300_000, "preset dev")
    file.write_text("")
    assert load(**sources).origins["session_ttl"] == "default"


@pytest.mark.parametrize(
    ("preset", "values"),
    [
        ("dev", {"store": "memory://", "session_ttl": 5 * MINUTE, "cleanup_interval": MINUTE, "anonymous": "named"}),
        ("single", {"store": "sqlite:///sessionware.db", "session_ttl": HOUR, "cleanup_interval": 2 * MINUTE}),
        (
            "cluster",
            {"store": "redis://r:6379", "session_ttl": HOUR, "cleanup_interval": 2 * MINUTE, "log_format": "json"},
        ),
    ],
)
def test_c30_a_preset_sets_only_what_it_names(preset, values):
    loaded = load(environ={"SESSIONWARE_PRESET": preset, "REDIS_URL": "redis://r:6379"})
    by_preset = {key: getattr(loaded.settings, key) for key, origin in loaded.origins.items() if "preset" in origin}
    assert by_preset == values
    unshared = 0 if preset != "dev" else Settings().max_sessions
    assert loaded.settings == Settings(preset=preset, max_sessions=unshared, **values)


def test_c30_what_is_set_beside_a_preset_wins():
    environ = {"SESSIONWARE_PRESET": "cluster", "SESSIONWARE_STORE": "sqlite:///x.db", "SESSIONWARE_SESSION_TTL": "9"}
    loaded = load(environ=environ)
    assert (loaded.settings.store, loaded.settings.session_ttl) == ("sqlite:///x.db", 9000)
    assert loaded.origins["store"] == "environment"


def test_the_cluster_preset_prefers_our_own_variable_for_redis():
    environ = {"SESSIONWARE_PRESET": "cluster", "SESSIONWARE_REDIS_URL": "redis://ours", "REDIS_URL": "redis://theirs"}
    assert load(environ=environ).settings.store == "redis://ours"


def test_the_cluster_preset_without_redis_says_what_to_set():
    assert said(environ={"SESSIONWARE_PRESET": "cluster", "REDIS_URL": " "}) == (
        "SESSIONWARE_PRESET: 'cluster' needs a Redis: set SESSIONWARE_REDIS_URL or REDIS_URL, "
        "for example redis://127.0.0.1:6379/0"
    )


def test_an_unknown_preset_names_those_there_are():
    assert said(keywords={"preset": "singel"}) == (
        "preset: 'singel' is not possible: did you mean `single`? Write one of dev, single, cluster"
    )


@pytest.mark.parametrize("empty", ["", "   ", "\n"])
def test_an_empty_variable_is_an_unset_one(empty):
    loaded = load(environ={"SESSIONWARE_SESSION_TTL": empty, "SESSIONWARE_LIMITS": empty})
    assert loaded.settings == Settings()
    assert loaded.origins["session_ttl"] == "default"


def test_a_keyword_of_none_is_an_unset_one():
    loaded = load(keywords={"session_ttl": None, "jwt_secret": None}, environ={"SESSIONWARE_SESSION_TTL": "5"})
    assert (loaded.settings.session_ttl, loaded.origins["session_ttl"]) == (5000, "environment")


def test_an_unknown_variable_is_a_warning_with_the_nearest_name():
    loaded = load(environ={"SESSIONWARE_SESION_TTL": "5", "SESSIONWARE_QQQQ": "5", "OTHER": "x"})
    assert loaded.settings == Settings()
    assert loaded.warnings == (
        "SESSIONWARE_QQQQ is no setting: unset it",
        "SESSIONWARE_SESION_TTL is no setting: did you mean `SESSIONWARE_SESSION_TTL`?",
    )


def test_strict_makes_an_unknown_variable_an_error():
    environ = {"SESSIONWARE_SESION_TTL": "5", "SESSIONWARE_STRICT": "1"}
    assert said(environ=environ).startswith("SESSIONWARE_SESION_TTL is no setting: did you mean")


def test_what_kubernetes_sets_for_a_service_of_our_name_is_ignored():
    loaded = load(environ=LINKS | {"SESSIONWARE_STRICT": "on"})
    assert (loaded.settings, loaded.warnings) == (Settings(strict=True), ())


def test_variables_of_this_packages_own_tests_are_no_strangers():
    assert load(environ={"SESSIONWARE_TEST_REDIS_URL": "redis://x"}).warnings == ()


@pytest.mark.parametrize("source", ["keywords", "flags"])
def test_an_unknown_keyword_or_flag_is_an_error_with_the_nearest_name(source):
    assert "is no setting: did you mean `session_ttl`?" in said(**{source: {"sesion_ttl": "5"}})


def test_an_unknown_key_of_the_file_is_an_error_that_names_the_file(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text("sesion_ttl = 5\n")
    message = said(file=file)
    assert message.startswith(f"`sesion_ttl` in {file}"[:60])
    assert "did you mean `session_ttl`?" in message


def test_settings_of_the_proxy_are_known_and_said_to_do_nothing():
    loaded = load(environ={"SESSIONWARE_UPSTREAMS": "http://a:1/mcp", "SESSIONWARE_DRAIN_DELAY": "5"})
    assert loaded.settings == Settings()
    assert sorted(loaded.warnings) == [
        "SESSIONWARE_DRAIN_DELAY is a setting of `sessionware proxy` and does nothing here",
        "SESSIONWARE_UPSTREAMS is a setting of `sessionware proxy` and does nothing here",
    ]


def test_pools_of_the_proxy_in_a_shared_file_are_only_a_warning(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text('[pools.memory]\nupstreams = ["http://a:1/mcp"]\n')
    assert load(environ={}, file=file).warnings == (
        f"pools in {file} is a setting of `sessionware proxy` and does nothing here",
    )


def test_every_problem_is_told_at_once():
    lines = said(environ={"SESSIONWARE_SESSION_TTL": "soon", "SESSIONWARE_PORT": "99999"}).splitlines()
    assert [line.split(":")[0] for line in lines] == ["SESSIONWARE_SESSION_TTL", "SESSIONWARE_PORT"]


def test_a_report_has_the_default_where_a_value_is_bad():
    found = survey(environ={"SESSIONWARE_SESSION_TTL": "soon", "SESSIONWARE_HOST": "0.0.0.0"})
    assert (found.settings, len(found.problems)) == (Settings(host="0.0.0.0"), 1)


@pytest.mark.parametrize(
    ("sources", "name"),
    [
        ({"environ": {"SESSIONWARE_SESSION_TTL": "soon"}}, "SESSIONWARE_SESSION_TTL: 'soon' is no duration"),
        ({"keywords": {"session_ttl": "soon"}}, "session_ttl: 'soon' is no duration"),
        ({"flags": {"session_ttl": "soon"}}, "--session-ttl: 'soon' is no duration"),
    ],
)
def test_an_error_names_the_setting_as_the_user_wrote_it(sources, name):
    assert said(**sources).startswith(name)


def test_an_error_names_the_key_and_the_file(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text('session_ttl = "soon"')
    assert said(file=file).startswith(f"session_ttl in {file}: 'soon' is no duration: write seconds (1800)")


def test_the_file_that_config_names_is_read(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text("[[issuers]]\nissuer = 'https://a.example'\naudience = 'api'\n")
    loaded = load(environ={"SESSIONWARE_CONFIG": str(file)})
    assert [each.issuer for each in loaded.settings.issuers] == ["https://a.example"]
    assert loaded.origins["issuers"] == "file"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"a = [", "is no TOML: "),
        (b"\xff\xfe", "is no UTF-8 text"),
        (b"a = 1\na = 2", "is no TOML: "),
        (b"#" * (1 << 20) + b"\n", "is larger than"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path, content, problem):
    file = tmp_path / "s.toml"
    if content is not None:
        file.write_bytes(content)
    message = said(environ={"SESSIONWARE_CONFIG": str(file)})
    assert message.startswith(f"SESSIONWARE_CONFIG: {str(file)!r} {problem}")


def test_a_secret_comes_from_a_file_without_the_newline_at_its_end(tmp_path):
    file = tmp_path / "secret"
    for text in [SECRET, f"{SECRET}\n", f"{SECRET}\r\n"]:
        file.write_bytes(text.encode())
        loaded = load(environ={"SESSIONWARE_JWT_SECRET_FILE": str(file)})
        assert (loaded.settings.jwt_secret, loaded.origins["jwt_secret"]) == (SECRET, "environment")


def test_a_secret_file_may_be_named_in_toml_too(tmp_path):
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "s.toml").write_text(f"jwt_secret_file = '{tmp_path / 'secret'}'")
    assert load(environ={}, file=tmp_path / "s.toml").settings.jwt_secret == SECRET


def test_a_missing_secret_file_is_named_with_its_variable():
    assert said(environ={"SESSIONWARE_JWT_SECRET_FILE": "/no/such/file"}) == (
        "SESSIONWARE_JWT_SECRET_FILE: '/no/such/file' cannot be read: No such file or directory"
    )


def test_an_empty_secret_file_never_switches_a_check_off(tmp_path):
    (tmp_path / "secret").write_text("\n")
    message = said(environ={"SESSIONWARE_JWT_SECRET_FILE": str(tmp_path / "secret")})
    assert f"SESSIONWARE_JWT_SECRET_FILE: {str(tmp_path / 'secret')!r} is empty" in message


def test_a_path_that_no_system_allows_is_an_error_of_ours():
    assert "cannot be read" in said(environ={"SESSIONWARE_JWT_SECRET_FILE": "/a\0b"})


def test_a_value_and_a_file_for_it_are_not_set_together(tmp_path):
    (tmp_path / "secret").write_text(SECRET)
    message = said(environ={"SESSIONWARE_JWT_SECRET": SECRET, "SESSIONWARE_JWT_SECRET_FILE": str(tmp_path / "secret")})
    assert message == "SESSIONWARE_JWT_SECRET and SESSIONWARE_JWT_SECRET_FILE are both set: keep one"


def test_api_keys_file_is_a_setting_of_its_own_and_is_not_read_here():
    assert load(environ={"SESSIONWARE_API_KEYS_FILE": "/no/such/file"}).settings.api_keys_file == "/no/such/file"


def test_config_file_is_a_stranger_whose_name_is_put_right():
    assert load(environ={"SESSIONWARE_CONFIG_FILE": "/x"}).warnings == (
        "SESSIONWARE_CONFIG_FILE is no setting: did you mean `SESSIONWARE_CONFIG`?",
    )


def test_only_the_memory_store_has_a_cap_on_all_sessions_by_itself():
    assert load(environ={}).settings.max_sessions == 100_000
    assert load(environ={"SESSIONWARE_STORE": "sqlite:///x.db"}).settings.max_sessions == 0
    assert load(environ={"SESSIONWARE_MAX_SESSIONS": "off"}).settings.max_sessions == 0
    on_disk = {"SESSIONWARE_STORE": "sqlite:///x.db", "SESSIONWARE_MAX_SESSIONS": "7"}
    assert load(environ=on_disk).settings.max_sessions == 7


def test_loading_changes_nothing_in_the_process(monkeypatch):
    before = dict(os.environ)
    load(environ={"SESSIONWARE_SESSION_TTL": "1"})
    assert dict(os.environ) == before
