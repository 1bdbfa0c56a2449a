"""Sums do not depend on how the rollouts were cut into batches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_service.ledger.tables import groups, merge_values, steps, sum_rows

SHARES = st.none() | st.floats(0, 1.2)


@st.composite
def rollout_rows(draw):
    reward = draw(SHARES)
    return {
        "run": draw(st.sampled_from("ab")),
        "step": draw(st.integers(-1, 2)),
        "group_key": draw(st.sampled_from("xy")),
        "reward": reward,
        "rubric_reward": draw(SHARES),
        "citation_f1": draw(SHARES),
        "format_bonus": draw(st.floats(0, 1)),
        "fabricated": draw(st.integers(0, 3)),
        "addressed": draw(st.integers(0, 2)),
        "chars": draw(st.integers(0, 5000)),
        "refusal": draw(st.none() | st.just("empty_answer")),
        "failure": "judge_timeout" if reward is None else None,
        "at": draw(st.floats(0, 1e9)),
    }


def merged(batches, of):
    key = of.primary_key.columns.keys()
    cells: dict = {}
    for row in (row for batch in batches for row in batch):
        for name, value in row.items():
            cell = (*(row[part] for part in key), name)
            if name not in key:
                cells[cell] = merge_values(name, cells.get(cell), value)
    return {cell: value for cell, value in cells.items() if value is not None}


@given(st.lists(rollout_rows(), max_size=12), st.integers(1, 5))
def test_batches_do_not_matter(rows, size):
    cut = [rows[start : start + size] for start in range(0, len(rows), size)]
    for of in (steps, groups):
        whole, pieces = [sum_rows(rows, of)], [sum_rows(batch, of) for batch in cut]
        assert merged(pieces, of) == pytest.approx(merged(whole, of), rel=1e-9, abs=1e-9)


@given(st.lists(rollout_rows(), max_size=12))
def test_every_rollout_counts_once(rows):
    assert sum(row["rollouts"] for row in sum_rows(rows, steps)) == len(rows)
    rewarded = [row["reward"] for row in rows if row["reward"] is not None]
    assert sum(row["rewarded"] for row in sum_rows(rows, groups)) == len(rewarded)
    lows = [row["reward_min"] for row in sum_rows(rows, steps) if row["reward_min"] is not None]
    assert min(lows, default=None) == min(rewarded, default=None)
