"""TRL's configuration of a plan, and what this machine lacks for it."""

import dataclasses
from importlib.util import find_spec
from typing import Any

import torch
from accelerate.utils import get_int_from_env
from trl import GRPOConfig

from citemark_grpo.training.errors import Declined, MissingExtra
from citemark_grpo.training.flags import Machine
from citemark_grpo.training.plan import Plan


def this_machine() -> Machine:
    """The number of processes that the launcher started, and whether there is a GPU."""
    # From the environment: a process group would take its timeout before the plan can set it.
    processes = get_int_from_env(["WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE"], 1)
    return Machine(world_size=processes, cuda=torch.cuda.is_available())


def build_config(plan: Plan) -> GRPOConfig:
    """TRL's configuration of the plan.

    Raises:
        Declined: the machine is not the one that was planned for.
        MissingExtra: a library that the plan needs is not installed.
    """
    if plan.trainer["use_cpu"] and (packages := _gpu_packages(plan)):
        raise Declined(dict.fromkeys(packages, "needs a GPU, and there is none"))
    # `trainer.Board` writes TensorBoard's files, in place of transformers' callback.
    report_to = [name for name in plan.trainer["report_to"] if name != "tensorboard"]
    try:
        config = GRPOConfig(
            **{**plan.trainer, "report_to": report_to or ["none"]},
            model_init_kwargs=_model_arguments(plan),
        )
    except ImportError as error:
        raise MissingExtra(f"{error}; the extra train-gpu brings it") from error
    planned = plan.batch.world_size
    if config.world_size != planned:
        reason = f"the run is planned for {planned} processes and was started with "
        raise Declined({"world_size": f"{reason}{config.world_size}"})
    return config


def list_lacking(plan: Plan) -> list[str]:
    """What the plan needs and this machine does not have, a line each."""
    packages = _gpu_packages(plan)
    lines = [
        f"the package {package}, for --{flag}: the extra train-gpu brings it"
        for flag, package in packages.items()
        if find_spec(package) is None
    ]
    if packages and plan.trainer["use_cpu"]:
        lines.append("a GPU, for " + ", ".join(f"--{flag}" for flag in packages))
    return lines


def resolve_config(plan: Plan) -> dict[str, Any]:
    """Every setting of the run's GRPOConfig by field name."""
    # Not read from a GRPOConfig, which could only be built on the planned GPUs and processes.
    derived = {
        "model_init_kwargs": _model_arguments(plan),
        "steps_per_generation": plan.trainer["gradient_accumulation_steps"],
        "activation_checkpointing": plan.trainer["gradient_checkpointing"],
    }
    if plan.trainer["use_cpu"]:
        derived["dataloader_pin_memory"] = False
    return {**library_defaults(), **plan.trainer, **derived}


def library_defaults() -> dict[str, Any]:
    """Defaults of TRL and transformers by field name of GRPOConfig."""
    return {
        field.name: field.default
        if field.default_factory is dataclasses.MISSING
        else field.default_factory()
        for field in dataclasses.fields(GRPOConfig)
    }


def _gpu_packages(plan: Plan) -> dict[str, str]:
    """Flags of the plan that need a GPU, and the package that each needs."""
    needed = {
        ("deepspeed_stage", "deepspeed"): plan.trainer["deepspeed"] is not None,
        ("attn_implementation", "flash_attn"): plan.policy.attn_implementation
        == "flash_attention_2",
        ("use_vllm", "vllm"): plan.trainer["use_vllm"],
    }
    return {flag: package for (flag, package), needs in needed.items() if needs}


def _model_arguments(plan: Plan) -> dict[str, Any]:
    policy = plan.policy
    chosen = {"dtype": policy.dtype, "attn_implementation": policy.attn_implementation}
    return chosen if policy.revision is None else {**chosen, "revision": policy.revision}
