"""The class of a run's flags, and the flags of the published run under their own names."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

# Entries of the plan by their place `section.field`, such as `trainer.beta`; see `plan.Plan`.
Parts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Machine:
    """What a plan depends on of the machine that it runs on."""

    world_size: int = 1
    """Processes of the run, one for each GPU."""
    cuda: bool = False


@dataclass(frozen=True, slots=True)
class Chosen:
    """Every flag's value, given or default, and the machine."""

    values: Mapping[str, Any]
    machine: Machine

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def world_size(self) -> int:
        return self["world_size"] or self.machine.world_size


class Unsupported(Exception):
    """A value that this trainer cannot honour."""


Becomes = Callable[[Any, Chosen], Parts]


@dataclass(frozen=True, slots=True)
class Flag:
    name: str
    kind: type[bool] | type[int] | type[float] | type[str]
    default: Any
    becomes: Becomes
    effect: str
    """One line for `--help`, the dry run and the docs."""
    choices: tuple[str, ...] = ()
    # Bounds of a number: `above` is exclusive, the others are inclusive.
    above: float | None = None
    least: float | None = None
    most: float | None = None
    required: bool = False
    redact: Callable[[Any], Any] = lambda value: value
    """Removes secrets from a value before it is printed."""

    def parts(self, chosen: Chosen) -> Parts:
        """The flag's entries of the plan. Raises `Unsupported`."""
        value = chosen[self.name]
        if isinstance(value, int | float):
            self._check_range(value)
        return self.becomes(value, chosen)

    def _check_range(self, value: float) -> None:
        if not math.isfinite(value):
            raise Unsupported(f"must be a finite number, not {value:g}")
        if self.above is not None and not value > self.above:
            raise Unsupported(f"must be greater than {self.above:g}, not {value:g}")
        if self.least is not None and not value >= self.least:
            raise Unsupported(f"must be at least {self.least:g}, not {value:g}")
        if self.most is not None and not value <= self.most:
            raise Unsupported(f"must be at most {self.most:g}, not {value:g}")


def sets(*places: str) -> Becomes:
    """The value itself at each of `places`; no entry for None."""
    return lambda value, _: {} if value is None else dict.fromkeys(places, value)


_NO_ESTIMATOR: Final = {
    "kl1": "log(p/q), whose gradient through a sampled token is zero on average",
    "kl2": "half the squared log ratio",
    "kl4": "the importance-weighted log ratio",
}


def _kl_estimator(value: str, _: Chosen) -> Parts:
    # TRL's loss has kl3 = exp(r) - r - 1 written in, with r the reference's log-probability minus
    # the policy's (Schulman, "Approximating KL divergence", k3).
    if value == "kl3":
        # Else TRL would multiply it by the importance ratio.
        return {"trainer.use_bias_correction_kl": False}
    raise Unsupported(
        f"{value} is {_NO_ESTIMATOR[value]}; the loss of TRL's GRPOTrainer has kl3 written in "
        "and no other. Use kl3"
    )


def _prompts_a_step(value: int, chosen: Chosen) -> Parts:
    # One optimizer step trains on each sample of its prompts once, over all processes.
    samples = chosen["num_samples_per_prompt_rollout"]
    sequences = chosen["per_device_train_batch_size"]
    rollouts, at_once = value * samples, sequences * chosen.world_size
    if rollouts % at_once:
        raise Unsupported(
            f"{value} prompts of {samples} samples are {rollouts} rollouts, which "
            f"{chosen.world_size} processes with {sequences} each cannot share evenly"
        )
    return {
        "batch.prompts": value,
        "trainer.generation_batch_size": rollouts,
        "trainer.gradient_accumulation_steps": rollouts // at_once,
    }


def _pack_length(value: int, chosen: Chosen) -> Parts:
    # TRL's GRPO pads and does not pack, so the value can only bound a micro-batch.
    longest = min(
        chosen["max_prompt_token_length"] + chosen["response_length"], chosen["max_token_length"]
    )
    sequences = chosen["per_device_train_batch_size"]
    if sequences * longest > value:
        raise Unsupported(
            f"a micro-batch may hold {sequences} x {longest} = {sequences * longest} tokens, "
            f"more than {value}; TRL's GRPO pads and cannot pack"
        )
    return {"batch.pack_tokens": value}


def _max_token_length(value: int, chosen: Chosen) -> Parts:
    context = {"trainer.vllm_max_model_length": value} if chosen["use_vllm"] else {}
    return {"rows.max_tokens": value, **context}


def _zero_stage(value: str, _: Chosen) -> Parts:
    """DeepSpeed's configuration; transformers fills in `auto` from the trainer's arguments."""
    if value == "0":
        return {"trainer.deepspeed": None}
    zero: dict[str, Any] = {"stage": int(value), "overlap_comm": True, "contiguous_gradients": True}
    zero["reduce_bucket_size"] = "auto"
    if value == "3":
        zero["stage3_prefetch_bucket_size"] = "auto"
        zero["stage3_param_persistence_threshold"] = "auto"
        # Else a checkpoint has shards that only DeepSpeed can read.
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    arguments = (
        "gradient_accumulation_steps", "gradient_clipping", "train_batch_size",
        "train_micro_batch_size_per_gpu",
    )  # fmt: skip
    filled_in = dict.fromkeys(arguments, "auto")
    bf16 = {"enabled": "auto"}
    return {"trainer.deepspeed": {"bf16": bf16, "zero_optimization": zero, **filled_in}}


# In the order of the published command.
PUBLISHED: Final = (
    Flag("verification_reward", float, 10.0, sets("knobs.verification_reward"),
         "Scale of the whole reward.", above=0.0, most=1e6),
    Flag("non_stop_penalty", bool, False, sets("knobs.non_stop_penalty"),
         "A response cut at response_length gets the penalty value, unjudged."),
    Flag("refiner_reward_gate_judge_score_with_format_bonus", bool, False,
         sets("knobs.gate_judge_score_with_format_bonus"),
         "Multiply the rubric reward by the share of format checks that pass."),
    Flag("refiner_reward_apply_paper_citation_reward", bool, True,
         sets("knobs.apply_citation_reward"), "Add citation F1 to the reward."),
    Flag("refiner_reward_paper_citation_weight", float, 0.2, sets("knobs.citation_weight"),
         "Weight of citation F1 beside the rubric reward.", least=0.0, most=1e6),
    Flag("refiner_reward_instance_rubrics_only", bool, False, sets("knobs.instance_rubrics_only"),
         "Judge by the row's own rubrics alone, without the static set."),
    Flag("kl_estimator", str, "kl3", _kl_estimator,
         "Estimator of the KL term; TRL has kl3.", choices=("kl1", "kl2", "kl3", "kl4")),
    Flag("beta", float, 0.001, sets("trainer.beta"),
         "Weight of the KL term; 0 loads no reference model.", least=0.0),
    Flag("num_unique_prompts_rollout", int, 32, _prompts_a_step,
         "Prompts in one optimizer step, over all processes.", least=1),
    Flag("num_samples_per_prompt_rollout", int, 8, sets("trainer.num_generations", "batch.samples"),
         "Samples of each prompt: the group whose mean is the baseline.", least=2),
    Flag("learning_rate", float, 5e-6, sets("trainer.learning_rate"),
         "Peak learning rate of AdamW.", above=0.0),
    Flag("lr_scheduler_type", str, "constant", sets("trainer.lr_scheduler_type"),
         "Schedule of the learning rate.", choices=("constant", "linear", "cosine")),
    Flag("max_prompt_token_length", int, 6144, sets("rows.max_prompt_tokens"),
         "Rows with a longer prompt are dropped and counted, never cut.", least=1),
    Flag("response_length", int, 1024,
         sets("trainer.max_completion_length", "rows.response_tokens"),
         "Tokens of a response at most.", least=1),
    Flag("max_token_length", int, 8192, _max_token_length,
         "Rows whose prompt with a full response exceeds it are dropped; vLLM's context window.",
         least=1),
    Flag("pack_length", int, 8192, _pack_length,
         "Bound of one micro-batch's tokens, padding included: TRL's GRPO pads, it cannot pack.",
         least=1),
    Flag("temperature", float, 1.0, sets("trainer.temperature"),
         "Of sampling, and of the log-probabilities in the loss.", above=0.0),
    Flag("seed", int, 42, sets("trainer.seed"),
         "Of the data order, the sampling and the initialisation.", least=0),
    Flag("deepspeed_stage", str, "0", _zero_stage,
         "ZeRO stage; 0 leaves DeepSpeed out. Nothing is offloaded.", choices=("0", "1", "2", "3")),
    Flag("per_device_train_batch_size", int, 1,
         sets("trainer.per_device_train_batch_size", "batch.sequences"),
         "Sequences in one forward pass of one process.", least=1),
)  # fmt: skip
