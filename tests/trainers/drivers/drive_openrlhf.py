"""OpenRLHF's own executor, and what its experience maker makes of the rewards.

Left out: vLLM, flash-attn and DeepSpeed, which need a GPU. Generation is the rollouts'.
"""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import citemark_grpo.openrlhf
import tiny
from job import Job, answer, row_of
from partly import absent

absent("vllm", "flash_attn", "deepspeed", "torchdata", "wandb")

from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker  # noqa: E402
from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator  # noqa: E402
from openrlhf.utils.agent import SingleTurnAgentExecutor  # noqa: E402

_MOST = 4096


class Engine:
    """Generates what the rollout says."""

    def __init__(self, ids: list[int]) -> None:
        self._ids = ids

    async def generate(self, *args: Any, **kwargs: Any) -> Any:
        done = SimpleNamespace(token_ids=self._ids, finish_reason="stop", logprobs=None, text="")
        return SimpleNamespace(outputs=[done])


async def execute(job: Job) -> list[dict[str, Any]]:
    """All samples at once, as OpenRLHF asks for them, with a URL or with the Python file."""
    url = f"{job['url']}/get_reward" if job["way"] == "url" else citemark_grpo.openrlhf.__file__
    words, executor = tiny.tokenizer(), SingleTurnAgentExecutor(url)
    calls = [
        executor.execute(
            prompt=f"<user>{rollout['question']}<assistant>",
            label=json.dumps(row_of(rollout)),
            sampling_params=SimpleNamespace(max_tokens=_MOST // 2, logprobs=None),
            max_length=_MOST,
            hf_tokenizer=words,
            llm_engine=Engine([*words.encode(rollout["response"]), words.eos_token_id]),
        )
        for rollout in job["rollouts"]
    ]
    return list(await asyncio.gather(*calls))


def arguments(job: Job) -> SimpleNamespace:
    """What the experience maker reads of OpenRLHF's flags for REINFORCE++ with group means."""
    advantage = SimpleNamespace(estimator="dr_grpo", gamma=1.0, no_std_norm=False)
    return SimpleNamespace(
        algo=SimpleNamespace(advantage=advantage, kl=SimpleNamespace(use_loss=False)),
        rollout=SimpleNamespace(n_samples_per_prompt=job["samples"], micro_batch_size=32),
        reward=SimpleNamespace(
            clip_range=None, overlong_buffer_len=None, stop_properly_penalty_coef=None
        ),
        train=SimpleNamespace(dynamic_batch_enable=False),
    )


def work(job: Job) -> dict[str, Any]:
    """Rewards and advantages after OpenRLHF's own merging, splitting and group means."""
    words, none = tiny.tokenizer(), (None, None, None, None)
    strategy = SimpleNamespace(args=arguments(job))
    read = SamplesGenerator(strategy, None, None, words, [])._process_response_into_experience
    samples = [read(response, max_len=_MOST) for response in asyncio.run(execute(job))]
    maker = RemoteExperienceMaker(*none, SimpleNamespace(value=0.0), strategy, words)
    merged = maker.split_rollout_samples(samples)
    for each in merged:
        each.kl = each.action_mask * 0.0
    merged = maker.compute_advantages_and_returns(merged)
    # Batches of one.
    rewards = [reward for each in merged for (reward,) in each.rewards.tolist()]
    failed = [flag for each in merged for (flag,) in each.info["judge_failed"].tolist()]
    return {
        "rewards": rewards,
        "advantages": [
            float(row.abs().max() * (row.sum().sign() or 1.0))
            for each in merged
            for row in each.advantages
        ],
        "flags": [[flag] for flag in failed],
        "names": list(merged[0].info),
    }


if __name__ == "__main__":
    answer(work)
