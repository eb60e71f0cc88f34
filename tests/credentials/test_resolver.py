"""Who is asking and which session is meant: store.md 2, 5 and 6, and interface.md 'Who owns what'."""

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionware.config.settings import ClaimNames, IssuerSettings, Settings
from sessionware.core.identity import Claims, prove
from sessionware.core.ids import MintedId, anonymous_tag, handle, mint
from sessionware.core.session import Proof
from sessionware.credentials.presented import Place, Presented
from sessionware.credentials.resolved import Kind, Resolved, Target
from sessionware.credentials.resolver import Resolver
from sessionware.credentials.sources import read_sources
from sessionware.errors import (
    AmbiguousCredentials,
    ConfigError,
    IdentityRequired,
    InvalidSessionId,
    InvalidToken,
    PermissionDenied,
    SessionNotFound,
)
from sessionware.testing.tokens import FakeIssuer, KeyServer, SigningKey
from tests.credentials.making import ADDRESSES, NOW

issuer = FakeIssuer()
ANONYMOUS = mint(anonymous_tag(b"1234567"), b"x" * 32)
PROXY = "10.0.0.9"


def settings_of(**more):
    given = {
        "jwt_public_key": issuer.keys[0].pem,
        "jwt_issuer": issuer.name,
        "jwt_audience": ("api",),
        "trusted_proxies": ("10.0.0.0/8",),
    }
    return Settings(**(given | more))


def resolver_of(**more):
    return Resolver(settings_of(**more), ADDRESSES)


def presented(*ids, user=None, **more):
    """What a request presents: ids as (place, text), `user` a token for whom."""
    if user is not None:
        more["authorization"] = (f"Bearer {issuer.token(user)}",)
    return Presented(ids=ids, **more)


def resolve(request, **more):
    found = resolver_of(**more).resolve_at_once(request, NOW)
    assert found is not None
    return found


def identity(user="alice", **more):
    return prove(Claims(issuer=issuer.name, user_id=user, **more), addresses=ADDRESSES)


def own_id(user="alice"):
    return mint(identity(user).tag, b"y" * 32)


# Nobody


def test_nothing_presented_is_nobody_and_nothing():
    assert resolve(Presented()) == Resolved()


def test_an_anonymous_id_is_its_own_partition():
    assert resolve(presented((Place.HEADER, ANONYMOUS.text))) == Resolved(
        None, Target(ADDRESSES.minted_key(ANONYMOUS), ANONYMOUS.tag, ANONYMOUS.text, Kind.MINTED, Place.HEADER)
    )


def test_a_users_id_alone_proves_nobody_its_record_decides():
    found = resolve(presented((Place.COOKIE, own_id().text)), anonymous="off", required_groups=("pro",))
    assert found.identity is None
    assert found.target is not None
    assert found.target.tag == identity().tag


def test_a_name_without_identity_is_401_identity_required():
    for anonymous in ("minted", "off"):
        with pytest.raises(IdentityRequired) as caught:
            resolve(presented((Place.HEADER, "work")), anonymous=anonymous)
        assert (caught.value.code, caught.value.status_hint) == ("identity_required", 401)


def test_with_anonymous_named_all_names_belong_to_the_developer():
    one, two = (
        resolve(presented((Place.HEADER, "work"), peer=peer), anonymous="named") for peer in ("1.1.1.1", "2.2.2.2")
    )
    assert one == two
    assert one.identity is not None
    assert (one.identity.user_id, one.identity.proof, one.identity.counts_as_user) == (None, Proof.ID, b"")
    assert one.target is not None
    assert one.target.kind is Kind.NAMED
    assert resolve(presented(), anonymous="named").identity is None


def test_with_anonymous_off_strangers_are_refused():
    for request in (presented(), presented((Place.HEADER, ANONYMOUS.text)), presented((Place.MCP, ANONYMOUS.text))):
        with pytest.raises(IdentityRequired):
            resolve(request, anonymous="off")
    assert resolve(presented(), anonymous="off", on_missing="anonymous") == Resolved()
    assert resolve(presented(user="alice"), anonymous="off").identity is not None


# Somebody


def test_a_token_without_an_id_selects_the_default_session():
    found = resolve(presented(user="alice"))
    assert found.identity is not None
    assert found.identity.owner == identity().owner
    key = ADDRESSES.named_key(identity().tag, identity().owner, "default")
    assert found.target == Target(key, identity().tag, "default", Kind.DERIVED, Place.DERIVED)


def test_a_tokens_sid_selects_the_session_and_an_explicit_id_beats_it():
    bearer = (f"Bearer {issuer.token('alice', sid='work')}",)
    derived = resolve(Presented(authorization=bearer)).target
    named = resolve(Presented(authorization=bearer, ids=((Place.HEADER, "play"),))).target
    assert derived is not None
    assert named is not None
    assert (derived.text, derived.kind) == ("work", Kind.DERIVED)
    assert (named.text, named.kind) == ("play", Kind.NAMED)


def test_names_are_scoped_to_their_owner():
    alice, bob = (resolve(presented((Place.HEADER, "work"), user=user)).target for user in ("alice", "bob"))
    assert alice is not None
    assert bob is not None
    assert alice.text == bob.text
    assert alice.key != bob.key


def test_ones_own_minted_id_is_found_by_its_hash():
    found = resolve(presented((Place.HEADER, own_id().text), user="alice"))
    assert found.target == Target(
        ADDRESSES.minted_key(own_id()), own_id().tag, own_id().text, Kind.MINTED, Place.HEADER
    )


@pytest.mark.parametrize("minted", [own_id("bob"), ANONYMOUS, MintedId("u" + "a" * 11 + "." + "x" * 43)])
@pytest.mark.parametrize("place", [Place.HEADER, Place.COOKIE, Place.MCP])
def test_ses_04_a_token_beside_another_partitions_id_is_403(minted, place):
    """A foreign id, and an anonymous one: refused without a lookup, alike whether it exists or not."""
    with pytest.raises(PermissionDenied, match=r"^Permission denied$"):
        resolve(presented((place, minted.text), user="alice"))


def test_another_issuer_is_another_owner():
    assert resolve(Presented(user=("alice",), peer=PROXY)).identity.owner != identity().owner


def test_with_partition_org_the_tag_is_the_organisations():
    bearer = (f"Bearer {issuer.token('alice', org='acme')}",)
    found = resolve(Presented(authorization=bearer), partition="org")
    assert found.target is not None
    assert found.target.tag.startswith("o")


@pytest.mark.parametrize(
    "text",
    ["../x", "", "a b", "a,b", "x" * 129, "start", "ü", "a\n", "*", "{tag}", "%00", "'; DROP", own_id().text[:-20]],
)
@pytest.mark.parametrize("user", [None, "alice"])
def test_ses_06_what_is_no_id_is_400_before_anything_is_looked_up(text, user):
    with pytest.raises(InvalidSessionId) as caught:
        resolve(presented((Place.HEADER, text), user=user), anonymous="named")
    assert caught.value.status_hint == 400
    assert len(text) < 5 or text not in str(caught.value) or text == "start"


def test_a_handle_is_no_id():
    with pytest.raises(InvalidSessionId):
        resolve(presented((Place.HEADER, handle(ADDRESSES.minted_key(own_id()))), user="alice"))


# Several ids


def test_ses_05_one_place_names_one_session():
    for ids in (
        [(Place.HEADER, own_id().text)] * 2,
        [(Place.HEADER, "a"), (Place.HEADER, "b")],
        [(Place.MCP, own_id().text)] * 2,
    ):
        with pytest.raises(InvalidSessionId, match="given twice"):
            resolve(presented(*ids, user="alice"))


@pytest.mark.parametrize("place", [Place.COOKIE, Place.QUERY, Place.WEBSOCKET, Place.BODY])
def test_ses_04_places_that_disagree_are_refused_and_none_wins(place):
    with pytest.raises(InvalidSessionId, match=f"header and the {place} name different sessions"):
        resolve(presented((Place.HEADER, own_id().text), (place, "work"), user="alice"))
    agreed = resolve(presented((Place.HEADER, "work"), (place, "work"), user="alice"))
    assert agreed.target is not None
    assert agreed.target.place is Place.HEADER


def test_a_legacy_mcp_id_stands_beside_or_instead_of_a_session():
    legacy = mint(identity().tag, b"z" * 32)
    alone = resolve(presented((Place.MCP, legacy.text), user="alice"))
    beside = resolve(presented((Place.HEADER, "work"), (Place.MCP, legacy.text), user="alice"))
    assert alone.target is None
    assert alone.link is not None
    assert beside.link == alone.link
    assert beside.target is not None
    assert beside.target.text == "work"
    assert alone.link.key == ADDRESSES.link_key(ADDRESSES.bucket(identity().tag), legacy.text)


@pytest.mark.parametrize("text", ["work", "8f14e45fceea167a5a36dedd4bea2543", "a b", "", "../x", "é"])
def test_a_legacy_mcp_id_that_cannot_be_ours_is_404(text):
    with pytest.raises(SessionNotFound):
        resolve(presented((Place.MCP, text)))


def test_a_link_of_another_partition_than_its_session_is_404():
    with pytest.raises(SessionNotFound):
        resolve(presented((Place.HEADER, ANONYMOUS.text), (Place.MCP, own_id().text)))


# JWT-14: how a token is presented


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_jwt_14_the_scheme_has_no_case(scheme):
    assert resolve(Presented(authorization=(f"{scheme} {issuer.token()}",))).identity is not None


@pytest.mark.parametrize(
    "text",
    [
        "Bearer", "Bearer ", "Bearer  {}", "Bearer {} ", "Bearer {}, Bearer {}", "Bearer\t{}", "Bearer {} x",
        "Bearer x", "Bearer={}", "Bearer:{}", "Bearer,{}", "bearer\xa0{}",
    ],
)  # fmt: skip
def test_jwt_14_a_bearer_that_is_not_one_token_is_401(text):
    with pytest.raises(InvalidToken):
        resolve(Presented(authorization=(text.replace("{}", issuer.token()),)))


def test_jwt_14_two_authorizations_are_400():
    with pytest.raises(AmbiguousCredentials) as caught:
        resolve(Presented(authorization=(f"Bearer {issuer.token()}",) * 2))
    assert caught.value.status_hint == 400


def test_jwt_14_other_schemes_are_not_ours_to_read():
    for text in ("Basic YTpi", "Bearers x", "Bearer-Token x", "Bear x", ""):
        assert resolve(Presented(authorization=(text,))) == Resolved()


def test_where_nothing_verifies_authorization_is_not_looked_at():
    bare = Resolver(Settings(), ADDRESSES)
    assert (
        bare.resolve_at_once(Presented(authorization=("Bearer x", "Bearer y"), api_key=("z", "z")), NOW) == Resolved()
    )


# Groups and organisations


def test_required_groups_are_matched_exactly_and_any_will_do():
    for groups, is_member in (
        (["pro"], True),
        (["x", "ops"], True),
        (["prof"], False),
        (["pro:x"], False),
        ([], False),
    ):
        request = Presented(authorization=(f"Bearer {issuer.token(groups=groups)}",))
        if is_member:
            assert resolve(request, required_groups=("pro", "ops")).identity is not None
        else:
            with pytest.raises(PermissionDenied):
                resolve(request, required_groups=("pro", "ops"))


def test_an_organisation_may_be_required():
    assert (
        resolve(Presented(authorization=(f"Bearer {issuer.token(org='acme')}",)), require_org=True).identity is not None
    )
    with pytest.raises(PermissionDenied):
        resolve(presented(user="alice"), require_org=True)


@pytest.mark.parametrize("more", [{"required_groups": ("pro",)}, {"require_org": True}])
@pytest.mark.parametrize("ids", [(), ((Place.HEADER, ANONYMOUS.text),), ((Place.HEADER, "work"),)])
def test_where_membership_is_asked_strangers_are_refused(more, ids):
    with pytest.raises(IdentityRequired):
        resolve(presented(*ids), **more, anonymous="named", on_missing="anonymous")


# The user header


def test_the_user_header_counts_from_a_trusted_peer():
    found = resolve(Presented(user=("alice",), peer=PROXY))
    assert found.identity is not None
    assert (found.identity.issuer, found.identity.user_id, found.identity.proof) == ("header:", "alice", Proof.TOKEN)


@pytest.mark.parametrize("peer", ["192.0.2.1", None, "", "nonsense", "11.0.0.9", "::ffff:11.0.0.1"])
def test_the_user_header_from_anybody_else_is_as_good_as_absent(peer):
    request = Presented(user=("alice", "bob"), peer=peer, forwarded_for=(PROXY,))
    assert resolve(request) == Resolved()


@pytest.mark.parametrize("user", [("a", "b"), ("a,b",), ("a\x00",), (" a",), ("x" * 256,), ("a\ufffdb",)])
def test_a_user_header_that_is_not_one_name_is_400(user):
    with pytest.raises(AmbiguousCredentials):
        resolve(Presented(user=user, peer=PROXY))


def test_a_token_and_a_trusted_header_that_disagree_are_400():
    bearer = (f"Bearer {issuer.token('alice')}",)
    with pytest.raises(AmbiguousCredentials, match="name different users"):
        resolve(Presented(authorization=bearer, user=("bob",), peer=PROXY))
    assert resolve(Presented(authorization=bearer, user=("alice",), peer=PROXY)).identity.issuer == issuer.name
    assert resolve(Presented(authorization=bearer, user=("bob",), peer="192.0.2.1")).identity.user_id == "alice"


# JWT-16: verified tokens are remembered


def test_jwt_16_a_remembered_token_answers_with_the_same_identity():
    resolver = resolver_of()
    request = presented((Place.HEADER, "work"), user="alice")
    assert resolver.resolve_at_once(request, NOW) is resolver.resolve_at_once(request, NOW + 59_999)
    other = resolver.resolve_at_once(Presented(authorization=request.authorization), NOW)
    assert other is not None
    assert other.target is not None
    assert other.target.text == "default"


def test_jwt_16_another_signature_under_the_same_words_is_not_believed():
    resolver = resolver_of()
    token = issuer.token()
    assert resolver.resolve_at_once(Presented(authorization=(f"Bearer {token}",)), NOW) is not None
    forged = token.rpartition(".")[0] + "." + FakeIssuer().token().rpartition(".")[2]
    for spelling in (forged, token + "="):
        with pytest.raises(InvalidToken):
            resolver.resolve_at_once(Presented(authorization=(f"Bearer {spelling}",)), NOW)


def test_jwt_16_a_flush_forgets_every_token():
    async def check():
        async with KeyServer(FakeIssuer()) as server:
            resolver = Resolver(
                Settings(jwt_jwks_url=server.keys_url, jwt_issuer=server.issuer.name, jwt_audience=("api",)), ADDRESSES
            )
            request = Presented(authorization=(f"Bearer {server.issuer.token()}",))
            assert resolver.resolve_at_once(request, NOW) is None
            assert (await resolver.resolve(request, NOW)).identity is not None
            server.issuer.rotate("key-2")
            assert resolver.resolve_at_once(request, NOW) is not None
            server.gate.clear()  # flushed while a token is being verified: it is not remembered
            late = Presented(authorization=(f"Bearer {server.issuer.token('bob')}",))
            waiting = asyncio.create_task(resolver.resolve(late, NOW + 31_000))
            while server.hits < 2:
                await asyncio.sleep(0)
            resolver.flush()
            server.gate.set()
            found = await waiting
            again = resolver.resolve_at_once(late, NOW + 32_000)
            assert again is not None
            assert (again.identity, again.target) == (found.identity, found.target)
            assert again.until == found.until + 1_000  # verified anew
            with pytest.raises(InvalidToken):
                resolver.resolve_at_once(request, NOW + 32_000)
            await resolver.aclose()

    asyncio.run(check())


def test_identify_needs_no_session():
    async def check():
        resolver = resolver_of()
        assert await resolver.identify(Presented(ids=((Place.HEADER, "a b"),)), NOW) is None
        found = await resolver.identify(presented(user="alice"), NOW)
        assert found is not None
        assert found.user_id == "alice"

    asyncio.run(check())


def test_a_path_selects_like_a_header():
    resolver = resolver_of(anonymous="named")
    assert resolver.select("work", identity()).target.key == ADDRESSES.named_key(
        identity().tag, identity().owner, "work"
    )
    dev = resolver.select("work", None)
    assert dev.identity is not None
    assert resolver.select("work", dev.identity) == dev
    with pytest.raises(PermissionDenied):
        resolver.select(ANONYMOUS.text, identity())
    assert resolver.select(ANONYMOUS.text, None).target.place is Place.PATH


# Settings


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"jwt_secret": "x" * 64}, "exclude each other"),
        ({"jwt_algorithms": ("HS256",)}, "HS256 cannot go with jwt_public_key"),
        ({"jwt_algorithms": ("RS256",)}, "RS256 cannot go with jwt_public_key"),
        ({"jwt_public_key": None, "jwt_jwks_url": "http://idp/keys"}, "must begin with https"),
        ({"jwt_public_key": None, "jwt_issuer": "idp"}, "jwt_issuer: 'idp' must begin with https"),
        ({"jwt_public_key": None, "jwt_secret": "short"}, "too short for HS256"),
        ({"jwt_public_key": None, "jwt_secret": "x" * 64, "jwt_algorithms": ("RS256",)}, "RS256 cannot go with jwt"),
        ({"jwt_leeway": 61_000}, "at most 60 s"),
        ({"trusted_proxies": ("10.0.0.1/8",)}, "has host bits set"),
        ({"trusted_proxies": ("nobody",)}, "list addresses or networks"),
    ],
)  # fmt: skip
def test_a_bad_setting_fails_before_anything_is_asked(more, message):
    with pytest.raises(ConfigError, match=message):
        read_sources(settings_of(**more))


def test_jwt_06_without_an_audience_in_the_settings_any_is_accepted():
    request = Presented(authorization=(f"Bearer {issuer.token(aud=None)}",))
    assert resolve(request, jwt_audience=()).identity is not None
    with pytest.raises(InvalidToken):
        resolve(request, jwt_audience=(), public_url="https://us.example")


def test_several_issuers_each_have_their_own_keys_audience_and_claims():
    other = FakeIssuer("https://other.example")
    more = IssuerSettings(
        issuer=other.name, public_key=other.keys[0].pem, audience=("else",), claims=ClaimNames(groups=("roles",))
    )
    request = Presented(authorization=(f"Bearer {other.token(aud='else', roles=['pro'])}",))
    assert resolve(request, issuers=(more,)).identity.groups == ("pro",)
    assert resolve(presented(user="alice"), issuers=(more,)).identity.issuer == issuer.name
    for token in (other.token(), issuer.token(aud="else"), issuer.token(iss=other.name, aud="else")):
        with pytest.raises(InvalidToken):
            resolve(Presented(authorization=(f"Bearer {token}",)), issuers=(more,))


def test_a_shared_secret_verifies_hs256():
    theirs = FakeIssuer(keys=[SigningKey("HS256")])
    settings = Settings(jwt_secret=theirs.keys[0].secret, jwt_audience=("api",))
    found = Resolver(settings, ADDRESSES).resolve_at_once(Presented(authorization=(f"Bearer {theirs.token()}",)), NOW)
    assert found is not None
    assert found.identity is not None


# Anything


TEXT = st.text(st.characters(exclude_categories=()), max_size=40)
ANY = st.builds(
    Presented,
    ids=st.lists(st.tuples(st.sampled_from(Place), TEXT | st.just(ANONYMOUS.text) | st.just("work")), max_size=3).map(
        tuple
    ),
    authorization=st.lists(TEXT | TEXT.map("Bearer {}".format) | st.just(f"Bearer {issuer.token()}"), max_size=2).map(
        tuple
    ),
    user=st.lists(TEXT, max_size=2).map(tuple),
    forwarded_for=st.lists(TEXT, max_size=2).map(tuple),
    peer=st.none() | TEXT | st.just(PROXY),
)
anything = resolver_of()


@given(ANY)
def test_anything_is_resolved_or_refused(request):
    refusals = (
        InvalidSessionId,
        AmbiguousCredentials,
        InvalidToken,
        IdentityRequired,
        PermissionDenied,
        SessionNotFound,
    )
    with suppress(*refusals):
        assert isinstance(anything.resolve_at_once(request, NOW), Resolved)
    assert isinstance(anything.client(request), str)
