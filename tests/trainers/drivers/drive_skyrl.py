"""SkyRL's own environment registry, its steps in a pool of threads as SkyRL's generator has one."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import skyrl_gym

from citemark_grpo.settings import load_settings
from citemark_grpo.skyrl import ENVIRONMENT
from job import Job, answer, row_of


def play(rollout: dict[str, Any]) -> tuple[float, dict[str, float]]:
    """The reward and metrics of an episode of one prompt and one answer."""
    extras = {**row_of(rollout), "max_turns": 1}
    environment = skyrl_gym.make(ENVIRONMENT, env_config={}, extras=extras)
    environment.init([{"role": "user", "content": rollout["question"]}])
    step = environment.step(rollout["response"])
    assert step["done"]
    environment.close()
    return step["reward"], environment.get_metrics()


def work(job: Job) -> dict[str, Any]:
    skyrl_gym.register(
        id=ENVIRONMENT,
        entry_point="citemark_grpo.skyrl:RubricEnv",
        kwargs={"settings": load_settings()},
    )
    with ThreadPoolExecutor(256) as pool:
        rewards, metrics = zip(*pool.map(play, job["rollouts"]), strict=True)
    (names,) = {tuple(each) for each in metrics}
    return {
        "rewards": rewards,
        "flags": [[each["judge_failed"]] for each in metrics],
        "names": names,
    }


if __name__ == "__main__":
    answer(work)
