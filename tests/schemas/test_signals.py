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
    group_noise,
    metrics_of,
)
from support.scripted_service import scored

EXAMPLE = resources.files("citemark_service.examples") / "result.json"
JUDGED = ScoreResult.model_validate_json(EXAMPLE.read_text())
BARE = scored("a", rubric_reward=0.75)
SURE = scored("a", reward_std=0.03)
FAILURE = Failure(kind=FailureKind.TIMEOUT, message="no answer", retryable=True)
FAILED = scored("a", None, failure=FAILURE)
REFUSAL = Refusal(kind=RefusalKind.NO_ANSWER, message="no answer block")
REFUSED = scored("a", 0.0, refusal=REFUSAL)


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (JUDGED, {"rubric_reward": 0.95, "citation_f1": 1.0, "claims": 2.0, "judge_failed": 0.0}),
        (SURE, {"reward_std": 0.03}),
        (BARE, {"reward_std": 0.0, "rubric_reward": 0.75, "fabricated_ids": 0.0, "refused": 0.0}),
        (FAILED, {"judge_failed": 1.0}),
        (REFUSED, {"refused": 1.0}),
    ],
    ids=["judged", "with probabilities", "without citations", "failed", "refused"],
)
def test_each_key_tells_its_part_and_none_depends_on_the_result(result, told):
    metrics = metrics_of(result)
    assert tuple(metrics) == SIGNALS
    assert all(type(value) is float and math.isfinite(value) for value in metrics.values())
    assert metrics.items() >= told.items()


@pytest.mark.parametrize(
    ("samples", "share"),
    [
        # 0.02 is the sample variance of each, and 0.01 the pooled mean of the noise.
        ([("a", 0.2, 0.1), ("a", 0.4, 0.1)], 0.5),
        ([("a", 0.2, 0.1), ("b", 0.9, 0.1), ("a", 0.4, 0.1), ("b", 0.7, 0.1)], 0.5),
        ([("a", 0.2, 0.1), ("a", 0.4, 0.1), ("a", None, None), ("a", 0.9, None)], 0.5),
        ([("a", 0.4, 0.1), ("a", 0.4, 0.0)], 1.0),
        ([("a", 0.3, 0.2), ("a", 0.4, 0.2)], 1.0),
        ([("a", 0.3, 0.0), ("a", 0.4, 0.0)], 0.0),
        ([("a", 0.4, 0.0), ("a", 0.4, 0.0)], None),
        ([("a", 0.4, 0.1), ("b", 0.2, 0.1)], None),
        ([], None),
    ],
)
def test_the_noise_of_groups_is_its_share_of_what_varies_within_them(samples, share):
    assert group_noise(samples) == (share if share is None else pytest.approx(share))
