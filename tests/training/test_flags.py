"""Each flag of the run has an effect, or says why it can have none; and the plan of all."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_grpo.training.dry_run import report_flags
from citemark_grpo.training.errors import Declined
from citemark_grpo.training.flags import Flag, Machine
from citemark_grpo.training.plan import FLAGS, plan_run, resolve_flags

REQUIRED = {"model_name_or_path": "policy", "dataset": "rows.jsonl"}

SPECIAL = {
    "report_to": "none",
    "chat_template_kwargs": '{"enable_thinking": false}',
    "world_size": 2,
    "reward_url": "http://reward.example:8080",
    "max_failed_share": 0.5,
    "vllm_gpu_memory_utilization": 0.4,
}


def another(flag: Flag) -> Any:
    """A value that is allowed and not the default."""
    if flag.name in SPECIAL:
        return SPECIAL[flag.name]
    if flag.kind is bool:
        return not flag.default
    if flag.choices:
        return next(choice for choice in flag.choices if choice != flag.default)
    if flag.kind is str:
        return "another"
    return flag.kind(2 * flag.default) if flag.default > 0 else flag.kind(7)


# What the trainer cannot do, or only with other flags.
REFUSED = {"kl_estimator", "vllm_mode", "vllm_server_base_url", "vllm_gpu_memory_utilization"}


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_another_value_changes_the_run_or_is_refused_with_a_reason(flag):
    base = REQUIRED if flag.name == "pack_length" else REQUIRED | {"pack_length": 65536}
    changed = {**base, flag.name: another(flag)}
    reasons = {o.flag.name: o.refusal for o in resolve_flags(changed, Machine()) if o.refusal}
    assert set(reasons) == {flag.name} & REFUSED
    if reasons:
        assert len(str(reasons[flag.name]).split()) > 3
    else:
        one, other = (replace(plan_run(each), outcomes=()) for each in (base, changed))
        assert one != other


def test_no_two_flags_write_one_place():
    given = {**REQUIRED, "use_vllm": True, "vllm_mode": "server", "prompt_template": "p.j2"}
    places = [place for outcome in resolve_flags(given, Machine()) for place in outcome.parts]
    assert len(places) == len(set(places))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"kl_estimator": "kl1"}, "kl3 written in"),
        ({"kl_estimator": "kl2"}, "kl3 written in"),
        ({"kl_estimator": "kl4"}, "kl3 written in"),
        ({"beta": -0.1}, "at least 0"),
        ({"temperature": 0.0}, "greater than 0"),
        ({"max_failed_share": 1.5}, "at most 1"),
        ({"num_samples_per_prompt_rollout": 1}, "at least 2"),
        ({"report_to": "tensorboard,punchcards"}, "punchcards is unknown"),
        ({"report_to": "none,wandb"}, "none stands alone"),
        ({"learning_rate": float("inf")}, "finite"),
        ({"service_wait_s": float("inf")}, "finite"),
        ({"max_steps": 0}, "--dry_run"),
        ({"run_name": "x" * 257}, "257"),
        ({"reward_url": "reward.example"}, "is no URL of a service"),
        ({"chat_template_kwargs": "[1]"}, "JSON object"),
        ({"chat_template_kwargs": "{"}, "no JSON"),
        ({"vllm_mode": "server"}, "--use_vllm"),
        ({"pack_length": 4096}, "cannot pack"),
        ({"dataset": None}, "must be given"),
        ({"flash": 1}, "no flag of this trainer"),
        ({"kl_estimator": "kl1", "beta": -1.0}, "kl3 written in"),
    ],
)
def test_what_cannot_be_honoured_is_refused_all_at_once(given, reason):
    with pytest.raises(Declined, match=reason) as declined:
        plan_run({**REQUIRED, **given})
    assert set(declined.value.reasons) == set(given)


@pytest.mark.train
def test_every_place_of_the_trainer_is_a_field_of_its_configuration():
    import dataclasses

    from trl import GRPOConfig

    vllm = {"use_vllm": True, "vllm_mode": "server", "vllm_gpu_memory_utilization": 0.3}
    given = {**REQUIRED, **vllm, "vllm_server_base_url": "http://127.0.0.1:1"}
    fields = {field.name for field in dataclasses.fields(GRPOConfig)}
    assert set(plan_run(given).trainer) <= fields


@given(st.integers(1, 64), st.integers(2, 16), st.integers(1, 8), st.integers(1, 64))
def test_every_rollout_is_learnt_from_once_a_step_or_the_batch_is_refused(
    prompts, samples, sequences, world_size
):
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
        assert trainer["num_generations"] == samples


def test_every_knob_that_the_run_fixes_is_sent():
    sent = {"verification_reward": 4.0, "non_stop_penalty": True, "static_rubrics": "v4"}
    renamed = {
        "gate_judge_score_with_format_bonus": True,
        "instance_rubrics_only": True,
        "citation_weight": 0.5,
        "apply_citation_reward": False,
    }
    flags = {
        "refiner_reward_gate_judge_score_with_format_bonus": True,
        "refiner_reward_instance_rubrics_only": True,
        "refiner_reward_paper_citation_weight": 0.5,
        "refiner_reward_apply_paper_citation_reward": False,
    }
    plan = plan_run(REQUIRED | sent | flags)
    always = {"citation_style": "snippet"}  # the published run's notation
    assert plan.knobs.model_dump(exclude_unset=True) == sent | renamed | always


@pytest.mark.parametrize(
    ("flags", "cuda", "weights", "bf16"),
    [
        ({}, False, "float32", False),
        ({}, True, "float32", True),
        ({"deepspeed_stage": "3"}, True, "bfloat16", True),
        # One that is given holds.
        *(
            ({"dtype": dtype}, cuda, weights, bf16)
            for cuda in (True, False)
            for dtype, weights, bf16 in (
                ("bfloat16", "bfloat16", True), ("float32", "float32", False),
                ("mixed", "float32", True),
            )
        ),
    ],
)  # fmt: skip
def test_the_precision_suits_the_machine_and_who_keeps_the_weights(flags, cuda, weights, bf16):
    plan = plan_run({**REQUIRED, **flags}, Machine(cuda=cuda))
    assert (plan.policy.dtype, plan.trainer["bf16"]) == (weights, bf16)
    assert plan.trainer["use_cpu"] is not cuda


def test_other_processes_wait_longer_than_one_waits_for_the_service():
    plan = plan_run({**REQUIRED, "service_wait_s": 7200.0, "score_timeout_s": 900.0})
    assert plan.trainer["ddp_timeout"] > 7200 + 900
    assert (plan.service.wait_s, plan.service.timeout_s) == (7200.0, 900.0)


def test_a_run_is_called_after_its_folder_unless_it_has_a_name():
    assert plan_run({**REQUIRED, "output_dir": "runs/tide"}).service.run == "tide"
    assert plan_run({**REQUIRED, "output_dir": ".", "run_name": "ebb"}).service.run == "ebb"
    with pytest.raises(Declined, match="last part of --output_dir"):
        plan_run({**REQUIRED, "output_dir": "."})


@pytest.mark.parametrize("url", ["http://reward:8000/t/hush", "http://reward:8000/?token=hush"])
def test_a_token_in_the_url_is_sent_and_never_told(url):
    plan = plan_run({**REQUIRED, "reward_url": url})
    assert plan.service.url == "http://reward:8000"
    assert plan.service.token is not None
    assert plan.service.token.get_secret_value() == "hush"
    assert "hush" not in repr(plan)
    assert "hush" not in "\n".join(report_flags(plan.outcomes))


def test_a_refused_url_is_not_told_either():
    given = {**REQUIRED, "reward_url": "reward.example/t/hush"}
    told = "\n".join(report_flags(resolve_flags(given, Machine())))
    assert "--reward_url (no URL)" in told
