"""For people: a long race on one store under nemeses, and the verdict on it.

    python -m tests.stores.histories.run redis --seconds 60 --nemesis kill9,hang,kill-workers
    python -m tests.stores.histories.run postgresql://user@host/db --seconds 60

A name of GROUNDS starts servers of its own; at an address only the workers themselves are harmed.
"""

import argparse
import asyncio
import secrets
from contextlib import nullcontext

from tests.stores.histories.grounds import GROUNDS, Ground
from tests.stores.histories.nemeses import OF_WORKERS
from tests.stores.histories.running import Race


async def main(arguments: argparse.Namespace) -> None:
    """Fight in rounds of some ten seconds, each with counters of its own: a wrong one ends with an error."""
    rounds = max(1, round(arguments.seconds / arguments.round))
    for number in range(rounds):
        opened = GROUNDS[arguments.store]() if arguments.store in GROUNDS else nullcontext(Ground(arguments.store, {}))
        async with opened as ground:
            nemeses = arguments.nemesis.split(",") if arguments.nemesis else [*ground.nemeses]
            unknown = [name for name in nemeses if name not in ground.nemeses | OF_WORKERS]
            if unknown:
                raise SystemExit(f"no nemesis {unknown[0]}; there are: {', '.join(ground.nemeses | OF_WORKERS)}")
            seed = (arguments.seed or secrets.randbelow(2**32)) + number
            print(f"round {number + 1} of {rounds}, seed {seed}: {', '.join(nemeses) or 'no harm'}", flush=True)
            pause = arguments.round / (len(nemeses) + 1)
            print(await ground.fight(*nemeses, race=Race(seed, pause, pause, arguments.scale)), flush=True)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("store", help=f"{', '.join(GROUNDS)}, or a store's address")
    found.add_argument("--seconds", type=float, default=60)
    found.add_argument("--round", type=float, default=10, help="seconds of one history; the longer, the dearer")
    found.add_argument("--nemesis", default="", help="names, by comma; all of the store's when none is named")
    found.add_argument("--scale", type=int, default=1, help="of the allowances: 20 are reached after seconds")
    found.add_argument("--seed", type=int, default=0, help="of the dice; another each time when none is given")
    return found


if __name__ == "__main__":
    asyncio.run(main(parser().parse_args()))
