"""What a client may present as a token: the same 401 for every fault, and no fault is a 500."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sessionware.testing.tokens import SigningKey, base64url
from tests.edge import wire
from tests.edge.site import Site
from tests.edge.wire import Answer

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
REFUSAL = {
    "type": "about:blank", "title": "Unauthorized", "status": 401, "error": "Permission denied", "code": "invalid_token"
}  # fmt: skip


def is_the_one_refusal(answer: Answer) -> None:
    """JWT-15: every fault looks alike, so that an answer does not help to forge."""
    assert (answer.status, answer.header("www-authenticate")) == (401, 'Bearer error="invalid_token"'), answer
    assert answer.json == REFUSAL
    assert (answer.header("cache-control"), answer.header("x-session-id")) == ("no-store", None)


def refuses(site: Site, token: str | bytes) -> None:
    before = site.lookups, site.count
    is_the_one_refusal(site.ask("GET", "/who", token=token))
    assert (site.lookups, site.count) == before


def hs256(header: dict[str, Any], claims: dict[str, Any], key: bytes) -> str:
    """A token signed with any bytes as the secret; PyJWT would refuse to make it."""
    signing_input = base64url(json.dumps(header).encode()) + b"." + base64url(json.dumps(claims).encode())
    signature = hmac.new(key, signing_input, hashlib.sha256).digest()
    return (signing_input + b"." + base64url(signature)).decode()


def malleable(token: str) -> str:
    """The same ES256 token with the other signature that verifies: (r, n - s)."""
    signing_input, _, signature = token.rpartition(".")
    raw = urlsafe_b64decode(signature + "==")
    other = (P256_ORDER - int.from_bytes(raw[32:])).to_bytes(32)
    return f"{signing_input}.{base64url(raw[:32] + other).decode()}"


@pytest.mark.parametrize(
    "alg", ["none", "None", "nOnE", "NONE", "", " none", None, "HS256", "RS512", "ES384", 0, ["RS256"]]
)
def test_another_algorithm_than_ours_is_refused(tokens, issuer, alg):
    """JWT-01, section 5 row 10: with the signature of a good token, an empty one, and one of another kind."""
    claims = issuer.claims(now=tokens.clock.now())
    refuses(tokens, issuer.keys[0].sign(claims, {"alg": alg}))
    refuses(tokens, issuer.keys[0].sign(claims, {"alg": alg}).rpartition(".")[0] + ".")
    refuses(tokens, issuer.keys[0].sign(claims, {"alg": alg, "kid": None}))


def test_a_public_key_is_no_shared_secret(tokens, issuer):
    """JWT-01, section 5 row 11: HS256 with the RSA key's PEM, DER or JWK as its secret."""
    key = issuer.keys[0]
    der = key.public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    claims = issuer.claims(now=tokens.clock.now())
    for secret in [
        key.pem.encode(),
        key.pem.strip().encode(),
        der,
        json.dumps(key.jwk).encode(),
        b"",
        key.kid.encode(),
    ]:
        for kid in [key.kid, None]:
            header = {"alg": "HS256", "typ": "at+jwt", **({} if kid is None else {"kid": kid})}
            refuses(tokens, hs256(header, claims, secret))


def test_a_key_is_used_with_its_own_algorithm_only(tokens, issuer):
    """JWT-02: the EC key's kid under RS256, the RSA key as PS256 although it is published for RS256."""
    rsa, ec = issuer.keys
    claims = issuer.claims(now=tokens.clock.now())
    assert tokens.ask("GET", "/who", token=rsa.sign(claims)).status == 200
    assert tokens.ask("GET", "/who", token=ec.sign(claims)).status == 200
    refuses(tokens, rsa.sign(claims, {"kid": ec.kid}))
    refuses(tokens, ec.sign(claims, {"kid": rsa.kid}))
    refuses(tokens, SigningKey("PS256", kid=rsa.kid, key=rsa.key).sign(claims))
    refuses(tokens, SigningKey("RS256", kid=rsa.kid).sign(claims))


@pytest.mark.parametrize(
    "aud", [None, [], 5, {"api": 1}, ["x"], "ap", "api2", "API", "api ", "", ["api", 5], [["api"]], True]
)
def test_a_token_for_another_audience_is_refused(tokens, aud):
    """JWT-06, section 5 row 15: missing, wrong kind, a prefix, a longer one."""
    refuses(tokens, tokens.token(aud=aud))


def test_one_audience_among_several_is_enough(tokens):
    assert tokens.ask(token=tokens.token(aud=["other", "api"])).status == 200


@pytest.mark.parametrize(
    "raw", ["9999999999", '"9999999999"', "1e30", "1e400", "NaN", "Infinity", "-1", "true", "null", "[]", "1" * 5000]
)
def test_an_expiry_that_is_no_instant_of_a_day_to_come_is_refused(tokens, issuer, raw):
    """JWT-07, section 5 row 14: also what lives for longer than a day, and numbers that overflow."""
    claims = issuer.claims(now=tokens.clock.now(), exp=None)
    payload = json.dumps(claims)[:-1] + f', "exp": {raw}}}'
    refuses(tokens, issuer.keys[1].sign_parts(b'{"alg":"ES256","kid":"ec","typ":"at+jwt"}', payload.encode()))


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": None},
        {"iat": 3600},
        {"nbf": 3600},
        {"nbf": "0"},
        {"iat": True},
        {"nbf": []},
        {"exp": -31},
        {"exp": -3600},
    ],
)
def test_a_token_of_another_time_is_refused(tokens, claims):
    """JWT-07, section 5 row 14: numbers are seconds from now."""
    now = tokens.clock.now() // 1000
    shifted = {name: now + value if type(value) is int else value for name, value in claims.items()}
    refuses(tokens, tokens.token(**shifted))


def test_clocks_may_differ_by_thirty_seconds(tokens):
    """JWT-07."""
    now = tokens.clock.now() // 1000
    for claims in [{"exp": now - 29}, {"iat": now + 30}, {"nbf": now + 30}]:
        assert tokens.ask(token=tokens.token("late", **claims)).status == 200


@pytest.mark.parametrize(
    "typ", ["id+jwt", "logout+jwt", "dpop+jwt", "secevent+jwt", "", "at+jwt ", 5, ["JWT"], "application/json"]
)
def test_a_token_of_another_type_is_refused(tokens, typ):
    """JWT-08, section 5."""
    refuses(tokens, tokens.token(header={"typ": typ}))


@pytest.mark.parametrize(
    "more",
    [
        {"at_hash": "x"},
        {"c_hash": "x"},
        {"events": {}},
        {"token_use": "id"},
        {"typ": "Refresh"},
        {"token_type": "refresh"},
    ],
)
def test_id_refresh_and_logout_tokens_open_nothing(tokens, more):
    """JWT-08: by their claims, whatever their type says."""
    refuses(tokens, tokens.token(**more))


@pytest.mark.parametrize(
    "sub", ["", "a\r\nSet-Cookie: x=1", "a\x00b", "x" * 256, "x" * 6000, "\ud800", "\x1b[31m", 7, [], {}, True]
)
def test_a_subject_that_names_nobody_is_refused(tokens, sub, logs):
    """JWT-09, LOG-01, section 5 row 17: and the log line is one line."""
    refuses(tokens, tokens.token(sub))
    assert all("\r" not in line["message"] and "\x1b" not in line["message"] for line in logs.lines)
    assert "Set-Cookie" not in logs


def test_odd_subjects_are_users_of_their_own(tokens):
    """JWT-09, section 5 row 17: separators, globs and hash tags join no two users."""
    users = ["u1:sess:x", "u1", "sess:x", "{tag}", "*", "u1:sess:*", "a:b", "a", "Ünï", "A", "a ", "%61", "'; --"]
    turns = {user: tokens.ask("POST", "/", token=tokens.token(user, org="c")).json["turns"] for user in users}
    assert turns == dict.fromkeys(users, 1)
    for user in users:
        assert tokens.ask("GET", "/who", user=user).json["user"] == user


@pytest.mark.parametrize(
    "fault", ["two parts", "four parts", "JWE", "padding", "padding header", "encoded newline", "not base64", "url"]
)
def test_a_token_has_one_spelling(tokens, fault):
    """JWT-10, JWT-13: three parts of base64url, nothing else."""
    token = tokens.token()
    header, claims, signature = token.split(".")
    refuses(tokens, {
        "two parts": f"{header}.{claims}", "four parts": f"{token}.x", "JWE": f"{token}.x.y", "padding": token + "=",
        "padding header": f"{header}=.{claims}.{signature}", "encoded newline": f"{token}%0a",
        "not base64": f"{header}.{claims}.!!!", "url": token.replace("_", "/").replace("-", "+") + "+",
    }[fault])  # fmt: skip


@pytest.mark.parametrize(
    "header", [{"crit": ["exp"]}, {"crit": []}, {"b64": False}, {"zip": "DEF"}, {"enc": "A256GCM", "zip": "DEF"}]
)
def test_extensions_of_the_header_are_refused(tokens, header):
    """JWT-10."""
    refuses(tokens, tokens.token(header=header))


def test_bombs_of_json_are_refused(tokens, issuer):
    """JWT-10, section 5 row 19: deep nesting, long numbers, repeated names, not an object, not UTF-8."""
    key, payload = issuer.keys[1], json.dumps(issuer.claims(now=tokens.clock.now())).encode()
    good = b'{"alg":"ES256","kid":"ec","typ":"at+jwt"}'
    for header in [
        b"[" * 5000,
        b'{"a":' * 1000 + b"1",
        good[:-1] + b',"alg":"none"}',
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b"",
    ]:
        refuses(tokens, key.sign_parts(header, payload))
    for claims in [
        b"[" * 5000,
        payload[:-1] + b',"sub":"eve"}',
        b"[]",
        b"1" * 4999,
        payload[:-1] + b',"x":' + b"9" * 4500 + b"}",
        b"\xff",
    ]:
        refuses(tokens, key.sign_parts(good, claims))


@pytest.mark.parametrize("size", [8_200, 60_000, 1_000_000])
def test_an_enormous_token_is_refused_by_the_server_or_by_us(tokens, size):
    """JWT-10, section 5 row 19: before anything in it is read."""
    before = tokens.lookups
    for text in ["x" * size, tokens.token() + "." * size]:
        answer = tokens.raw(wire.request(target="/who", headers=[("Authorization", f"Bearer {text}")]))
        assert answer is None or answer.status in {400, 401, 431}
    assert tokens.lookups == before


def test_a_good_token_beyond_eight_kilobytes_is_refused(tokens):
    """JWT-10: whatever it says, and one below is read."""
    assert tokens.ask("GET", "/who", token=tokens.token(padding="x" * 5000)).status == 200
    refuses(tokens, tokens.token(padding="x" * 9000))


def test_a_bad_signature_is_never_saved_by_a_good_one_before_it(tokens):
    """JWT-16: the cache of verified tokens cannot be poisoned, in neither order."""
    token = tokens.token("carol")
    signing_input, _, signature = token.rpartition(".")
    forged = f"{signing_input}.{'A' * len(signature)}"
    refuses(tokens, forged)
    assert tokens.ask(token=token).status == 200
    refuses(tokens, forged)
    refuses(tokens, f"{tokens.token('mallory').rpartition('.')[0]}.{signature}")
    assert tokens.ask(token=token).json["user"] == "carol"


def test_a_revoked_token_stays_revoked_in_every_spelling(tokens, issuer):
    """JWT-13, JWT-16, SES-10: with and without a jti; the malleable ES256 signature is the same token."""
    now = tokens.clock.now()
    for user, more in [("dora", {"jti": "one"}), ("dirk", {})]:
        token = issuer.keys[1].sign(issuer.claims(user, now=now, **more))
        assert [tokens.ask(token=each).status for each in (token, malleable(token))] == [200, 200]
        tokens.run(tokens.sessionware.sessions.revoke(token=token))
        for each in (token, malleable(token), token + "="):
            is_the_one_refusal(tokens.ask(token=each))
    fresh = issuer.keys[1].sign(issuer.claims("dora", now=now, jti="two"))
    assert tokens.ask(token=fresh).status == 200


def test_a_revoked_user_is_out_and_everybody_else_is_not(tokens):
    """SES-10: all sessions and tokens of one user at once, without a scan."""
    for _ in range(2):
        assert tokens.ask(user="erin").status == 200
    tokens.clock.advance(1000)
    token = tokens.token("erin", iat=tokens.clock.now() // 1000 - 5)
    tokens.run(tokens.sessionware.sessions.revoke(user="erin"))
    is_the_one_refusal(tokens.ask(token=token))
    assert tokens.ask(user="frank").status == 200
    tokens.clock.advance(2000)
    assert tokens.ask(user="erin").json["new"] is True
