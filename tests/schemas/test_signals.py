"""The flat numbers of a result: always the same keys, always finite floats."""

import math
from importlib import resources

import pytest

from citemark_schemas import (
    SIGNALS,
    Failure,
    FailureKind,
    Refusal,
    RefusalKind,
    ScoreResult,
    metrics_of,
)
from support.scripted_service import scored

EXAMPLE = resources.files("citemark_service.examples") / "result.json"
JUDGED = ScoreResult.model_validate_json(EXAMPLE.read_text())
BARE = scored("a", rubric_reward=0.75)
FAILURE = Failure(kind=FailureKind.TIMEOUT, message="no answer", retryable=True)
FAILED = scored("a", None, failure=FAILURE)
REFUSAL = Refusal(kind=RefusalKind.NO_ANSWER, message="no answer block")
REFUSED = scored("a", 0.0, refusal=REFUSAL)


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (JUDGED, {"rubric_reward": 0.95, "citation_f1": 1.0, "claims": 2.0, "judge_failed": 0.0}),
        (BARE, {"rubric_reward": 0.75, "fabricated_ids": 0.0, "refused": 0.0}),
        (FAILED, {"judge_failed": 1.0}),
        (REFUSED, {"refused": 1.0}),
    ],
    ids=["judged", "without citations", "failed", "refused"],
)
def test_each_key_tells_its_part_and_none_depends_on_the_result(result, told):
    metrics = metrics_of(result)
    assert tuple(metrics) == SIGNALS
    assert all(type(value) is float and math.isfinite(value) for value in metrics.values())
    assert metrics.items() >= told.items()
