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


LONG = ("w " * 80).strip()
ROWS = ["names the year", {"title": "T", "description": "d", "weight": 0.5}]
PLAIN = {"description": "d", "title": None, "weight": None, "polarity": None, "type": "x"}
CRITERION = Criterion(title="T", description="d", weight=3, source=Source.STATIC)


@pytest.mark.parametrize(
    ("rubrics", "expected"),
    [
        ({"rubrics": ["Year: names it"]}, [("Year", "Year: names it", "positive", 1.0)]),
        ({"rubrics": [LONG]}, [(f"{LONG[:79]}…", LONG, "positive", 1.0)]),
        ({"rubrics": json.dumps(ROWS)}, [("names the year", "names the year", "positive", 1.0),
                                         ("T", "d", "positive", 0.5)]),
        ({"rubrics": [PLAIN]}, [("d", "d", "positive", 1.0)]),
        ({"rubrics": [{"description": "d", "weight": -1.5}]}, [("d", "d", "negative", 1.5)]),
        ({"rubrics": [{"description": "d", "polarity": "negative"}]},
         [("d", "d", "negative", 1.0)]),
        ({"negative_rubrics": ["b", {"description": "c", "weight": -2}],
          "positive_rubrics": ["a"], "rubrics": ["d"]},
         [("a", "a", "positive", 1.0), ("b", "b", "negative", 1.0), ("c", "c", "negative", 2.0),
          ("d", "d", "positive", 1.0)]),
        ({"negative_rubrics": [CRITERION]}, [("T", "d", "negative", 3.0)]),
        ({"positive_rubrics": None, "rubrics": " "}, []),
    ],
)  # fmt: skip
def test_every_shape_is_criteria_of_the_row_itself(rubrics, expected):
    found = criteria(**rubrics)
    parts = [(each.title, each.description, each.polarity, each.weight) for each in found]
    assert parts == expected
    assert {each.source for each in found} <= {Source.INSTANCE}


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
        ("positive_rubrics", [Criterion(title="T", description="d", polarity=Polarity.NEGATIVE)],
         "", "item 0: contradicts its place among the positive rubrics"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(field, rubrics, place, told):
    where, message = complaint(**{field: rubrics})
    assert where == field + place
    assert told in message
