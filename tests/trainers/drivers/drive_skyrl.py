"""SkyRL's own environment registry, its steps in a pool of threads as SkyRL's generator has one."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import skyrl_gym

from citemark_grpo.settings import load_settings
from citemark_grpo.skyrl import ENVIRONMENT
from job import Job, answer, row_of

_THREADS = 256


def episode(rollout: dict[str, Any]) -> dict[str, Any]:
    """One prompt, one answer."""
    environment = skyrl_gym.make(
        ENVIRONMENT, env_config={}, extras={**row_of(rollout), "max_turns": 1}
    )
    environment.init([{"role": "user", "content": rollout["question"]}])
    step = environment.step(rollout["response"])
    environment.close()
    return {"reward": step["reward"], "done": step["done"], "metrics": environment.get_metrics()}


def work(job: Job) -> list[dict[str, Any]]:
    """Every rollout's episode, in order."""
    skyrl_gym.register(
        id=ENVIRONMENT,
        entry_point="citemark_grpo.skyrl:RubricEnv",
        kwargs={"settings": load_settings()},
    )
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(episode, job["rollouts"]))


if __name__ == "__main__":
    answer(work)
