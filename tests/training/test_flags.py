"""Each flag of the run has an effect, or says why it can have none."""

from typing import Any

import pytest

from citemark_grpo.training.errors import Declined
from citemark_grpo.training.flags import PUBLISHED, Flag, Machine
from citemark_grpo.training.plan import FLAGS, Plan, plan_run, resolve_flags

REQUIRED = {"model_name_or_path": "policy", "dataset": "rows.jsonl"}

PUBLISHED_DEFAULTS = {
    "verification_reward": 10.0,
    "non_stop_penalty": False,
    "refiner_reward_gate_judge_score_with_format_bonus": False,
    "refiner_reward_apply_paper_citation_reward": True,
    "refiner_reward_paper_citation_weight": 0.2,
    "refiner_reward_instance_rubrics_only": False,
    "kl_estimator": "kl3",
    "beta": 0.001,
    "num_unique_prompts_rollout": 32,
    "num_samples_per_prompt_rollout": 8,
    "learning_rate": 5e-6,
    "lr_scheduler_type": "constant",
    "max_prompt_token_length": 6144,
    "response_length": 1024,
    "max_token_length": 8192,
    "pack_length": 8192,
    "temperature": 1.0,
    "seed": 42,
    "deepspeed_stage": "0",
    "per_device_train_batch_size": 1,
}
"""The published run's values; but for ZeRO, which needs GPUs and is asked for by the recipe."""

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


def effects(plan: Plan) -> tuple[object, ...]:
    """All of a plan that something acts on."""
    return (
        dict(plan.trainer), plan.policy, plan.rows, plan.batch, plan.service, plan.knobs,
        (plan.resume, plan.dry_run, plan.samples_every),
    )  # fmt: skip


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_another_value_changes_the_run_or_is_refused_with_a_reason(flag: Flag) -> None:
    roomy = REQUIRED | {"pack_length": 65536}
    base = roomy if flag.name != "pack_length" else REQUIRED
    changed = {**base, flag.name: another(flag)}
    reasons = {o.flag.name: o.refusal for o in resolve_flags(changed, Machine()) if o.refusal}
    if reasons:
        assert set(reasons) == {flag.name}
        assert len(str(reasons[flag.name]).split()) > 3
    else:
        assert effects(plan_run(changed)) != effects(plan_run(base))


def test_only_what_the_trainer_cannot_do_is_refused() -> None:
    roomy = REQUIRED | {"pack_length": 65536}
    refused = {
        outcome.flag.name
        for flag in FLAGS
        for outcome in resolve_flags({**roomy, flag.name: another(flag)}, Machine())
        if outcome.refusal
    }
    assert refused == {
        "kl_estimator", "vllm_mode", "vllm_server_base_url", "vllm_gpu_memory_utilization",
    }  # fmt: skip


def test_the_published_flags_have_the_published_values() -> None:
    assert {flag.name: flag.default for flag in PUBLISHED} == PUBLISHED_DEFAULTS


def test_no_two_flags_write_one_place() -> None:
    given = {**REQUIRED, "use_vllm": True, "vllm_mode": "server", "prompt_template": "p.j2"}
    places = [place for outcome in resolve_flags(given, Machine()) for place in outcome.parts]
    assert len(places) == len(set(places))


def test_every_flag_says_what_it_does_in_a_line() -> None:
    for flag in FLAGS:
        assert flag.effect.endswith(".")
        assert len(flag.effect) < 130


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("kl_estimator", "kl1", "kl3 written in"),
        ("kl_estimator", "kl2", "kl3 written in"),
        ("kl_estimator", "kl4", "kl3 written in"),
        ("beta", -0.1, "at least 0"),
        ("temperature", 0.0, "greater than 0"),
        ("max_failed_share", 1.5, "at most 1"),
        ("num_samples_per_prompt_rollout", 1, "at least 2"),
        ("report_to", "tensorboard,punchcards", "punchcards is unknown"),
        ("report_to", "none,wandb", "none stands alone"),
        ("learning_rate", float("inf"), "finite"),
        ("service_wait_s", float("inf"), "finite"),
        ("max_steps", 0, "--dry_run"),
        ("run_name", "x" * 257, "257"),
        ("reward_url", "reward.example", "is no URL of a service"),
        ("chat_template_kwargs", "[1]", "JSON object"),
        ("chat_template_kwargs", "{", "no JSON"),
        ("vllm_mode", "server", "--use_vllm"),
        ("pack_length", 4096, "cannot pack"),
        ("dataset", None, "must be given"),
        ("flash", 1, "no flag of this trainer"),
    ],
)
def test_a_value_that_cannot_be_honoured_is_refused(name: str, value: Any, reason: str) -> None:
    with pytest.raises(Declined, match=reason) as declined:
        plan_run({**REQUIRED, name: value})
    assert set(declined.value.reasons) == {name}


def test_all_refusals_are_told_at_once() -> None:
    with pytest.raises(Declined) as declined:
        plan_run({**REQUIRED, "kl_estimator": "kl1", "beta": -1.0})
    assert set(declined.value.reasons) == {"kl_estimator", "beta"}


@pytest.mark.train
def test_every_place_of_the_trainer_is_a_field_of_its_configuration() -> None:
    import dataclasses

    from trl import GRPOConfig

    given = {
        **REQUIRED,
        "use_vllm": True,
        "vllm_mode": "server",
        "vllm_server_base_url": "http://127.0.0.1:1",
        "vllm_gpu_memory_utilization": 0.3,
    }
    fields = {field.name for field in dataclasses.fields(GRPOConfig)}
    assert set(plan_run(given).trainer) <= fields
