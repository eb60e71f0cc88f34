"""The only place that keeps an issuer's published keys up to date.

When the keys were fetched `age` ago:

    age < 4 min            they are used
    4 min <= age < 5 min   they are used while they are fetched anew behind the request
    5 min <= age           they are fetched first; a removed key stops here at the latest
    ... and that failed    they are used up to 24 h, tried again every 30 s; then nothing is verified

A `kid` that is not among them is a reason to fetch, but never within 30 s of the last fetch: one cooldown for all
unknown kids is a negative cache that no flood of random kids can fill or pass.
"""

from __future__ import annotations

import asyncio
from typing import Final

from sessionware.credentials.discovery import find_keys_url
from sessionware.credentials.fetching import Fetch, FetchFailed, JsonFetcher
from sessionware.credentials.keys import KeySet, Look, read_key_set
from sessionware.credentials.refusals import RefusalLog

REFRESH_AFTER_MS: Final = 240_000
MAX_AGE_MS: Final = 300_000
STALE_IF_ERROR_MS: Final = 86_400_000
COOLDOWN_MS: Final = 30_000
FIRST_COOLDOWN_MS: Final = 5_000  # while there are no keys at all
DISCOVERED_FOR_MS: Final = (
    3_600_000  # an issuer that moves its keys is followed within the hour, or on the first failure
)


class RemoteKeys:
    """The keys behind JWT_JWKS_URL, or behind an issuer's own metadata when only its name is known."""

    def __init__(self, *, url: str | None = None, issuer: str | None = None, fetch: Fetch | None = None) -> None:
        if not (url or issuer):
            raise ValueError("an issuer without a URL of keys needs its name")
        self._fixed_url = url
        self._issuer = issuer
        self._fetch = fetch or JsonFetcher()
        self._keys: KeySet | None = None
        self._fetched_at = 0
        self._tried_at: int | None = None
        self._found_url: tuple[str, int] | None = None
        self._task: asyncio.Task[None] | None = None
        self._log = RefusalLog("jwks")
        self.fetches = 0
        self.failures = 0

    def look(self, kid: str | None, alg: str, family: str, now: int) -> Look:
        """What is known at once about the key of a token."""
        keys, age = self._keys, now - self._fetched_at
        if keys is None or not 0 <= age < STALE_IF_ERROR_MS:
            return Look(None, wants_fetch=self._may_fetch(now), is_unavailable=not self._may_fetch(now))
        key = keys.find(kid, alg, family)
        if age < REFRESH_AFTER_MS and key is not None:
            return Look(key, self._fetched_at + MAX_AGE_MS)
        if not self._may_fetch(now):
            return Look(key, now + COOLDOWN_MS)
        if age < MAX_AGE_MS and key is not None:
            return Look(key, self._fetched_at + MAX_AGE_MS, wants_fetch=not self._is_fetching())
        return Look(None, wants_fetch=True)

    async def fetch(self, now: int, *, is_urgent: bool) -> None:
        """Fetch the keys, unless that runs already or was done just now; waits for it if it `is_urgent`.

        A caller that is cancelled does not stop the fetch that others wait for.
        """
        task = self._task if self._is_fetching() else None
        if task is None:
            if not self._may_fetch(now):
                return
            self._tried_at = now
            self._task = task = asyncio.create_task(self._renew(now), name="sessionware-jwks")
        if is_urgent:
            await asyncio.shield(task)

    async def aclose(self) -> None:
        """Stop a fetch that still runs."""
        task, self._task = self._task, None
        if task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            await asyncio.wait([task])

    def _may_fetch(self, now: int) -> bool:
        if self._tried_at is None or self._is_fetching():
            return True
        cooldown = COOLDOWN_MS if self._keys is not None else FIRST_COOLDOWN_MS
        return not 0 <= now - self._tried_at < cooldown

    def _is_fetching(self) -> bool:
        """Whether a fetch runs on this event loop; one that a closed loop left behind does not count."""
        if self._task is None or self._task.done():
            return False
        try:
            return self._task.get_loop() is asyncio.get_running_loop()
        except RuntimeError:
            return False

    async def _renew(self, now: int) -> None:
        self.fetches += 1
        try:
            url = await self._find_url(now)
            document = await self._fetch(url)
            try:
                keys = await asyncio.to_thread(read_key_set, document)
            except ValueError as error:
                raise FetchFailed(f"{url} answered {error}") from error
        except FetchFailed as failure:
            self.failures += 1
            self._found_url = None
            kept = "the keys known so far are used for now" if self._keys else "no token can be verified"
            self._log.note("fetch", f"jwks: {failure}; {kept}", now)
            return
        if not keys.keys:
            self._log.note("empty", f"jwks: {url} holds no key that signatures can be checked with", now)
        self._keys, self._fetched_at = keys, now

    async def _find_url(self, now: int) -> str:
        if self._fixed_url:
            return self._fixed_url
        if self._found_url is None or not 0 <= now - self._found_url[1] < DISCOVERED_FOR_MS:
            self._found_url = (await find_keys_url(str(self._issuer), self._fetch), now)
        return self._found_url[0]
