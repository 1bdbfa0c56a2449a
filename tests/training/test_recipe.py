"""The recipe of the published run."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from citemark_grpo.training.cli import to_option
from citemark_grpo.training.flags import PUBLISHED
from citemark_grpo.training.plan import FLAGS, plan_run

RECIPES = Path(__file__).resolve().parents[2] / "grpo" / "recipes"


@pytest.fixture
def values() -> dict[str, Any]:
    """The recipe's flags and what they are set to on 8 GPUs."""
    text = (RECIPES / "train_dr_tulu_refiner-rubric.sh").read_text()
    command = text.partition("citemark_grpo train")[2].replace("\\\n", " ").replace('"$@"', "")
    words = shlex.split(command)
    types = {f"--{flag.name}": to_option(flag).type for flag in FLAGS}
    set_by_shell = {"$PROCESSES": "8", "$CITEMARK_URL": "http://127.0.0.1:8000"}
    return {
        name.removeprefix("--"): types[name].convert(set_by_shell.get(value, value), None, None)
        for name, value in zip(words[::2], words[1::2], strict=True)
    }


def test_it_gives_every_published_flag_its_published_value(values):
    published = {flag.name: flag.default for flag in PUBLISHED} | {"deepspeed_stage": "3"}
    assert {flag.name: values[flag.name] for flag in PUBLISHED} == published


def test_it_says_what_is_not_installed_before_anything_is_launched(tmp_path):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\ncase "$2" in *deepspeed*) exit 1;; esac\n')
    python.chmod(0o755)
    ended = subprocess.run(
        ["bash", str(RECIPES / "train_dr_tulu_refiner-rubric.sh")],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "MODEL": "policy", "DATASET": "rows"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 2
    told = "this python has no deepspeed: pip install 'citemark[train,train-gpu]'\n"
    assert ended.stderr == told


def test_its_plan_is_the_published_step_on_8_gpus_sharded_as_the_launcher_says(values):
    plan = plan_run(values)
    assert (plan.batch.prompts, plan.batch.samples, plan.batch.world_size) == (32, 8, 8)
    assert plan.trainer["gradient_accumulation_steps"] == 32
    assert plan.policy.attn_implementation == "flash_attention_2"
    assert plan.trainer["bf16"] is True
    launched = json.loads((RECIPES / "zero3.json").read_text())
    assert launched == plan.trainer["deepspeed"]
    assert "offload" not in str(launched)


def test_the_launcher_says_in_no_second_place_what_is_sharded():
    """Accelerate ends a run whose two places both name a stage or a precision."""
    config = YAML(typ="safe").load(RECIPES / "zero3.yaml")
    assert config["distributed_type"] == "DEEPSPEED"
    assert {*config["deepspeed_config"]} == {"zero3_init_flag", "deepspeed_multinode_launcher"}
    assert "mixed_precision" not in config


def test_what_a_user_must_set_is_asked_for_by_name():
    text = (RECIPES / "train_dr_tulu_refiner-rubric.sh").read_text()
    assert re.findall(r'^: "\$\{(\w+):\?', text, re.MULTILINE) == ["MODEL", "DATASET"]
