"""Recomputes a reward from a result's stored verdicts under other knobs, without a judge. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from citemark_schemas import (
    CitationScore,
    Knobs,
    RefusalKind,
    Rollout,
    RubricScore,
    ScoreResult,
    Source,
)
from citemark_service.errors import NotJudged
from citemark_service.parsing.answer import read_answer
from citemark_service.parsing.parsed import Answer, Sources
from citemark_service.parsing.sources import read_sources
from citemark_service.score.citations import score_citations
from citemark_service.score.formula import add_reward, rubric_reward
from citemark_service.score.rollout import ReadSources


@dataclass(frozen=True, slots=True)
class Change:
    knobs: Knobs  # fields that are not set keep the value of the stored result
    weights: Mapping[str, float]  # new weights, >= 0, by criterion title


def rescore(
    rollout: Rollout,
    result: ScoreResult,
    change: Change,
    *,
    read_sources: ReadSources = read_sources,
) -> ScoreResult:
    """`result` with the change; raises `NotJudged` without a verdict that the change needs."""
    knobs = Knobs.resolve(result.knobs, change.knobs)
    if result.failure is not None:
        raise NotJudged(f"the judge failed: {result.failure.kind}")
    if knobs.non_stop_penalty and rollout.finish_reason != "stop":
        raise NotJudged("non_stop_penalty refuses it, and a refusal needs no verdicts")
    if result.refusal is not None and result.refusal.kind is RefusalKind.NOT_STOPPED:
        raise NotJudged("it was refused for its finish_reason, unjudged")
    style = knobs.citation_style
    sources = read_sources(rollout.tool_output, rollout.snippets, style)
    answer = read_answer(rollout.response, style, sources)
    if answer.refusal is None and answer.style != result.citation_style:
        raise NotJudged(f"its citations were read as {result.citation_style}")
    draft = result.model_copy(update={"knobs": knobs})
    if knobs.instance_rubrics_only:
        versions = result.versions.model_copy(update={"static_rubrics": "none"})
        draft = draft.model_copy(update={"versions": versions})
    if result.refusal is None:
        rubrics = _choose_rubrics(result, knobs, change.weights)
        parts = {
            "rubrics": rubrics,
            "rubric_reward": rubric_reward(rubrics),
            "citation": _score_citations(answer, sources, result, knobs),
        }
        draft = draft.model_copy(update=parts)
    return add_reward(draft, answer)


def _choose_rubrics(
    result: ScoreResult, knobs: Knobs, weights: Mapping[str, float]
) -> tuple[RubricScore, ...]:
    rubrics = result.rubrics
    if knobs.instance_rubrics_only:
        rubrics = tuple(rubric for rubric in rubrics if rubric.source is Source.INSTANCE)
    elif result.knobs.instance_rubrics_only:
        raise NotJudged("the static set was not judged")
    elif knobs.static_rubrics != result.knobs.static_rubrics:
        raise NotJudged(f"the static set {knobs.static_rubrics} was not judged")
    chosen = tuple(
        rubric.model_copy(update={"weight": weights.get(rubric.title, rubric.weight)})
        for rubric in rubrics
    )
    if math.fsum(rubric.weight for rubric in chosen) <= 0:
        raise NotJudged("no criterion with a weight above 0 is left")
    return chosen


def _score_citations(
    answer: Answer, sources: Sources, result: ScoreResult, knobs: Knobs
) -> CitationScore | None:
    if not knobs.apply_citation_reward:
        return None
    if result.citation is None:
        raise NotJudged("the citations were not judged")
    # Sentences of an answer without claims are judged only if `no_claims_score` was above 0.
    unasked = all(sentence.factual is None for sentence in result.uncited)
    if knobs.no_claims_score > 0 and not answer.claims and result.uncited and unasked:
        raise NotJudged("whether its sentences state facts was not judged")
    return score_citations(
        result.claims,
        result.uncited,
        answer=answer,
        sources=sources,
        unit=knobs.citation_unit,
        no_claims_score=knobs.no_claims_score,
    )
