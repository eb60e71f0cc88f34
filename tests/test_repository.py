"""The laws of the repository itself: small modules, each with a first sentence, and nothing of one machine."""

import ast
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "sessionware"
MODULES = sorted(PACKAGE.rglob("*.py"))
LINES_MAX = 300
# An absolute path into somebody's home or workplace; a URL's path (/session/work/ping) has a letter before it.
MACHINE_PATHS = re.compile(rb"(?:^|[^A-Za-z0-9])/(?:work|root|opt/pypi|opt/wheels)/")


def test_no_module_is_longer_than_300_lines():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert lengths
    assert {name: length for name, length in lengths.items() if length > LINES_MAX} == {}


def test_every_module_starts_with_a_docstring():
    silent = [str(path.relative_to(ROOT)) for path in MODULES if not ast.get_docstring(ast.parse(path.read_bytes()))]
    assert silent == []


def test_no_file_names_a_path_of_the_machine_it_was_written_on():
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: which files belong to the repository is unknown")
    listing = subprocess.run(
        [git, "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
    )
    names = [name for name in listing.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    assert names
    assert [name for name in names if MACHINE_PATHS.search((ROOT / name).read_bytes())] == []


@pytest.mark.wheel
def test_what_is_installed_has_every_file_of_the_source():
    installed = files("sessionware")
    missing = [
        name
        for path in sorted(PACKAGE.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
        for name in [path.relative_to(PACKAGE).as_posix()]
        if not installed.joinpath(name).is_file() or installed.joinpath(name).read_bytes() != path.read_bytes()
    ]
    assert missing == []
