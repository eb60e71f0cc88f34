"""Static API keys: kept hashed, compared in constant time, read anew when their file changes."""

import asyncio
import stat

import msgspec
import pytest

from sessionware.cli import main
from sessionware.config.settings import Settings
from sessionware.core.identity import Claims, prove
from sessionware.credentials.api_keys import ApiKeys, Journal, Revoked, append, load, new_key, read_journal
from sessionware.credentials.presented import Presented
from sessionware.credentials.refusals import Refused
from sessionware.credentials.resolver import Resolver
from sessionware.errors import AmbiguousCredentials, ConfigError, InvalidToken
from sessionware.testing.tokens import FakeIssuer
from tests.credentials.making import ADDRESSES, NOW


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.jsonl"


def add(path, user="alice", **more):
    text, key = new_key(user, now=NOW, **({"org": None, "groups": (), "scopes": ()} | more))
    append(path, key)
    return text, key


def resolver_of(path, **more):
    return Resolver(Settings(api_keys_file=str(path), **more), ADDRESSES)


def identity_of(resolver, request, now=NOW):
    return asyncio.run(resolver.resolve(request, now)).identity


def bearer(text):
    return Presented(authorization=(f"Bearer {text}",))


def test_a_key_proves_its_user_by_bearer_and_by_header(path):
    text, key = add(path, groups=("pro",), scopes=("admin",), org="acme")
    resolver = resolver_of(path)
    assert resolver.resolve_at_once(bearer(text), NOW) is None  # the file was never read
    found = identity_of(resolver, bearer(text))
    assert found == prove(
        Claims(issuer="key:", user_id="alice", org_id="acme", groups=("pro",), scopes=("admin",), token=found.token),
        addresses=ADDRESSES,
    )
    assert found.token.hash == ADDRESSES.token("key:", key.id)
    at_once = resolver.resolve_at_once(Presented(api_key=(text,)), NOW)
    assert at_once is not None
    assert at_once.identity == found


def test_the_file_holds_no_key_and_is_for_its_owner_alone(path):
    text, _ = add(path)
    assert text not in path.read_text()
    assert text.split("_", 2)[2] not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_of_the_file_stops_within_half_a_second_of_its_revocation(path):
    text, key = add(path)
    resolver = resolver_of(path)
    assert identity_of(resolver, bearer(text)) is not None
    append(path, Revoked(revoked=key.id, at=NOW))
    assert resolver.resolve_at_once(bearer(text), NOW + 499) is not None
    assert resolver.resolve_at_once(bearer(text), NOW + 500) is None
    with pytest.raises(InvalidToken):
        identity_of(resolver, bearer(text), NOW + 500)
    with pytest.raises(InvalidToken):
        resolver.resolve_at_once(bearer(text), NOW + 1001)


def test_a_new_key_counts_without_a_restart(path):
    add(path)
    resolver = resolver_of(path)
    resolver.resolve_at_once(Presented(), NOW)
    text, _ = add(path, "bob")
    assert identity_of(resolver, bearer(text), NOW + 1000).user_id == "bob"


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t[:-1] + ("A" if t[-1] != "A" else "B"),
        lambda t: t + "=",
        lambda t: t.upper(),
        lambda t: "swk_" + "a" * 16 + t[20:],
        lambda _: "swk_",
        lambda _: "x",
    ],
)
def test_a_wrong_key_is_401(path, change):
    text, _ = add(path)
    for request in (bearer(change(text)), Presented(api_key=(change(text),))):
        with pytest.raises(InvalidToken, match=r"^Invalid or expired token$"):
            identity_of(resolver_of(path), request)


def test_two_keys_or_a_key_beside_a_token_are_400(path):
    text, _ = add(path)
    for request in (Presented(api_key=(text, text)), Presented(api_key=(text,), authorization=(f"Bearer {text}",))):
        with pytest.raises(AmbiguousCredentials):
            identity_of(resolver_of(path), request)


def test_keys_and_tokens_live_side_by_side_as_different_owners(path):
    text, _ = add(path)
    issuer = FakeIssuer()
    resolver = resolver_of(path, jwt_public_key=issuer.keys[0].pem, jwt_issuer=issuer.name, jwt_audience=("api",))
    by_key, by_token = identity_of(resolver, bearer(text)), identity_of(resolver, bearer(issuer.token()))
    assert by_key.user_id == by_token.user_id
    assert by_key.owner != by_token.owner


def test_a_missing_file_holds_no_key_and_says_so_once(path, caplog):
    resolver = resolver_of(path)
    for now in (NOW, NOW + 2000):
        with pytest.raises(InvalidToken):
            identity_of(resolver, bearer("swk_x"), now)
    assert caplog.text.count("no key counts") == 1


def test_a_deleted_file_takes_all_keys_back(path):
    text, _ = add(path)
    resolver = resolver_of(path)
    identity_of(resolver, bearer(text))
    path.unlink()
    with pytest.raises(InvalidToken):
        identity_of(resolver, bearer(text), NOW + 1000)


def test_broken_lines_count_for_nothing_and_the_others_do(path, caplog):
    text, key = add(path)
    good = msgspec.json.encode(key)
    path.write_bytes(
        b"# ours\n\n{\n"
        + good
        + b'\n{"id":"x"}\nnull\n\xff\n'
        + b"[" * 100_000
        + b"\n"
        + good.replace(b"alice", b"a\\u0000")
    )
    assert load(path).unreadable == (3, 5, 6, 7, 8, 9)
    assert identity_of(resolver_of(path), bearer(text)).user_id == "alice"
    assert "cannot read line 3, 5" in caplog.text


def test_a_revocation_counts_wherever_it_stands(path):
    _, key = add(path)
    revoked = msgspec.json.encode(Revoked(revoked=key.id, at=1))
    assert read_journal(revoked + b"\n" + path.read_bytes()) == Journal({}, ())


def test_a_line_that_was_cut_does_not_swallow_the_next(path):
    path.write_bytes(b'{"id":"cut')
    _, key = add(path)
    assert load(path) == Journal({key.id: key}, (1,))


def test_a_key_is_compared_by_its_hash(path):
    add(path)
    keys = ApiKeys(path)
    asyncio.run(keys.refresh(NOW))
    with pytest.raises(Refused, match="not of the form"):
        keys.find("\ud800")


@pytest.mark.parametrize(
    "more", [{"user": ""}, {"user": "a\n"}, {"user": "a", "groups": [""]}, {"user": "a", "org": ""}]
)
def test_an_improper_name_makes_no_key(more):
    with pytest.raises(ConfigError):
        new_key(**({"now": NOW, "org": None, "groups": (), "scopes": ()} | more))


# The command line


def test_key_add_list_revoke(path, capsys, monkeypatch):
    monkeypatch.setenv("SESSIONWARE_API_KEYS_FILE", str(path))
    assert (
        main(
            ["key", "add", "alice", "--group", "pro", "--group", "ops", "--scope", "sessionware:admin", "--org", "acme"]
        )
        == 0
    )
    text = capsys.readouterr().out.strip()
    assert identity_of(resolver_of(path), bearer(text)).groups == ("pro", "ops")
    assert main(["key", "list"]) == 0
    listed = capsys.readouterr().out
    assert "alice  org acme  groups pro,ops  scopes sessionware:admin" in listed
    assert text not in listed
    assert main(["key", "revoke", listed.split()[0]]) == 0
    assert main(["key", "list"]) == 0
    assert capsys.readouterr().out.startswith("revoked ")
    assert main(["key", "revoke", "alice"]) == 2
    assert "no key that counts" in capsys.readouterr().err


def test_key_needs_a_file(capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("SESSIONWARE_API_KEYS_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["key", "list"]) == 2
    assert "which file?" in capsys.readouterr().err
    assert main(["key", "add", "alice", "--file", str(tmp_path / "no" / "keys")]) == 2
    assert "cannot write" in capsys.readouterr().err
