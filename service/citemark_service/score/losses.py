"""Where a reward was lost, largest first, in plain words. Pure.

The losses of a judged rollout add up to what it could have had less what it got.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from citemark_schemas import Polarity, RubricScore, ScoreResult
from citemark_service.score.figures import figure

_TOLD: Final = 3
_LEAST: Final = 0.005
"""What would be shown as 0.00."""
_HALF: Final = 0.5
_TITLE: Final = 100


@dataclass(frozen=True, slots=True)
class Loss:
    """One cause and what it cost, in units of the reward."""

    amount: float
    cause: str


def attainable(result: ScoreResult) -> float:
    """The reward of an answer with nothing wrong in it."""
    weight = result.knobs.citation_weight if result.citation is not None else 0.0
    return result.knobs.verification_reward * (1.0 + weight)


def losses(result: ScoreResult) -> list[Loss]:
    """Every loss of a judged rollout, the largest first; nothing of one that was not judged."""
    if result.rubric_reward is None:
        return []
    found = [*_of_rubrics(result), *_of_format(result), *_of_citations(result)]
    return sorted((loss for loss in found if loss.amount > 0), key=lambda loss: -loss.amount)


def reason(result: ScoreResult) -> str:
    """Why the reward is what it is, in one sentence."""
    if result.failure is not None:
        retry = "a retry may help" if result.failure.retryable else "a retry will not help"
        return (
            f"No reward: the judge failed ({result.failure.kind}: {result.failure.message}); "
            f"{retry}. The trainer should mask this sample."
        )
    if result.refusal is not None:
        got = figure(result.reward or 0.0, ".2f")
        return f"Reward {got} without judging: {result.refusal.message}."
    every = losses(result)
    told = [loss for loss in every[:_TOLD] if loss.amount >= _LEAST]
    if not told:
        return f"{_got(result)}; nothing to speak of was lost."
    named = "; ".join(f"{loss.amount:.2f}: {loss.cause}" for loss in told)
    rest = math.fsum(loss.amount for loss in every) - math.fsum(loss.amount for loss in told)
    more = f"; and {rest:.2f} by smaller faults" if rest >= _LEAST else ""
    return f"{_got(result)}. Lost {named}{more}."


def _got(result: ScoreResult) -> str:
    return f"Got {result.reward or 0.0:.2f} of {attainable(result):.2f}"


def _of_rubrics(result: ScoreResult) -> Iterator[Loss]:
    scale = result.knobs.verification_reward
    weights = math.fsum(rubric.weight for rubric in result.rubrics)
    for rubric in result.rubrics:
        share = rubric.weight * (1.0 - rubric.score) / weights if weights else 0.0
        yield Loss(scale * share, _of_rubric(rubric))


def _of_rubric(rubric: RubricScore) -> str:
    most, title = rubric.score < _HALF, _clipped(rubric.title)
    if rubric.polarity is Polarity.NEGATIVE:
        return f"{'shows' if most else 'partly shows'} the defect “{title}”"
    return f"rubric “{title}” {'not met' if most else 'only partly met'}"


def _clipped(title: str) -> str:
    return title if len(title) <= _TITLE else f"{title[:_TITLE]}…"


def _of_format(result: ScoreResult) -> Iterator[Loss]:
    if result.knobs.gate_judge_score_with_format_bonus:
        lost = (result.rubric_reward or 0.0) * (1.0 - result.format.bonus)
        failing = [name for name, passed in result.format.checks.items() if not passed]
        yield Loss(result.knobs.verification_reward * lost, f"format ({', '.join(failing)})")


def _of_citations(result: ScoreResult) -> Iterator[Loss]:
    citation = result.citation
    if citation is not None:
        scale = result.knobs.verification_reward * result.knobs.citation_weight
        yield Loss(scale * (1.0 - citation.score), f"citations ({_faults(result)})")


def _faults(result: ScoreResult) -> str:
    """What is wrong with the citations, most telling first."""
    if not result.claims:
        return "the answer cites nothing"
    weak = sum((claim.support or 0.0) < 0.75 for claim in result.claims)
    empty = sum((claim.substantive or 0.0) < _HALF for claim in result.claims if claim.judged)
    facts = sum((sentence.factual or 0.0) >= _HALF for sentence in result.uncited)
    invented = sum(len(claim.fabricated) for claim in result.claims)
    idle = sum(share < _HALF for claim in result.claims for share in claim.contributing.values())
    count = len(result.claims)
    faults = (
        (weak, f"{weak} of {count} claims not fully supported"),
        (invented, _counted(invented, "invented id")),
        (facts, _counted(facts, "fact without a citation", "facts without a citation")),
        (empty, f"{empty} of {count} claims beside the question"),
        (idle, _counted(idle, "idle citation")),
    )
    return ", ".join(words for number, words in faults if number) or "small doubts"


def _counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
