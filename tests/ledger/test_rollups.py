"""Sums do not depend on how the rollouts were cut into batches."""

import math

from hypothesis import given
from hypothesis import strategies as st

from citemark_service.ledger.rows import merge_values, sum_rows
from citemark_service.ledger.tables import groups, steps

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


def together(batches, of):
    """What a table holds after these batches of sums."""
    key = of.primary_key.columns.keys()
    table: dict = {}
    for row in (row for batch in batches for row in batch):
        place = tuple(row[name] for name in key)
        old = table.get(place, row)
        table[place] = (
            row
            if old is row
            else {
                name: value if name in key else merge_values(name, old[name], value)
                for name, value in row.items()
            }
        )
    return table


def alike(one, other):
    return one.keys() == other.keys() and all(
        value == other[place][name]
        if not isinstance(value, float)
        else math.isclose(value, other[place][name], rel_tol=1e-9, abs_tol=1e-9)
        for place, row in one.items()
        for name, value in row.items()
    )


@given(st.lists(rollout_rows(), max_size=12), st.integers(1, 5))
def test_batches_do_not_matter(rows, size):
    cut = [rows[start : start + size] for start in range(0, len(rows), size)]
    for of in (steps, groups):
        whole, pieces = [sum_rows(rows, of)], [sum_rows(batch, of) for batch in cut]
        assert alike(together(whole, of), together(pieces, of))


@given(st.lists(rollout_rows(), max_size=12))
def test_every_rollout_counts_once(rows):
    assert sum(row["rollouts"] for row in sum_rows(rows, steps)) == len(rows)
    rewarded = [row["reward"] for row in rows if row["reward"] is not None]
    assert sum(row["rewarded"] for row in sum_rows(rows, groups)) == len(rewarded)
    lows = [row["reward_min"] for row in sum_rows(rows, steps) if row["reward_min"] is not None]
    assert min(lows, default=None) == min(rewarded, default=None)
