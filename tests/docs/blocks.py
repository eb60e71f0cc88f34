"""The only place that reads the pages of the docs: their blocks, and what a page's Python leaves behind."""

import asyncio
import contextlib
import importlib.util
import inspect
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_BLOCK = re.compile(r"^```(\w*)(?: ([\w-]+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """One fenced block: its language, the word behind it, and what it says."""

    language: str
    word: str
    text: str


def blocks(page: Path, language: str) -> list[Block]:
    found = [Block(*parts) for parts in _BLOCK.findall(page.read_text("utf-8"))]
    return [block for block in found if block.language == language]


def named(page: Path, language: str) -> dict[str, str]:
    """The blocks that have a word behind their language, by that word."""
    return {block.word: block.text for block in blocks(page, language) if block.word}


@contextlib.contextmanager
def ran(page: Path) -> Iterator[ModuleType]:
    """All Python of a page, in order and in one module; `test_...` functions are called as soon as they are there.

    What the blocks print is `printed`. A block that needs a package which is not installed is left out; it is a
    module of its own, and all of them are `peers`.
    """
    module = ModuleType(f"docs_{page.stem.replace('-', '_')}")
    printed = io.StringIO()
    peers: dict[str, ModuleType] = {}
    sys.modules[module.__name__] = module
    try:
        with contextlib.redirect_stdout(printed):
            for block in blocks(page, "python"):
                package = block.word.removeprefix("needs-")
                if not package:
                    _run(block.text, module)
                elif importlib.util.find_spec(package) is not None:
                    peers[package] = ModuleType(f"{module.__name__}_{package}")
                    _run(block.text, peers[package])
        module.printed = printed.getvalue()  # type: ignore[attr-defined]
        module.peers = peers  # type: ignore[attr-defined]
        yield module
    finally:
        del sys.modules[module.__name__]


def _run(code: str, module: ModuleType) -> None:
    known = set(vars(module))
    exec(compile(code, module.__name__, "exec"), vars(module))
    for name, found in list(vars(module).items()):
        if name.startswith("test_") and name not in known:
            _call(found)


def _call(function: Any) -> None:
    answer = function()
    if inspect.iscoroutine(answer):
        asyncio.run(answer)
