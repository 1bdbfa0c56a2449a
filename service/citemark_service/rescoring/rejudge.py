"""Judges a sample of stored rollouts again and measures the agreement of both judges."""

import asyncio
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from citemark_schemas import ScoreResult
from citemark_service.agreement.figures import FIXED_THRESHOLD, LabelledScore, kappa
from citemark_service.judges.tasks import Origin
from citemark_service.ledger.reading import KeptRollout, LedgerReader, Place
from citemark_service.score.pipeline import Pipeline

CLAIM_SUPPORT: Final = "claim support"
"""Title of the verdicts on claims in a list of criteria."""
_AUDIT: Final = Origin(caller="rescore", priority=10)


def sample_rollouts(reader: LedgerReader, place: Place, size: int, seed: int) -> list[KeptRollout]:
    """At most `size` judged rollouts in whole groups, each group with the same probability.

    Whole groups, because trainers use only the order within one. Fewer where a place has fewer
    judged rollouts or most of its rollouts have failed.
    """
    dice = random.Random(seed)  # noqa: S311  a sample, not a secret
    # Twice as many groups as can be needed, since some hold no judged rollout.
    families = list(reader.families(place))
    families = dice.sample(families, min(2 * size, len(families)))
    kept: list[KeptRollout] = []
    for family in families:
        whole = reader.whole(family[: size - len(kept)])
        kept += [each for each in whole if not (each.result.failure or each.result.refusal)]
        if len(kept) >= size:
            break
    return sorted(kept, key=lambda each: each.seq)


async def rejudge(
    pipeline: Pipeline, kept: Sequence[KeptRollout], *, concurrency: int
) -> list[ScoreResult]:
    """New results in order, under the stored knobs and the pipeline's rubric sets and limits.

    Raises `InvalidRequest` if a rollout's static set is not among those of the pipeline.
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
    title: str
    pairs: int  # rollouts, or claims, that both judged
    kappa: float | None
    """Cohen's kappa of verdicts cut at 0.5, in [-1, 1]; None where all are in one class."""
    difference: float
    """Mean of new - old raw verdicts, in [-1, 1], before the flip of a negative criterion."""
    flips: int  # pairs on different sides of 0.5


def rubric_agreements(pairs: Iterable[tuple[ScoreResult, ScoreResult]]) -> list[RubricAgreement]:
    """Agreement by criterion, the lowest first; failed results have no verdicts to compare."""
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
        # 0.5 counts as met on both sides, so that a judge always agrees with itself.
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
