"""`sessionware explain-token`: each check with got and expected, and never the token."""

import io

import pytest

from sessionware.cli import main
from sessionware.clock import wall_ms
from sessionware.testing.tokens import FakeIssuer

issuer = FakeIssuer()


@pytest.fixture
def explain(monkeypatch, capsys, tmp_path):
    """Explain a text with the issuer configured; answers exit code and output."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key.pem").write_text(issuer.keys[0].pem)
    monkeypatch.setenv("SESSIONWARE_JWT_PUBLIC_KEY_FILE", str(tmp_path / "key.pem"))
    monkeypatch.setenv("SESSIONWARE_JWT_ISSUER", issuer.name)
    monkeypatch.setenv("SESSIONWARE_JWT_AUDIENCE", "api")
    monkeypatch.setenv(
        "SESSIONWARE_LIMITS", "daily=5M tokens/day per user for group pro; daily=200k tokens/day per user"
    )

    def run(text):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        code = main(["explain-token"])
        captured = capsys.readouterr()
        for part in text.split("."):
            assert len(part) < 10 or part not in captured.out + captured.err
        return code, captured.out, captured.err

    return run


def test_a_good_token_shows_what_it_leads_to(explain):
    code, out, _ = explain(issuer.token(now=wall_ms(), groups=["pro"], org="acme", scope="a b", sid="work") + "\n")
    assert code == 0
    assert "FAILED" not in out
    for line in (
        "owner: user 'alice' of issuer 'https://idp.example'", "organisation: 'acme'", "groups: 'pro'",
        "scopes: 'a', 'b'",
        "session without an id: work", "ok      signature: good", "limit daily: ",
    ):  # fmt: skip
        assert line in out
    assert "5M" in out
    assert "200k" not in out


def test_every_failed_check_is_shown_at_once(explain):
    code, out, _ = explain(
        "Bearer " + FakeIssuer(keys=[*FakeIssuer().keys]).token(now=wall_ms(), aud=["account"], sub="a\n")
    )
    assert code == 1
    assert 'FAILED  aud: ["account"]\n        expected "api"' in out
    assert "FAILED  signature: the signature is not the issuer's" in out
    assert "FAILED  user (sub): 2 characters, some of them not plain" in out
    assert out.endswith("refused\n")


@pytest.mark.parametrize(
    "text", ["hello", "a.b.c", issuer.token(iss="https://else"), issuer.token(header={"alg": "none"}), "x" * 9000]
)
def test_what_is_no_token_of_ours_is_said_in_one_breath(explain, text):
    code, out, _ = explain(text)
    assert code == 1
    assert "FAILED" in out


def test_no_token_is_a_mistake(explain):
    code, _, err = explain("\n")
    assert code == 2
    assert "no token on standard input" in err


def test_a_static_key_is_explained_too(explain, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("SESSIONWARE_API_KEYS_FILE", str(tmp_path / "keys"))
    assert main(["key", "add", "bob", "--group", "ops"]) == 0
    text = capsys.readouterr().out.strip()
    code, out, _ = explain(text)
    assert code == 0
    assert "owner: user 'bob' of issuer 'key:'" in out
    assert main(["key", "revoke", "bob"]) == 0
    capsys.readouterr()
    assert explain(text)[0] == 1


def test_without_any_key_there_is_nothing_to_explain(explain, monkeypatch):
    for name in ("JWT_PUBLIC_KEY_FILE", "JWT_ISSUER"):
        monkeypatch.delenv(f"SESSIONWARE_{name}")
    code, _, err = explain(issuer.token())
    assert code == 2
    assert "no key to verify with" in err


def test_what_a_good_token_still_lacks_is_said(explain, monkeypatch):
    monkeypatch.setenv("SESSIONWARE_REQUIRED_GROUPS", "pro")
    monkeypatch.setenv("SESSIONWARE_REQUIRE_ORG", "1")
    monkeypatch.setenv("SESSIONWARE_JWT_CLAIM_LIMITS", "limits")
    code, out, _ = explain(issuer.token(now=wall_ms(), limits={"daily": 5}))
    assert code == 0
    assert "BUT required_groups asks for one of 'pro': 403" in out
    assert "BUT require_org" in out
    assert "(allowance by the token: 5)" in out
