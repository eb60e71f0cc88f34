"""`sessionware explain-token < token`: every check of a token, and what it leads to. The token is never printed."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator
from typing import Any, Final

from sessionware.cli.settings import here_or_named
from sessionware.clock import wall_ms
from sessionware.config.load import load
from sessionware.config.settings import Settings
from sessionware.core.identity import Identity, derived_name, prove
from sessionware.core.ids import SALT_BYTES, Addresses
from sessionware.core.ladders import compile_ladders
from sessionware.credentials.api_keys import PREFIX, ApiKeys
from sessionware.credentials.compact import TOKEN_MAX
from sessionware.credentials.jwt import Explanation
from sessionware.credentials.proving import key_claims
from sessionware.credentials.refusals import Refused
from sessionware.credentials.rules import Check
from sessionware.credentials.sources import read_sources
from sessionware.errors import ConfigError

NO_SALT: Final = bytes(SALT_BYTES)  # no store is opened: what is shown depends on no address


def add_to(commands: Any) -> None:
    """Teach the parser this command."""
    explain = commands.add_parser(
        "explain-token",
        help="say why a token is accepted or refused",
        description="Reads a token on standard input and checks it with the settings of the environment and the "
        "file: each check with what was found and what was expected, then the owner, groups and limits. "
        "The token itself is never printed. Exit code 1: it is refused.",
    )
    explain.set_defaults(command=run)


def run(_: argparse.Namespace) -> int:
    """Explain the token on standard input; 1 when it is refused. Raises ConfigError when none can be checked."""
    settings = load(file=here_or_named()).settings
    text = sys.stdin.read(2 * TOKEN_MAX).strip().removeprefix("Bearer ").strip()
    if not text:
        raise ConfigError('explain-token: no token on standard input: echo "$TOKEN" | sessionware explain-token')
    explanation = asyncio.run(_explain(settings, text))
    for check in explanation.checks:
        print(f"{'ok    ' if check.holds else 'FAILED'}  {check.rule}: {check.got}")
        if not check.holds:
            print(f"        expected {check.expected}")
    if explanation.claims is None:
        print("refused")
        return 1
    identity = prove(explanation.claims, addresses=Addresses(NO_SALT), partition=settings.partition)
    for line in _consequences(settings, identity):
        print(line)
    return 0


async def _explain(settings: Settings, text: str) -> Explanation:
    sources = read_sources(settings)
    if text.startswith(PREFIX) and sources.api_keys is not None:
        return await _explain_key(sources.api_keys, text)
    verifier = sources.verifier(Addresses(NO_SALT))
    if verifier is None:
        raise ConfigError(
            "explain-token: no key to verify with: set SESSIONWARE_JWT_SECRET, SESSIONWARE_JWT_PUBLIC_KEY, "
            "SESSIONWARE_JWT_JWKS_URL or SESSIONWARE_JWT_ISSUER"
        )
    try:
        return await verifier.explain(text, wall_ms())
    finally:
        await verifier.aclose()


async def _explain_key(keys: ApiKeys, text: str) -> Explanation:
    expected = "a key of the file that was not revoked"
    await keys.refresh(wall_ms())
    try:
        key = keys.find(text)
    except Refused as refused:
        return Explanation((Check("key", holds=False, got=refused.reason, expected=expected),), None)
    return Explanation((Check("key", holds=True, got=key.id, expected=expected),), key_claims(key, Addresses(NO_SALT)))


def _consequences(settings: Settings, identity: Identity) -> Iterator[str]:
    yield f"owner: user {identity.user_id!a} of issuer {identity.issuer!a}"
    yield f"organisation: {'none' if identity.org_id is None else ascii(identity.org_id)}"
    yield f"groups: {_listed(identity.groups)}"
    yield f"scopes: {_listed(identity.scopes)}"
    yield f"session without an id: {derived_name(identity).text}"
    for ladder in compile_ladders(settings.limits, addresses=Addresses(NO_SALT)):
        rung = ladder.rung_of(identity, has_user=True)
        if rung is not None:
            limit = next(each for each in settings.limits if each.name == ladder.name and each.whom == rung.whom)
            own = identity.limits.get(ladder.name)
            yield f"limit {ladder.name}: {limit.text}{'' if own is None else f' (allowance by the token: {own})'}"
    if settings.required_groups and not set(settings.required_groups) & set(identity.groups):
        yield f"BUT required_groups asks for one of {_listed(settings.required_groups)}: 403"
    if settings.require_org and not identity.org_id:
        yield "BUT require_org asks for an organisation: 403"


def _listed(values: tuple[str, ...]) -> str:
    return ", ".join(map(ascii, values)) or "none"
