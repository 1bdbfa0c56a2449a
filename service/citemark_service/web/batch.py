"""A batch judged side by side and written as JSON, without holding the event loop."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from pydantic import TypeAdapter
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from citemark_schemas import ScoreResult
from citemark_service.judges.tasks import Origin
from citemark_service.score.pipeline import Pipeline
from citemark_service.web.body import raise_when_gone
from citemark_service.web.intake import Batch

T = TypeVar("T")

_RESULT: TypeAdapter[ScoreResult] = TypeAdapter(ScoreResult)


async def score_batch(pipeline: Pipeline, batch: Batch, origin: Origin) -> bytes:
    """The answer's JSON: a `ScoreResult` where the batch is single, else a `ScoreResponse`.

    Results stand in the order of the items; a failed judge is in its item's result.
    """
    wait_s = batch.options.deadline_s
    deadline = None if wait_s is None else time.monotonic() + wait_s
    tasks: list[asyncio.Task[bytes]] = []
    async with asyncio.TaskGroup() as group:
        for position in range(len(batch.items)):
            scored = _scored(pipeline, batch, position, deadline, origin)
            tasks.append(group.create_task(scored))
            # One start a turn: a thousand tasks started at once would all run their parsing
            # before the loop looks at a socket again.
            await asyncio.sleep(0)
    results = [task.result() for task in tasks]
    return results[0] if batch.single else b'{"items":[' + b",".join(results) + b"]}"


async def _scored(
    pipeline: Pipeline, batch: Batch, position: int, deadline: float | None, origin: Origin
) -> bytes:
    result = await pipeline.score(
        batch.items[position],
        request=batch.options,
        position=position,
        deadline=deadline,
        origin=origin,
    )
    # Written at once: a thousand results kept as objects make the collector's pauses long.
    return _RESULT.dump_json(result)


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns; it is cancelled when the client goes away.

    The whole body must have been read.

    Raises:
        ClientDisconnect: the client went away first.
    """
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work)
            watch = group.create_task(raise_when_gone(receive))
            task.add_done_callback(lambda _: watch.cancel())
    except* ClientDisconnect:
        raise ClientDisconnect from None
    return task.result()
