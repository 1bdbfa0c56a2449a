"""The client and the service that it is for, over a real socket."""

from typing import Any

import pytest

from citemark_grpo import Refused, ScoreClient, score
from citemark_schemas import Knobs

ROLLOUT: dict[str, Any] = {
    "question": "Since when has the ferry run?",
    "tool_output": "<snippet id=S1>The ferry has run since 1963.</snippet>",
    "response": "<answer><snippet id=S1>The ferry has run since 1963.</snippet></answer>",
    "positive_rubrics": ["Gives 1963"],
}


def test_a_reward_has_the_scale_that_the_trainer_asks_for(citemark_url: str) -> None:
    (plain,) = score(citemark_url, [ROLLOUT])
    (scaled,) = score(citemark_url, [ROLLOUT], Knobs(verification_reward=10.0))
    assert plain.reward
    assert scaled.reward == pytest.approx(10 * plain.reward)


async def test_a_refused_rollout_is_named_where_it_stands(citemark_url: str) -> None:
    rollouts = [ROLLOUT, ROLLOUT, {**ROLLOUT, "static_rubrics": "v99"}]
    async with ScoreClient(citemark_url, batch_items=2) as client:
        with pytest.raises(Refused) as refused:
            await client.score(rollouts)
    assert [detail.loc for detail in refused.value.problem.details] == ["items[2].static_rubrics"]
    assert [bool(result) for result in refused.value.scored] == [True, True, False]


async def test_many_small_batches_keep_their_order(citemark_url: str) -> None:
    answers = [ROLLOUT["response"], "no answer"] * 20
    rollouts = [{**ROLLOUT, "response": answer} for answer in answers]
    async with ScoreClient(citemark_url, batch_items=3) as client:
        results = await client.score(rollouts)
    assert [result.id for result in results] == [str(index) for index in range(40)]
    assert [result.refusal is None for result in results] == [True, False] * 20
