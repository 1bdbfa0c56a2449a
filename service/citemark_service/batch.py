"""A batch judged side by side and written as JSON, without holding the event loop."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from pydantic import TypeAdapter
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from citemark_schemas import ScoreResult
from citemark_service.body import raise_when_gone
from citemark_service.intake import Batch, Turns
from citemark_service.pipeline import Pipeline

T = TypeVar("T")

_RESULT: TypeAdapter[ScoreResult] = TypeAdapter(ScoreResult)


async def score_batch(pipeline: Pipeline, batch: Batch) -> list[ScoreResult]:
    """One result per item, in order; a failed judge is in its item's result."""
    wait_s = batch.options.deadline_s
    deadline = None if wait_s is None else time.monotonic() + wait_s
    tasks: list[asyncio.Task[ScoreResult]] = []
    async with asyncio.TaskGroup() as group:
        for position, rollout in enumerate(batch.items):
            scoring = pipeline.score(
                rollout, request=batch.options, position=position, deadline=deadline
            )
            tasks.append(group.create_task(scoring))
            # One start a turn: a thousand tasks started at once would all run their parsing
            # before the loop looks at a socket again.
            await asyncio.sleep(0)
    return [task.result() for task in tasks]


async def encode(results: list[ScoreResult], *, single: bool) -> bytes:
    """The answer's JSON: a `ScoreResult` where `single`, else a `ScoreResponse`."""
    if single:
        return _RESULT.dump_json(results[0])
    turns = Turns()
    pieces: list[bytes] = []
    for result in results:
        pieces.append(_RESULT.dump_json(result))
        await turns.yield_if_due()
    return b'{"items":[' + b",".join(pieces) + b"]}"


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
