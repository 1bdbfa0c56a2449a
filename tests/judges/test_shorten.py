"""Cutting: within budget, visibly, and around what is looked for."""

import time

from hypothesis import given
from hypothesis import strategies as st

from citemark_service.judges.language.texts import (
    clip,
    excerpt,
    fair_cap,
    find_terms,
    neutral,
    size,
)

FILLER = "Nothing of note was found on this day by any of the members. " * 60
FACT = "The Alder viaduct cost 48,000 pounds. "


def test_an_excerpt_keeps_what_is_looked_for_wherever_it_stands():
    terms = find_terms(["The viaduct cost 48,000 pounds"])
    for text in (FACT + FILLER, FILLER + FACT + FILLER, FILLER + FACT):
        cut = excerpt(text, terms, 900)
        assert FACT.strip() in cut
        assert "[…]" in cut


def test_without_a_match_the_beginning_is_kept():
    assert excerpt(FACT + FILLER, frozenset(), 600).startswith(FACT.strip())


def test_a_cut_says_how_much_is_missing():
    cut = clip("0" * 500 + "1" * 500, 300)
    kept = 173 + 86  # two thirds and one third of what the marker leaves
    assert cut == f"{'0' * 173} [… {1000 - kept} characters cut …] {'1' * 86}"


@given(st.text(), st.integers(40, 400), st.sets(st.text(min_size=3)))
def test_nothing_is_longer_than_its_budget_or_changed_without_need(text, budget, terms):
    text = neutral(text)
    for cut in (clip(text, budget), excerpt(text, terms, budget)):
        assert size(cut) <= budget
        if size(text) <= budget:
            assert cut == text


@given(st.lists(st.integers(0, 1000)), st.integers(0, 5000))
def test_a_fair_cap_fits_and_wastes_nothing(sizes, total):
    cap = fair_cap(sizes, total)
    taken = sum(min(length, cap) for length in sizes)
    assert taken <= max(total, 0) or not sizes
    if taken < sum(sizes):
        assert sum(min(length, cap + 1) for length in sizes) > total


def test_a_megabyte_is_cut_in_linear_time():
    start = time.process_time()
    for text in ("word " * 200_000, "x" * 1_000_000, "\n \n" * 300_000, "[" * 1_000_000):
        excerpt(neutral(text), frozenset({"word"}), 2_000)
    assert time.process_time() - start < 10
