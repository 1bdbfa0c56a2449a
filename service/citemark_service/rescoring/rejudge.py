"""A sample of kept rollouts judged anew, by whichever judge the pipeline has."""

import asyncio
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

from citemark_schemas import ScoreResult
from citemark_service.judges.tasks import Origin
from citemark_service.ledger.reading import KeptRollout, LedgerReader, Place
from citemark_service.score.pipeline import Pipeline

T = TypeVar("T")

_AUDIT: Final = Origin(caller="rescore", priority=10)


def sampled(reader: LedgerReader, place: Place, size: int, seed: int) -> list[KeptRollout]:
    """At most `size` judged rollouts of whole groups, each group as likely as any other.

    Groups, because a trainer sees nothing but the order within one. Of a place without as many
    judged rollouts, or where most have failed, it may be fewer.
    """
    dice = random.Random(seed)  # noqa: S311  a sample, not a secret
    families = reservoir(reader.families(place), 2 * size, dice)
    dice.shuffle(families)
    kept: list[KeptRollout] = []
    for family in families:
        kept += _judged(reader, family[: size - len(kept)])
        if len(kept) >= size:
            break
    return sorted(kept, key=lambda each: each.seq)


def reservoir(values: Iterable[T], size: int, dice: random.Random) -> list[T]:
    """At most `size` of them, each as likely as any other; one pass, little memory.

    Source: Vitter, "Random sampling with a reservoir", 1985, algorithm R.
    """
    chosen: list[T] = []
    for position, value in enumerate(values):
        if position < size:
            chosen.append(value)
        elif (place := dice.randrange(position + 1)) < size:
            chosen[place] = value
    return chosen


def _judged(reader: LedgerReader, numbers: Sequence[int]) -> Iterator[KeptRollout]:
    for each in reader.whole(numbers):
        if not (each.result.failure or each.result.refusal):
            yield each


async def rejudged(
    pipeline: Pipeline, kept: Sequence[KeptRollout], *, concurrency: int
) -> list[ScoreResult]:
    """A result for each, in order, under the knobs of the first one, as an audit.

    The service's own rubric sets and limits hold. A judge that fails is in the result.

    Raises:
        InvalidRequest: a rollout's static set is not among those of the pipeline.
    """
    for each in kept:
        pipeline.check(each.rollout, each.result.knobs)
    places = asyncio.Semaphore(concurrency)

    async def again(each: KeptRollout) -> ScoreResult:
        async with places:
            return await pipeline.score(
                each.rollout, request=each.result.knobs, position=0, deadline=None, origin=_AUDIT
            )

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(again(each)) for each in kept]
    return [task.result() for task in tasks]
