"""Waiting for what has no event, with a patience that a busy machine does not exceed."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object], *, patience_s: float = 60.0) -> None:
    async with asyncio.timeout(patience_s):
        while not condition():  # noqa: ASYNC110  what it looks at has no event
            await asyncio.sleep(0.005)
