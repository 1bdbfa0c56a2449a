"""TRL's real trainer with a tiny policy against a service on a real socket."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from citemark_grpo.training.errors import JudgementsMissing, RowsUnusable, TrainingError
from citemark_grpo.training.flags import PUBLISHED
from citemark_grpo.training.plan import FLAGS, plan_run
from citemark_grpo.training.rows import PROMPT_TOO_LONG
from citemark_schemas import FailureKind, RefusalKind
from support.scripted_service import Service, answering, failing
from training.train_command import TWO_PROCESSES, called, command

pytestmark = [
    pytest.mark.train,
    pytest.mark.timeout(900),
    # TRL's own use of transformers, whose next version it has not met.
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning"),
]

RECIPE = Path(__file__).resolve().parents[2] / "grpo/recipes/train_dr_tulu_refiner-rubric.sh"


@pytest.fixture
def planned(flags):
    """Plans of runs of two steps."""
    short = {"run_name": "tide", "max_steps": 2, "save_steps": 1000, "report_to": "none"}
    return lambda **given: plan_run(flags(**{**short, **given}))


@pytest.fixture
def trained(planned):
    """A trainer, ready to train."""
    from citemark_grpo.training import session

    def build(**given: Any) -> Any:
        plan = planned(**given)
        return session.build_trainer(plan, *session.prepare_rows(plan))

    return build


def test_a_step_asks_once_for_all_samples_and_says_whose_they_are(trained, service: Service):
    trainer = trained()
    assert trainer.reward_func_names == ["citemark"]
    trainer.train()
    assert trainer.state.global_step == 2
    assert [len(request["items"]) for request in service.requests] == [8, 8]
    for step, request in enumerate(service.requests):
        items = request["items"]
        assert sorted(Counter(item["group"] for item in items).values()) == [4, 4]
        assert {(item["run"], item["step"]) for item in items} == {("tide", step)}
        assert len({item["id"] for item in items}) == 8
        reasons = {item["finish_reason"] for item in items}
        assert "length" in reasons
        assert reasons <= {"stop", "length"}
        # A token is a character at most, and the one that ends a turn is none.
        ended = [item["response"] for item in items if item["finish_reason"] == "stop"]
        assert all(len(response) < 8 for response in ended)


def test_the_flags_are_what_the_trainer_was_told(trained):
    given = {
        "beta": 0.02, "temperature": 0.7, "learning_rate": 3e-4, "lr_scheduler_type": "linear",
        "seed": 7, "gradient_checkpointing": False, "per_device_train_batch_size": 2,
    }  # fmt: skip
    trainer = trained(**given)
    derived = {
        "generation_batch_size": 8, "gradient_accumulation_steps": 4, "steps_per_generation": 4,
        "num_generations": 4, "max_completion_length": 8, "use_bias_correction_kl": False,
    }  # fmt: skip
    expected = given | derived
    assert {name: getattr(trainer.args, name) for name in expected} == expected
    assert trainer.beta == 0.02
    assert trainer.ref_model is not None
    assert next(trainer.model.parameters()).dtype.is_floating_point
    assert trained(beta=0.0).ref_model is None


def test_what_was_not_judged_moves_nothing_and_is_no_baseline(trained, service: Service):
    service.steps = [failing(FailureKind.TIMEOUT, 0, 5)]
    trainer = trained(max_steps=1, max_failed_share=0.25)
    trainer.train()
    assert trainer.state.global_step == 1, "as many failures as are allowed"
    found = list(trainer._logs["advantages"])
    assert (found[0], found[5]) == (0.0, 0.0)
    assert sum(found[:4]) == pytest.approx(0.0, abs=1e-4)
    assert sum(found[4:]) == pytest.approx(0.0, abs=1e-4)
    lengths = [len(item["response"]) for item in service.requests[0]["items"]]
    judged = lengths[1:4]
    above = [length > sum(judged) / 3 for length in judged]
    assert [advantage > 0 for advantage in found[1:4]] == above


def test_too_many_failures_end_the_run_before_it_learns(trained, service: Service):
    import torch

    service.steps = [failing(FailureKind.UNREACHABLE, 0, 1, 2)]
    trainer = trained(max_failed_share=0.25)
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    with pytest.raises(JudgementsMissing, match="3 of 8 rollouts") as ended:
        trainer.train()
    assert "3 x judge_unreachable: said so" in str(ended.value)
    assert trainer.state.global_step == 0
    assert all(map(torch.equal, before, trainer.model.parameters()))


def test_the_knobs_reach_the_real_service(trained, citemark_url):
    knobs = {"non_stop_penalty": True, "verification_reward": 4.0}
    trainer = trained(reward_url=citemark_url, max_steps=1, **knobs)
    trainer.train()
    judged = trainer._reward.judged
    assert len(judged) == 8
    for each in judged:
        assert each.result is not None
        assert each.result.knobs.verification_reward == 4.0
        refused = each.result.refusal.kind if each.result.refusal else None
        assert (refused is RefusalKind.NOT_STOPPED) == (each.finish_reason == "length")


def test_two_processes_share_a_step_and_decide_alike(flags, service: Service):
    # In the second step one process has nothing judged, and the other everything.
    service.steps = [answering, answering, failing(FailureKind.TIMEOUT, 0, 1, 2, 3)]
    given = flags(max_steps=2, max_failed_share=0.4, per_device_train_batch_size=2)
    done = called(command(given, *TWO_PROCESSES, "--module"))
    assert done.returncode != 0
    assert done.stderr.count("after 1 steps 4 of 8 rollouts have no reward") == 2
    assert [len(request["items"]) for request in service.requests] == [4, 4, 4, 4]
    steps = [{item["step"] for item in request["items"]} for request in service.requests]
    assert steps == [{0}, {0}, {1}, {1}]


def test_a_rows_length_is_what_the_trainer_reads_and_bounds_it(trained, planned):
    from citemark_grpo.training import session

    _, prepared = session.prepare_rows(planned())
    prompts = [[dict(turn) for turn in row.prompt] for row in prepared.rows]
    ids, _, _ = trained()._tokenize_prompts(prompts)
    lengths = [row.tokens for row in prepared.rows]
    assert lengths == [len(prompt) for prompt in ids]

    with pytest.raises(RowsUnusable, match="no row to train on: 8 prompt longer"):
        session.prepare_rows(planned(max_prompt_token_length=max(lengths) - 1))
    _, kept = session.prepare_rows(planned(max_prompt_token_length=max(lengths)))
    assert (len(kept.rows), kept.dropped[PROMPT_TOO_LONG]) == (8, 0)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"num_unique_prompts_rollout": 16}, "8 rows are fewer"),
        ({"deepspeed_stage": "3"}, "deepspeed_stage"),
        ({"attn_implementation": "flash_attention_2"}, "attn_implementation"),
        ({"world_size": 2}, "world_size"),
        ({"output_dir": "/dev/null/run"}, "output_dir"),
    ],
)
def test_what_cannot_be_done_here_is_refused_before_a_model_is_loaded(
    planned, monkeypatch, given, told
):
    from citemark_grpo.training import session

    monkeypatch.delattr(session, "RefinerTrainer")
    with pytest.raises(TrainingError, match=told):
        session.run_training(planned(**given), say=print)


def recipe_on_paper(policy: Path, rows: Path, *more: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    given = {"PATH": path, "MODEL": str(policy), "DATASET": str(rows)}
    return called(["bash", str(RECIPE), "--dry_run", *more], **given)


def test_the_recipes_dry_run_tells_what_every_flag_became(policy, rows_file):
    step = ("--num_unique_prompts_rollout", "8", "--num_samples_per_prompt_rollout", "32")
    done = recipe_on_paper(policy, rows_file, *step)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    for flag in FLAGS:
        (at,) = [n for n, line in enumerate(lines) if line.startswith(f"  --{flag.name} ")]
        assert "(default)" not in lines[at] or flag not in PUBLISHED
        assert lines[at + 1].strip() == flag.effect
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
SPELT_OTHERWISE = {"accelerator_config", "debug", "pad_to_multiple_of", "disable_tqdm", "report_to"}


@pytest.mark.parametrize("given", [{}, {"gradient_checkpointing": False, "save_steps": 0}])
def test_a_dry_run_knows_every_setting_of_the_run(flags, given):
    from dataclasses import fields

    from citemark_grpo.training.config import build_config, resolve_config

    plan = plan_run(flags(**given))
    config, on_paper = build_config(plan), resolve_config(plan)
    names = {field.name for field in fields(config)}
    assert on_paper.keys() == names
    wrong = {name for name in names if getattr(config, name) != on_paper[name]}
    assert wrong <= SPELT_OTHERWISE
