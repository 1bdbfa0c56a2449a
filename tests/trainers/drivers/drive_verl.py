"""verl's own reward loop, with workers in Ray: rewards of a step, and the advantages from them."""

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from omegaconf import DictConfig, OmegaConf
from verl import DataProto
from verl.experimental.reward_loop import RewardLoopManager
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage
from verl.trainer.ppo.reward import extract_reward

import tiny
from job import Job, answer, row_of


def configuration(job: Job, model: Path) -> DictConfig:
    """What the flags in the README make of verl's own configuration, where the loop reads it."""
    reward = {
        "num_workers": 2,
        "reward_model": {"enable": False},
        "reward_manager": {"source": "register", "name": job["manager"]},
        "custom_reward_function": {
            "path": "pkg://citemark_grpo.verl",
            "name": "compute_score",
            "reward_kwargs": {"url": job["url"]},
        },
        "max_concurrent": 256,
        "timeout": 300,
    }
    names = {"path": str(model), "tokenizer_path": None}
    made = OmegaConf.create({"reward": reward, "actor_rollout_ref": {"model": names}})
    assert isinstance(made, DictConfig)
    return made


def batch(job: Job) -> DataProto:
    """The step as verl holds it: padded ids, and the rows' columns as arrays of objects."""
    words = tiny.tokenizer()
    responses = [words.encode(rollout["response"]) for rollout in job["rollouts"]]
    width = max(map(len, responses))
    ids = torch.zeros(len(responses), width, dtype=torch.long)
    mask = torch.zeros(len(responses), width + 1, dtype=torch.long)
    mask[:, 0] = 1  # a prompt of one token
    for at, response in enumerate(responses):
        ids[at, : len(response)] = torch.tensor(response)
        mask[at, 1 : len(response) + 1] = 1
    prompts = torch.ones(len(responses), 1, dtype=torch.long)
    infos = [{"index": at, **row_of(rollout)} for at, rollout in enumerate(job["rollouts"])]
    return DataProto.from_dict(
        tensors={"prompts": prompts, "responses": ids, "attention_mask": mask},
        non_tensors={
            "data_source": np.array(["citemark"] * len(infos), dtype=object),
            "reward_model": np.array([{"ground_truth": ""} for _ in infos], dtype=object),
            "extra_info": np.array(infos, dtype=object),
            "uid": np.array([str(at // job["samples"]) for at in range(len(infos))], dtype=object),
        },
    )


def scored(job: Job, data: DataProto) -> DataProto:
    """The step's rewards, from two actors that verl starts."""
    with tempfile.TemporaryDirectory() as folder:
        loop = RewardLoopManager(configuration(job, tiny.save(Path(folder))))
        return loop.compute_rm_score(data)


def work(job: Job) -> dict[str, Any]:
    """What the trainer would train on, and the arrays that it would log."""
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        ray.init(num_cpus=2, include_dashboard=False, _temp_dir=folder, logging_level=logging.ERROR)
        try:
            data = batch(job)
            rewards, extra = extract_reward(scored(job, data))
        finally:
            ray.shutdown()
    mask = data.batch["attention_mask"][:, 1:]
    advantages, _ = compute_grpo_outcome_advantage(rewards, mask, data.non_tensor_batch["uid"])
    return {
        "rewards": rewards.sum(-1).tolist(),
        "advantages": advantages[:, 0].tolist(),
        "extra": {name: values.tolist() for name, values in extra.items()},
    }


if __name__ == "__main__":
    answer(work)
