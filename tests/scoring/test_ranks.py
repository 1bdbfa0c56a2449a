"""Ranks within groups, and what a change of rewards does to them."""

from hypothesis import given
from hypothesis import strategies as st

from citemark_service.rescoring.ranks import Pair, compared, ranked

REWARDS = st.floats(0, 1.2)
PAIRS = st.lists(
    st.builds(
        Pair,
        seq=st.integers(0, 1000),
        id=st.just("x"),
        group=st.tuples(st.just("r"), st.integers(0, 2), st.sampled_from("ab")),
        old=REWARDS,
        new=REWARDS,
    ),
    max_size=20,
)


@given(PAIRS)
def test_rank_one_has_the_highest_reward(pairs):
    for each in ranked(pairs):
        family = [pair.old for pair in pairs if pair.group == each.pair.group]
        assert each.old_rank == 1 + sum(reward > each.pair.old for reward in family)


@given(PAIRS)
def test_what_keeps_the_order_moves_nothing(pairs):
    scaled = [Pair(p.seq, p.id, p.group, p.old, p.old * 2) for p in pairs]
    found = compared(ranked(scaled))
    assert found.reordered == found.new_best == 0
    assert not found.turned


@given(PAIRS)
def test_what_reverses_the_order_turns_all_that_differ(pairs):
    turned = [Pair(p.seq, p.id, p.group, p.old, -p.old) for p in pairs]
    found = compared(ranked(turned))
    groups = {pair.group for pair in pairs}
    families = [[p.old for p in pairs if p.group == group] for group in groups]
    differing = sum(a != b for family in families for i, a in enumerate(family) for b in family[:i])
    all_pairs = sum(len(family) * (len(family) - 1) // 2 for family in families)
    assert found.turned == (differing / all_pairs if all_pairs else None)


def test_no_rollouts_have_no_means():
    assert compared([]).mean_old is None
