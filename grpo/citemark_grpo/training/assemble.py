"""The trainer put together from its collaborators. Needs the extra `train`."""

import dataclasses
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import datasets
from transformers import (
    PreTrainedTokenizerBase,
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
)
from trl import GRPOConfig

from citemark_grpo.training.errors import Declined, MissingExtra, RowsUnusable
from citemark_grpo.training.plan import Plan, Policy
from citemark_grpo.training.prompt import Message
from citemark_grpo.training.record.board import Board
from citemark_grpo.training.record.watch import RunWatch
from citemark_grpo.training.recording import BOARD
from citemark_grpo.training.reward import CitemarkReward
from citemark_grpo.training.rows import CountTokens, Row, shortfall
from citemark_grpo.training.survival.keeper import Keeper
from citemark_grpo.training.survival.ranks import Together
from citemark_grpo.training.survival.trainer import Card
from citemark_grpo.training.trainer import RefinerTrainer


def token_count(tokenizer: PreTrainedTokenizerBase, template: dict[str, Any]) -> CountTokens:
    """Counts a prompt as the trainer writes it; `template` are the chat template's arguments."""

    def count(prompt: Sequence[Message]) -> int:
        encoded = tokenizer.apply_chat_template(
            [dict(turn) for turn in prompt],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            **template,
        )
        return len(encoded["input_ids"])

    return count


def train_dataset(rows: Sequence[Row]) -> datasets.Dataset:
    """The rows as TRL reads them: a conversation, and a column for the reward."""
    return datasets.Dataset.from_dict(
        {
            "prompt": [[dict(turn) for turn in row.prompt] for row in rows],
            "rollout": [row.rollout for row in rows],
        }
    )


def build_config(plan: Plan) -> GRPOConfig:
    """TRL's configuration of the plan.

    Raises:
        Declined: the machine is not the one that was planned for.
        MissingExtra: a library that the plan needs is not installed.
    """
    _refuse_without_gpu(plan)
    try:
        config = GRPOConfig(
            **{**plan.trainer, "report_to": elsewhere(plan)},
            model_init_kwargs=_model_arguments(plan.policy),
        )
    except ImportError as error:
        raise MissingExtra(f"{error}; the extra train-gpu brings it") from error
    if config.world_size != plan.batch.world_size:
        raise Declined(
            {
                "world_size": f"the run is planned for {plan.batch.world_size} processes and "
                f"was started with {config.world_size}"
            }
        )
    return config


def _refuse_without_gpu(plan: Plan) -> None:
    if not plan.trainer["use_cpu"]:
        return
    reasons = dict.fromkeys(_packages(plan), "needs a GPU, and there is none")
    if reasons:
        raise Declined(reasons)


def lacking(plan: Plan) -> list[str]:
    """What the plan needs and this machine has not, a line each."""
    packages = _packages(plan)
    lines = [
        f"the package {package}, for --{flag}: the extra train-gpu brings it"
        for flag, package in packages.items()
        if find_spec(package) is None
    ]
    if packages and plan.trainer["use_cpu"]:
        lines.append("a GPU, for " + ", ".join(f"--{flag}" for flag in packages))
    return lines


def _packages(plan: Plan) -> dict[str, str]:
    """The flags that only a GPU honours, each with the package that does it."""
    needed = {
        ("deepspeed_stage", "deepspeed"): plan.trainer["deepspeed"] is not None,
        ("attn_implementation", "flash_attn"): plan.policy.attn_implementation
        == "flash_attention_2",
        ("use_vllm", "vllm"): plan.trainer["use_vllm"],
    }
    return {flag: package for (flag, package), needs in needed.items() if needs}


def _model_arguments(policy: Policy) -> dict[str, Any]:
    chosen = {"dtype": policy.dtype, "attn_implementation": policy.attn_implementation}
    return chosen if policy.revision is None else {**chosen, "revision": policy.revision}


def build_trainer(
    plan: Plan,
    rows: Sequence[Row],
    reward: CitemarkReward,
    *,
    tokenizer: PreTrainedTokenizerBase,
    watch: RunWatch,
    card: Card,
    callbacks: Sequence[TrainerCallback] = (),
) -> RefinerTrainer:
    """A trainer that is ready to `train()`; loads the policy.

    `watch` observes `reward`, too; see `SurvivingTrainer`.

    Raises:
        Declined, MissingExtra: as `build_config`.
        RowsUnusable: there are fewer rows than prompts in a step.
    """
    if (missing := shortfall(len(rows), plan.batch)) is not None:
        raise RowsUnusable(missing)
    config = build_config(plan)
    trainer = RefinerTrainer(
        plan.policy.path,
        reward_funcs=reward,
        args=config,
        train_dataset=train_dataset(rows),
        processing_class=tokenizer,
        callbacks=[*boards(plan), *callbacks],
        keeper=Keeper(
            Path(config.output_dir),
            keep=config.save_total_limit,
            ranks=Together(leads=config.process_index == 0),
        ),
        card=card,
        watch=watch,
        max_failed_share=plan.service.max_failed_share,
        failures=lambda: reward.failures,
    )
    # Both write to the screen without minding a full disk behind it; the watch logs each step.
    for printing in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(printing)
    return trainer


def boards(plan: Plan) -> list[TrainerCallback]:
    """The logs that are written here and not by transformers."""
    if "tensorboard" not in plan.trainer["report_to"]:
        return []
    return [Board(Path(plan.trainer["output_dir"]) / BOARD)]


def elsewhere(plan: Plan) -> list[str]:
    """The logs that transformers writes, by its names; ["none"] where it writes none."""
    names = [name for name in plan.trainer["report_to"] if name != "tensorboard"]
    return names or ["none"]


def resolved(plan: Plan) -> dict[str, Any]:
    """Every setting of the run's GRPOConfig by field name, as it will be.

    Not made by building one: that would want the GPUs and the processes that are planned for.
    """
    derived = {
        "model_init_kwargs": _model_arguments(plan.policy),
        "steps_per_generation": plan.trainer["gradient_accumulation_steps"],
        "activation_checkpointing": plan.trainer["gradient_checkpointing"],
    }
    if plan.trainer["use_cpu"]:
        derived["dataloader_pin_memory"] = False
    return {**library_defaults(), **plan.trainer, **derived}


def library_defaults() -> dict[str, Any]:
    """What TRL and transformers set where nobody says anything, by field name of GRPOConfig."""
    return {
        field.name: field.default_factory()
        if field.default_factory is not dataclasses.MISSING
        else field.default
        for field in dataclasses.fields(GRPOConfig)
    }
