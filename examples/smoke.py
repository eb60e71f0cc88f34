"""The five checks of a session server: start, use, isolate, close, unknown.

    python examples/smoke.py http://127.0.0.1:8000            # where the session API is; behind a prefix: .../auth
    python examples/smoke.py http://127.0.0.1:8000 --token "$TOKEN"

Prints a line for each check, and exits 0 if all of them hold, else 1. It leaves no session behind.
"""
# ruff: noqa: T201  # a script of its own, which prints

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import httpx2

TIMEOUT_S = 10.0


class Failed(Exception):
    """The server answered something else than it should."""


class Smoke:
    """Two sessions of one server."""

    def __init__(self, http: httpx2.Client) -> None:
        self.http = http
        self.first = ""
        self.second = ""

    def start(self) -> str:
        """Two sessions are started, with two ids."""
        self.first, self.second = (str(self.ask("POST", "/session/start", wanted=201)["session_id"]) for _ in range(2))
        if self.first == self.second:
            raise Failed("two sessions have one id")
        return "two sessions, two ids"

    def use(self) -> str:
        """The first remembers a message, and is alive."""
        self.ask("POST", f"/session/{self.first}/context", wanted=201, json={"text": "hello"})
        self.ask("POST", f"/session/{self.first}/ping")
        if self.heard(self.first) != ["hello"]:
            raise Failed(f"it remembers {self.heard(self.first)}, not ['hello']")
        return "it remembers a message and answers a ping"

    def isolate(self) -> str:
        """The second knows nothing of it."""
        if self.heard(self.second):
            raise Failed(f"the other session knows {self.heard(self.second)}")
        return "the other session knows nothing of it"

    def close(self) -> str:
        """Both are closed; afterwards they are gone."""
        closed = [self.ask("POST", f"/session/{each}/close") for each in (self.first, self.second)]
        self.ask("GET", f"/session/{self.first}/status", wanted=404)
        return f"closed after {closed[0]['duration']}, and gone"

    def unknown(self) -> str:
        """A session that never was is not found, and not made by asking."""
        never = self.first[:-8] + "AAAAAAAA"
        for _ in range(2):
            self.ask("GET", f"/session/{never}/status", wanted=404)
        return "a session that never was is not found"

    def heard(self, session: str) -> list[str]:
        """The texts of the messages that a session remembers."""
        return [each["text"] for each in self.ask("GET", f"/session/{session}/context")["context"]]

    def ask(self, method: str, path: str, *, wanted: int = 200, json: Any = None) -> dict[str, Any]:
        """The body of an answer with that status. Raises Failed for any other."""
        try:
            answer = self.http.request(method, path.removeprefix("/"), json=json)
        except httpx2.HTTPError as error:
            raise Failed(f"{method} {path}: {error or type(error).__name__}") from error
        if answer.status_code != wanted:
            raise Failed(f"{method} {path} is {answer.status_code}, expected {wanted}: {answer.text[:200]}")
        body: dict[str, Any] = answer.json()
        return body


def main(arguments: list[str] | None = None) -> int:
    """Run the checks in turn; the first that fails ends them."""
    parser = argparse.ArgumentParser(description="The five checks of a session server.")
    parser.add_argument("url", help="where the session API is, for example http://127.0.0.1:8000")
    parser.add_argument("--token", help="a JWT, where the server asks who is calling")
    given = parser.parse_args(arguments)
    headers = {"Authorization": f"Bearer {given.token}"} if given.token else {}
    with httpx2.Client(base_url=given.url, headers=headers, timeout=TIMEOUT_S) as http:
        smoke = Smoke(http)
        checks: list[Callable[[], str]] = [smoke.start, smoke.use, smoke.isolate, smoke.close, smoke.unknown]
        for check in checks:
            try:
                print(f"ok      {check.__name__}: {check()}")
            except Failed as failed:
                print(f"FAILED  {check.__name__}: {failed}")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
