"""axolotl's own NeMo Gym reward function, which asks for one completion after the other.

Left out: what its packages import first (PEFT, its plugins), which the function does not use.
"""

from typing import Any

from job import Job, answer, row_of
from partly import bare

bare("axolotl", "axolotl.utils", "axolotl.integrations", "axolotl.integrations.nemo_gym")

from axolotl.integrations.nemo_gym.rewards import create_nemo_gym_reward_fn  # noqa: E402


def work(job: Job) -> dict[str, Any]:
    function = create_nemo_gym_reward_fn(
        global_config={},
        verify_endpoints={"citemark": f"{job['url']}/verify"},
        verify_timeout=60,  # nemo_gym_verify_timeout
    )
    rollouts = job["rollouts"]
    for _ in range(job["tries"]):  # a request that broke is a 0
        rewards = function(
            completions=[[{"role": "assistant", "content": r["response"]}] for r in rollouts],
            prompts=[[{"role": "user", "content": r["question"]}] for r in rollouts],
            resources_server_ref=[{"name": "citemark"} for _ in rollouts],
            verify_extra=[row_of(rollout) for rollout in rollouts],
        ).tolist()
    return {"rewards": rewards}


if __name__ == "__main__":
    answer(work)
