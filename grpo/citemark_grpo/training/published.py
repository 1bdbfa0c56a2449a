"""The flags of the published run, under their own names, and what TRL makes of them."""

from typing import Any, Final

from citemark_grpo.training.flags import Chosen, Flag, Parts, Unsupported, sets

_NO_ESTIMATOR: Final = {
    "kl1": "log(p/q), whose gradient through a sampled token is zero on average",
    "kl2": "half the squared log ratio",
    "kl4": "the importance-weighted log ratio",
}


def _kl_estimator(value: str, _: Chosen) -> Parts:
    """TRL's loss has exp(r) - r - 1 (kl3) written in; its weighting by the ratio is switched off.

    r is the reference's log-probability minus the policy's (Schulman, "Approximating KL
    divergence", k3).
    """
    if value == "kl3":
        return {"trainer.use_bias_correction_kl": False}
    raise Unsupported(
        f"{value} is {_NO_ESTIMATOR[value]}; the loss of TRL's GRPOTrainer has kl3 written in "
        "and no other. Use kl3"
    )


def _prompts_a_step(value: int, chosen: Chosen) -> Parts:
    """One optimizer step sees each sample of the step's prompts once, over all processes."""
    rollouts = value * chosen["num_samples_per_prompt_rollout"]
    at_once = chosen["per_device_train_batch_size"] * chosen.world_size
    if rollouts % at_once:
        raise Unsupported(
            f"{value} prompts of {chosen['num_samples_per_prompt_rollout']} samples are {rollouts} "
            f"rollouts, which {chosen.world_size} processes with "
            f"{chosen['per_device_train_batch_size']} each cannot share evenly"
        )
    return {
        "batch.prompts": value,
        "trainer.generation_batch_size": rollouts,
        "trainer.gradient_accumulation_steps": rollouts // at_once,
    }


def _pack_length(value: int, chosen: Chosen) -> Parts:
    """TRL's GRPO pads and does not pack, so the length of a pack can only bound a micro-batch."""
    longest = min(
        chosen["max_prompt_token_length"] + chosen["response_length"], chosen["max_token_length"]
    )
    needed = chosen["per_device_train_batch_size"] * longest
    if needed > value:
        raise Unsupported(
            f"a micro-batch may hold {chosen['per_device_train_batch_size']} x {longest} = "
            f"{needed} tokens, more than {value}; TRL's GRPO pads and cannot pack"
        )
    return {"batch.pack_tokens": value}


def _max_token_length(value: int, chosen: Chosen) -> Parts:
    parts: dict[str, Any] = {"rows.max_tokens": value}
    if chosen["use_vllm"]:
        parts["trainer.vllm_max_model_length"] = value
    return parts


def _zero_stage(value: str, _: Chosen) -> Parts:
    """DeepSpeed's own configuration; what is `auto` the trainer fills in from its arguments."""
    if value == "0":
        return {"trainer.deepspeed": None}
    zero: dict[str, Any] = {
        "stage": int(value),
        "overlap_comm": True,
        "contiguous_gradients": True,
        "reduce_bucket_size": "auto",
    }
    if value == "3":
        zero["stage3_prefetch_bucket_size"] = "auto"
        zero["stage3_param_persistence_threshold"] = "auto"
        # Else a checkpoint holds shards that only DeepSpeed can read.
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    return {
        "trainer.deepspeed": {
            "bf16": {"enabled": "auto"},
            "zero_optimization": zero,
            "gradient_accumulation_steps": "auto",
            "gradient_clipping": "auto",
            "train_batch_size": "auto",
            "train_micro_batch_size_per_gpu": "auto",
        }
    }


PUBLISHED: Final = (
    Flag(
        "verification_reward", float, 10.0,
        "Scale of the whole reward.",
        sets("knobs.verification_reward"), above=0.0, most=1e6,
    ),
    Flag(
        "non_stop_penalty", bool, False,
        "A response cut at response_length gets the penalty value, unjudged.",
        sets("knobs.non_stop_penalty"),
    ),
    Flag(
        "refiner_reward_gate_judge_score_with_format_bonus", bool, False,
        "Multiply the rubric reward by the share of format checks that pass.",
        sets("knobs.gate_judge_score_with_format_bonus"),
    ),
    Flag(
        "refiner_reward_apply_paper_citation_reward", bool, True,
        "Add citation F1 to the reward.",
        sets("knobs.apply_citation_reward"),
    ),
    Flag(
        "refiner_reward_paper_citation_weight", float, 0.2,
        "Weight of citation F1 beside the rubric reward.",
        sets("knobs.citation_weight"), least=0.0, most=1e6,
    ),
    Flag(
        "refiner_reward_instance_rubrics_only", bool, False,
        "Judge by the row's own rubrics alone, without the static set.",
        sets("knobs.instance_rubrics_only"),
    ),
    Flag(
        "kl_estimator", str, "kl3",
        "Estimator of the KL term; TRL has kl3.",
        _kl_estimator, choices=("kl1", "kl2", "kl3", "kl4"),
    ),
    Flag(
        "beta", float, 0.001,
        "Weight of the KL term; 0 loads no reference model.",
        sets("trainer.beta"), least=0.0,
    ),
    Flag(
        "num_unique_prompts_rollout", int, 32,
        "Prompts in one optimizer step, over all processes.",
        _prompts_a_step, least=1,
    ),
    Flag(
        "num_samples_per_prompt_rollout", int, 8,
        "Samples of each prompt: the group whose mean is the baseline.",
        sets("trainer.num_generations", "batch.samples"), least=2,
    ),
    Flag(
        "learning_rate", float, 5e-6,
        "Peak learning rate of AdamW.",
        sets("trainer.learning_rate"), above=0.0,
    ),
    Flag(
        "lr_scheduler_type", str, "constant",
        "Schedule of the learning rate.",
        sets("trainer.lr_scheduler_type"),
        choices=("constant", "linear", "cosine"),
    ),
    Flag(
        "max_prompt_token_length", int, 6144,
        "Rows with a longer prompt are dropped and counted, never cut.",
        sets("rows.max_prompt_tokens"), least=1,
    ),
    Flag(
        "response_length", int, 1024,
        "Tokens of a response at most.",
        sets("trainer.max_completion_length", "rows.response_tokens"), least=1,
    ),
    Flag(
        "max_token_length", int, 8192,
        "Rows whose prompt with a full response exceeds it are dropped; vLLM's context window.",
        _max_token_length, least=1,
    ),
    Flag(
        "pack_length", int, 8192,
        "Bound of one micro-batch's tokens, padding included: TRL's GRPO pads, it cannot pack.",
        _pack_length, least=1,
    ),
    Flag(
        "temperature", float, 1.0,
        "Of sampling, and of the log-probabilities in the loss.",
        sets("trainer.temperature"), above=0.0,
    ),
    Flag(
        "seed", int, 42,
        "Of the data order, the sampling and the initialisation.",
        sets("trainer.seed"), least=0,
    ),
    Flag(
        "deepspeed_stage", str, "0",
        "ZeRO stage; 0 leaves DeepSpeed out. Nothing is offloaded.",
        _zero_stage, choices=("0", "1", "2", "3"),
    ),
    Flag(
        "per_device_train_batch_size", int, 1,
        "Sequences in one forward pass of one process.",
        sets("trainer.per_device_train_batch_size", "batch.sequences"), least=1,
    ),
)  # fmt: skip
"""In the order of the published command."""
