"""The code that readers copy from the README and the docs runs, and does what the text says."""

import contextlib
import io
import re
from pathlib import Path
from types import ModuleType

import pytest
from starlette.testclient import TestClient

from sessionware.core.limit_grammar import parse_limits
from sessionware.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "docs" / "stores.md", ROOT / "docs" / "architecture.md"]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: Path, language: str) -> list[str]:
    return [code for kind, code in _BLOCK.findall(page.read_text()) if kind == language]


def output_of(code: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "a block of the docs", "exec"), {"__name__": "__main__"})
    return printed.getvalue().strip()


def test_the_example_of_the_architecture_page_prints_what_the_text_says():
    (code,) = blocks(PAGES[2], "python")
    printed = output_of(code)
    assert printed == "['allowed', 'allowed', 'allowed', 'Rate limit exceeded']"
    assert f"`{printed}`" in PAGES[2].read_text()


def test_the_app_of_the_readme_counts_turns_and_tokens():
    (code,) = blocks(PAGES[0], "python")
    page = ModuleType("readme")
    exec(compile(code, "the README", "exec"), page.__dict__)
    with TestClient(page.app) as client:
        first = client.post("/chat")
        again = client.post("/chat", headers={"X-Session-ID": first.headers["x-session-id"]})
        assert (first.json()["turns"], again.json()["turns"]) == (1, 2)
        assert '"tokens-day-user";r=' in again.headers["ratelimit"]


def test_the_example_of_the_stores_page_runs():
    (code,) = blocks(PAGES[1], "python")
    assert output_of(code + "\nimport asyncio\nasyncio.run(main())\n").isdigit()


def test_every_limit_of_the_readme_can_be_read():
    (grammar, fault) = (text for text in blocks(PAGES[0], "text"))
    examples = [part for line in grammar.splitlines()[2:] for part in re.split(r"\s{2,}", line) if part]
    assert len(examples) == 8
    assert len(parse_limits(examples)) == 8
    with pytest.raises(ConfigError) as caught:
        parse_limits("100/minute")
    assert fault.rstrip() == str(caught.value).rstrip()


def test_every_file_that_the_docs_point_to_exists():
    for page in [*PAGES, *ROOT.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} points to {target}"
