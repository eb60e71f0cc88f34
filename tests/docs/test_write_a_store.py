"""The store of docs/write-a-store.md is run as it stands there: it keeps every law, and a restart keeps its life."""

import asyncio
import importlib.util
import os
import re
import subprocess
import sys
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sessionware.core.admission import Caps, Outcome
from sessionware.core.facts import SessionLimits, Settled
from sessionware.core.session import EndReason
from sessionware.core.store import Log, Store
from sessionware.testing import ManualClock, StoreContract
from sessionware.testing.check import laws
from sessionware.testing.contract.scene import Scene

PAGE = Path(__file__).parents[2] / "docs" / "write-a-store.md"
LINES_OF_THE_STORE = 110
STORE, EXAM, FAULTS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="session")
def my_store(tmp_path_factory):
    path = tmp_path_factory.mktemp("docs") / "my_store.py"
    path.write_text(STORE)
    spec = importlib.util.spec_from_file_location("my_store", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestTheStoreOfTheDocs(StoreContract):
    @pytest.fixture(autouse=True)
    def _module(self, my_store):
        self.module = my_store

    def open(self, clock: ManualClock) -> AbstractAsyncContextManager[Store]:
        @asynccontextmanager
        async def opened():
            with TemporaryDirectory() as folder:
                async with self.module.JournalStore(f"{folder}/journal", clock=clock) as store:
                    yield store

        return opened()


def test_the_store_is_as_short_as_the_page_says():
    assert len(STORE.splitlines()) <= LINES_OF_THE_STORE


def test_the_store_of_the_docs_survives_a_restart_and_a_torn_last_line(my_store, tmp_path):
    clock, path = ManualClock(), tmp_path / "journal"

    async def before():
        async with my_store.JournalStore(path, clock=clock) as store:
            scene = Scene(store, clock)
            work = await scene.start("work", data=b"d", caps=Caps(per_owner=2))
            gone = await scene.start("gone")
            await scene.end(gone, EndReason.UPSTREAM_LOST)
            spend = scene.make.spend(allowance=3, cost=2)
            await scene.admit(work, spends=(spend,))
            settled = Settled(work.key.bucket, work.birth.owner, scene.make.operation(), work.key, (spend,))
            await scene.record(SessionLimits(work.key, {"calls": 9}), settled)
            await store.append(work.key, Log.CONTEXT, b"hello", keep=5, now=scene.now)
            return store.addresses, await scene.read(work), gone, spend

    async def after():
        async with my_store.JournalStore(path, clock=clock) as store:
            scene = Scene(store, clock)
            assert store.addresses == addresses
            assert await scene.get(work) == work
            assert await scene.why_gone(gone) is EndReason.UPSTREAM_LOST
            assert await scene.used(spend) == 4
            assert await store.tail(work.key, Log.CONTEXT, 5, now=scene.now) == [b"hello"]
            assert await scene.outcome(work, spends=(spend,)) is Outcome.ADMITTED

    addresses, work, gone, spend = asyncio.run(before())
    with path.open("ab") as file:
        file.write((1000).to_bytes(4, "big") + b"cut short")
    assert path.stat().st_mode & 0o777 == 0o600
    asyncio.run(after())


def test_the_exam_of_the_docs_runs_as_it_stands_under_plain_pytest(tmp_path):
    (tmp_path / "my_store.py").write_text(STORE)
    (tmp_path / "test_my_store.py").write_text(EXAM)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]), "TMPDIR": str(tmp_path)}
    quiet = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist", "-p", "no:hypothesispytest"]
    exam = subprocess.run(
        [sys.executable, "-m", "pytest", *quiet, "test_my_store.py"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert exam.stdout.splitlines()[-1].startswith(f"{len(laws())} passed"), exam.stdout
    check = subprocess.run(
        [sys.executable, "-c", "import sys; from sessionware.cli import main; sys.exit(main())",
         "check-store", "my_store:scratch", "--quiet"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (check.returncode, check.stderr) == (0, "")
    assert "laws hold" in check.stdout


def test_the_faults_of_the_docs_are_as_they_are_told(tmp_path):
    script = tmp_path / "faults.py"
    script.write_text(FAULTS)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "hits: 1\n"
