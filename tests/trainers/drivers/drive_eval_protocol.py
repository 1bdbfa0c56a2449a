"""eval-protocol's own remote reward function.

Left out: what its package imports first (litellm, which needs a hundred packages more).
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests

from job import Job, answer, row_of
from partly import bare

bare("eval_protocol")

from eval_protocol.reward_function import RewardFunction  # noqa: E402

_THREADS = 64


def work(job: Job) -> list[dict[str, Any] | None]:
    """Each rollout's result; None where the client raised, which takes the sample out."""
    function = RewardFunction(mode="remote", endpoint=job["endpoint"])

    def scored(rollout: dict[str, Any]) -> dict[str, Any] | None:
        messages = [
            {"role": "user", "content": rollout["question"]},
            {"role": "assistant", "content": rollout["response"]},
        ]
        for _ in range(job.get("tries", 1)):
            try:
                found = function(messages=messages, ground_truth=None, **row_of(rollout))
            except requests.exceptions.RequestException:
                continue
            result: dict[str, Any] = found.model_dump(mode="json")
            return result
        return None

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(scored, job["rollouts"]))


if __name__ == "__main__":
    answer(work)
