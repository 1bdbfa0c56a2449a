"""The flags that a run needs beside the published ones."""

import json
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from citemark_grpo.address import Address, parse_address
from citemark_grpo.training.flags import (
    Becomes,
    Chosen,
    Flag,
    Parts,
    Unsupported,
    sets,
    sets_where_given,
)

_JUDGING_MARGIN_S: Final = 600.0
_LONGEST_NAME: Final = 256  # of `Rollout.run`


def _dtype(value: str, chosen: Chosen) -> Parts:
    name = _suited(chosen) if value == "auto" else value
    return {
        "policy.dtype": "float32" if name == "mixed" else name,
        "trainer.bf16": name in ("bfloat16", "mixed"),
        "trainer.use_cpu": not chosen.machine.cuda,
    }


def _suited(chosen: Chosen) -> str:
    """Steps of a small learning rate vanish when they are added to weights in bfloat16.

    ZeRO adds them to float32 copies of its own; without it the weights themselves must be float32.
    On a CPU bfloat16 is slower than float32, and coarser.
    """
    if not chosen.machine.cuda:
        return "float32"
    return "mixed" if chosen["deepspeed_stage"] == "0" else "bfloat16"


def _service_wait_s(value: float, chosen: Chosen) -> Parts:
    """While one process waits for the service, the others wait for it in a collective."""
    collective_s = value + chosen["score_timeout_s"] + _JUDGING_MARGIN_S
    return {"service.wait_s": value, "trainer.ddp_timeout": max(1800, int(collective_s))}


def _max_steps(value: int, _: Chosen) -> Parts:
    if value == 0:
        raise Unsupported("0 would be taken for -1; to see what a run would do, use --dry_run")
    return {"trainer.max_steps": value}


def _reward_url(value: str, _: Chosen) -> Parts:
    address = _address(value)
    return {"service.url": address.root} | (
        {} if address.token is None else {"service.token": SecretStr(address.token)}
    )


def _without_token(value: str) -> str:
    try:
        return _address(value).root
    except Unsupported:
        return "(no URL)"


def _address(value: str) -> Address:
    try:
        return parse_address(value)
    except ValueError as error:
        raise Unsupported(str(error)) from error


def _run_name(value: str | None, chosen: Chosen) -> Parts:
    name = value or Path(chosen["output_dir"]).name
    if not 0 < len(name) <= _LONGEST_NAME:
        raise Unsupported(
            f"a run's name has 1 to {_LONGEST_NAME} characters and this one {len(name)}; by "
            "default it is the last part of --output_dir"
        )
    return {"trainer.run_name": name, "service.run": name}


def _save_steps(value: int, _: Chosen) -> Parts:
    if value == 0:
        return {"trainer.save_strategy": "no"}
    return {"trainer.save_strategy": "steps", "trainer.save_steps": value}


def _report_to(value: str, _: Chosen) -> Parts:
    names = [name.strip() for name in value.split(",") if name.strip()]
    known = {"tensorboard", "wandb", "trackio", "none"}
    if unknown := sorted(set(names) - known):
        raise Unsupported(f"{', '.join(unknown)} is unknown; known: {', '.join(sorted(known))}")
    if "none" in names and len(names) > 1:
        raise Unsupported("none stands alone")
    return {"trainer.report_to": names}


def _template_arguments(value: str, _: Chosen) -> Parts:
    try:
        arguments = json.loads(value)
    except ValueError as error:
        raise Unsupported(f"is no JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise Unsupported("must be a JSON object")
    return {"trainer.chat_template_kwargs": arguments}


def _for_vllm(place: str) -> Becomes:
    def becomes(value: Any, chosen: Chosen) -> Parts:
        if value is None:
            return {}
        if not chosen["use_vllm"]:
            raise Unsupported("has no effect without --use_vllm")
        return {place: value}

    return becomes


FURTHER: Final = (
    Flag(
        "model_name_or_path", str, None,
        "The policy: a folder or a hub id.",
        sets("policy.path"), required=True,
    ),
    Flag(
        "model_revision", str, None,
        "Its revision on the hub.",
        sets_where_given("policy.revision"),
    ),
    Flag(
        "model_license", str, "apache-2.0",
        "The policy's licence, for the model card in every checkpoint.",
        sets("policy.license"),
    ),
    Flag(
        "dtype", str, "auto",
        "Precision; auto: float32 without a GPU, bfloat16 with ZeRO, else mixed (float32 weights).",
        _dtype, choices=("auto", "bfloat16", "float32", "mixed"),
    ),
    Flag(
        "attn_implementation", str, "sdpa",
        "Attention; flash_attention_2 needs the extra train-gpu and a GPU.",
        sets("policy.attn_implementation"), choices=("sdpa", "eager", "flash_attention_2"),
    ),
    Flag(
        "gradient_checkpointing", bool, True,
        "Compute activations again in the backward pass, for memory.",
        sets("trainer.gradient_checkpointing"),
    ),
    Flag(
        "dataset", str, None,
        "Rows: a JSONL or Parquet file, or a data set on the hub.",
        sets("rows.dataset"), required=True,
    ),
    Flag(
        "dataset_split", str, "train",
        "The split of a data set on the hub; a file has none.",
        sets("rows.split"),
    ),
    Flag(
        "prompt_template", str, None,
        "A Jinja file in place of the refiner prompt; it then renders every row.",
        sets_where_given("rows.prompt_template"),
    ),
    Flag(
        "chat_template_kwargs", str, "{}",
        'Arguments of the chat template as JSON, as {"enable_thinking": false} for Qwen3.',
        _template_arguments,
    ),
    Flag(
        "reward_url", str, "http://127.0.0.1:8000",
        "Citemark's root URL; else CITEMARK_URL says it, and CITEMARK_API_TOKEN the token.",
        _reward_url, told=_without_token,
    ),
    Flag(
        "static_rubrics", str, "v3",
        "The service's static set of rubrics.",
        sets("knobs.static_rubrics"),
    ),
    Flag(
        "score_timeout_s", float, 600.0,
        "Seconds for the service to judge what was sent to it at once.",
        sets("service.timeout_s"), above=0.0,
    ),
    Flag(
        "service_wait_s", float, 1800.0,
        "Seconds that training waits for a service that is away, before it counts as failed.",
        _service_wait_s, least=0.0,
    ),
    Flag(
        "max_failed_share", float, 0.25,
        "Training stops at a step with a larger share of rollouts without a reward.",
        sets("service.max_failed_share"), least=0.0, most=1.0,
    ),
    Flag(
        "output_dir", str, "runs/citemark-grpo",
        "Checkpoints, logs and plots.",
        sets("trainer.output_dir"),
    ),
    Flag(
        "run_name", str, None,
        "What the run is called in logs and by the service; the output folder's name by default.",
        _run_name,
    ),
    Flag(
        "max_steps", int, -1,
        "Optimizer steps; -1 goes by num_train_epochs.",
        _max_steps, least=-1,
    ),
    Flag(
        "num_train_epochs", float, 1.0,
        "Passes over the rows where max_steps is -1.",
        sets("trainer.num_train_epochs"), above=0.0,
    ),
    Flag(
        "save_steps", int, 50,
        "Optimizer steps between checkpoints; 0 writes none, so that nothing can be resumed.",
        _save_steps, least=0,
    ),
    Flag(
        "keep_checkpoints", int, 2,
        "Checkpoints that are kept; the oldest goes first.",
        sets("trainer.save_total_limit"), least=1,
    ),
    Flag(
        "resume", str, "auto",
        "auto goes on from the newest checkpoint in output_dir, never starts anew, else a folder.",
        sets("course.resume"),
    ),
    Flag(
        "logging_steps", int, 1,
        "Optimizer steps between two lines of the logs.",
        sets("trainer.logging_steps"), least=1,
    ),
    Flag(
        "samples_every", int, 10,
        "Optimizer steps between two pages of sampled rollouts with their verdicts.",
        sets("course.samples_every"), least=1,
    ),
    Flag(
        "report_to", str, "tensorboard",
        "Where the logs go: tensorboard, wandb, trackio, none; several with commas.",
        _report_to,
    ),
    Flag(
        "use_vllm", bool, False,
        "Sample with vLLM instead of the trainer's own generation.",
        sets("trainer.use_vllm"),
    ),
    Flag(
        "vllm_mode", str, None,
        "colocate shares the training GPUs, server uses one that runs.",
        _for_vllm("trainer.vllm_mode"), choices=("colocate", "server"),
    ),
    Flag(
        "vllm_server_base_url", str, None,
        "The server of --vllm_mode server.",
        _for_vllm("trainer.vllm_server_base_url"),
    ),
    Flag(
        "vllm_gpu_memory_utilization", float, None,
        "Share of a GPU's memory that colocated sampling takes.",
        _for_vllm("trainer.vllm_gpu_memory_utilization"), above=0.0, most=1.0,
    ),
    Flag(
        "world_size", int, None,
        "Processes that the run is planned for; a run with another number is refused.",
        lambda value, chosen: {"batch.world_size": value or chosen.machine.world_size}, least=1,
    ),
    Flag(
        "dry_run", bool, False,
        "Print the plan, the token budget and the rows that are left, and train nothing.",
        sets("course.dry_run"),
    ),
)  # fmt: skip
