"""A sample of kept rollouts judged anew, by whichever judge the pipeline has."""

import asyncio
import random
from collections.abc import Iterable, Sequence
from typing import Final

from citemark_schemas import ScoreResult
from citemark_service.judges.protocol import Origin
from citemark_service.ledger.reading import KeptRollout
from citemark_service.pipeline import Pipeline

_AUDIT: Final = Origin(caller="rescore", priority=10)


def sampled(kept: Iterable[KeptRollout], size: int, seed: int) -> list[KeptRollout]:
    """At most `size` judged rollouts, each as likely as any other; one pass, little memory.

    Source: Vitter, "Random sampling with a reservoir", 1985, algorithm R.
    """
    chance = random.Random(seed)  # noqa: S311  a sample, not a secret
    reservoir: list[KeptRollout] = []
    judged = (each for each in kept if not (each.result.failure or each.result.refusal))
    for position, each in enumerate(judged):
        if position < size:
            reservoir.append(each)
        elif (place := chance.randrange(position + 1)) < size:
            reservoir[place] = each
    return sorted(reservoir, key=lambda each: each.seq)


async def rejudged(
    pipeline: Pipeline, kept: Sequence[KeptRollout], *, concurrency: int
) -> list[ScoreResult]:
    """A result for each, in order, under the knobs of the first one, as an audit.

    The service's own rubric sets and limits hold. A judge that fails is in the result.
    """
    places = asyncio.Semaphore(concurrency)

    async def again(each: KeptRollout) -> ScoreResult:
        async with places:
            return await pipeline.score(
                each.rollout, request=each.result.knobs, position=0, deadline=None, origin=_AUDIT
            )

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(again(each)) for each in kept]
    return [task.result() for task in tasks]
