"""A sample of kept rollouts judged anew, and how far the two judges agree."""

import asyncio
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from citemark_schemas import ScoreResult
from citemark_service.agreement.figures import FIXED_THRESHOLD, LabelledScore, kappa
from citemark_service.judges.tasks import Origin
from citemark_service.ledger.reading import KeptRollout, LedgerReader, Place
from citemark_service.score.pipeline import Pipeline

T = TypeVar("T")

CLAIM_SUPPORT: Final = "claim support"
"""The title of the verdicts on claims, beside the titles of criteria."""
_AUDIT: Final = Origin(caller="rescore", priority=10)


def sample_rollouts(reader: LedgerReader, place: Place, size: int, seed: int) -> list[KeptRollout]:
    """At most `size` judged rollouts of whole groups, each group as likely as any other.

    Groups, because a trainer sees nothing but the order within one. Of a place without as many
    judged rollouts, or where most have failed, it may be fewer.
    """
    dice = random.Random(seed)  # noqa: S311  a sample, not a secret
    families = sample_evenly(reader.families(place), 2 * size, dice)
    dice.shuffle(families)
    kept: list[KeptRollout] = []
    for family in families:
        whole = reader.whole(family[: size - len(kept)])
        kept += [each for each in whole if not (each.result.failure or each.result.refusal)]
        if len(kept) >= size:
            break
    return sorted(kept, key=lambda each: each.seq)


def sample_evenly(values: Iterable[T], size: int, dice: random.Random) -> list[T]:
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


async def rejudge(
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

    async def score(each: KeptRollout) -> ScoreResult:
        async with places:
            return await pipeline.score(
                each.rollout, request=each.result.knobs, position=0, deadline=None, origin=_AUDIT
            )

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(score(each)) for each in kept]
    return [task.result() for task in tasks]


@dataclass(frozen=True, slots=True)
class RubricAgreement:
    """How often two judges say the same of one criterion."""

    title: str
    pairs: int
    """Rollouts, or claims, that both judged."""
    kappa: float | None
    """Cohen's kappa of both cut at 0.5, in [-1, 1]; None where both are one class."""
    difference: float
    """Mean of new minus old, in [-1, 1]; before the flip of a negative criterion."""
    flips: int
    """Verdicts on the other side of 0.5."""


def rubric_agreements(pairs: Iterable[tuple[ScoreResult, ScoreResult]]) -> list[RubricAgreement]:
    """Every criterion's agreement, the least first; of results whose judge failed, nothing."""
    verdicts: dict[str, list[tuple[float, float]]] = {}
    for old, new in pairs:
        known = {(rubric.title, rubric.polarity): rubric.raw for rubric in old.rubrics}
        for rubric in new.rubrics:
            raw = known.get((rubric.title, rubric.polarity))
            if raw is not None:
                verdicts.setdefault(rubric.title, []).append((raw, rubric.raw))
        supports = {claim.text: claim.support for claim in old.claims}
        for claim in new.claims:
            support = supports.get(claim.text)
            if support is not None and claim.support is not None and claim.judged:
                verdicts.setdefault(CLAIM_SUPPORT, []).append((support, claim.support))
    found = []
    for title, values in verdicts.items():
        # A half counts as met on either side, so that a judge agrees with itself.
        sides = [(a >= FIXED_THRESHOLD, b >= FIXED_THRESHOLD) for a, b in values]
        found.append(
            RubricAgreement(
                title=title,
                pairs=len(values),
                kappa=kappa([LabelledScore(score=float(b), label=float(a)) for a, b in sides]),
                difference=math.fsum(b - a for a, b in values) / len(values),
                flips=sum(a is not b for a, b in sides),
            )
        )
    return sorted(found, key=lambda each: (-each.flips / each.pairs, each.title))
