"""The same verdicts under other knobs, without a judge. Pure.

What a result holds is what its judge said: scores of criteria before the flip, of claims and of
sentences. From these and the rollout's own text the reward is computed as it was at first.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from citemark_schemas import (
    CitationScore,
    Knobs,
    RefusalKind,
    Rollout,
    RubricScore,
    ScoreResult,
    Snippet,
    Source,
)
from citemark_service.errors import NotJudged
from citemark_service.parsing.answer import read_answer
from citemark_service.parsing.parsed import Answer, Sources
from citemark_service.parsing.sources import read_sources
from citemark_service.score.citations import score_citations
from citemark_service.score.formula import add_reward, rubric_reward

ReadSources = Callable[[str | None, tuple[Snippet, ...] | None], Sources]


@dataclass(frozen=True, slots=True)
class Change:
    """What is different in the new reward."""

    knobs: Knobs
    """Only the fields that were set count."""
    weights: Mapping[str, float]
    """New weights, >= 0, by title of a criterion."""


def rescored(
    rollout: Rollout,
    result: ScoreResult,
    change: Change,
    *,
    sources_of: ReadSources = read_sources,
) -> ScoreResult:
    """`result` as it would be with the change.

    Args:
        sources_of: `read_sources`, or one that remembers: the samples of a group share them.

    Raises:
        NotJudged: the judge failed, or was not asked what the change needs to know.
    """
    knobs = Knobs.resolve(result.knobs, change.knobs)
    if result.failure is not None:
        raise NotJudged(f"the judge failed: {result.failure.kind}")
    if knobs.non_stop_penalty and rollout.finish_reason != "stop":
        raise NotJudged("non_stop_penalty refuses it, and a refusal needs no verdicts")
    answer = read_answer(rollout.response)
    if result.refusal is not None:
        return add_reward(_still_refused(result, knobs), answer)
    rubrics = _rubrics(result, knobs, change.weights)
    draft = _under(knobs, result).model_copy(
        update={
            "rubrics": rubrics,
            "rubric_reward": rubric_reward(rubrics),
            "citation": _citation(rollout, answer, result, knobs, sources_of),
        }
    )
    return add_reward(draft, answer)


def _still_refused(result: ScoreResult, knobs: Knobs) -> ScoreResult:
    if result.refusal is not None and result.refusal.kind is RefusalKind.NOT_STOPPED:
        raise NotJudged("it was refused for its finish_reason, unjudged")
    return _under(knobs, result)


def _under(knobs: Knobs, result: ScoreResult) -> ScoreResult:
    """`result` with what it records of its making brought up to these knobs."""
    versions = result.versions
    if knobs.instance_rubrics_only:
        versions = versions.model_copy(update={"static_rubrics": "none"})
    return result.model_copy(update={"knobs": knobs, "versions": versions})


def _rubrics(
    result: ScoreResult, knobs: Knobs, weights: Mapping[str, float]
) -> tuple[RubricScore, ...]:
    chosen = tuple(
        rubric.model_copy(update={"weight": weights.get(rubric.title, rubric.weight)})
        for rubric in _criteria(result, knobs)
    )
    if math.fsum(rubric.weight for rubric in chosen) <= 0:
        raise NotJudged("no criterion with a weight above 0 is left")
    return chosen


def _criteria(result: ScoreResult, knobs: Knobs) -> tuple[RubricScore, ...]:
    if knobs.instance_rubrics_only:
        return tuple(rubric for rubric in result.rubrics if rubric.source is Source.INSTANCE)
    if result.knobs.instance_rubrics_only:
        raise NotJudged("the static set was not judged")
    if knobs.static_rubrics != result.knobs.static_rubrics:
        raise NotJudged(f"the static set {knobs.static_rubrics} was not judged")
    return result.rubrics


def _citation(
    rollout: Rollout, answer: Answer, result: ScoreResult, knobs: Knobs, sources_of: ReadSources
) -> CitationScore | None:
    if not knobs.apply_citation_reward:
        return None
    if result.citation is None:
        raise NotJudged("the citations were not judged")
    unasked = all(sentence.factual is None for sentence in result.uncited)
    if knobs.no_claims_score > 0 and not answer.claims and result.uncited and unasked:
        raise NotJudged("whether its sentences state facts was not judged")
    return score_citations(
        result.claims,
        result.uncited,
        answer=answer,
        sources=sources_of(rollout.tool_output, rollout.snippets),
        unit=knobs.citation_unit,
        no_claims_score=knobs.no_claims_score,
    )
