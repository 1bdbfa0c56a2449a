"""One step of TRL's own GRPOTrainer on an untrained model, whose completions are the rollouts'."""

import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

import tiny
from citemark_grpo.trl import rubric_reward
from job import Job, answer, groups, row_of


def speaker(job: Job) -> Callable[[list[str], GRPOTrainer], dict[str, Any]]:
    """TRL's hook for rollouts of one's own: each prompt's responses, one after the other."""
    coming: dict[str, Iterator[str]] = {
        group[0]["question"]: iter([rollout["response"] for rollout in group])
        for group in groups(job)
    }

    def speak(prompts: list[str], trainer: GRPOTrainer) -> dict[str, Any]:
        encode = trainer.processing_class.encode
        completions = [encode(next(coming[prompt])) for prompt in prompts]
        return {
            "prompt_ids": [encode(prompt) for prompt in prompts],
            "completion_ids": completions,
            "logprobs": [[0.0] * len(ids) for ids in completions],
        }

    return speak


def work(job: Job) -> dict[str, Any]:
    """What TRL's table of completions says, row by row, and what it logged."""
    rows = [{"prompt": group[0]["question"], **row_of(group[0])} for group in groups(job)]
    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(
            model=str(tiny.save(Path(folder) / "model")),
            reward_funcs=[rubric_reward],
            args=GRPOConfig(  # all rollouts in one step, in the order of the rows
                output_dir=folder,
                per_device_train_batch_size=len(job["rollouts"]),
                num_generations=job["samples"],
                max_steps=1,
                shuffle_dataset=False,
                log_completions=True,
                num_completions_to_print=0,
                logging_steps=1,
                save_strategy="no",
                report_to=[],
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
            ),
            train_dataset=Dataset.from_list(rows),
            rollout_func=speaker(job),
        )
        trainer.train()
        (table,) = Path(folder, "completions").glob("*.parquet")
        completions = pandas.read_parquet(table)
    logged: dict[str, float] = {}
    for entry in trainer.state.log_history:
        logged |= entry
    prefix = "citemark/"
    return {
        "responses": list(completions["completion"]),
        # TRL keeps None as NaN.
        "rewards": [None if math.isnan(each) else each for each in completions["rubric_reward"]],
        "advantages": list(completions["advantage"]),
        "flags": [[bool(reason)] for reason in completions["judge_failure"]],
        "names": [name.removeprefix(prefix) for name in logged if name.startswith(prefix)],
        "judge_failed": logged["citemark/judge_failed"],
    }


if __name__ == "__main__":
    answer(work)
