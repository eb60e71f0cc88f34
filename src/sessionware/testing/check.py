"""The only place that runs the contract without pytest: law by law, with a report of what was broken and where."""

from __future__ import annotations

import ast
import linecache
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from reprlib import Repr
from types import FrameType, TracebackType
from typing import Any, Final

from msgspec import Struct

from sessionware.core.store import Store
from sessionware.testing import contract
from sessionware.testing.clock import ManualClock
from sessionware.testing.contract import StoreContract
from sessionware.testing.contract.scene import Scene

VALUE_MAX: Final = 300  # characters of one value in a report

Opener = Callable[[ManualClock], AbstractAsyncContextManager[Store]]


class Result(Struct, frozen=True):
    """One law, and what broke it: nothing, or a few lines."""

    law: str
    problem: str = ""

    @property
    def holds(self) -> bool:
        return not self.problem

    @property
    def sentence(self) -> str:
        return self.law.removeprefix("test_").replace("_", " ")


class Report(Struct, frozen=True):
    """What became of every law."""

    results: tuple[Result, ...]
    seconds: float

    @property
    def broken(self) -> tuple[Result, ...]:
        return tuple([result for result in self.results if not result.holds])

    @property
    def summary(self) -> str:
        broken = len(self.broken)
        verdict = f", {broken} {'is' if broken == 1 else 'are'} broken" if broken else ""
        return f"{len(self.results) - broken} of {len(self.results)} laws hold{verdict} ({self.seconds:.1f} s)"


def check_store(opener: Opener, *, only: str = "", on_result: Callable[[Result], None] = lambda _: None) -> Report:
    """Hold a store to every law of the contract (those whose name contains `only`).

    `opener` makes a new, empty store for each law. Must not be called inside a running event loop. Raises
    RuntimeError under `python -O`, which would skip the assertions and find every store perfect.
    """
    if not __debug__:
        raise RuntimeError("the contract is made of assertions, which python -O leaves out: run it without -O")

    class Examined(StoreContract):
        def open(self, clock: ManualClock) -> AbstractAsyncContextManager[Store]:
            return opener(clock)

    exam, results, began = Examined(), [], time.monotonic()
    for name in laws():
        if only.replace(" ", "_") not in name:
            continue
        result = Result(name, _broken_by(getattr(exam, name)))
        results.append(result)
        on_result(result)
    return Report(tuple(results), time.monotonic() - began)


def laws() -> tuple[str, ...]:
    """The names of all laws, in the order in which they are written."""
    names = [name for part in StoreContract.__mro__ for name in vars(part) if name.startswith("test_")]
    return tuple(dict.fromkeys(names))


def _broken_by(run: Callable[[], None]) -> str:
    try:
        run()
    except Exception as error:  # noqa: BLE001  # whatever a store raises is a finding, and the next law follows
        return _explained(error)
    return ""


def _explained(error: Exception) -> str:
    """Where a law broke, what it says there, and the values it talks about."""
    what = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
    lines = [what] if what else []
    for frame, number in _frames(error.__traceback__):
        folder, _, module = frame.f_code.co_filename.replace("\\", "/").rpartition("/")
        if folder != _FOLDER or not frame.f_code.co_name.startswith("test_"):
            continue
        statement = _statement(frame.f_code.co_filename, number)
        lines.append(f"{module}:{number}: {ast.unparse(statement) if statement else ''}")
        if isinstance(error, AssertionError) and isinstance(statement, ast.Assert):
            lines += [f"{name} = {value}" for name, value in _values(statement.test, frame)]
    return "\n".join(lines) or "it failed without a word"


def _frames(trace: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def _statement(file: str, number: int) -> ast.stmt | None:
    """The innermost statement that covers a line."""
    source = "".join(linecache.getlines(file))
    covering = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.stmt) and node.lineno <= number <= (node.end_lineno or node.lineno)
    ]
    return max(covering, key=lambda node: node.lineno, default=None)


def _values(test: ast.expr, frame: FrameType) -> Iterator[tuple[str, str]]:
    """What the names in an assertion stand for, as far as that takes no call."""
    short = Repr()
    short.maxother = short.maxstring = VALUE_MAX
    seen: dict[str, str] = {}
    inner: set[ast.AST] = set()
    for node in ast.walk(test):
        if isinstance(node, ast.Name | ast.Attribute) and node not in inner:
            inner |= set(ast.walk(node)) if isinstance(node, ast.Attribute) else set()
            value = _value(node, frame.f_locals)
            if value is not _NOTHING and not callable(value) and not isinstance(value, Scene):
                seen[ast.unparse(node)] = short.repr(value)
    yield from seen.items()


def _value(node: ast.AST, names: dict[str, Any]) -> Any:
    if isinstance(node, ast.Name):
        return names.get(node.id, _NOTHING)
    if isinstance(node, ast.Attribute):
        value = _value(node.value, names)
        return _NOTHING if value is _NOTHING else getattr(value, node.attr, _NOTHING)
    return _NOTHING


_NOTHING: Final = object()
_FOLDER: Final = str(contract.__file__).replace("\\", "/").rpartition("/")[0]
