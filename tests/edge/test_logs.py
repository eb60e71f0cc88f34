"""What is logged and counted of hostile requests: one line each, no secret, no series of a client's making."""

import json

from tests.edge import wire
from tests.edge.site import STRANGER, Site

HOSTILE = "\x1b[31mred\x1b[0m\u202e"


def bearer(token: str) -> wire.Header:
    return ("Authorization", f"Bearer {token}")


def torment(site: Site) -> list[str]:
    """Every way to be refused, each with something that must stay out of the log; those somethings."""
    sid = site.started()
    good = site.token("alice")
    bad = site.token("eve\r\nINJECTED", aud="another")
    forged = good.rpartition(".")[0] + ".AAAA"
    hostile: list[list[wire.Header]] = [
        [("X-Session-ID", sid)], [("X-Session-ID", STRANGER)], [("X-Session-ID", "canary value")],
        [bearer(good)], [bearer(bad)], [bearer(forged)], [bearer("canary.canary.canary")],
        [bearer(good), ("X-Session-ID", sid)],
        [("Cookie", f"session={sid}")], [("Mcp-Session-Id", sid)], [("X-API-Key", "swk_canary")],
        [("X-Session-Token", "canarytoken")], [("Authorization", "Basic Y2FuYXJ5")],
    ]  # fmt: skip
    for headers in hostile:
        site.ask("POST", f"/who?session={sid}&token={good}", *headers, body=b'{"password":"canarybody"}')
    site.ask("POST", "/end", sid=sid)
    return [sid, sid[13:], STRANGER, good, bad, forged, good.rpartition(".")[2], "canary", "INJECTED\r", "Y2FuYXJ5"]


def test_no_secret_reaches_a_log(tokens, logs):
    """LOG-01, SES-13: no id, no token, no key, no body, at the most talkative level."""
    tokens.clock.advance(120_000)
    secrets = torment(tokens)
    assert logs.lines
    assert [secret for secret in secrets if secret in logs] == []


def test_no_secret_is_audited(serve, believing, tmp_path, logs):
    """LOG-01: the audit trail names refs and users."""
    trail = tmp_path / "audit.jsonl"
    site = Site(
        serve().kind,
        **believing,
        audit=f"file:{trail}",
    )
    with site:
        secrets = torment(site)
    written = trail.read_text()
    assert {json.loads(line)["event"] for line in written.splitlines()} >= {"start", "end", "refused"}
    assert [secret for secret in secrets if secret in written] == []
    assert all(line.isprintable() for line in written.splitlines())


def test_what_a_token_says_of_itself_cannot_forge_a_line(tokens, logs):
    """LOG-01, section 5 row 17: line ends, escapes and direction marks in every claim that is ever logged."""
    for claims in [
        {"aud": f"a\r\n2026-01-01 info {HOSTILE}"}, {"iss": f"x\n{HOSTILE}"}, {"typ": f"id{HOSTILE}"},
        {"exp": f"{HOSTILE}\n"}, {"nbf": f"\n{HOSTILE}"}, {"sid": f"\n{HOSTILE}"}, {"jti": f"\n{HOSTILE}"},
        {"token_use": "id"}, {"org": f"\n{HOSTILE}"},
    ]:  # fmt: skip
        tokens.clock.advance(61_000)
        tokens.ask("GET", "/who", token=tokens.token("oscar", **claims))
    for header in [{"kid": f"\n{HOSTILE}"}, {"alg": f"\n{HOSTILE}"}, {"typ": f"\n{HOSTILE}"}, {"crit": [HOSTILE]}]:
        tokens.clock.advance(61_000)
        tokens.ask("GET", "/who", token=tokens.token("oscar", header=header))
    assert len(logs.lines) >= 8
    assert all(line.isprintable() for line in logs.text.split("\n"))
    assert all(len(line["message"]) < 1000 for line in logs.lines)


def test_a_flood_of_bad_tokens_is_no_flood_of_lines(tokens, logs):
    """LOG-01: each reason once a minute."""
    tokens.clock.advance(120_000)
    for number in range(40):
        tokens.ask("GET", "/who", token=tokens.token("eve", aud=f"other-{number}"))
    assert len([line for line in logs.lines if "refused" in line["message"]]) <= 3


def test_a_thousand_ids_make_no_series(tokens):
    """LOG-02: what is counted has a fixed set of labels."""
    counts = tokens.sessionware.sessions.runtime.telemetry.counts
    before = shape(counts)
    for number in range(60):
        tokens.ask("GET", "/who", sid="a" + f"{number:011d}".translate(str.maketrans("0189", "abcd")) + "." + "x" * 43)
        tokens.ask("GET", "/who", ("X-User-Id", f"user-{number}"), user=f"user-{number % 7}")
    assert shape(counts) == before


def shape(counts: object) -> dict[str, int]:
    fields = vars(counts)
    return {name: len(value) for name, value in fields.items() if isinstance(value, dict | list)}


def test_an_ugly_path_is_nothing_to_log(plain, logs):
    """LOG-01: nor is a query, a Host, a User-Agent."""
    for target in ["/x%0a%1b[31mINJECTED", "/who?x=%0aINJECTED", "/%e2%80%aeINJECTED"]:
        plain.ask("GET", target, ("User-Agent", "INJECTED\x09x"), ("Referer", "INJECTED"))
    plain.raw(wire.request(target="/who", host="INJECTED"))
    assert "INJECTED" not in logs
