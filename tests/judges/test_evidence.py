"""Quotes: found where they were copied, and nowhere else."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_service.judges.language.replies import QuotedText

ANSWER = (
    "The Alder viaduct opened in June 1871; its builders said “never again”. 桥在一八七一年开放。"
)


@pytest.mark.parametrize(
    ("quote", "held"),
    [
        ("opened in June 1871", True),
        ("THE ALDER  VIADUCT\nopened, in June 1871", True),
        ("its builders said 'never again'", True),
        ("The Alder viaduct opened in 1871; its builders said", True),
        ("一八七一年", True),
        ("", False),
        ("…", False),
        ("June 1872", False),
        ("opened June", False),
        ("the viaduct cost a great deal of money", False),
    ],
)
def test_copies_are_found_through_what_copying_changes_and_nothing_else(quote, held):
    assert QuotedText(ANSWER).holds(quote) is held


words = st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=40)


@given(words, st.data())
def test_every_piece_of_a_text_is_found(text, data):
    start = data.draw(st.integers(0, len(text) - 1))
    stop = data.draw(st.integers(start + 1, len(text)))
    assert QuotedText(" ".join(text)).holds(" ".join(text[start:stop]))


@given(words, st.lists(st.sampled_from("abcdefgxyz"), min_size=5, max_size=12))
def test_the_window_agrees_with_its_definition(text, quote):
    def shared(window: list[str]) -> int:
        return sum(min(window.count(word), quote.count(word)) for word in set(quote))

    windows = [text[at : at + len(quote)] for at in range(max(1, len(text) - len(quote) + 1))]
    expected = max(map(shared, windows)) / len(quote) >= 0.8
    assert QuotedText(" ".join(text)).holds(" ".join(quote)) == expected


def test_long_texts_take_linear_time():
    start = time.process_time()
    assert not QuotedText("la la " * 200_000).holds("la " * 50_000 + "x " * 50_000)
    assert time.process_time() - start < 5
