"""Losses are told largest first and add up to what was lost."""

import asyncio
import math

import pytest

from citemark_rubrics import load_library
from citemark_schemas import Knobs, Rollout
from citemark_service.judges.embedded.judge import EmbeddedJudge
from citemark_service.score.losses import attainable, losses, reason
from citemark_service.score.pipeline import Pipeline
from citemark_service.settings import Settings
from citemark_service.telemetry.metrics import Metrics

KNOBS = (
    Knobs(),
    Knobs(verification_reward=10.0),
    Knobs(citation_weight=0.7),
    Knobs(apply_citation_reward=False),
    Knobs(gate_judge_score_with_format_bonus=True, verification_reward=3.0),
    Knobs(instance_rubrics_only=True),
)


@pytest.mark.parametrize("knobs", KNOBS, ids=range(len(KNOBS)))
def test_losses_add_up_to_what_is_missing(examples, knobs):
    pipeline = Pipeline(
        judge=EmbeddedJudge(),
        library=load_library(),
        settings=Settings(),
        metrics=Metrics(),
    )

    async def scored(row):
        rollout = Rollout.model_validate(row)
        return await pipeline.score(rollout, request=knobs, position=0, deadline=None)

    for row in examples:
        result = asyncio.run(scored(row))
        found = losses(result)
        amounts = [loss.amount for loss in found]
        assert amounts == sorted(amounts, reverse=True)
        if result.refusal is None:
            missing = attainable(result) - result.reward
            assert math.fsum(amounts) == pytest.approx(missing, abs=1e-9)
        else:
            assert found == []
            assert result.refusal.message in reason(result)
