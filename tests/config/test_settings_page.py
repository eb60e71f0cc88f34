"""The page about the settings says what the code does, and its example can be used as it stands."""

import subprocess
import sys
from pathlib import Path

import pytest

from sessionware.config.load import load
from sessionware.config.page import example, page
from sessionware.config.table import ROWS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"


def test_the_page_is_what_the_code_says():
    assert PAGE.read_text("utf-8") == page(), "stale: python -m sessionware.config.page > docs/settings.md"


def test_the_module_prints_the_page():
    printed = subprocess.run(
        [sys.executable, "-m", "sessionware.config.page"], check=True, capture_output=True, text=True, encoding="utf-8",
        env={"PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert printed.stdout == page()


def test_every_variable_is_on_the_page():
    assert [row.name for row in ROWS if f"`{row.name}`" not in PAGE.read_text("utf-8")] == []


@pytest.mark.wheel
def test_the_complete_file_is_read_without_a_word(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("BwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSY=\n")
    file = tmp_path / "sessionware.toml"
    file.write_text(example().replace("/run/secrets/sessionware_keys", str(keys)))
    loaded = load(environ={}, file=file)
    assert loaded.warnings == ()
    assert loaded.settings.secret_keys == (bytes(range(7, 39)),)
    assert len(loaded.settings.limits) == 4
    assert [issuer.claims.groups for issuer in loaded.settings.issuers] == [("realm_access.roles",), ("groups",)]
    assert loaded.settings.cleanup_interval == 120_000
