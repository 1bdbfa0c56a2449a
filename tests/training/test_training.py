"""TRL's real trainer with a tiny policy against a service on a real socket."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from citemark_grpo.training.errors import Declined, JudgementsMissing, RowsUnusable
from citemark_grpo.training.flags import PUBLISHED
from citemark_grpo.training.plan import Plan
from citemark_grpo.training.rows import PROMPT_TOO_LONG
from citemark_schemas import FailureKind, RefusalKind
from support.scripted_service import Service, answering, failing

pytestmark = [
    pytest.mark.train,
    pytest.mark.timeout(300),
    # TRL's own use of transformers, whose next version it has not met.
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning"),
]

RECIPE = Path(__file__).resolve().parents[2] / "grpo/recipes/train_dr_tulu_refiner-rubric.sh"

Planned = Callable[..., Plan]


@pytest.fixture
def small(planned: Planned, policy: Path, tmp_path: Path) -> Planned:
    """Plans of runs with steps of two prompts and four samples, which take a second each."""
    template = tmp_path / "short.j2"
    template.write_text("{{ question }}")

    def build(url: str, **given: Any) -> Plan:
        flags = {
            "model_name_or_path": str(policy),
            "prompt_template": str(template),
            "reward_url": url,
            "run_name": "tide",
            "num_unique_prompts_rollout": 2,
            "num_samples_per_prompt_rollout": 4,
            "per_device_train_batch_size": 4,
            "max_prompt_token_length": 1000,
            "response_length": 8,
            "max_steps": 2,
            "save_steps": 1000,
            "report_to": "none",
        }
        return planned(**{**flags, **given})

    return build


def build(plan: Plan) -> Any:
    from citemark_grpo.training import session

    return session.build_trainer(plan, *session.prepare_rows(plan))


def advantages(trainer: Any) -> list[float]:
    return list(trainer._logs["advantages"])


def test_a_step_asks_once_for_all_samples_and_says_whose_they_are(small, service: Service):
    trainer = build(small(service.url))
    trainer.train()
    assert trainer.state.global_step == 2
    assert [len(request["items"]) for request in service.requests] == [8, 8]
    for step, request in enumerate(service.requests):
        items = request["items"]
        assert sorted(Counter(item["group"] for item in items).values()) == [4, 4]
        assert {(item["run"], item["step"]) for item in items} == {("tide", step)}
        assert {item["finish_reason"] for item in items} <= {"stop", "length"}
        assert len({item["id"] for item in items}) == 8


def test_the_flags_are_what_the_trainer_was_told(small, service: Service):
    given = {
        "beta": 0.02,
        "temperature": 0.7,
        "learning_rate": 3e-4,
        "lr_scheduler_type": "linear",
        "seed": 7,
        "gradient_checkpointing": False,
        "per_device_train_batch_size": 2,
    }
    trainer = build(small(service.url, **given))
    arguments = {name: getattr(trainer.args, name) for name in given}
    assert arguments == given
    assert trainer.args.generation_batch_size == 8
    assert trainer.args.gradient_accumulation_steps == trainer.args.steps_per_generation == 4
    assert trainer.args.num_generations == 4
    assert trainer.args.max_completion_length == 8
    assert trainer.args.use_bias_correction_kl is False
    assert trainer.beta == 0.02
    assert trainer.ref_model is not None
    assert next(trainer.model.parameters()).dtype.is_floating_point
    assert build(small(service.url, beta=0.0)).ref_model is None


def test_a_response_that_was_cut_says_so(small, service: Service):
    build(small(service.url, max_steps=1)).train()
    items = service.requests[0]["items"]
    assert "length" in {item["finish_reason"] for item in items}
    # A token is a character at most, and the one that ends a turn is none.
    ended = [item["response"] for item in items if item["finish_reason"] == "stop"]
    assert all(len(response) < 8 for response in ended)


def test_what_was_not_judged_moves_nothing_and_is_no_baseline(small, service: Service):
    service.steps = [failing(FailureKind.TIMEOUT, 0, 5)]
    trainer = build(small(service.url, max_steps=1))
    trainer.train()
    found = advantages(trainer)
    assert (found[0], found[5]) == (0.0, 0.0)
    assert sum(found[:4]) == pytest.approx(0.0, abs=1e-4)
    assert sum(found[4:]) == pytest.approx(0.0, abs=1e-4)
    lengths = [len(item["response"]) for item in service.requests[0]["items"]]
    judged = lengths[1:4]
    above = [length > sum(judged) / 3 for length in judged]
    assert [advantage > 0 for advantage in found[1:4]] == above


def test_too_many_failures_end_the_run_before_it_learns(small, service: Service):
    import torch

    service.steps = [failing(FailureKind.UNREACHABLE, 0, 1, 2)]
    trainer = build(small(service.url, max_failed_share=0.25))
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    with pytest.raises(JudgementsMissing, match="3 of 8 rollouts") as ended:
        trainer.train()
    assert "3 x judge_unreachable: said so" in str(ended.value)
    assert trainer.state.global_step == 0
    assert all(map(torch.equal, before, trainer.model.parameters()))


def test_as_many_failures_as_are_allowed_do_not(small, service: Service):
    service.steps = [failing(FailureKind.UNREACHABLE, 0, 1)]
    trainer = build(small(service.url, max_failed_share=0.25, max_steps=1))
    trainer.train()
    assert trainer.state.global_step == 1


def test_the_knobs_reach_the_real_service(small, citemark_url):
    plan = small(citemark_url, max_steps=1, non_stop_penalty=True, verification_reward=4.0)
    trainer = build(plan)
    trainer.train()
    judged = trainer._reward.judged
    assert len(judged) == 8
    for each in judged:
        assert each.result is not None
        assert each.result.knobs.verification_reward == 4.0
        refused = each.result.refusal.kind if each.result.refusal else None
        assert (refused is RefusalKind.NOT_STOPPED) == (each.finish_reason == "length")


def test_two_processes_share_a_step_and_decide_alike(small, service: Service, rows_file):
    plan = small(service.url)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
        "--module", "citemark_grpo", "train",
        "--model_name_or_path", plan.policy.path, "--dataset", str(rows_file),
        "--prompt_template", str(plan.rows.prompt_template), "--reward_url", service.url,
        "--output_dir", str(plan.trainer["output_dir"]), "--report_to", "none",
        "--num_unique_prompts_rollout", "2", "--num_samples_per_prompt_rollout", "4",
        "--per_device_train_batch_size", "2", "--max_prompt_token_length", "1000",
        "--response_length", "8", "--max_steps", "2", "--max_failed_share", "0.4",
    ]  # fmt: skip
    # In the second step one process has nothing judged, and the other everything.
    service.steps = [answering, answering, failing(FailureKind.TIMEOUT, 0, 1, 2, 3)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode != 0
    assert done.stderr.count("after 1 steps 4 of 8 rollouts have no reward") == 2
    assert [len(request["items"]) for request in service.requests] == [4, 4, 4, 4]
    steps = [{item["step"] for item in request["items"]} for request in service.requests]
    assert steps == [{0}, {0}, {1}, {1}]


def test_a_rows_length_is_what_the_trainer_reads(small, service: Service):
    from citemark_grpo.training import session

    plan = small(service.url)
    tokenizer, prepared = session.prepare_rows(plan)
    trainer = session.build_trainer(plan, tokenizer, prepared)
    rows = prepared.rows
    prompts = [[dict(turn) for turn in row.prompt] for row in rows]
    ids, _, _ = trainer._tokenize_prompts(prompts)
    assert [row.tokens for row in rows] == [len(prompt) for prompt in ids]


def test_over_long_rows_never_reach_the_trainer(small, service: Service):
    from citemark_grpo.training import session

    plan = small(service.url)
    longest = max(row.tokens for row in session.prepare_rows(plan)[1].rows)
    shorter = small(service.url, max_prompt_token_length=longest - 1)
    with pytest.raises(RowsUnusable, match="no row to train on: 8 prompt longer"):
        session.prepare_rows(shorter)
    _, kept = session.prepare_rows(small(service.url, max_prompt_token_length=longest))
    assert (len(kept.rows), kept.dropped[PROMPT_TOO_LONG]) == (8, 0)


def test_fewer_rows_than_prompts_in_a_step_are_refused(small, service: Service):
    with pytest.raises(RowsUnusable, match="8 rows are fewer"):
        build(small(service.url, num_unique_prompts_rollout=16))


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"deepspeed_stage": "3"}, "deepspeed_stage"),
        ({"attn_implementation": "flash_attention_2"}, "attn_implementation"),
        ({"world_size": 2}, "world_size"),
    ],
)
def test_what_this_machine_cannot_do_is_refused_before_a_model_is_loaded(
    small, service: Service, flags, named
):
    with pytest.raises(Declined) as declined:
        build(small(service.url, **flags))
    assert set(declined.value.reasons) == {named}


def test_an_output_folder_that_cannot_be_made_is_refused_first(small, rows_file):
    from citemark_grpo.training import session

    plan = small("http://127.0.0.1:8000", output_dir=str(rows_file / "run"))
    with pytest.raises(Declined) as declined:
        session.run_training(plan, say=print)
    assert set(declined.value.reasons) == {"output_dir"}


def recipe_on_paper(policy: Path, rows: Path, *more: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MODEL": str(policy),
        "DATASET": str(rows),
    }
    return subprocess.run(
        ["bash", str(RECIPE), "--dry_run", *more],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_recipes_dry_run_tells_what_every_flag_became(policy, rows_file):
    done = recipe_on_paper(policy, rows_file, "--num_unique_prompts_rollout", "8",
                           "--num_samples_per_prompt_rollout", "32")  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    for flag in PUBLISHED:
        (at,) = [n for n, line in enumerate(lines) if line.startswith(f"  --{flag.name} ")]
        assert "(default)" not in lines[at]
        assert lines[at + 2].strip().startswith("-> ")
    assert "  generation_batch_size = 256  (default -)" in lines
    assert "  gradient_accumulation_steps = 32  (default 1)" in lines
    assert "  steps_per_generation = 32  (default -)" in lines
    assert "  optim = adamw_torch_fused" in lines
    assert any(line.split() == ["kept", "8"] for line in lines)


def test_a_dry_run_whose_rows_make_no_step_is_refused(policy, rows_file):
    done = recipe_on_paper(policy, rows_file)
    assert done.returncode == 2
    assert "REFUSED: 8 rows are fewer" in done.stdout
    assert "citemark-grpo: 8 rows are fewer" in done.stderr


# What the library writes otherwise than it was given, without another meaning, and what depends
# on the log level or is written by this package and not by transformers.
SPELT_OTHERWISE = {
    "accelerator_config", "debug", "pad_to_multiple_of", "disable_tqdm", "report_to"
}  # fmt: skip


@pytest.mark.parametrize("flags", [{}, {"gradient_checkpointing": False, "save_steps": 0}])
def test_a_dry_run_knows_every_setting_of_the_run(planned, flags):
    from dataclasses import fields

    from citemark_grpo.training.config import build_config, resolve_config

    plan = planned(**flags)
    config, on_paper = build_config(plan), resolve_config(plan)
    names = {field.name for field in fields(config)}
    assert on_paper.keys() == names
    wrong = {name for name in names if getattr(config, name) != on_paper[name]}
    assert wrong <= SPELT_OTHERWISE
