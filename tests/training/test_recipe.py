"""The recipe of the published run."""

import re
import shlex
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from citemark_grpo.training.cli import option_of
from citemark_grpo.training.plan import FLAGS, plan_of
from citemark_grpo.training.published import PUBLISHED

RECIPES = Path(__file__).resolve().parents[2] / "grpo" / "recipes"


@pytest.fixture
def given() -> dict[str, str]:
    """The recipe's flags and their values as they stand there."""
    text = (RECIPES / "train_dr_tulu_refiner-rubric.sh").read_text()
    command = text.partition("citemark_grpo train")[2].replace("\\\n", " ").replace('"$@"', "")
    words = shlex.split(command)
    assert len(words) % 2 == 0
    return dict(zip((word.removeprefix("--") for word in words[::2]), words[1::2], strict=True))


def test_it_gives_every_published_flag_its_published_value(given: dict[str, str]) -> None:
    values = {
        flag.name: option_of(flag).type.convert(given[flag.name], None, None) for flag in PUBLISHED
    }
    assert values == {flag.name: flag.default for flag in PUBLISHED} | {"deepspeed_stage": "3"}


def test_its_flags_are_the_trainers(given: dict[str, str]) -> None:
    assert given.keys() <= {flag.name for flag in FLAGS}


def test_its_plan_is_the_published_step_on_8_gpus(given: dict[str, str]) -> None:
    types = {flag.name: option_of(flag).type for flag in FLAGS}
    values = {
        name: types[name].convert("8" if value == "$PROCESSES" else value, None, None)
        for name, value in given.items()
    }
    plan = plan_of(values)
    assert (plan.batch.prompts, plan.batch.samples, plan.batch.world_size) == (32, 8, 8)
    assert plan.trainer["gradient_accumulation_steps"] == 32
    assert plan.policy.attn_implementation == "flash_attention_2"
    assert plan.trainer["bf16"] is True


def test_the_launchers_configuration_is_zero_3_without_offload(given: dict[str, str]) -> None:
    config = YAML(typ="safe").load(RECIPES / "zero3.yaml")
    zero = config["deepspeed_config"]
    assert str(zero["zero_stage"]) == given["deepspeed_stage"]
    assert {zero["offload_optimizer_device"], zero["offload_param_device"]} == {"none"}
    assert config["mixed_precision"] == "bf16"


def test_what_a_user_must_set_is_asked_for_by_name() -> None:
    text = (RECIPES / "train_dr_tulu_refiner-rubric.sh").read_text()
    assert re.findall(r'^: "\$\{(\w+):\?', text, re.MULTILINE) == ["MODEL", "DATASET"]
