"""What stands in `scope["session"]`: the session's data as it is now, for apps that know no other session."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from sessionware.asgi.request_session import RequestSession
from sessionware.service.data import SessionData


class ScopeSession(MutableMapping[str, Any]):
    """Asks the session each time: a mapping that was kept would show one user what another has left."""

    def __init__(self, session: RequestSession) -> None:
        self._session = session

    @property
    def _data(self) -> SessionData:
        return self._session.data

    def __getitem__(self, key: str) -> Any:
        return self._data[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._data[key] = value

    def __delitem__(self, key: str) -> None:
        del self._data[key]

    def __contains__(self, key: object) -> bool:
        return key in self._data

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __repr__(self) -> str:
        return repr(self._data)
