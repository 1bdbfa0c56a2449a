"""The static sets: what ships, and what a broken file is told."""

from pathlib import Path

import pytest

from citemark_rubrics import (
    RubricError,
    RubricLibrary,
    UnknownSet,
    load_library,
    load_set,
    parse_set,
)
from citemark_schemas import Polarity, Source

GOOD = """\
name = "mine"
description = "A set of my own."

[[criteria]]
title = "Dates"
polarity = "positive"
looks_at = "Whether dates are given."
zero = "None."
zero_example = "It opened long ago."
one = "Some."
one_example = "It opened in the fifties."
two = "All."
two_example = "It opened on 3 May 1954."
"""


def test_v3_ships_as_the_design_page_names_it():
    v3 = load_library().find("v3")
    assert [(criterion.title, criterion.polarity) for criterion in v3.criteria] == [
        ("Citation Discipline", Polarity.POSITIVE),
        ("Off-Query Padding", Polarity.NEGATIVE),
        ("Wrong-Entity Confabulation", Polarity.NEGATIVE),
    ]
    assert {c.source for c in v3.criteria} == {Source.STATIC}
    for criterion in v3.criteria:
        for verdict in ("\n0: ", "\n1: ", "\n2: "):
            assert verdict in criterion.description
        assert criterion.description.count("Example: ") == 3


def test_versions_follow_the_content():
    assert parse_set(GOOD, "f").version == parse_set(GOOD.replace("A set", "The set"), "f").version
    assert parse_set(GOOD, "f").version != parse_set(GOOD.replace("Some", "Few"), "f").version


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('"positive"', '"good"'), "line 6: criterion 1 (“Dates”): polarity: "),
        (('zero = "None."\n', ""), "line 4: criterion 1 (“Dates”): zero: Field required"),
        (('two = "All."', 'too = "All."'), "line 12: criterion 1 (“Dates”): too: Extra inputs"),
        (('one = "Some."', "one = 1"), "line 10: criterion 1 (“Dates”): one: "),
        (("one = ", "weight = -1\none = "), "line 10: criterion 1 (“Dates”): weight"),
        (("one = ", "weight = 0\none = "), "all weights are 0"),
        (('name = "mine"', 'name = "My Set"'), "line 1: name"),
        (('description = "A set of my own."', "description = A set"), "at line 2"),
        ((GOOD[GOOD.index("[[") :], "criteria = []"), "line 4: criteria: must hold at least one"),
        ((GOOD[GOOD.index("[[") :], "criteria = [1]"), "line 1: criterion 1: Input should be"),
        ((GOOD[GOOD.index("[[") :], ""), "line 1: criteria: Field required"),
        (('title = "Dates"\n', ""), "line 4: criterion 1: title: Field required"),
        (('title = "Dates"', "title = 7"), "line 5: criterion 1: title: Input should be"),
    ],
)
def test_a_broken_file_names_its_line(change, told):
    with pytest.raises(RubricError) as caught:
        parse_set(GOOD.replace(*change), "mine.toml")
    assert told in str(caught.value)
    assert "mine.toml" in str(caught.value)


def test_each_problem_is_told_once_and_by_its_own_criterion():
    second = GOOD[GOOD.index("[[") :].replace("Dates", "Places").replace('two = "All."\n', "")
    broken = GOOD.replace('zero = "None."\n', "") + second
    with pytest.raises(RubricError) as caught:
        parse_set(broken, "mine.toml")
    assert str(caught.value).splitlines() == [
        "mine.toml, line 4: criterion 1 (“Dates”): zero: Field required",
        "mine.toml, line 13: criterion 2 (“Places”): two: Field required",
    ]


def test_a_repeated_title_names_both_lines():
    twice = GOOD + GOOD[GOOD.index("[[") :].replace("Dates", "DATES")
    with pytest.raises(RubricError, match="line 15: title 'DATES' repeats line 5"):
        parse_set(twice, "mine.toml")


def test_sets_are_added_as_files(tmp_path: Path):
    (tmp_path / "mine.toml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "notes.txt").write_text("not a set", encoding="utf-8")
    library = load_library(tmp_path)
    assert library.names() == ("mine", "v3")
    with pytest.raises(UnknownSet, match="'v4'; known: mine, v3"):
        library.find("v4")


def test_a_taken_name_and_a_missing_folder_are_refused(tmp_path: Path):
    mine = parse_set(GOOD, "f")
    with pytest.raises(RubricError, match="two rubric sets are named 'mine'"):
        RubricLibrary([mine, mine])
    with pytest.raises(RubricError, match="is not a folder"):
        load_library(tmp_path / "absent")
    with pytest.raises(RubricError, match=r"absent\.toml"):
        load_set(tmp_path / "absent.toml")
