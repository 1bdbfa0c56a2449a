"""A reward computed again from its verdicts is the one that scoring anew would give."""

import pytest

from citemark_schemas import Failure, FailureKind, Knobs, ScoreResult
from citemark_service.errors import NotJudged
from citemark_service.rescoring.compare import Change, rescore
from support.examples import ROLLOUTS, score_one

CHANGES = {
    "nothing": Knobs(),
    "citation weight": Knobs(citation_weight=0.7),
    "no citations": Knobs(apply_citation_reward=False),
    "own rubrics": Knobs(instance_rubrics_only=True),
    "gate": Knobs(gate_judge_score_with_format_bonus=True),
    "scale": Knobs(verification_reward=10.0),
    "papers": Knobs(citation_unit="paper"),
    "all": Knobs(verification_reward=3.0, citation_weight=0.0, instance_rubrics_only=True),
}


def parts(result):
    return result.model_dump(exclude={"judge", "cached"})


@pytest.mark.parametrize("knobs", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("rollout", ROLLOUTS, ids=lambda rollout: rollout.id)
def test_it_is_what_scoring_anew_gives(rollout, knobs):
    again = rescore(rollout, score_one(rollout), Change(knobs, {}))
    anew = score_one(rollout, knobs)
    if not knobs.apply_citation_reward:  # what was judged of the claims is not forgotten
        again, anew = (
            each.model_copy(update={"claims": (), "uncited": ()}) for each in (again, anew)
        )
    assert parts(again) == parts(anew)


def test_weights_are_by_title():
    rollout = ROLLOUTS[0]
    result = score_one(rollout)
    lowest = min(result.rubrics, key=lambda rubric: rubric.score)
    alone = {rubric.title: 0.0 for rubric in result.rubrics} | {lowest.title: 1.0}
    again = rescore(rollout, result, Change(Knobs(citation_weight=0.0), alone))
    assert again.reward == pytest.approx(lowest.score)


@pytest.mark.parametrize(
    ("first", "then", "missing"),
    [
        (Knobs(instance_rubrics_only=True), Knobs(instance_rubrics_only=False), "static set"),
        (Knobs(apply_citation_reward=False), Knobs(apply_citation_reward=True), "citations"),
        (Knobs(), Knobs(static_rubrics="other"), "static set other"),
        (Knobs(), Knobs(non_stop_penalty=True), "non_stop_penalty"),
    ],
)
def test_what_was_never_judged_is_no_number(first, then, missing):
    rollout = ROLLOUTS[0].model_copy(update={"finish_reason": "length"})
    with pytest.raises(NotJudged, match=missing):
        rescore(rollout, score_one(rollout, first), Change(then, {}))


def test_neither_a_failure_nor_weights_of_0_make_a_number():
    result = score_one(ROLLOUTS[0])
    none = {rubric.title: 0.0 for rubric in result.rubrics}
    with pytest.raises(NotJudged, match="weight above 0"):
        rescore(ROLLOUTS[0], result, Change(Knobs(), none))
    failure = Failure(kind=FailureKind.TIMEOUT, message="late", retryable=True)
    failed = result.model_copy(update={"reward": None, "failure": failure})
    with pytest.raises(NotJudged, match="judge_timeout"):
        rescore(ROLLOUTS[0], failed, Change(Knobs(), {}))


def test_a_result_that_was_kept_without_the_notation_was_read_as_snippet_tags():
    rollout = ROLLOUTS[0]
    result = score_one(rollout, Knobs(citation_style="snippet"))
    old = result.model_dump(mode="json", exclude={"citation_style", "warnings"})
    del old["knobs"]["citation_style"]
    kept = ScoreResult.model_validate(old)
    assert kept.knobs.citation_style == kept.citation_style == "snippet"
    assert rescore(rollout, kept, Change(Knobs(), {})) == result
    anew = rescore(rollout, kept, Change(Knobs(citation_style="auto"), {}))
    assert anew.reward == result.reward
    with pytest.raises(NotJudged, match="read as snippet"):
        rescore(rollout, kept, Change(Knobs(citation_style="numbered"), {}))
