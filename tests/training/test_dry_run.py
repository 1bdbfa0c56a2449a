"""The plan on paper."""

from pathlib import Path
from typing import Any

import pytest

from citemark_grpo.training.dry_run import OPTIMIZER, flag_lines, report
from citemark_grpo.training.flags import Machine
from citemark_grpo.training.plan import FLAGS, outcomes_of, plan_of
from citemark_grpo.training.rows import Prepared, Row

REQUIRED = {"model_name_or_path": "policy", "dataset": "rows.jsonl"}


DEFAULTS = {"epsilon": 0.2, "beta": 0.0, "optim": "adamw", "max_grad_norm": 1.0, "passes": None}


def told(prepared: Prepared, *lacking: str, **flags: Any) -> list[str]:
    plan = plan_of(REQUIRED | flags)
    optimizer = dict.fromkeys(OPTIMIZER, 1.0)
    defaults = dict.fromkeys(plan.trainer, None) | optimizer | DEFAULTS
    resolved = {**defaults, **plan.trainer, "passes": 4}
    return list(report(plan, prepared, resolved, defaults, lacking))


def section(lines: list[str], title: str) -> list[str]:
    start = lines.index(title) + 1
    return lines[start : lines.index("", start)]


@pytest.fixture
def prepared() -> Prepared:
    result = Prepared(rows=[Row((), "{}", tokens) for tokens in (100, 300)])
    result.drop("too long", "row 2: 9000 tokens")
    result.drop("too long", "row 5: 9001 tokens")
    return result


def test_every_flag_is_told_with_what_it_became(prepared: Prepared) -> None:
    lines = told(prepared, beta=0.5)
    for flag in FLAGS:
        (at,) = [n for n, line in enumerate(lines) if line.startswith(f"  --{flag.name} ")]
        assert lines[at + 1].strip() == flag.effect
        assert lines[at + 2].startswith("    ")
    at = lines.index("  --beta 0.5")
    assert lines[at + 2].strip() == "-> trainer.beta = 0.5"


def test_what_is_not_at_its_default_is_told_beside_it(prepared: Prepared) -> None:
    configuration = section(told(prepared, beta=0.5), "Trainer configuration")
    assert "  beta = 0.5  (default 0.0)" in configuration
    assert "  beta = 0.0" in section(told(prepared, beta=0.0), "Trainer configuration")


def test_what_the_library_makes_of_the_flags_is_told(prepared: Prepared) -> None:
    assert "  passes = 4  (default -)" in section(told(prepared), "Trainer configuration")


def test_what_this_machine_lacks_is_told_where_it_lacks_something(prepared: Prepared) -> None:
    title = "This machine could not run it, and lacks"
    assert title not in told(prepared)
    assert section(told(prepared, "a GPU, for --use_vllm"), title) == ["  a GPU, for --use_vllm"]


def test_what_is_left_alone_is_told_apart(prepared: Prepared) -> None:
    left = section(told(prepared), "Left at the defaults of TRL and transformers")
    assert left == ["  epsilon = 0.2"]


def test_the_optimizer_is_told_though_nothing_changes_it(prepared: Prepared) -> None:
    optimizer = section(told(prepared, learning_rate=3e-4), "Optimizer")
    assert [line.split()[0] for line in optimizer] == list(OPTIMIZER)
    assert "  optim = adamw" in optimizer
    assert "  learning_rate = 0.0003" in optimizer


def test_the_budget_and_the_rows_are_told(prepared: Prepared) -> None:
    text = "\n".join(told(prepared, world_size=8))
    assert "at most                   1,835,008 tokens" in text
    assert "prompts                    51,200" in text
    assert "each of 8 processes: 32 micro-batches of at most 7,168 tokens" in text
    assert "2 too long (first: row 2: 9000 tokens)" in text


def test_rows_that_make_no_step_are_told(prepared: Prepared) -> None:
    assert any("REFUSED: 2 rows are fewer" in line for line in told(prepared))
    enough = told(prepared, num_unique_prompts_rollout=2)
    assert not any("REFUSED" in line for line in enough)


def test_a_refused_flag_says_why_where_it_stands(tmp_path: Path) -> None:
    lines = list(flag_lines(outcomes_of({**REQUIRED, "kl_estimator": "kl1"}, Machine())))
    at = lines.index("--kl_estimator kl1")
    assert lines[at + 2].strip().startswith("REFUSED: kl1 is ")
