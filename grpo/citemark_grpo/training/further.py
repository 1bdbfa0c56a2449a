"""The flags that a run needs beside the published ones."""

import json
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from citemark_grpo.address import Address, parse_address
from citemark_grpo.training.flags import Becomes, Chosen, Flag, Parts, Unsupported, sets

_JUDGING_MARGIN_S: Final = 600.0
_LONGEST_NAME: Final = 256  # of `Rollout.run`


def _dtype(value: str, chosen: Chosen) -> Parts:
    # Small steps vanish when they are added to bfloat16 weights. ZeRO adds them to float32 copies
    # of its own; without it the weights must be float32. On a CPU bfloat16 is slower, too.
    if value == "auto":
        on_gpu = "mixed" if chosen["deepspeed_stage"] == "0" else "bfloat16"
        value = on_gpu if chosen.machine.cuda else "float32"
    return {
        "policy.dtype": "float32" if value == "mixed" else value,
        "trainer.bf16": value in ("bfloat16", "mixed"),
        "trainer.use_cpu": not chosen.machine.cuda,
    }


def _service_wait_s(value: float, chosen: Chosen) -> Parts:
    # While one process waits for the service, the others wait for it in a collective.
    collective_s = value + chosen["score_timeout_s"] + _JUDGING_MARGIN_S
    return {"service.wait_s": value, "trainer.ddp_timeout": max(1800, int(collective_s))}


def _max_steps(value: int, _: Chosen) -> Parts:
    if value == 0:
        raise Unsupported("0 would be taken for -1; to see what a run would do, use --dry_run")
    return {"trainer.max_steps": value}


def _reward_url(value: str, _: Chosen) -> Parts:
    address = _parse_address(value)
    token = {} if address.token is None else {"service.token": SecretStr(address.token)}
    return {"service.url": address.root, **token}


def _redact_token(value: str) -> str:
    try:
        return _parse_address(value).root
    except Unsupported:
        return "(no URL)"


def _parse_address(value: str) -> Address:
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


def _sets_for_vllm(place: str) -> Becomes:
    def becomes(value: Any, chosen: Chosen) -> Parts:
        if value is None:
            return {}
        if not chosen["use_vllm"]:
            raise Unsupported("has no effect without --use_vllm")
        return {place: value}

    return becomes


FURTHER: Final = (
    Flag("model_name_or_path", str, None, sets("policy.path"),
         "The policy: a folder or a hub id.", required=True),
    Flag("model_revision", str, None, sets("policy.revision"), "Its revision on the hub."),
    Flag("model_license", str, "apache-2.0", sets("policy.license"),
         "The policy's licence, for the model card in every checkpoint."),
    Flag("dtype", str, "auto", _dtype,
         "Precision; auto: float32 without a GPU, bfloat16 with ZeRO, else mixed (float32 "
         "weights).", choices=("auto", "bfloat16", "float32", "mixed")),
    Flag("attn_implementation", str, "sdpa", sets("policy.attn_implementation"),
         "Attention; flash_attention_2 needs the extra train-gpu and a GPU.",
         choices=("sdpa", "eager", "flash_attention_2")),
    Flag("gradient_checkpointing", bool, True, sets("trainer.gradient_checkpointing"),
         "Compute activations again in the backward pass, for memory."),
    Flag("dataset", str, None, sets("rows.dataset"),
         "Rows: a JSONL or Parquet file, or a data set on the hub.", required=True),
    Flag("dataset_split", str, "train", sets("rows.split"),
         "The split of a data set on the hub; a file has none."),
    Flag("prompt_template", str, None, sets("rows.prompt_template"),
         "A Jinja file in place of the refiner prompt; it then renders every row."),
    Flag("chat_template_kwargs", str, "{}", _template_arguments,
         'Arguments of the chat template as JSON, as {"enable_thinking": false} for Qwen3.'),
    Flag("reward_url", str, "http://127.0.0.1:8000", _reward_url,
         "Citemark's root URL; else CITEMARK_URL says it, and CITEMARK_API_TOKEN the token.",
         redact=_redact_token),
    Flag("static_rubrics", str, "v3", sets("knobs.static_rubrics"),
         "The service's static set of rubrics."),
    Flag("score_timeout_s", float, 600.0, sets("service.timeout_s"),
         "Seconds for the service to judge what was sent to it at once.", above=0.0),
    Flag("service_wait_s", float, 1800.0, _service_wait_s,
         "Seconds that training waits for a service that is away, before it counts as failed.",
         least=0.0),
    Flag("max_failed_share", float, 0.25, sets("service.max_failed_share"),
         "Training stops at a step with a larger share of rollouts without a reward.",
         least=0.0, most=1.0),
    Flag("output_dir", str, "runs/citemark-grpo", sets("trainer.output_dir"),
         "Checkpoints, logs and plots."),
    Flag("run_name", str, None, _run_name,
         "What the run is called in logs and by the service; the output folder's name by default."),
    Flag("max_steps", int, -1, _max_steps,
         "Optimizer steps; -1 goes by num_train_epochs.", least=-1),
    Flag("num_train_epochs", float, 1.0, sets("trainer.num_train_epochs"),
         "Passes over the rows where max_steps is -1.", above=0.0),
    Flag("save_steps", int, 50, _save_steps,
         "Optimizer steps between checkpoints; 0 writes none, so that nothing can be resumed.",
         least=0),
    Flag("keep_checkpoints", int, 2, sets("trainer.save_total_limit"),
         "Checkpoints that are kept; the oldest goes first.", least=1),
    Flag("resume", str, "auto", sets("plan.resume"),
         "auto goes on from the newest checkpoint in output_dir, never starts anew, else a "
         "folder."),
    Flag("logging_steps", int, 1, sets("trainer.logging_steps"),
         "Optimizer steps between two lines of the logs.", least=1),
    Flag("samples_every", int, 10, sets("plan.samples_every"),
         "Optimizer steps between two pages of sampled rollouts with their verdicts.", least=1),
    Flag("report_to", str, "tensorboard", _report_to,
         "Where the logs go: tensorboard, wandb, trackio, none; several with commas."),
    Flag("use_vllm", bool, False, sets("trainer.use_vllm"),
         "Sample with vLLM instead of the trainer's own generation."),
    Flag("vllm_mode", str, None, _sets_for_vllm("trainer.vllm_mode"),
         "colocate shares the training GPUs, server uses one that runs.",
         choices=("colocate", "server")),
    Flag("vllm_server_base_url", str, None, _sets_for_vllm("trainer.vllm_server_base_url"),
         "The server of --vllm_mode server."),
    Flag("vllm_gpu_memory_utilization", float, None,
         _sets_for_vllm("trainer.vllm_gpu_memory_utilization"),
         "Share of a GPU's memory that colocated sampling takes.", above=0.0, most=1.0),
    Flag("world_size", int, None, lambda _, chosen: {"batch.world_size": chosen.world_size},
         "Processes that the run is planned for; a run with another number is refused.", least=1),
    Flag("dry_run", bool, False, sets("plan.dry_run"),
         "Print the plan, the token budget and the rows that are left, and train nothing."),
)  # fmt: skip
