"""The flat numbers of a result: always the same keys, always finite floats."""

import math

import pytest

from citemark_schemas import (
    SIGNALS,
    CitationScore,
    Failure,
    FailureKind,
    Refusal,
    RefusalKind,
    metrics_of,
)
from support.scripted_service import scored

CITATION = CitationScore(
    recall=0.5,
    precision=0.25,
    f1=1 / 3,
    score=1 / 3,
    uncited_factual=None,
    claims=4,
    citations=6,
    fabricated=1,
    malformed=0,
    duplicates=0,
)
FAILURE = Failure(kind=FailureKind.TIMEOUT, message="no answer", retryable=True)
REFUSAL = Refusal(kind=RefusalKind.NO_ANSWER, message="no answer block")
RESULTS = {
    "judged": scored("a", rubric_reward=0.75, citation=CITATION),
    "without citations": scored("a", rubric_reward=0.75),
    "failed": scored("a", None, failure=FAILURE),
    "refused": scored("a", 0.0, refusal=REFUSAL),
}


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_the_keys_never_depend_on_the_result(result):
    metrics = metrics_of(result)
    assert tuple(metrics) == SIGNALS
    assert all(type(value) is float and math.isfinite(value) for value in metrics.values())


def test_each_key_tells_its_part():
    judged = metrics_of(RESULTS["judged"])
    assert judged["rubric_reward"] == 0.75
    assert (judged["citation_f1"], judged["claims"], judged["fabricated_ids"]) == (1 / 3, 4, 1)
    assert judged["judge_failed"] == judged["refused"] == 0.0
    assert metrics_of(RESULTS["failed"])["judge_failed"] == 1.0
    assert metrics_of(RESULTS["refused"])["refused"] == 1.0
