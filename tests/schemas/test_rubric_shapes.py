"""The rubric shapes that real rows carry."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from citemark_schemas import Criterion, Polarity, Rollout, Source
from citemark_schemas.rubric import STATEMENTS

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


@pytest.mark.parametrize("key", STATEMENTS)
def test_objects_under_each_name(key):
    (criterion,) = criteria(positive_rubrics=[{key: "names the year", "weight": 2, "type": "x"}])
    assert (criterion.description, criterion.weight) == ("names the year", 2.0)


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


def read(*items, **context) -> list[tuple[str, float, str]]:
    """Statement, weight and polarity of each of `rubrics`."""
    given = {**BASE, "rubrics": items[0] if len(items) == 1 else list(items)}
    found = Rollout.model_validate(given, context=context).criteria
    return [(c.description, c.weight, c.polarity.value) for c in found]


@pytest.mark.parametrize(
    ("item", "weight", "polarity"),
    [
        ({"points": 5}, 5, "positive"),
        ({"points": -10, "tags": ["level:example", "axis:accuracy"]}, 10, "negative"),
        ({"score": -3, "axis": "style", "id": 7}, 3, "negative"),
        ({"weight": 2, "score": 0.5}, 2, "positive"),  # a verdict beside a weight
        ({"weight": 2, "raw": 0.2, "score": -1, "evidence_found": True}, 2, "positive"),
        ({"weight": 2, "points": 2.0}, 2, "positive"),
        ({"points": None, "score": None}, 1, "positive"),  # a table fills each row's columns
        ({"weight": "-5"}, 5, "negative"),
        ({"points": " 2.5 "}, 2.5, "positive"),
        ({"score": Decimal(-3)}, 3, "negative"),
        ({"sign": -1}, 1, "negative"),
        ({"polarity": "-1", "weight": 2}, 2, "negative"),
        ({"polarity": 1}, 1, "positive"),
        ({"type": "negative"}, 1, "negative"),
        ({"type": "adaptive", "rubric_id": 12}, 1, "positive"),
        ({"sign": "-", "points": 4}, 4, "negative"),
        ({"sign": " + "}, 1, "positive"),
        ({"polarity": "Neg", "type": "negative"}, 1, "negative"),
        ({"severity": None, "sub_tasks": [], "note": "a remark", "levels": {}}, 1, "positive"),
        ({"weight": 3, "points": None, "category": "Essential", "tags": "high"}, 3, "positive"),
        ({"weight": -2, "category": "Pitfall", "tags": ["negative"]}, 2, "negative"),
        ({"polarity": "positive", "title": "Pitfalls"}, 1, "positive"),
        ({"points": -2, "type": "Pitfall Criteria"}, 2, "negative"),
        (
            {
                "tags": ["style", "level:example"],
                "category": "Factual",
                "axis": "Explicit Criteria",
                "section": "Negative symptoms",
                "source_id": "neg",
                "id": "negative",
            },
            1,
            "positive",
        ),
        (
            {
                "date": "2024-01-05",
                "label": "Item 3",
                "title": "Negative predictive value",
                "design": "a trial",
                "key_point": "its years",
                "lang": "nob",
            },
            1,
            "positive",
        ),
    ],
)
def test_weights_and_signs_are_read_under_each_key(item, weight, polarity):
    assert read([{"criterion": "swims", **item}]) == [("swims", weight, polarity)]


@pytest.mark.parametrize(
    "value",
    [
        {"criterion": ["a", "b"], "axis": ["x", "y"], "points": [2, -1]},
        {"criteria": [{"text": "a", "points": 2}, {"text": "b", "points": -1}], "topic": "swans"},
        [{"rubrics": [{"text": "a", "points": 2}, {"text": "b", "points": -1}], "query": "q"}],
        {"positive": [{"name": "a", "weight": 2}], "Negative": ["b"]},
        [json.dumps({"description": "a", "weight": 2}), json.dumps({"text": "b", "score": -1})],
        json.dumps(json.dumps([{"name": "a", "score": 2}, {"name": "b", "score": -1}])),
        json.dumps([{"name": "a", "score": 2}, {"name": "b", "score": -1}]).encode(),
    ],
)
def test_each_structure_gives_the_same_criteria(value):
    assert read(value) == [("a", 2, "positive"), ("b", 1, "negative")]


@pytest.mark.parametrize(
    "text",
    [
        "[1] is cited", "[2][3]", "Names the winner (2019)", "{x} is 3", "Lists 5 points",
        "-40 is where both meet", "Falls to -5 °C: says so", "Negative findings: names them",
        "Important: names the year", "Weight: names 70 kg", "Says that [x] is (a) 3",
        "Finds x = (-5)", "Uses f(x) = x (mod 7)", "Covers 1990–2000", "States that x = -5",
        "Gives the range as 5 to 10", "Mentions 3/5 of voters", "Says 3-1", "Gives the roots 3, -5",
        "Error handling: explains retries", "Failure modes: names two", "Final answer: -5",
        "Subtract 5 from both sides is the first step", "Names the weight: 70 kg", "Says 2 * (-5)",
        "Give one point of view of each side", "Lose a market share", "Avoids jargon: none",
        "Negative pressure - explains it", "Critical appraisal: names the tool", "指出错误的原因",
        "Explains the test (false negative)", "Fehlerbehandlung: erklärt sie", "说明扣分的规则",
    ],
)  # fmt: skip
def test_numbers_and_brackets_of_a_statement_are_its_own(text):
    assert read([text]) == [(text, 1, "positive")]
    marked = f"[+2] {text}"
    assert read([{"description": marked, "weight": 3}]) == [(marked, 3, "positive")]


def test_an_explanation_is_judged_with_its_statement():
    assert read([{"text": "Swims", "explanation": "At sea"}]) == [("Swims: At sea", 1, "positive")]


def test_a_name_or_criterion_beside_a_statement_is_its_title():
    found = criteria(
        rubrics=[{"name": "N", "description": "d"}, {"criterion": "C", "description": "t"}]
    )
    assert [(each.title, each.description) for each in found] == [("N", "d"), ("C", "t")]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("importance", 3), ("max_points", 5), ("is_positive", False), ("is_negative", True),
        ("severity", "4"), ("share", "20%"), ("effect", "Penalty"), ("wanted", "no"),
        ("sub_tasks", [{"requirements": "a"}]), ("levels", {"1": "bad"}),
        ("score1_description", "wrong"), ("5", "excellent"), ("grading", '["a", "b"]'),
        ("title", 5), ("text", ["a"]), ("type", 3), ("type", "penalty"),
        ("importance", "High"), ("severity", "grave"), ("priority", "p1"), ("level", "lowest"),
        ("rank", "critical"), ("class", "must have"), ("class", "Essential"), ("share", "5 points"),
        ("type", "deduction"), ("type", "Negative Criteria"), ("category", "negative"),
        ("section", "Pitfalls"), ("tags", ["style", "Pitfall"]), ("tags", ["polarity:negative"]),
        ("axis", "negative"), ("tags", {"weight": 3}), ("title", "Pitfall of butter"),
        ("is_negative", "true"), ("if", "it names a year"), ("condition", "a child"),
        ("dependsOn", "first"), ("group", "Do not"), ("kind", "violation"), ("rating", "A"),
        ("when", "asked"), ("subcriteria", "b"), ("grading", "['a']"),
        ("tags", ["weight:-10"]), ("tags", ["-10"]), ("tags", ["points=-5"]), ("tags", [3]),
        ("tags", ["penalty:butter"]), ("axis", "-10"), ("axis", 10), ("title", "-10"),
        ("comment", "subtract 5"), ("scoring", "none or all"), ("note", "0 = absent, 5 = present"),
        ("source", "negative"), ("category", "Fehler"),
    ],
)  # fmt: skip
def test_what_could_be_weight_sign_or_nesting_is_refused_by_name(key, value):
    item = {"description": "swims", key: value}
    where, message = complaint(rubrics=["x", item])
    assert where == "rubrics"
    assert message.startswith("Value error, item 1: ")
    assert key in message
    expected = [("x", 1, "positive"), ("swims", 1, "positive")]
    assert read("x", item, ignored_rubric_keys=frozenset({key})) == expected


SIGN_WORDS = ["positive", "negative", "+", "-", "good", "bad", "penalty", "bonus", "pitfall",
              "Negative Criteria", "must have", "High", "optional", "-5 points", "flaw", "trap",
              "absent", "error", "mistake", "harmful", "wrong", "red flag", "don't", "anti-pattern",
              "failure", "incorrect", "contradiction", "exclusion", "veto", "negativ", "negativo",
              "负面", "扣分", "错误", "muss", "obligatorio", "必须", "double", "half", "x2", "ten",
              "3/5", "★★", "III", "S1"]  # fmt: skip
OTHERS = st.text(min_size=1).filter(lambda key: key not in STATEMENTS)
TELLING = ["importance", "severity", "priority", "level", "isPenalty", "if", "depends_on", "when"]


VALUES = st.one_of(
    st.integers(), st.floats(allow_nan=False), st.booleans(), st.sampled_from(SIGN_WORDS),
    st.lists(st.integers() | st.text(), min_size=1),
    st.dictionaries(st.text(), st.text() | st.integers(), min_size=1),
)  # fmt: skip


@given(
    st.tuples(OTHERS, VALUES)
    | st.tuples(st.sampled_from(TELLING), VALUES | st.text().filter(str.strip))
)
def test_no_key_with_a_number_sign_or_list_is_dropped(pair):
    """It is read (the criterion differs), harmless by name, or refused with the key in the text."""
    key, value = pair
    try:
        found = read([{"description": "swims", key: value}])
    except ValidationError:
        return
    by_name = key in {"id", "tags", "axis", "source", "explanation"} or key.endswith("_id")
    says_the_default = key in {"weight", "points", "score", "polarity", "sign", "type"}
    assert found != [("swims", 1.0, "positive")] or by_name or says_the_default


@pytest.mark.parametrize("word", SIGN_WORDS[4:])
def test_each_word_of_a_sign_is_refused_under_any_key(word):
    assert "'k' may be a weight" in complaint(rubrics=[{"text": "swims", "k": word}])[1]


@pytest.mark.parametrize(
    "text",
    [
        "Butter (-5 Punkte)", "-5 Punkte: Butter", "Negativ: Butter", "Abzug: Butter",
        "Fehler: Butter", "(-5 puntos) manteca", "Penalización: manteca", "Negativo: manteca",
        "Pénalité : beurre", "建议涂黄油（-5分）", "建议涂黄油 (－５分)", "扣5分：黄油",
        "扣分项：黄油", "减分：黄油", "负面：黄油", "Butter: -5", "Butter, -5", "Butter | -5",
        "-5 | butter", "Butter => -5", "Butter — minus 5", "+5 Names butter", "5 points for butter",
        "weight=0.3 butter", "Butter, weight=0.3", "Subtract 5 if butter is named",
        "Deduct 5 points if butter is named", "Lose five points for butter", "Penalize if butter",
        "NEG: butter", "Defect: butter", "Error: butter", "Red flag: butter", "❌ butter",
        "**Pitfall**: butter", "Pitfall - butter", "Pitfall： butter", "Don't: butter",
        "Give 2 points if butter", "Essential: butter", "Optional: butter", "Butter (must have)",
        "Butter [critical]", "Butter (minus 10)", "- criterion: butter\n  weight: -3",
        "- **Pitfall:** butter",
    ],
)  # fmt: skip
def test_a_weight_or_defect_in_a_text_is_refused_in_each_language(text):
    for item in (text, {"text": "swims", "title": text}, {"text": "swims", "explanation": text}):
        assert "seems to" in (told := complaint(rubrics=[item])[1]) or "title 'Pitfall" in told
    said = {"description": text, "weight": 5, "polarity": "positive"}
    assert read([said]) == [(text, 5, "positive")]


POSITIVE = "item 0: has negative {} but is a positive criterion"
NO_TEXT, NO_NUMBER = "item 0: needs a non-empty one of", "weight must be a number"
NAN = float("nan")


@pytest.mark.parametrize(
    ("field", "rubrics", "place", "told"),
    [
        ("rubrics", "not json", "", "is a string but not JSON: write a list of rubrics"),
        ("rubrics", 3, "", "must be a list"),
        ("rubrics", {"essential": ["a"], "axis": ["b"]}, "", "object with the keys 'essential'"),
        ("rubrics", {"criterion": ["a"], "points": [1, 2]}, "", "not equally long"),
        ("rubrics", {"criteria": [{"text": "a"}], "max": 3}, "", "'max' may be a weight"),
        ("positive_rubrics", {"negative": ["a"]}, "", "contradicts its place"),
        ("rubrics", ["ok", 3], "", "item 1: must be a text or an object"),
        ("rubrics", [{"texts": "d"}], "", NO_TEXT),
        ("rubrics", [" "], "", NO_TEXT),
        ("rubrics", [{"description": "d", "weight": "two"}], "", NO_NUMBER),
        ("rubrics", [{"description": "d", "weight": True}], "", NO_NUMBER),
        ("rubrics", [{"description": "d", "weight": 1e400}], ".0.weight", "finite"),
        ("rubrics", [{"description": "d", "points": NAN}], "", "item 0: points must be finite"),
        ("rubrics", [{"description": "d", "points": 1e9}], "", "points must be finite and at most"),
        ("rubrics", [{"text": "c", "points": 2}, {"text": "d", "points": None}], "",
         "item 1: has no points, while item 0 has"),
        ("rubrics", [{"text": "c", "weight": None}, {"text": "d", "weight": 5}], "",
         "item 0: has no weight, while item 1 has"),
        ("rubrics", '[{"text": "c", "weight": 5, "weight": -5}]', "", "has the key 'weight' twice"),
        ("rubrics", ['{"text": "c", "weight": 5, "weight": -5}'], "", "has the key 'weight' twice"),
        ("rubrics", [{"text": "c", "explanation": ["a"]}], "", "'explanation' may be a weight"),
        ("rubrics", ["c", {"description": "d", "points": 2}], "", "item 0: has no points, while"),
        ("rubrics", [{"text": "c", "score": 2}, {"text": "d"}], "", "item 1: has no score, while"),
        ("rubrics", {"rubrics": ["a", "b"], "points": [5, -8]}, "", "'points' may be a weight"),
        ("rubrics", {"rubrics": ["a", "b"], "is_negative": [0, 1]}, "", "'is_negative' may be"),
        ("rubrics", {"rubrics": ["a"], "type": "negative"}, "", "'type' may be a weight, a sign"),
        ("rubrics", "1. Says x 2. Says y", "", "write a list of rubrics"),
        ("rubrics", "[{'text': 'x', 'weight': -3}]", "", "must be written by json.dumps"),
        ("rubrics", ["a", "{'text': 'x', 'weight': -3}"], "", "item 1: begins like an object"),
        ("rubrics", ['{"text": "x", "weight": -3'], "", "must be written by json.dumps"),
        ("rubrics", ['["x", "y"]'], "", "must be a text or an object"),
        ("rubrics", [{"criterion": {"text": "a"}}], "", "criterion must be text, not {'text': "),
        ("rubrics", [{"criterion": "a", "subcriteria": ["b"]}], "", "'subcriteria' may be a"),
        ("rubrics", ["Pitfall Criteria: Does not mention it"], "", "to name a defect, 'Pitfall"),
        ("rubrics", [{"text": "Pitfall: no year", "weight": 4}], "", "to name a defect, 'Pitfall"),
        ("rubrics", ["(-) Names a bridge"], "", "to name a defect, '(-)'"),
        ("positive_rubrics", ["[-2] Mentions it"], "", "to say a weight, '[-2]'"),
        ("rubrics", ["(weight: 3) Mentions it"], "", "to say a weight, '(weight: 3)'"),
        ("rubrics", ["5 points: Mentions it"], "", "to say a weight"),
        ("rubrics", ["Mentions it (-5)"], "", "to say a weight, '(-5)'"),
        ("rubrics", ["Mentions it (-5 points)."], "", "to say a weight, '(-5 points).'"),
        ("rubrics", [{"text": "Mentions it: -5 pts"}], "", "to say a weight"),
        ("rubrics", [{"description": "d", "criterion": "[-2] Butter"}], "", "to say a weight"),
        ("rubrics", ["Optional Criteria: Mentions it"], "", "to say a weight"),
        ("rubrics", ["[Optional] Mentions it"], "", "to say a weight"),
        ("rubrics", [{"description": "d", "weight": 2, "points": -2}], "", "has two weights"),
        ("rubrics", [{"description": "d", "type": "negative", "sign": "+"}], "", "two signs"),
        ("rubrics", [{"description": "d", "text": "e"}], "", "are two statements"),
        ("rubrics", [{"description": "d", "polarity": "bad"}], "", "must be 'positive' or"),
        ("positive_rubrics", [{"description": "d", "weight": -1}], "", POSITIVE.format("weight")),
        ("rubrics", [{"description": "d", "points": -2, "type": "positive"}], "",
         POSITIVE.format("points")),
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
