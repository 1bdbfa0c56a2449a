"""The rubric shapes that real rows carry."""

import json

import pytest
from pydantic import ValidationError

from citemark_schemas import Criterion, Polarity, Rollout, Source

BASE = {"question": "q", "tool_output": "", "response": "r"}


def criteria(**rubrics):
    return Rollout.model_validate({**BASE, **rubrics}).criteria


def complaint(**rubrics) -> tuple[str, str]:
    with pytest.raises(ValidationError) as caught:
        criteria(**rubrics)
    error = caught.value.errors()[0]
    return ".".join(str(part) for part in error["loc"]), error["msg"]


@pytest.mark.parametrize("key", ["description", "rubric_item", "Ingredient"])
def test_objects_under_each_name(key):
    (criterion,) = criteria(positive_rubrics=[{key: "names the year", "weight": 2, "type": "x"}])
    assert (criterion.description, criterion.weight) == ("names the year", 2.0)


def test_strings_take_their_title_from_the_text():
    titled, bare, long = criteria(
        positive_rubrics=["Year: names the year", "names the year", "w " * 80]
    )
    assert (titled.title, titled.description) == ("Year", "Year: names the year")
    assert bare.title == "names the year"
    assert len(long.title) <= 80


def test_a_json_string_stands_for_its_list():
    rows = ["names the year", {"title": "T", "description": "d", "weight": 0.5}]
    assert criteria(positive_rubrics=json.dumps(rows)) == criteria(positive_rubrics=rows)


def test_polarity_by_field_by_key_and_by_sign():
    found = criteria(
        positive_rubrics=["a"],
        negative_rubrics=["b", {"description": "c", "weight": -2}],
        rubrics=[
            "d",
            {"description": "e", "weight": -1.5},
            {"description": "f", "polarity": "negative"},
        ],
    )
    negative = {c.description: c.weight for c in found if c.polarity is Polarity.NEGATIVE}
    assert negative == {"b": 1.0, "c": 2.0, "e": 1.5, "f": 1.0}
    assert [c.description for c in found] == list("abcdef")


def test_criterion_objects_take_the_polarity_of_their_list():
    plain = Criterion(title="T", description="d", weight=3)
    (found,) = criteria(negative_rubrics=[plain])
    assert (found.polarity, found.title, found.weight) == (Polarity.NEGATIVE, "T", 3)
    negative = plain.model_copy(update={"polarity": Polarity.NEGATIVE})
    assert complaint(positive_rubrics=[negative])[0].startswith("positive_rubrics")


def test_a_row_cannot_pass_its_criterion_off_as_static():
    (found,) = criteria(rubrics=[Criterion(title="T", description="d", source=Source.STATIC)])
    assert found.source is Source.INSTANCE


def test_null_empty_and_absent_are_the_default():
    assert criteria(positive_rubrics=None, rubrics=" ") == criteria() == ()
    row = {"description": "d", "title": None, "weight": None, "polarity": None, "type": "x"}
    (found,) = criteria(rubrics=[row])
    assert (found.title, found.weight, found.polarity) == ("d", 1.0, Polarity.POSITIVE)


POSITIVE = "item 0: has a negative weight but is a positive criterion"
NO_TEXT, NO_NUMBER = "item 0: needs a non-empty one of", "weight must be a number"


@pytest.mark.parametrize(
    ("field", "rubrics", "place", "told"),
    [
        ("rubrics", "not json", "", "is a string but not JSON"),
        ("rubrics", {"description": "d"}, "", "must be a list"),
        ("rubrics", ["ok", 3], "", "item 1: must be a string or an object"),
        ("rubrics", [{"text": "d"}], "", NO_TEXT),
        ("rubrics", [" "], "", NO_TEXT),
        ("rubrics", [{"description": "d", "weight": "2"}], "", NO_NUMBER),
        ("rubrics", [{"description": "d", "weight": True}], "", NO_NUMBER),
        ("rubrics", [{"description": "d", "weight": 1e400}], ".0.weight", "finite"),
        ("rubrics", [{"description": "d", "polarity": "bad"}], ".0.polarity", "positive"),
        ("positive_rubrics", [{"description": "d", "weight": -1}], "", POSITIVE),
        ("rubrics", [{"description": "d", "weight": -2, "polarity": "positive"}], "", POSITIVE),
        ("rubrics", [{"description": "d", "wieght": 2}], "",
         "key 'wieght' is unknown; did you mean 'weight'?"),
        ("negative_rubrics", [{"description": "d", "polarity": "positive"}], "",
         "item 0: contradicts its place among the negative rubrics"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(field, rubrics, place, told):
    where, message = complaint(**{field: rubrics})
    assert where == field + place
    assert told in message
