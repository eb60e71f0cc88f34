"""The servers of this folder: every test runs on each of them, and sites with equal settings are started once."""

import contextlib
import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sessionware.telemetry.logs import JsonFormatter, TextFormatter
from sessionware.testing.tokens import FakeIssuer, KeyServer, SigningKey
from tests.edge.site import AUDIENCE, Site
from tests.serving import SERVERS, LoopThread

Serve = Callable[..., Site]


class Park:
    """Every site that was asked for, by server and settings; all stop at once."""

    def __init__(self) -> None:
        self._sites: dict[str, Site] = {}
        self._open = contextlib.ExitStack()

    def site(self, kind: str, *, issuer: FakeIssuer | None = None, **settings: Any) -> Site:
        name = json.dumps([kind, settings], sort_keys=True, default=str)
        if name not in self._sites:
            self._sites[name] = self._open.enter_context(Site(kind, issuer=issuer, **settings))
        return self._sites[name]

    def close(self) -> None:
        for site in self._sites.values():
            site.server.ask_to_stop()
        self._open.close()


@pytest.fixture(scope="session")
def park() -> Iterator[Park]:
    park = Park()
    yield park
    park.close()


@pytest.fixture(params=SERVERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def serve(park: Park, kind: str) -> Serve:
    """A site with these settings on the server of this test; its clock and store are shared by tests that ask alike."""

    def site(**settings: Any) -> Site:
        return park.site(kind, **settings)

    return site


@pytest.fixture
def plain(serve: Serve) -> Site:
    """Anonymous sessions by header, no limits."""
    return serve()


@pytest.fixture
def cookies(serve: Serve) -> Site:
    """Sessions by cookie too, made at once."""
    return serve(session_cookie="session", cookie_secure="off", on_missing="create")


@pytest.fixture(scope="session")
def aside() -> Iterator[LoopThread]:
    """A loop for what runs beside the servers."""
    with LoopThread("aside") as thread:
        yield thread


@pytest.fixture(scope="session")
def issuer() -> FakeIssuer:
    """Keys of two families under one roof."""
    return FakeIssuer(keys=[SigningKey("RS256", kid="rsa"), SigningKey("ES256", kid="ec")])


@pytest.fixture(scope="session")
def key_server(aside: LoopThread, issuer: FakeIssuer) -> Iterator[KeyServer]:
    server = KeyServer(issuer)
    aside.run(server.__aenter__())
    yield server
    aside.run(server.__aexit__(None, None, None))


@pytest.fixture
def believing(issuer: FakeIssuer, key_server: KeyServer) -> dict[str, Any]:
    """The settings of a site that believes the tokens of `issuer`."""
    return {
        "issuer": issuer, "jwt_jwks_url": key_server.keys_url, "jwt_issuer": issuer.name, "jwt_audience": AUDIENCE
    }  # fmt: skip


@pytest.fixture
def tokens(serve: Serve, believing: dict[str, Any]) -> Site:
    """Users by the tokens of `issuer`, anonymous sessions too; its keys have been fetched."""
    site = serve(**believing)
    assert site.ask("GET", "/who", user="alice").status == 200
    return site


class Logs:
    """What the package has logged, in both formats, as it would reach a terminal or a collector."""

    def __init__(self) -> None:
        self._streams = (io.StringIO(), io.StringIO())
        self.handlers = [logging.StreamHandler(stream) for stream in self._streams]
        self.handlers[0].setFormatter(TextFormatter())
        self.handlers[1].setFormatter(JsonFormatter())

    @property
    def text(self) -> str:
        return self._streams[0].getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._streams[1].getvalue().split("\n") if line]

    def __contains__(self, secret: str) -> bool:
        return any(secret in stream.getvalue() for stream in self._streams)


@pytest.fixture
def logs() -> Iterator[Logs]:
    found = Logs()
    logger = logging.getLogger("sessionware")
    level = logger.level
    logger.setLevel(logging.DEBUG)
    for handler in found.handlers:
        logger.addHandler(handler)
    yield found
    for handler in found.handlers:
        logger.removeHandler(handler)
    logger.setLevel(level)
