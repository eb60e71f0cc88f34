"""The only place that knows which texts are header names, URLs, origins, hosts, cookies, proxies and stores."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import SplitResult, urlsplit

from sessionware.config.given import OFF, ON, Given, Kind
from sessionware.config.kinds import word
from sessionware.config.settings import SERVER_IS_TRUSTED
from sessionware.core.globs import path_fault

_PORTS: Final = {"http": 80, "https": 443}
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", re.ASCII)  # RFC 9110 5.6.2
_FIELD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}", re.ASCII)
_HOST: Final = re.compile(
    r"(?:\*\.)?[a-z0-9](?:[a-z0-9._-]{0,252})(?::(?:[0-9]{1,5}|\*))?|\[[0-9a-f:.]+\](?::(?:[0-9]{1,5}|\*))?",
    re.ASCII,
)
_ORIGIN: Final = re.compile(
    r"([a-z][a-z0-9+.-]{0,30})://([a-z0-9._-]{1,255}|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.ASCII
)
_FACTORY: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", re.ASCII)
# What these mean is decided elsewhere; a session id or a user's name there would be read as something else.
_TAKEN_HEADERS: Final = frozenset(
    {
        "authorization", "connection", "content-length", "content-type", "cookie", "forwarded", "host",
        "mcp-session-id", "origin", "set-cookie", "transfer-encoding", "upgrade", "x-api-key",
        "x-forwarded-for", "x-session-token",
    }
)  # fmt: skip


def header(given: Given) -> str:
    name = given.text
    if not _TOKEN.fullmatch(name):
        given.fail("is no name of a header: write letters, digits and `-`, for example X-Session-ID")
    if name.lower() in _TAKEN_HEADERS:
        given.fail("has another meaning already: choose a header of your own, for example X-Session-ID")
    return name


def field(given: Given) -> str:
    """The name of a query parameter or a JSON field."""
    if not _FIELD.fullmatch(given.text):
        given.fail("is no name: write letters, digits, `_`, `-` and `.`, for example session_id")
    return given.text


def cookie() -> Kind:
    """Off, on (the default name), or a name."""

    def read(given: Given) -> str | None:
        found = given.text
        if found.lower() in {OFF, "false", "no", "0"}:
            return None
        if found.lower() in {ON, "true", "yes", "1"}:
            return ON
        if not _TOKEN.fullmatch(found):
            given.fail("is no name of a cookie: write on, or letters, digits and `-`")
        return found

    return Kind(read, lambda value: value or OFF, "on, a name, off")


def cookie_domain(given: Given) -> str:
    domain = given.text.lower().removeprefix(".")  # RFC 6265 5.2.3: the leading dot means nothing
    if not _HOST.fullmatch(domain) or ":" in domain or "*" in domain:
        given.fail("is no domain: write for example example.com")
    return domain


def cookie_path(given: Given) -> str:
    if not given.text.startswith("/") or re.search(r"[;,\s\x00-\x1f\x7f]", given.text):
        given.fail("is no path for a cookie: it starts with `/` and holds no blank, `;` or `,`")
    return given.text


def exempt_path(given: Given) -> str:
    fault = path_fault(given.text)
    if fault is not None:
        given.fail(f"is no path: {fault[1]}")
    return given.text


def public_url(given: Given) -> str:
    """An absolute http URL without query; a path stays, a lone trailing slash goes."""
    parts = _split(given)
    if parts is None or parts.scheme not in _PORTS or not parts.hostname or parts.username is not None:
        given.fail("is no URL to reach us by: write for example https://api.example.com")
    if parts.query or parts.fragment:
        given.fail(
            "has a query or a fragment: write only scheme, host and path, for example https://api.example.com/mcp"
        )
    return given.text.removesuffix("/") if parts.path == "/" else given.text


def keys_url(given: Given) -> str:
    """Where public keys are fetched: https, or http on this very host."""
    if not is_fetchable(given.text):
        given.fail("must be an https URL (http only on localhost): whoever alters the answer forges every token")
    return given.text


def is_fetchable(url: str) -> bool:
    """Whether keys may be fetched from there (JWT-11)."""
    parts = _split(Given(url, ""))
    if parts is None or not parts.hostname or parts.username is not None or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))


def origin(given: Given) -> str:
    """An origin exactly as browsers send it: lower case, no default port, no path."""
    wanted = "write for example https://app.example.com"
    if given.text in {"*", "null"}:
        given.fail(f"would let every page on the web in: list the origins, {wanted}")
    found = _ORIGIN.fullmatch(given.text.lower())
    if found is None:
        given.fail(f"is no origin (scheme, host and port, without a path or a slash at the end): {wanted}")
    scheme, host, port = found.groups()
    return f"{scheme}://{host}" if port is None or _PORTS.get(scheme) == int(port) else f"{scheme}://{host}:{int(port)}"


def host(given: Given) -> str:
    found = given.text.lower()
    if not _HOST.fullmatch(found):
        given.fail("is no host: write for example api.example.com, *.example.com, localhost:8080 or localhost:*")
    return found


def proxy(given: Given) -> str:
    """An address, a network, `private`, or `server`."""
    found = given.text
    if found in {"private", SERVER_IS_TRUSTED}:
        return found
    wanted = "write addresses or networks (10.0.0.0/8), private or server"
    try:
        ip_network(found)
    except ValueError:
        given.fail(f"is no network{_network_meant(found)}: {wanted}")
    return found


def store(given: Given) -> str:
    """A URL or a module:factory; which schemes there are is known where stores are opened."""
    found = word(given)
    if "://" not in found and not _FACTORY.fullmatch(found):
        meant = f": did you mean {found}://?" if found.isalpha() else ":"
        Given(given.value, given.source, is_secret=given.is_secret or "@" in found).fail(
            f"is neither a URL nor a module:factory{meant} Write for example memory://, sqlite:///sessions.db, "
            "redis://127.0.0.1:6379/0, postgresql://user@127.0.0.1/database or mypackage.stores:open_mine"
        )
    return found


def audit(given: Given) -> str:
    found = word(given)
    if found != "stderr" and not found.startswith("file:/") and not _FACTORY.fullmatch(found):
        given.fail("is no place for an audit trail: write stderr, file:/path, module:object or off")
    return found


def listening_host(given: Given) -> str:
    found = word(given)
    if re.search(r"[\s/@]", found):
        given.fail("is no address to listen on: write for example 127.0.0.1, 0.0.0.0 or ::")
    return found


def _split(given: Given) -> SplitResult | None:
    """The parts of a URL; None when it cannot be one."""
    if not given.text.isprintable() or " " in given.text:
        return None
    try:
        parts = urlsplit(given.text)
        has_port = parts.port != 0
    except ValueError:  # a port or an address that is none
        return None
    return parts if has_port else None


def is_loopback(hostname: str) -> bool:
    """Whether only this very machine can reach that address, or name."""
    if hostname == "localhost" or hostname.endswith(".localhost"):
        return True
    try:
        return ip_address(hostname.strip("[]")).is_loopback
    except ValueError:
        return False


def _network_meant(text: str) -> str:
    try:
        return f" (its host bits are set: did you mean {ip_network(text, strict=False)}?)"
    except ValueError:
        return ""
