"""The only place that turns an async story, which is told a world of its own, into a test."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

World = TypeVar("World")
Story = Callable[[World], Awaitable[None]]


def stories(
    world: Callable[..., AbstractAsyncContextManager[World]],
) -> Callable[..., Callable[[Story[World]], Callable[[], None]]]:
    """`in_world = stories(world)`, and then `@in_world(limits="1/day per user")` above each story."""

    def within(**how: Any) -> Callable[[Story[World]], Callable[[], None]]:
        def made(story: Story[World]) -> Callable[[], None]:
            async def tell() -> None:
                async with world(**how) as ready:
                    await story(ready)

            def test() -> None:
                asyncio.run(tell())

            test.__name__, test.__doc__, test.__module__ = story.__name__, story.__doc__, story.__module__
            return test

        return made

    return within
