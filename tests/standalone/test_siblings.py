"""What the workers of one proxy have counted adds up, whether they answer, have just ended, or are long gone."""

import asyncio
import subprocess
import sys

import pytest
import uvloop

from sessionware.standalone.families import Family, Sample, merged
from sessionware.standalone.siblings import Siblings, bury

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
A_LIFE = """
import asyncio, os, sys, uvloop
from pathlib import Path
from tests.standalone.test_siblings import LOOPS, counted
from sessionware.standalone.siblings import Siblings

async def live():
    one = Siblings(Path(sys.argv[2]), lambda: counted(3))
    await one.open()
    one.close()
    print(os.getpid())

with asyncio.Runner(loop_factory=LOOPS[sys.argv[1]]) as runner:
    runner.run(live())
"""


def counted(number):
    return (Family("served", "counter", "", (Sample("served_total", (), float(number)),)),)


def a_life(loop, folder):
    """The process id of a worker that has counted to three, and has ended in good order."""
    done = subprocess.run([sys.executable, "-c", A_LIFE, loop, folder], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.parametrize("loop", LOOPS)
def test_what_a_worker_has_counted_is_shown_once_before_and_after_it_is_buried(loop, tmp_path):
    async def story():
        own = Siblings(tmp_path, lambda: counted(4))
        await own.open()
        pid = await asyncio.to_thread(a_life, loop, tmp_path)
        before = merged(await own.gather())
        bury(tmp_path, pid)
        after = merged(await own.gather())
        own.close()
        return before, after

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        assert runner.run(story()) == (counted(7), counted(7))
