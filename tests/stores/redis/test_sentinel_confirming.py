"""Waiting for replicas has a bound of its own: what was written stands, and its caller has a deadline."""

import asyncio

from sessionware.errors import StoreUnavailable
from sessionware.stores.redis.confirming import CONFIRM_WITHIN_S, Confirmation
from sessionware.stores.redis.wire import Wire


def test_a_primary_that_cannot_be_reached_to_confirm_holds_up_nobody():
    """ST-01: connecting anew may take seconds; the revocation was written, and is warned about."""

    async def story() -> None:
        is_over = asyncio.Event()

        async def connects_for_ever() -> Wire:
            await is_over.wait()
            raise StoreUnavailable("over")

        confirmation = Confirmation(connects_for_ever, replicas=1, mark="mark")
        async with asyncio.timeout(20 * CONFIRM_WITHIN_S):
            await asyncio.gather(confirmation.confirm(), confirmation.confirm())
        assert confirmation.unconfirmed == 2
        await confirmation.close()

    asyncio.run(story())
