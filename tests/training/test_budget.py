"""The tokens of a step."""

from hypothesis import given
from hypothesis import strategies as st

from citemark_grpo.training.budget import Lengths, step_budget
from citemark_grpo.training.plan import plan_of

REQUIRED = {"model_name_or_path": "policy", "dataset": "rows.jsonl"}


def test_the_published_step_has_at_most_1_835_008_tokens() -> None:
    plan = plan_of({**REQUIRED, "world_size": 8})
    budget = step_budget(plan.batch, plan.rows, Lengths.of([2000, 4000]))
    assert budget.rollouts == 256
    assert budget.prompt_bound == 256 * 6144
    assert budget.response_bound == 256 * 1024
    assert budget.bound == 1_835_008
    assert budget.prompt_expected == 256 * 3000
    assert (budget.micro_batches, budget.micro_batch_bound) == (32, 7168)


def test_the_whole_rows_bound_bounds_the_prompt_too() -> None:
    plan = plan_of({**REQUIRED, "max_token_length": 3000})
    budget = step_budget(plan.batch, plan.rows, Lengths.of([10]))
    assert budget.micro_batch_bound == 3000


@given(st.lists(st.integers(1, 6144), min_size=1, max_size=50))
def test_rows_that_are_let_through_never_exceed_the_bound(tokens: list[int]) -> None:
    plan = plan_of(REQUIRED)
    lengths = Lengths.of(tokens)
    assert step_budget(plan.batch, plan.rows, lengths).expected_bound <= 1_835_008
    assert min(tokens) <= lengths.median <= lengths.p95 <= lengths.longest == max(tokens)
