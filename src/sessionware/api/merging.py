"""The only place that knows JSON merge patches and If-Match (RFC 7396, RFC 9110 13.1.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from sessionware.errors import InvalidValue
from sessionware.service.packing import packed

_ETAG: Final = re.compile(r'"(\d{1,15})"', re.ASCII)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2. Both are shallow enough to walk: metadata is, and `read_patch` sees to the patch."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def read_patch(body: dict[str, Any], *, at_most: int) -> dict[str, Any]:
    """The patch of the metadata: the body itself, or, as `start` takes it, all under `metadata`.

    Raises PayloadTooLarge, also for what nests too deeply, InvalidValue for what cannot be kept.
    """
    inner = body.get("metadata")
    patch = inner if len(body) == 1 and isinstance(inner, dict) else body
    packed(patch, what="metadata patch", at_most=at_most)
    return patch


def read_if_match(value: str | None) -> int | None:
    """The revision that must still stand; None when any will do. Raises InvalidValue."""
    if value is None or value.strip() == "*":
        return None
    found = _ETAG.fullmatch(value.strip())
    if found is None:
        raise InvalidValue('If-Match must be the one ETag that status returned, as "3"')
    return int(found[1])


def etag(revision: int) -> tuple[bytes, bytes]:
    return b"etag", f'"{revision}"'.encode()
