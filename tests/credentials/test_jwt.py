"""JWT-01 to JWT-10 and JWT-13: what a token must be, and everything that it must not be."""

import asyncio
import hashlib
import hmac
import json
import logging
from base64 import urlsafe_b64decode
from contextlib import suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt import PyJWS

from sessionware.config.settings import ClaimNames
from sessionware.core.identity import Claims
from sessionware.credentials.jwt import Verified
from sessionware.credentials.keys import FixedKeys, KeySet, public_key, read_key_set, shared_secret
from sessionware.errors import ConfigError, InvalidToken
from sessionware.testing.clock import START
from sessionware.testing.tokens import LIFE_S, FakeIssuer, KeyServer, SigningKey, base64url
from tests.credentials.making import ADDRESSES, NOW, trusting, verifier_of

RSA_KEY = SigningKey("RS256")
SECONDS = NOW // 1000
JWK = st.sampled_from(["kty", "kid", "alg", "crv", "x", "y", "n", "e", "use", "key_ops", "keys"])
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

issuer = FakeIssuer()
verifier = verifier_of(trusting(issuer))


def refusal(token, verifier=verifier, now=NOW):
    """The reason of a refusal, as the operator reads it. What leaves is always the same sentence."""
    with pytest.raises(InvalidToken, match=r"^Invalid or expired token$") as caught:
        verifier.verify_at_once(token, now)
    assert caught.value.status_hint == 401
    return caught


def claims_of(token, verifier=verifier):
    verified = verifier.verify_at_once(token, NOW)
    assert isinstance(verified, Verified)
    return verified.claims


@pytest.mark.parametrize("alg", ["HS256", "HS512", "RS256", "PS256", "ES256", "EdDSA"])
def test_a_good_token_proves_its_subject(alg):
    issuer = FakeIssuer(keys=[RSA_KEY if alg == "RS256" else SigningKey(alg)])
    verified = verifier_of(trusting(issuer)).verify_at_once(issuer.token("alice", jti="7", sid="s1"), NOW)
    assert verified is not None
    assert (verified.claims.issuer, verified.claims.user_id, verified.claims.sid) == (issuer.name, "alice", "s1")
    assert verified.claims.token is not None
    assert verified.claims.token.hash == ADDRESSES.token(issuer.name, "7")
    assert verified.claims.token.issued_at == NOW


# JWT-01, JWT-02: algorithms and keys


@pytest.mark.parametrize(
    "alg", ["none", "None", "nOnE", "NONE", "", None, 1, ["ES256"], "es256", "HS256", "ES512", "X"]
)
def test_jwt_01_an_algorithm_outside_the_list_is_refused(alg):
    refusal(issuer.token(header={"alg": alg}))


@pytest.mark.parametrize("alg", ["none", "None", "nOnE"])
def test_jwt_01_an_unsigned_token_is_refused(alg):
    header, payload, _ = issuer.token(header={"alg": alg}).split(".")
    refusal(f"{header}.{payload}.")


def test_jwt_01_a_public_key_is_no_shared_secret():
    """PEM, DER and JWK text of the issuer's public key, used as an HMAC secret."""
    victim = FakeIssuer(keys=[RSA_KEY])
    guarded = verifier_of(trusting(victim))
    der = RSA_KEY.public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for secret in (RSA_KEY.pem.encode(), RSA_KEY.pem.strip().encode(), der, json.dumps(RSA_KEY.jwk).encode()):
        refusal(_hmac_token(victim, secret), guarded)


def test_jwt_01_secrets_and_public_keys_never_stand_in_one_list():
    with pytest.raises(ConfigError, match=r"mixes shared secrets .* with public keys"):
        verifier_of(trusting(issuer, algorithms=frozenset({"HS256", "RS256"})))
    with pytest.raises(ConfigError, match="'none' is not possible"):
        verifier_of(trusting(issuer, algorithms=frozenset({"none"})))


def test_jwt_02_a_keys_own_algorithm_binds_it():
    """The same RSA key, published for RS256, does not check PS256."""
    ps256 = SigningKey("PS256", key=RSA_KEY.key)
    guarded = verifier_of(trusting(FakeIssuer(keys=[RSA_KEY])))
    refusal(FakeIssuer(keys=[ps256]).token(), guarded)


def test_jwt_02_a_key_published_without_an_algorithm_checks_all_of_its_family():
    jwk = {name: value for name, value in RSA_KEY.jwk.items() if name != "alg"}
    keys = FixedKeys(read_key_set({"keys": [jwk]}))
    ps256 = FakeIssuer(keys=[SigningKey("PS256", key=RSA_KEY.key)])
    assert claims_of(ps256.token(), verifier_of(trusting(ps256, keys=keys))).user_id == "alice"


@pytest.mark.parametrize(
    "change",
    [{"use": "enc"}, {"key_ops": ["sign"]}, {"kty": "oct", "k": "AAAA"}, {"kid": 7}, {"crv": "P-999"}, {"d": "AA"}],
)
def test_jwt_02_keys_for_something_else_check_nothing(change):
    assert read_key_set({"keys": [issuer.keys[0].jwk | change, None, 7]}) == KeySet(())


def test_jwt_02_a_weak_key_checks_nothing():
    weak = FakeIssuer(keys=[SigningKey("RS256", key=rsa.generate_private_key(public_exponent=65537, key_size=1024))])
    refusal(weak.token(), verifier_of(trusting(weak)))


def test_jwt_02_a_short_or_public_secret_stops_the_start():
    with pytest.raises(ConfigError, match="too short for HS256"):
        shared_secret("hunter2", ["HS256"])
    with pytest.raises(ConfigError, match="set jwt_public_key"):
        shared_secret(RSA_KEY.pem, ["HS256"])


def test_jwt_02_a_public_key_tells_its_own_family():
    assert public_key(RSA_KEY.pem)[1] == "RSA"
    assert public_key(issuer.keys[0].pem)[1] == "P-256"
    assert public_key(SigningKey("EdDSA").pem)[1] == "OKP"
    with pytest.raises(ConfigError, match="is no public key in PEM"):
        public_key("hello")


# JWT-03, JWT-04: nothing in a header is followed


@pytest.mark.parametrize("name", ["jku", "x5u", "x5c", "jwk"])
def test_jwt_03_keys_that_a_token_brings_along_are_not_read(name):
    stranger = SigningKey("ES256")
    refusal(FakeIssuer(keys=[stranger]).token(header={name: stranger.jwk if name == "jwk" else "http://127.0.0.1:1/"}))
    assert claims_of(issuer.token(header={name: "http://127.0.0.1:1/"})).user_id == "alice"


@pytest.mark.parametrize(
    "kid",
    [
        "../../dev/null",
        "' OR 1=1",
        "' UNION SELECT",
        "a\r\nb",
        "x" * 257,
        "",
        1,
        ["key-1"],
        True,
        "\ud800",
        {},
        "key-2",
    ],
)
def test_jwt_04_a_kid_is_only_ever_compared(kid):
    refusal(issuer.token(header={"kid": kid}))


def test_jwt_04_without_a_kid_the_key_must_be_the_only_one():
    assert claims_of(issuer.token(header={"kid": None})).user_id == "alice"
    two = FakeIssuer(keys=[SigningKey(kid="a"), SigningKey(kid="b")])
    refusal(two.token(header={"kid": None}), verifier_of(trusting(two)))


def test_jwt_03_a_server_that_a_token_names_hears_nothing():
    async def check():
        async with KeyServer(FakeIssuer()) as canary:
            for name in ("jku", "x5u"):
                with pytest.raises(InvalidToken):
                    await verifier.verify(canary.issuer.token(header={name: canary.keys_url}), NOW)
            assert canary.hits == 0

    asyncio.run(check())


@given(
    st.fixed_dictionaries(
        {"kty": st.sampled_from(["RSA", "EC", "OKP", "oct"])},
        optional={
            name: st.text(max_size=20) | st.integers() | st.sampled_from(["P-256", "Ed25519", "AQAB", "A" * 43, ""])
            for name in ("crv", "x", "y", "n", "e", "kid", "alg")
        },
    )
)
def test_jwt_04_a_broken_key_does_not_stop_the_one_beside_it(jwk):
    assert read_key_set({"keys": [jwk, issuer.keys[0].jwk]}).find("key-1", "ES256", "P-256") is not None


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner) | st.dictionaries(JWK, inner)
    )
)
def test_jwt_04_any_key_set_is_read_or_refused(document):
    for published in (document, {"keys": document}, {"keys": [document, {**issuer.keys[0].jwk, "x": document}]}):
        with suppress(ValueError):
            assert isinstance(read_key_set(published), KeySet)


# JWT-05, JWT-06: issuer and audience


@pytest.mark.parametrize(
    "iss", [None, "", "https://idp.example/", "https://idp.exampl", ["https://idp.example"], 7, "\ud800"]
)
def test_jwt_05_the_issuer_is_compared_exactly(iss):
    refusal(issuer.token(iss=iss))


def test_jwt_05_keys_are_looked_up_per_issuer():
    """The same kid at two issuers: neither signs for the other."""
    one, two = FakeIssuer("https://one"), FakeIssuer("https://two")
    both = verifier_of(trusting(one), trusting(two))
    assert claims_of(one.token(), both).issuer == "https://one"
    assert claims_of(two.token(), both).issuer == "https://two"
    refusal(one.token(iss="https://two"), both)


def test_jwt_05_the_only_issuer_may_have_no_name():
    nameless = verifier_of(trusting(issuer, name=None))
    assert claims_of(issuer.token(iss=None), nameless).issuer == ""
    assert claims_of(issuer.token(iss="https://x"), nameless).issuer == "https://x"
    refusal(issuer.token(iss=7), nameless)
    with pytest.raises(ConfigError, match="each needs an `issuer` of its own"):
        verifier_of(trusting(issuer, name=None), trusting(issuer))


@pytest.mark.parametrize(
    "aud", [None, "", [], "ap", "apis", 5, ["x"], ["x", 5], [["api"]], {"api": 1}, True, ["api", 5]]
)
def test_jwt_06_the_audience_must_be_us(aud):
    refusal(issuer.token(aud=aud))


@pytest.mark.parametrize("aud", ["api", ["api"], ["x", "api"]])
def test_jwt_06_we_may_be_one_of_several_audiences(aud):
    assert claims_of(issuer.token(aud=aud)).user_id == "alice"


# JWT-07: time


@pytest.mark.parametrize(
    "exp", [None, str(SECONDS + 60), 10**30, 1e30, True, -1, [], {}, SECONDS - 31, 0, SECONDS + 86_401 + 600]
)
def test_jwt_07_a_token_needs_a_sensible_expiry(exp):
    refusal(issuer.token(exp=exp))


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "null", "01", "1.e5"])
def test_jwt_07_numbers_that_are_none_are_refused(text):
    payload = json.dumps(issuer.claims() | {"exp": 0}).replace('"exp": 0', f'"exp": {text}')
    refusal(issuer.keys[0].sign(payload.encode()))


@pytest.mark.parametrize(
    "more", [{"iat": SECONDS + 3600}, {"nbf": SECONDS + 31}, {"iat": "1"}, {"nbf": True}, {"nbf": []}]
)
def test_jwt_07_a_token_from_the_future_is_refused(more):
    refusal(issuer.token(**more))


def test_jwt_07_null_is_no_time():
    for name in ("iat", "nbf"):
        refusal(issuer.keys[0].sign(issuer.claims() | {name: None}))


def test_jwt_07_a_token_lives_until_its_expiry_and_the_leeway():
    token = issuer.token(life=10)
    assert verifier.verify_at_once(token, NOW + 39_999) is not None
    refusal(token, now=NOW + 40_000)


def test_jwt_07_a_long_life_is_refused_with_and_without_iat():
    refusal(issuer.token(life=86_401))
    refusal(issuer.token(life=86_500, iat=None))
    assert claims_of(issuer.token(life=86_400)).user_id == "alice"
    assert verifier_of(trusting(issuer, max_age=0)).verify_at_once(issuer.token(life=10**8), NOW) is not None


def test_jwt_07_the_leeway_is_bounded():
    with pytest.raises(ConfigError, match="at most 60 s"):
        verifier_of(trusting(issuer, leeway=61_000))


# JWT-08: kinds of tokens


@pytest.mark.parametrize("typ", ["id+jwt", "logout+jwt", "dpop+jwt", "", 5, ["JWT"], "secevent+jwt"])
def test_jwt_08_another_type_is_refused(typ):
    refusal(issuer.token(header={"typ": typ}))


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "JWT", "jwt", None])
def test_jwt_08_access_tokens_are_welcome(typ):
    assert claims_of(issuer.token(header={"typ": typ})).user_id == "alice"


def test_jwt_08_only_the_configured_types_count():
    strict = verifier_of(trusting(issuer, types=frozenset({"at+jwt"})))
    refusal(issuer.token(header={"typ": None}), strict)
    refusal(issuer.token(header={"typ": "JWT"}), strict)


@pytest.mark.parametrize(
    "more",
    [
        {"at_hash": "x"}, {"c_hash": "x"}, {"typ": "ID"}, {"typ": "Refresh"}, {"token_use": "id"},
        {"token_type": "refresh"},
        {"type": "refresh"}, {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}, {"typ": "Logout"},
    ],
)  # fmt: skip
def test_jwt_08_id_refresh_and_logout_tokens_open_nothing(more):
    refusal(issuer.token(**more))


# JWT-09: the subject


@pytest.mark.parametrize(
    "sub",
    [
        "",
        None,
        7,
        ["alice"],
        "a\r\nSet-Cookie: x",
        "\x00",
        "a\x7f",
        "x" * 256,
        "x" * 6000,
        "\ud800",
        "a\u2028b",
        True,
        "\x9b2J",
    ],
)
def test_jwt_09_a_subject_is_plain_text(sub):
    refusal(issuer.token(sub))


@pytest.mark.parametrize("sub", ["u1:sess:*", "{tag}", "a:b", "Ünïcode", "x" * 255, "a b", "🦊"])
def test_jwt_09_a_subject_is_never_an_address_itself(sub):
    assert claims_of(issuer.token(sub)).user_id == sub


def test_jwt_09_another_claim_may_name_the_user_but_sub_stays_text():
    by_mail = verifier_of(trusting(issuer, claims=ClaimNames(user=("email",))))
    assert claims_of(issuer.token(None, email="a@b"), by_mail).user_id == "a@b"
    refusal(issuer.token(), by_mail)
    refusal(issuer.token(7, email="a@b"), by_mail)


@pytest.mark.parametrize("more", [{"org": ""}, {"org": 7}, {"org": "a\n"}, {"jti": 7}, {"jti": "\ud800"}])
def test_jwt_09_an_organisation_and_a_token_id_are_text_too(more):
    refusal(issuer.token(**more))


# JWT-10: form


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "..", "...", "a.b", "a.b.c", "a.b.c.d.e", "x" * 8193, "é.b.c", "e30.e30.", "W10.W10.AA",
        "bnVsbA.bnVsbA.AA",
        "\ud800.a.b", "e30.e30.e30\n", " e30.e30.e30", "e30=.e30.AA", "Swk_1",
    ],
)  # fmt: skip
def test_jwt_10_what_is_no_token_is_refused(text):
    refusal(text)


def test_jwt_10_a_long_token_is_not_even_split():
    refusal("a." * 5_000_000)
    assert len(issuer.token(filler="x" * 5000)) < 8192
    assert claims_of(issuer.token(filler="x" * 5000)).user_id == "alice"


@pytest.mark.parametrize(
    "header",
    [{"crit": ["exp"]}, {"crit": []}, {"b64": False}, {"b64": True}, {"zip": "DEF"}, {"crit": ["b64"], "b64": False}],
)
def test_jwt_10_extensions_are_refused(header):
    refusal(issuer.token(header=header))


def test_jwt_10_a_deep_header_is_refused():
    refusal(issuer.keys[0].sign_parts(b'{"a":' + b"[" * 2900 + b"]" * 2900 + b"}", b"{}"))


@pytest.mark.parametrize(
    "raw", [b'{"sub":"a","sub":"b"}', b'{"a":{"x":1,"x":1}}', b"\xff\xfe{\x00}\x00", b'{"a":"\xff"}', b"[]", b"{} x"]
)
def test_jwt_10_json_that_can_be_read_in_two_ways_is_refused(raw):
    refusal(issuer.keys[0].sign(raw))
    refusal(issuer.keys[0].sign_parts(raw, json.dumps(issuer.claims()).encode()))


@pytest.mark.parametrize("field", [b'"alg":"ES256","alg":"ES256"', b'"alg":"none","alg":"ES256"'])
def test_jwt_10_a_header_that_repeats_a_name_is_refused(field):
    refusal(
        issuer.keys[0].sign_parts(b'{"typ":"JWT","kid":"key-1",' + field + b"}", json.dumps(issuer.claims()).encode())
    )


# JWT-13: a token's name


def test_jwt_13_padding_is_another_spelling_and_is_refused():
    token = issuer.token()
    for spelling in (token + "=", token + "==", token + "\n", token.replace(".", "=.", 1), token + "."):
        refusal(spelling)


def test_jwt_13_stray_bits_are_another_spelling_and_are_refused():
    token = issuer.token()  # 64 bytes of signature: the last character carries 2 bits of it and 4 stray ones
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    refusal(token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1])


@pytest.mark.parametrize("jti", [None, "t1"])
def test_jwt_13_both_signatures_of_es256_are_one_token(jti):
    token = issuer.token(jti=jti)
    twin = _mirrored(token)
    assert twin != token
    assert claims_of(twin).token == claims_of(token).token


def test_jwt_13_a_token_that_hides_its_age_is_as_old_as_it_can_be():
    token = claims_of(issuer.token(iat=None)).token
    assert token is not None
    assert token.issued_at == NOW + 600_000 - 86_400_000


def test_jwt_16_a_token_is_believed_until_its_expiry_and_for_a_minute_at_most():
    for life, believed in ((600, 60_000), (20, 20_000)):
        verified = verifier.verify_at_once(issuer.token(life=life), NOW)
        assert verified is not None
        assert verified.until == NOW + believed


# Claims


def test_claims_are_tried_literally_then_as_a_path_first_present_wins():
    names = ClaimNames(
        org=("https://x/org", "tenant.id"), groups=("roles", "realm_access.roles"), session=("a.b",),
        scope=("scp", "scope"),
        limits=("limits",),
    )  # fmt: skip
    mapped = verifier_of(trusting(issuer, claims=names))
    said: dict[str, Any] = {
        "tenant": {"id": "acme"}, "realm_access": {"roles": ["pro", "pro:x", 7, "", "\ud800"]}, "a.b": "work",
        "scope": "one two", "limits": {"daily": 5, "\ud800": 1, "x": "y"},
    }  # fmt: skip
    token = issuer.token(**said)
    found = claims_of(token, mapped)
    assert found == Claims(
        issuer=issuer.name, user_id="alice", org_id="acme", groups=("pro", "pro:x"), sid="work", scopes=("one", "two"),
        token=found.token, expires_at=START + LIFE_S * 1000, limits={"daily": 5, "x": "y"},
    )  # fmt: skip
    assert claims_of(issuer.token(**(said | {"https://x/org": "z"})), mapped).org_id == "z"


@pytest.mark.parametrize("groups", ["pro", ["pro"], ["pro", {"x": 1}, None]])
def test_groups_are_exact_strings(groups):
    assert claims_of(issuer.token(groups=groups)).groups == ("pro",)


@pytest.mark.parametrize("groups", [7, {"pro": True}, None, True, [["pro"]]])
def test_what_is_no_list_of_names_is_no_group(groups):
    assert claims_of(issuer.token(groups=groups)).groups == ()


# Reasons


def test_jwt_15_each_reason_is_logged_once_a_minute_and_never_sent(caplog):
    fresh = verifier_of(trusting(issuer))
    with caplog.at_level(logging.WARNING, "sessionware.credentials"):
        for now in (NOW, NOW + 1, NOW + 59_999):
            with pytest.raises(InvalidToken, match=r"^Invalid or expired token$"):
                fresh.verify_at_once(issuer.token(now=now, aud=["account"]), now)
        assert caplog.messages == ['jwt refused: aud is ["account"], expected "api"']
        with pytest.raises(InvalidToken):
            fresh.verify_at_once(
                issuer.token(now=NOW + 60_000, aud="\x1b[2J\r\nroot logged in" + "x" * 500), NOW + 60_000
            )
    assert len(caplog.messages) == 2
    assert caplog.messages[1].isprintable()
    assert len(caplog.messages[1]) < 250
    assert fresh.refusals.count == 4


def test_jwt_15_no_reason_holds_the_token_or_its_subject(caplog):
    token = issuer.token("secret-subject\n")
    with caplog.at_level(logging.WARNING, "sessionware.credentials"), pytest.raises(InvalidToken) as caught:
        verifier_of(trusting(issuer)).verify_at_once(token, NOW)
    assert "secret-subject" not in caplog.text
    assert token.split(".")[1] not in caplog.text
    assert caught.value.__cause__ is None


# Any bytes


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = ["iss", "sub", "aud", "exp", "iat", "nbf", "jti", "sid", "groups", "org", "scope", "typ", "events"]


def prove_or_refuse(token):
    with suppress(InvalidToken):
        assert isinstance(verifier.verify_at_once(token, NOW), Verified)


@given(st.text(st.characters(exclude_categories=()), max_size=100))
def test_any_text_is_a_token_or_is_refused(text):
    prove_or_refuse(text)


@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(max_size=80))
def test_any_three_parts_are_a_token_or_are_refused(header, payload, signature):
    prove_or_refuse(b".".join(map(base64url, (header, payload, signature))).decode())


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4),
    st.dictionaries(st.sampled_from(["alg", "typ", "kid"]), JSON, max_size=2),
)
def test_any_signed_claims_are_a_token_or_are_refused(claims, header):
    prove_or_refuse(issuer.keys[0].sign(issuer.claims() | claims, header))


@settings(deadline=None)
@given(st.data())
def test_one_changed_character_is_refused(data):
    token = issuer.token()
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("ABab01-_.="))
    changed = token[:place] + letter + token[place + 1 :]
    if changed != token:
        refusal(changed)


def _hmac_token(victim, secret):
    header = base64url(json.dumps({"alg": "HS256", "typ": "JWT", "kid": victim.keys[0].kid}).encode())
    signing_input = header + b"." + base64url(json.dumps(victim.claims()).encode())
    return (signing_input + b"." + base64url(hmac.new(secret, signing_input, hashlib.sha256).digest())).decode()


def _mirrored(token):
    """The other signature that ECDSA gives for the same words: (r, n - s)."""
    head, _, signature = token.rpartition(".")
    raw = urlsafe_b64decode(signature + "==")
    s = P256_ORDER - int.from_bytes(raw[32:], "big")
    return f"{head}.{base64url(raw[:32] + s.to_bytes(32, 'big')).decode()}"


def test_the_mirrored_signature_is_good_for_pyjwt_too():
    assert PyJWS().decode(_mirrored(issuer.token()), issuer.keys[0].public, algorithms=["ES256"])
