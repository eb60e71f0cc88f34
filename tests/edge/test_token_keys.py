"""Where the keys of tokens come from: from the settings alone, each within its own issuer, and never from a token."""

import pytest

from sessionware.testing.tokens import FakeIssuer, KeyServer, SigningKey
from tests.edge.site import Site
from tests.edge.test_tokens import is_the_one_refusal, refuses


@pytest.mark.parametrize("field", ["jku", "x5u", "jwk", "x5c"])
def test_a_key_that_a_token_brings_along_is_never_used_nor_fetched(tokens, issuer, key_server, field):
    """JWT-03, section 5 row 13: a canary that serves the attacker's keys is not asked."""
    attacker = SigningKey("ES256", kid="mine")
    brought = {
        "jku": f"{key_server.url}/canary",
        "x5u": f"{key_server.url}/canary",
        "jwk": attacker.jwk,
        "x5c": ["MIIB"],
    }
    claims = issuer.claims(now=tokens.clock.now())
    for kid in ["mine", "ec", None]:
        refuses(tokens, attacker.sign(claims, {field: brought[field], "kid": kid}))
    assert key_server.paths["/canary"] == 0


@pytest.mark.parametrize(
    "kid",
    [
        "../../dev/null",
        "/etc/passwd",
        "' UNION SELECT 1--",
        "a\r\nb",
        "http://127.0.0.1/",
        "*",
        7,
        ["rsa"],
        {},
        "",
        "k" * 257,
    ],
)
def test_a_kid_is_an_exact_name_and_nothing_else(tokens, issuer, kid, logs):
    """JWT-04, section 5 row 13."""
    attacker = SigningKey("ES256")
    refuses(tokens, attacker.sign(issuer.claims(now=tokens.clock.now()), {"kid": kid}))
    assert all("\r" not in line["message"] for line in logs.lines)


def test_a_flood_of_unknown_kids_fetches_the_keys_at_most_once_in_30_seconds(tokens, issuer, key_server):
    """JWT-11, section 5 row 13."""
    attacker, before = SigningKey("ES256"), key_server.hits
    tokens.clock.advance(31_000)
    for number in range(30):
        refuses(tokens, attacker.sign(issuer.claims(now=tokens.clock.now()), {"kid": f"unknown-{number}"}))
    assert key_server.hits - before <= 1


def test_a_rotated_key_is_found_without_a_restart_and_the_old_one_dies(serve, aside):
    """JWT-12: the new kid within the cooldown, the removed key within five minutes."""
    issuer = FakeIssuer("https://rotating.example")
    server = KeyServer(issuer)
    aside.run(server.__aenter__())
    try:
        site = Site(
            serve().kind, issuer=issuer, jwt_jwks_url=server.keys_url, jwt_issuer=issuer.name, jwt_audience="api"
        )
        with site:
            old = issuer.keys[0]
            assert site.ask(user="alice").status == 200
            issuer.rotate("next")
            site.clock.advance(30_000)
            assert site.ask(user="alice").status == 200
            site.clock.advance(300_000)
            assert site.ask(user="alice").status == 200
            is_the_one_refusal(site.ask(token=old.sign(issuer.claims(now=site.clock.now()))))
    finally:
        aside.run(server.__aexit__(None, None, None))


def test_keys_are_looked_up_within_their_own_issuer(serve):
    """JWT-05: the same kid at two issuers; a token of one under the other's name is nobody's."""
    one, two = FakeIssuer("https://one.example"), FakeIssuer("https://two.example")
    names = [{"issuer": each.name, "public_key": each.keys[0].pem, "audience": "api"} for each in (one, two)]
    with Site(serve().kind, issuer=one, issuers=names) as site:
        now = site.clock.now()
        alices = [site.ask("POST", "/", token=each.token("alice", now=now)).json["turns"] for each in (one, one, two)]
        assert alices == [1, 2, 1], "JWT-09: alice of one is not alice of two"
        refuses(site, one.keys[0].sign(two.claims(now=now)))
        refuses(site, two.keys[0].sign(one.claims(now=now)))
        for name in [
            "https://three.example",
            "https://one.example/",
            "HTTPS://ONE.EXAMPLE",
            "https://one",
            "",
            None,
            [one.name],
            1,
        ]:
            refuses(site, one.keys[0].sign({**one.claims(now=now), "iss": name}))
        refuses(site, one.token(now=now, iss=None))
