"""The plan on paper, and the tokens of a step."""

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from citemark_grpo.training.dry_run import OPTIMIZER, report_budget, report_flags, report_plan
from citemark_grpo.training.flags import Machine
from citemark_grpo.training.plan import plan_run, resolve_flags
from citemark_grpo.training.rows import PreparedRows, TrainingRow

REQUIRED = {"model_name_or_path": "policy", "dataset": "rows.jsonl"}
DEFAULTS = {"epsilon": 0.2, "beta": 0.0, "optim": "adamw", "max_grad_norm": 1.0, "passes": None}


def told(*lacking: str, **flags: Any) -> list[str]:
    plan = plan_run(REQUIRED | flags)
    prepared = PreparedRows(rows=[TrainingRow((), "{}", tokens) for tokens in (100, 300)])
    prepared.drop("too long", "row 2: 9000 tokens")
    prepared.drop("too long", "row 5: 9001 tokens")
    optimizer = dict.fromkeys(OPTIMIZER, 1.0)
    defaults = dict.fromkeys(plan.trainer, None) | optimizer | DEFAULTS
    resolved = {**defaults, **plan.trainer, "passes": 4}
    return list(report_plan(plan, prepared, resolved, defaults, lacking))


def section(lines: list[str], title: str) -> list[str]:
    start = lines.index(title) + 1
    return lines[start : lines.index("", start)]


def test_a_refused_flag_says_why_where_it_stands():
    lines = list(report_flags(resolve_flags({**REQUIRED, "kl_estimator": "kl1"}, Machine())))
    at = lines.index("--kl_estimator kl1")
    assert lines[at + 2].strip().startswith("REFUSED: kl1 is ")


def test_settings_are_told_apart_by_who_set_them():
    lines = told(beta=0.5, learning_rate=3e-4)
    configuration = section(lines, "Trainer configuration")
    assert "  beta = 0.5  (default 0.0)" in configuration
    assert "  passes = 4  (default -)" in configuration, "made by the library of other flags"
    assert "  beta = 0.0" in section(told(beta=0.0), "Trainer configuration")
    assert section(lines, "Left at the defaults of TRL and transformers") == ["  epsilon = 0.2"]
    optimizer = section(lines, "Optimizer")
    assert [line.split()[0] for line in optimizer] == list(OPTIMIZER), "changed or not"
    assert {"  optim = adamw", "  learning_rate = 0.0003"} < set(optimizer)


def test_what_this_machine_lacks_is_told_where_it_lacks_something():
    title = "This machine could not run it, and lacks"
    assert title not in told()
    assert section(told("a GPU, for --use_vllm"), title) == ["  a GPU, for --use_vllm"]


def test_the_budget_and_the_rows_are_told():
    text = "\n".join(told(world_size=8))
    assert "at most                   1,835,008 tokens" in text
    assert "prompts                    51,200" in text
    assert "2 too long (first: row 2: 9000 tokens)" in text
    assert "REFUSED: 2 rows are fewer" in text
    assert "REFUSED" not in "\n".join(told(num_unique_prompts_rollout=2))


def budget(*tokens: int, **flags: Any) -> str:
    plan = plan_run(REQUIRED | flags)
    return "\n".join(report_budget(plan.batch, plan.rows, tokens))


def test_the_published_step_has_at_most_1_835_008_tokens():
    text = budget(2000, 4000, world_size=8)
    numbers = re.findall(r"^ *[a-z ]+ +([\d,]+)", text, re.MULTILINE)
    prompts, responses, expected = 256 * 6144, 256 * 1024, 256 * 3000
    assert prompts + responses == 1_835_008
    assert [int(each.replace(",", "")) for each in numbers[:6]] == [
        256, prompts + responses, prompts, responses, expected + responses, expected,
    ]  # fmt: skip
    assert "each of 8 processes: 32 micro-batches of at most 7,168 tokens" in text
    # The whole row's bound bounds the prompt too.
    assert "micro-batches of at most 3,000 tokens" in budget(10, max_token_length=3000)


@given(st.lists(st.integers(1, 6144), min_size=1, max_size=50))
def test_rows_that_are_let_through_never_exceed_the_bound(tokens):
    text = budget(*tokens)
    (bound,) = re.findall(r"with these rows +([\d,]+)", text)
    ((*middle, longest),) = re.findall(r"median (\d+), 95% up to (\d+), longest (\d+)", text)
    assert int(bound.replace(",", "")) <= 1_835_008
    assert min(tokens) <= int(middle[0]) <= int(middle[1]) <= int(longest) == max(tokens)
