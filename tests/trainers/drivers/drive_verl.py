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
        "reward_manager": {"source": "register", "name": job["way"]},
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
    responses = [torch.tensor(words.encode(rollout["response"])) for rollout in job["rollouts"]]
    ids = torch.nn.utils.rnn.pad_sequence(responses, batch_first=True)
    ones = [torch.ones(1 + len(response), dtype=torch.long) for response in responses]
    columns = {
        "data_source": ["citemark"] * len(responses),
        "reward_model": [{"ground_truth": ""} for _ in responses],
        "extra_info": [{"index": at, **row_of(each)} for at, each in enumerate(job["rollouts"])],
        "uid": [str(at // job["samples"]) for at in range(len(responses))],
    }
    return DataProto.from_dict(
        tensors={
            "prompts": torch.ones(len(responses), 1, dtype=torch.long),  # of one token
            "responses": ids,
            "attention_mask": torch.nn.utils.rnn.pad_sequence(ones, batch_first=True),
        },
        non_tensors={name: np.array(values, dtype=object) for name, values in columns.items()},
    )


def work(job: Job) -> dict[str, Any]:
    """What the trainer would train on, and the arrays that it would log."""
    data = batch(job)
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        ray.init(num_cpus=2, include_dashboard=False, _temp_dir=folder, logging_level=logging.ERROR)
        try:
            loop = RewardLoopManager(configuration(job, tiny.save(Path(folder, "model"))))
            rewards, extra = extract_reward(loop.compute_rm_score(data))
        finally:
            ray.shutdown()
    mask = data.batch["attention_mask"][:, 1:]
    advantages, _ = compute_grpo_outcome_advantage(rewards, mask, data.non_tensor_batch["uid"])
    return {
        "rewards": rewards.sum(-1).tolist(),
        "advantages": advantages[:, 0].tolist(),
        "flags": [[flag] for flag in extra["judge_failed"].tolist()],
        "names": [name for name in extra if name != "score"],
    }


if __name__ == "__main__":
    answer(work)
