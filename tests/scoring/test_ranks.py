"""Ranks within groups, and what a change of rewards does to them."""

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_service.rescoring.compare import (
    Comparison,
    Ranked,
    RewardPair,
    RewardTally,
    rank_pairs,
)

REWARDS = st.floats(0, 1.2) | st.sampled_from([0.0, 0.5, 1.0])


@st.composite
def families(draw) -> list[list[RewardPair]]:
    """Whole groups of two steps; every rollout has a number of its own."""
    found = []
    for name in draw(st.lists(st.sampled_from("abcdef"), unique=True)):
        place = ("r", "abcdef".index(name) % 2, name)
        rewards = draw(st.lists(st.tuples(REWARDS, REWARDS), min_size=1, max_size=6))
        number = 100 * ord(name)
        found.append(
            [RewardPair(number + at, "x", place, *both) for at, both in enumerate(rewards)]
        )
    return found


def tallied(groups, moves=5) -> RewardTally:
    tally = RewardTally(moves)
    for members in groups:
        tally.add(members)
    return tally


def compared(groups) -> Comparison:
    return tallied(groups).comparison()


def changed(groups, new) -> list[list[RewardPair]]:
    return [[replace(pair, new=new(pair.old)) for pair in pairs] for pairs in groups]


@given(families())
def test_rank_one_has_the_highest_reward(groups):
    for members in groups:
        for each in rank_pairs(members):
            assert each.old_rank == 1 + sum(pair.old > each.pair.old for pair in members)


@given(families())
def test_what_keeps_the_order_moves_nothing(groups):
    found = compared(changed(groups, lambda old: old * 2))
    assert found.reordered == found.new_best == 0
    assert not found.turned


@given(families())
def test_pairs_that_turned_are_those_whose_order_is_the_opposite(groups):
    every = [pair for members in groups for pair in combinations(members, 2)]
    turned = [(a.old < b.old and a.new > b.new) or (a.old > b.old and a.new < b.new)
              for a, b in every]  # fmt: skip
    assert compared(groups).turned == (sum(turned) / len(every) if every else None)


@given(families(), st.integers(0, 8))
def test_the_largest_moves_are_kept(groups, moves):
    every = [each for members in groups for each in rank_pairs(members)]
    wanted = sorted(every, key=lambda each: each.size, reverse=True)[:moves]
    assert tallied(groups, moves).largest == wanted


@given(families())
def test_steps_have_the_means_of_their_rollouts(groups):
    pairs = [pair for members in groups for pair in members]
    steps = [*tallied(groups).steps.values()]
    assert sum(each.rollouts for each in steps) == len(pairs)
    for each in steps:
        old = [pair.old for pair in pairs if pair.group[1] == each.step]
        assert each.mean_old == pytest.approx(sum(old) / len(old))


def test_a_steeper_line_correlates_fully_and_a_falling_one_against():
    pairs = [RewardPair(at, "x", ("r", 1, "a"), at / 4, 0.0) for at in range(4)]
    assert compared(changed([pairs], lambda old: 3 * old + 1)).correlation == pytest.approx(1)
    assert compared(changed([pairs], lambda old: -old)).correlation == pytest.approx(-1)
    assert compared(changed([pairs], lambda old: 1.0)).correlation is None
    found = compared([])
    assert found.mean_old is found.mean_new is found.turned is found.correlation is None


def test_the_move_of_a_rank_counts_before_that_of_a_reward():
    pair = RewardPair(1, "x", ("r", 1, "a"), 0.0, 1.0)
    assert Ranked(pair, 1, 2).size > Ranked(pair, 1, 1).size
