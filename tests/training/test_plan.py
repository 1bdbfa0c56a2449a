"""What a run is planned to be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_grpo.training.dry_run import report_flags
from citemark_grpo.training.errors import Declined
from citemark_grpo.training.flags import Machine
from citemark_grpo.training.plan import plan_run, resolve_flags

REQUIRED = {"model_name_or_path": "policy", "dataset": "rows.jsonl"}


@pytest.mark.parametrize("world_size", [1, 2, 8, 64, 256])
def test_a_step_of_the_published_run_is_32_prompts_of_8_samples(world_size: int) -> None:
    plan = plan_run(REQUIRED, Machine(world_size=world_size))
    trainer = plan.trainer
    assert plan.batch.rollouts == trainer["generation_batch_size"] == 256
    assert trainer["num_generations"] == 8
    assert trainer["gradient_accumulation_steps"] * world_size == 256


@given(
    prompts=st.integers(1, 64),
    samples=st.integers(2, 16),
    sequences=st.integers(1, 8),
    world_size=st.integers(1, 64),
)
def test_every_rollout_is_learnt_from_once_a_step_or_the_batch_is_refused(
    prompts: int, samples: int, sequences: int, world_size: int
) -> None:
    flags = REQUIRED | {
        "num_unique_prompts_rollout": prompts,
        "num_samples_per_prompt_rollout": samples,
        "per_device_train_batch_size": sequences,
        "pack_length": 65536,
    }
    try:
        trainer = plan_run(flags, Machine(world_size=world_size)).trainer
    except Declined:
        assert (prompts * samples) % (sequences * world_size)
    else:
        learnt = trainer["gradient_accumulation_steps"] * sequences * world_size
        assert learnt == trainer["generation_batch_size"] == prompts * samples


def test_a_world_size_that_is_given_is_planned_for() -> None:
    plan = plan_run({**REQUIRED, "world_size": 8}, Machine(world_size=1))
    assert plan.batch.world_size == 8
    assert plan.trainer["gradient_accumulation_steps"] == 32


def test_every_knob_that_the_run_fixes_is_sent() -> None:
    flags = {
        "verification_reward": 4.0,
        "non_stop_penalty": True,
        "refiner_reward_gate_judge_score_with_format_bonus": True,
        "refiner_reward_apply_paper_citation_reward": False,
        "refiner_reward_paper_citation_weight": 0.5,
        "refiner_reward_instance_rubrics_only": True,
        "static_rubrics": "v4",
    }
    assert plan_run(REQUIRED | flags).knobs.model_dump(exclude_unset=True) == {
        "verification_reward": 4.0,
        "non_stop_penalty": True,
        "gate_judge_score_with_format_bonus": True,
        "apply_citation_reward": False,
        "citation_weight": 0.5,
        "instance_rubrics_only": True,
        "static_rubrics": "v4",
    }


def test_kl3_is_the_estimator_without_a_weight_of_its_own() -> None:
    assert plan_run(REQUIRED).trainer["use_bias_correction_kl"] is False


def test_zero_3_offloads_nothing_and_saves_whole_weights() -> None:
    zero = plan_run({**REQUIRED, "deepspeed_stage": "3"}).trainer["deepspeed"]["zero_optimization"]
    assert zero["stage"] == 3
    assert zero["stage3_gather_16bit_weights_on_model_save"] is True
    assert not [name for name in zero if "offload" in name]


@pytest.mark.parametrize(
    ("cuda", "stage", "weights", "bf16"),
    [
        (False, "0", "float32", False),
        (True, "0", "float32", True),
        (True, "3", "bfloat16", True),
    ],
)
def test_the_precision_suits_the_machine_and_who_keeps_the_weights(
    cuda: bool, stage: str, weights: str, bf16: bool
) -> None:
    plan = plan_run({**REQUIRED, "deepspeed_stage": stage}, Machine(cuda=cuda))
    assert (plan.policy.dtype, plan.trainer["bf16"]) == (weights, bf16)
    assert plan.trainer["use_cpu"] is not cuda


@pytest.mark.parametrize("cuda", [True, False])
@pytest.mark.parametrize(
    ("dtype", "weights", "bf16"),
    [("bfloat16", "bfloat16", True), ("float32", "float32", False), ("mixed", "float32", True)],
)
def test_a_precision_that_is_given_holds(cuda: bool, dtype: str, weights: str, bf16: bool) -> None:
    plan = plan_run({**REQUIRED, "dtype": dtype}, Machine(cuda=cuda))
    assert (plan.policy.dtype, plan.trainer["bf16"]) == (weights, bf16)


def test_other_processes_wait_longer_than_one_waits_for_the_service() -> None:
    plan = plan_run({**REQUIRED, "service_wait_s": 7200.0, "score_timeout_s": 900.0})
    assert plan.trainer["ddp_timeout"] > 7200 + 900
    assert (plan.service.wait_s, plan.service.timeout_s) == (7200.0, 900.0)


def test_a_run_is_called_after_its_folder_unless_it_has_a_name() -> None:
    assert plan_run({**REQUIRED, "output_dir": "runs/tide"}).service.run == "tide"
    assert plan_run({**REQUIRED, "run_name": "ebb"}).service.run == "ebb"


def test_a_folder_without_a_name_asks_for_one() -> None:
    with pytest.raises(Declined, match="last part of --output_dir"):
        plan_run({**REQUIRED, "output_dir": "."})
    assert plan_run({**REQUIRED, "output_dir": ".", "run_name": "ebb"}).service.run == "ebb"


@pytest.mark.parametrize("url", ["http://reward:8000/t/hush", "http://reward:8000/?token=hush"])
def test_a_token_in_the_url_is_sent_and_never_told(url: str) -> None:
    plan = plan_run({**REQUIRED, "reward_url": url})
    assert plan.service.url == "http://reward:8000"
    assert plan.service.token is not None
    assert plan.service.token.get_secret_value() == "hush"
    assert "hush" not in repr(plan)
    assert "hush" not in "\n".join(report_flags(plan.outcomes))


def test_a_refused_url_is_not_told_either() -> None:
    given = {**REQUIRED, "reward_url": "reward.example/t/hush"}
    told = "\n".join(report_flags(resolve_flags(given, Machine())))
    assert "--reward_url (no URL)" in told


def test_a_run_may_keep_no_checkpoints() -> None:
    assert plan_run({**REQUIRED, "save_steps": 0}).trainer["save_strategy"] == "no"
    kept = plan_run({**REQUIRED, "save_steps": 7}).trainer
    assert (kept["save_strategy"], kept["save_steps"]) == ("steps", 7)
