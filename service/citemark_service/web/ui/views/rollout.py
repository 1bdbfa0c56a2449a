"""One rollout: why it got its reward, and everything that led to it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from citemark_schemas import (
    ClaimScore,
    Criterion,
    Polarity,
    Rollout,
    RubricScore,
    ScoreResult,
    Source,
)
from citemark_service.ledger.reading import KeptRollout, Record
from citemark_service.score.explanation import (
    attainable,
    citation_lines,
    losses,
    reason,
    reward_line,
    rubric_line,
)
from citemark_service.web.ui import links
from citemark_service.web.ui.views.answer import Citation, Shown, shown
from citemark_service.web.ui.views.lists import Grade, grade
from citemark_service.web.ui.views.naming import number, trail, when

_LISTED: Final = 400


@dataclass(frozen=True, slots=True)
class RubricLine:
    """One criterion's part in the reward."""

    title: str
    described: str
    """The criterion as it was judged; empty where that is not known, or no more than its title."""
    negative: bool
    source: str
    raw: str
    grade: Grade
    weight: str
    evidence: str | None
    invented: bool
    """Whether the judge's quote is not in the answer."""


@dataclass(frozen=True, slots=True)
class ClaimLine:
    """One claim, with what the judge said of it."""

    number: int
    text: str
    support: Grade
    substance: Grade
    citations: tuple[Citation, ...]
    marks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LossLine:
    """A loss and its share of the attainable reward."""

    amount: str
    cause: str
    share: float


@dataclass(frozen=True, slots=True)
class Around:
    """Where a kept rollout stands: among its siblings, and in training."""

    trail: tuple[tuple[str, str], ...]
    judge_href: str
    at: str
    previous: str | None
    next: str | None
    position: str


@dataclass(frozen=True, slots=True)
class RolloutPage:
    """Everything that the page of a rollout shows."""

    id: str
    reward: str
    attainable: str
    reason: str
    state: str
    """`judged`, `refused` or `failed`."""
    question: str
    answer: Shown
    losses: tuple[LossLine, ...]
    rubrics: tuple[RubricLine, ...]
    other_set: str
    """The static set that was judged, where its text is not at hand; else empty."""
    claims: tuple[ClaimLine, ...]
    sums: tuple[str, ...]
    formula: str
    checks: tuple[tuple[str, bool], ...]
    addressed: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]


def rollout_page(rollout: Rollout, result: ScoreResult, static: Sequence[Criterion]) -> RolloutPage:
    """The page of a scored rollout, kept or not.

    Args:
        static: criteria of the static set that it was judged by; none where they are not known.
    """
    whole = attainable(result)
    answer = shown(rollout, result)
    return RolloutPage(
        id=result.id,
        reward=number(result.reward),
        attainable=number(whole, 2),
        reason=reason(result),
        state="failed" if result.failure else "refused" if result.refusal else "judged",
        question=rollout.question,
        answer=answer,
        losses=tuple(
            LossLine(
                number(loss.amount), loss.cause, min(1.0, loss.amount / whole) if whole else 1.0
            )
            for loss in losses(result)[:_LISTED]
            if loss.amount >= 0.0005
        ),
        rubrics=_rubrics(result.rubrics[:_LISTED], (*rollout.criteria, *static)),
        other_set="" if static or not _has_static(result) else result.versions.static_rubrics,
        claims=_claims(result.claims, answer),
        sums=_sums(result),
        formula=" ".join(reward_line(result).split()),
        checks=tuple(result.format.checks.items()),
        addressed=result.format.judge_addressed,
        facts=_facts(result),
    )


def around(kept: KeptRollout, siblings: Sequence[Record]) -> Around:
    """The way to a rollout, and its neighbours in the order of writing."""
    numbers = [row["seq"] for row in siblings]
    at = numbers.index(kept.seq) if kept.seq in numbers else None
    before = numbers[at - 1] if at else None
    after = numbers[at + 1] if at is not None and at + 1 < len(numbers) else None
    step = siblings[0]["step"] if siblings else kept.step
    run = kept.run or ""
    return Around(
        trail=tuple(trail(run, step, kept.group)),
        judge_href=links.judge(kept.seq),
        at=when(kept.at),
        previous=None if before is None else links.rollout(before),
        next=None if after is None else links.rollout(after),
        position="" if at is None else f"sample {at + 1} of {len(numbers)}",
    )


def _has_static(result: ScoreResult) -> bool:
    return any(rubric.source is Source.STATIC for rubric in result.rubrics)


def _rubrics(
    rubrics: Sequence[RubricScore], criteria: Sequence[Criterion]
) -> tuple[RubricLine, ...]:
    """Results hold titles; those of one title stand in the order of their criteria."""
    distinct: dict[tuple[str, str, str], Criterion] = {}
    for criterion in criteria:
        distinct.setdefault(criterion.key, criterion)
    texts: dict[tuple[str, str, str], list[str]] = {}
    for criterion in reversed(distinct.values()):  # each is taken from the end
        place = (criterion.source, criterion.polarity, criterion.title)
        texts.setdefault(place, []).append(criterion.description)
    return tuple(
        _rubric(rubric, _next(texts.get((rubric.source, rubric.polarity, rubric.title))))
        for rubric in rubrics
    )


def _next(texts: list[str] | None) -> str:
    return texts.pop() if texts else ""


def _rubric(rubric: RubricScore, text: str) -> RubricLine:
    return RubricLine(
        title=rubric.title,
        described="" if text == rubric.title else text,
        negative=rubric.polarity is Polarity.NEGATIVE,
        source=rubric.source.value,
        raw=number(rubric.raw, 2),
        grade=grade(rubric.score),
        weight=f"{rubric.weight:g}",
        evidence=rubric.evidence,
        invented=rubric.evidence_found is False,
    )


def _claims(claims: Sequence[ClaimScore], answer: Shown) -> tuple[ClaimLine, ...]:
    return tuple(
        ClaimLine(
            number=at,
            text=claim.text,
            support=grade(claim.support),
            substance=grade(claim.substantive),
            citations=answer.citations[at - 1],
            marks=tuple(_marks(claim)),
        )
        for at, claim in enumerate(claims[:_LISTED], start=1)
    )


def _marks(claim: ClaimScore) -> list[str]:
    found = []
    if claim.malformed:
        found.append(f"{claim.malformed} tag")
    if claim.occurrences > 1:
        found.append(f"said {claim.occurrences} times")
    if len(claim.ids) > len(set(claim.judged)) + len(claim.fabricated):
        found.append("more ids than are judged")
    return found


def _sums(result: ScoreResult) -> tuple[str, ...]:
    lines = [*citation_lines(result.citation)] if result.citation is not None else []
    if result.rubrics:
        lines.append(rubric_line(result))
    return (*lines, reward_line(result))


def _facts(result: ScoreResult) -> tuple[tuple[str, str], ...]:
    usage, versions = result.judge, result.versions
    tokens = f"{usage.prompt_tokens} prompt ({usage.cached_tokens} cached)"
    return (
        ("Judge", usage.model),
        ("Calls", "none, every verdict was known" if result.cached else str(usage.calls)),
        ("Tokens", f"{tokens}, {usage.completion_tokens} completion"),
        ("Latency", f"{usage.latency_s:.2f} s"),
        ("Static rubrics", versions.static_rubrics),
        ("Prompts", versions.prompts),
        ("Scoring", versions.scoring),
        ("Service", versions.service),
    )
