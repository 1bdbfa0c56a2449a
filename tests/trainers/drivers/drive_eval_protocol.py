"""eval-protocol's own remote reward function.

Left out: what its package imports first (litellm, which needs a hundred packages more).
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import requests

from job import Job, answer, row_of
from partly import bare

bare("eval_protocol")

from eval_protocol.reward_function import RewardFunction  # noqa: E402


def work(job: Job) -> dict[str, Any]:
    query = "?on_error=http" if job["way"] == "http" else ""
    function = RewardFunction(mode="remote", endpoint=f"{job['url']}/evaluate{query}")

    def score(rollout: dict[str, Any]) -> Any:
        messages = [
            {"role": "user", "content": rollout["question"]},
            {"role": "assistant", "content": rollout["response"]},
        ]
        for _ in range(job["tries"]):
            with suppress(requests.exceptions.RequestException):
                return function(messages=messages, ground_truth=None, **row_of(rollout))
        return None  # where the client raises, the sample is left out

    with ThreadPoolExecutor(64) as pool:
        results = list(pool.map(score, job["rollouts"]))
    metrics = [each.metrics for each in results if each is not None]
    return {
        "rewards": [each and each.score for each in results],
        "flags": [
            [each["judge_failed"].score, not each["rubric_reward"].is_score_valid]
            for each in metrics
        ],
    }


if __name__ == "__main__":
    answer(work)
