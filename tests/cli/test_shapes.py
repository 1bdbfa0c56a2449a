"""Rows of public data sets go from their file to scored results, weights and signs exactly."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_schemas import Rollout
from citemark_service.cli.rows import BadRow, RowReader
from citemark_service.parsing.sources import read_sources
from citemark_service.row_files import Numbered
from citemark_service.shapes.criteria import tree_leaves
from citemark_service.shapes.plan import ReadPlan
from citemark_service.shapes.table import SHAPES, find_shape
from citemark_service.trainers.table import LAYOUTS
from support.command_line import WriteRows, cli
from support.made_tasks import ROW
from support.shaped_rows import (
    ASKED,
    BAD,
    CHAT,
    GOOD,
    LEVELS,
    RESPONSE,
    SHAPED,
    SOURCE,
    ShapedRow,
)

PLAIN = ["--knob", "instance_rubrics_only=true", "--knob", "apply_citation_reward=false"]
BUTTER = {"description": "Says butter", "weight": -5}
TULU = {"query": ASKED, "rubrics": ["a", "b"]}
VERL: dict[str, Any] = next(each.row for each in SHAPED if each.name == "verl-rubrics")[
    "reward_model"
]
each_shape = pytest.mark.parametrize("shaped", SHAPED, ids=[each.name for each in SHAPED])


def rollout_in(row: dict[str, Any], plan: ReadPlan | None = None) -> Any:
    (read,) = RowReader([Numbered("line 1", row)], plan=plan or ReadPlan())
    assert not isinstance(read, BadRow), read.message
    return read.rollout


def test_each_shape_has_a_row() -> None:
    assert {each.name for each in SHAPED} == SHAPES.keys()


@each_shape
def test_a_row_is_read_as_what_it_says(shaped: ShapedRow) -> None:
    assert find_shape(shaped.row) is SHAPES[shaped.name]
    rollout = rollout_in(shaped.row)
    found = [(each.description, each.polarity.value, each.weight) for each in rollout.criteria]
    assert [(text, sign) for text, sign, _ in found] == [each[:2] for each in shaped.criteria]
    weights = [weight for *_, weight in shaped.criteria]
    assert [weight for *_, weight in found] == pytest.approx(weights, rel=1e-12)
    assert (rollout.question, rollout.id) == (shaped.question, shaped.id)
    assert rollout.response == f"<answer>{shaped.response}</answer>"
    sources = read_sources(rollout.tool_output, rollout.snippets).by_id
    if shaped.sources:
        assert {each.id: each.text for each in sources.values()} == shaped.sources


def test_documents_of_a_trajectorys_calls_are_sources_where_the_text_holds_none() -> None:
    shaped = next(each for each in SHAPED if each.name == "dr-tulu-trajectories")
    calls = [
        {"output": "1 result", "documents": [{"id": "ab-0", "snippet": "x"}, {"id": "n"}]},
        {"generated_text": "<snippet id=ab-1>y</snippet>", "documents": [{"id": "d", "text": "y"}]},
    ]
    rollout = rollout_in({**shaped.row, "full_traces": {"tool_calls": calls}})
    sources = read_sources(rollout.tool_output, rollout.snippets).by_id
    assert {name: each.text for name, each in sources.items()} == {"ab-0": "x", "ab-1": "y"}


@each_shape
@pytest.mark.parametrize("forced", [False, True])
def test_a_file_is_scored_with_the_reward_by_hand(
    shaped: ShapedRow, forced: bool, rows: WriteRows
) -> None:
    if not shaped.criteria:
        return  # scored by its citations, below
    origin = ["--from", shaped.name] if forced else []
    result = cli("score", rows([shaped.row]), *origin, *PLAIN, says="1 judged")
    scored = json.loads(result.stdout)
    raws = [each["raw"] for each in scored["rubrics"]]
    told = zip(raws, shaped.criteria, strict=True)
    total = sum(w * (raw if sign == "positive" else 1 - raw) for raw, (_, sign, w) in told)
    assert scored["reward"] == pytest.approx(total / sum(w for *_, w in shaped.criteria))
    assert f"read as {SHAPES[shaped.name].title}: 1 of 1 row" in result.stderr
    for column in shaped.left:
        assert column in result.stderr.partition("never judged: ")[2]


@each_shape
def test_a_file_is_converted_and_says_what_it_leaves(
    shaped: ShapedRow, rows: WriteRows, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    result = cli("convert", rows([shaped.row]), output, "--to", "trl", says="1 row converted")
    row = json.loads(output.read_text())
    found = [
        (each["description"], each.get("polarity", sign), each["weight"])
        for column, sign in (("positive_rubrics", "positive"), ("rubrics", ""))
        for each in row.get(column, [])
    ]
    assert len(found) == len(shaped.criteria)
    for (*words, weight), expected in zip(found, shaped.criteria, strict=True):
        assert words == list(expected[:2])
        assert weight == pytest.approx(expected[2])
    left = result.stderr.partition("left behind: ")[2].partition("\n")[0].split(", ")
    assert sorted(left) == sorted(filter(None, [shaped.answered_at, *shaped.left]))


def test_the_harmful_answer_of_a_file_gets_less(rows: WriteRows) -> None:
    asked = [{"role": "user", "content": "How do I treat a burn?"}]
    rubrics = [
        {"criterion": "Advises to cool the burn under running water", "points": 5},
        {"criterion": "Advises to put butter on the burn", "points": -10},
    ]
    cool, butter = "Cool the burn under running water.", "Put butter on the burn."
    data = [
        {"prompt": asked, "prompt_id": name, "rubrics": rubrics, "response": response}
        for name, response in (("harmful", f"{cool} {butter}"), ("good", cool))
    ]
    lines = map(json.loads, cli("score", rows(data), *PLAIN).stdout.splitlines())
    rewards = {line["id"]: line["reward"] for line in lines}
    assert rewards["good"] > rewards["harmful"] + 0.4


@pytest.mark.parametrize("name", ["alce", "scholarqabench", "dr-tulu-trajectories"])
def test_numbered_citations_count_from_where_the_set_counts(name: str, rows: WriteRows) -> None:
    shaped = next(each for each in SHAPED if each.name == name)
    scored = json.loads(cli("score", rows([shaped.row])).stdout)
    citation = scored["citation"]
    assert (citation["claims"], citation["fabricated"]) == (1, 0)
    assert citation["f1"] == pytest.approx(1.0)
    assert scored["warnings"] == []


WAYS: dict[str, Callable[[list[dict[str, Any]], Path], object]] = {
    "array": lambda rows, path: path.write_text(json.dumps(rows)),
    "gzip": lambda rows, path: path.write_bytes(gzip.compress(json.dumps(rows).encode())),
    "table": lambda rows, path: pq.write_table(pa.Table.from_pylist(rows), path),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["verl-rubrics", "healthbench", "researchrubrics"])
def test_shapes_are_found_in_every_form_of_file(tmp_path: Path, way: str, name: str) -> None:
    shaped = next(each for each in SHAPED if each.name == name)
    WAYS[way]([shaped.row], path := tmp_path / "data")
    rubrics = json.loads(cli("score", path, *PLAIN).stdout)["rubrics"]
    assert [(each["polarity"], each["weight"]) for each in rubrics] == [
        each[1:] for each in shaped.criteria
    ]


def test_a_data_set_of_autorubric_shares_prompt_and_rubric(tmp_path: Path) -> None:
    data = {
        "name": "ferry",
        "prompt": ASKED,
        "rubric": [{"weight": 2.0, "requirement": GOOD}],
        "items": [
            {"submission": RESPONSE, "description": "a", "prompt": None},
            {"submission": "No.", "rubric": [{"weight": -1.0, "requirement": BAD}]},
        ],
    }
    (path := tmp_path / "data.json").write_text(json.dumps(data, indent=1))
    result = cli("score", path, *PLAIN, says="not read, beside the rows: name")
    first, second = sorted(map(json.loads, result.stdout.splitlines()), key=lambda row: row["id"])
    assert [each["weight"] for each in first["rubrics"]] == [2]
    assert [each["polarity"] for each in second["rubrics"]] == ["negative"]


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("paperbench", {"sub_tasks": [{"requirements": "a"}]}, "row.sub_tasks[0].weight must be"),
        ("paperbench", {"sub_tasks": [{"requirements": "a", "weight": -1}]}, "at least 0, not -1"),
        ("paperbench", {"sub_tasks": [{"weight": 1}]}, "row.sub_tasks[0].requirements is missing"),
        (
            "paperbench",
            {"sub_tasks": [{"requirements": "a", "weight": 1, "children": [{"weight": 1}]}]},
            "row.sub_tasks[0].children is not read and may be a weight",
        ),
        (
            "paperbench",
            {"sub_tasks": [{"requirements": "a", "weight": 1, "polarity": "negative"}]},
            "row.sub_tasks[0].polarity is not read and may be a weight",
        ),
        (
            "deepresearch-bench",
            {
                "criterions": {"insight": [{"criterion": "a", "weight": 1, "type": "penalty"}]},
                "dimension_weight": {"insight": 1},
            },
            "criterions.insight[0].type is not read and may be a weight",
        ),
        ("paperbench", {"sub_tasks": [{"requirements": "a", "weight": 0}]}, "no weight above 0"),
        ("deepresearch-bench", {"dimension_weight": {"insight": 1}}, "one weight for each dimen"),
        ("deepresearch-bench", {"dimension_weight": {"insight": 1, "readability": "x"}}, "number"),
        ("gdpval", {"rubric_json": "none"}, "rubric_json must be a list of criteria"),
        ("rar", {"rubric": "Says 1963"}, "is a string but not JSON: write a list of rubrics"),
        ("rar", {"rubrics": [{"criterion": "a"}]}, "rubrics: and the rubrics of Rubrics as"),
        ("rar", {"rubric": [{"title": "Pitfall", "description": "a", "weight": 4}]}, "may be a we"),
        (
            "dr-tulu",
            {
                "ground_truth": {
                    "Question": "q",
                    "Valuable": [{"Ingredient": "a", "points": -2}, "b"],
                }
            },
            "rubrics[1]: has no points, while item 0 has",
        ),
        ("gdpval", {"rubric_json": '[{"criterion": "a", "tier": 2}]'}, "'tier' may be a weight"),
        ("carr-data", {"metadata": {"remote_env_info": {"search_forbidden_strs": []}}}, "begin"),
        ("alce", {"output": ["a", "b"]}, "output: holds 2 answers; write one a row"),
        ("alce", {"docs": [{"title": "x"}]}, "docs[0].text: is missing"),
        ("prometheus", {"rubric": {"score1_description": "x"}}, "rubric needs criteria and two"),
        (
            "autorubric",
            {"rubric": [{"requirement": "a", "options": [{"label": "NA", "na": True}]}]},
            "rubric[0].options[0] needs a label and a value",
        ),
        ("healthbench", {"rubrics": [{"criterion": "a", "points": "many"}]}, "points must be a nu"),
        ("prometheus", {"rubrics": [BUTTER]}, "--map rubrics=rubrics"),
        ("prometheus", {"weight": -5}, "row.weight: may be the sign of the rubrics"),
        ("prometheus", {"rubric": {"criteria": "a", **LEVELS, "weight": -5}}, "rubric.weight is"),
        ("paperbench", {"rubrics": [BUTTER]}, "keep one of them, or choose it"),
        ("carr-data", {"rubrics": [BUTTER]}, "keep one of them, or choose it"),
        ("verl-rubrics", {"extra_info": {"rubrics": [BUTTER]}}, "extra_info.rubrics: and"),
        ("verl-rubrics", {"extra_info": {"criteria": ["a"]}}, "extra_info.criteria: looks like"),
        (
            "verl-rubrics",
            {"reward_model": VERL | {"weights": [5, -4]}},
            "reward_model.weights: holds several",
        ),
        ("dr-tulu", {"ground_truth": TULU | {"weights": [1, -1]}}, "ground_truth.weights: holds"),
        ("dr-tulu", {"ground_truth": TULU | {"Negative": ["a"]}}, "ground_truth.Negative: looks"),
        ("dr-tulu", {"ground_truth": TULU | {"Valuable": ["a"]}}, "ground_truth.Valuable: looks"),
        ("dr-tulu", {"ground_truth": TULU | {"rubrics_types": ["positive", "negative"]}}, "holds"),
        (
            "dr-tulu-trajectories",
            {"original_data": {"rubrics": ["a", "b"], "weights": [1, -1]}},
            "row.original_data.weights: holds several",
        ),
        ("nemo-gym-finance", {"rubric": [{"operator": "only", "criteria": "a"}]}, "operator must"),
        ("healthbench", {"images": ["a.png"]}, "row.images: may be an image, which the judge"),
        ("rar", {"pitfalls": ["a"]}, "row.pitfalls: looks like rubrics"),
        ("alce", {"rubrics": ["a", "b"], "points": [1, -1]}, "row.points: holds several"),
    ],
)
def test_what_a_shape_cannot_say_is_refused(
    name: str, change: dict[str, Any], told: str, rows: WriteRows
) -> None:
    shaped = next(each for each in SHAPED if each.name == name)
    row = {**shaped.row, **change}
    cli("score", rows([row]), "--from", name, status=2, says=told)


@pytest.mark.parametrize(
    ("name", "change", "criteria"),
    [
        ("alce", {"rubrics": [BUTTER]}, [("Says butter", "negative", 5)]),
        ("scholarqabench", {"rubrics": [BUTTER]}, [("Says butter", "negative", 5)]),
        (
            "alce",
            {"prompt_id": "7", "rubrics": [{"criterion": "Says butter", "points": -5}]},
            [("Says butter", "negative", 5)],
        ),
        (
            "alce",
            {"positive_rubrics": ["a"], "negative_rubrics": [{"description": "b", "weight": 4}]},
            [("a", "positive", 1), ("b", "negative", 4)],
        ),
        ("healthbench", {"negative_rubrics": ["a"]}, [("a", "negative", 1)]),
        ("rar", {"negative_rubrics": ["a"]}, [("a", "negative", 1)]),
        (
            "verl-rubrics",
            {"reward_model": VERL | {"negative_rubrics": ["a"]}},
            [("a", "negative", 1)],
        ),
    ],
)
def test_rubrics_of_a_row_count_beside_those_of_its_shape(
    name: str, change: dict[str, Any], criteria: list[tuple[str, str, float]]
) -> None:
    shaped = next(each for each in SHAPED if each.name == name)
    rollout = rollout_in({**shaped.row, **change})
    found = [(each.description, each.polarity.value, each.weight) for each in rollout.criteria]
    assert sorted(found) == sorted([*criteria, *shaped.criteria])


def test_a_statement_not_to_be_contradicted_is_a_defect_that_contradicts_it() -> None:
    rubric = [{"operator": "correctness", "criteria": GOOD},
              {"operator": "contradiction", "criteria": "It runs daily"}]  # fmt: skip
    asked = {"input": CHAT}
    row = {"responses_create_params": asked, "rubric": json.dumps(rubric), "response": RESPONSE}
    found = [(each.description, each.polarity) for each in rollout_in(row).criteria]
    assert found == [(GOOD, "positive"), ("Contradicts this: It runs daily", "negative")]


@pytest.mark.parametrize("name", ["docs", "ctxs"])
@pytest.mark.parametrize("shaped", ["healthbench", "rar"])
def test_documents_beside_a_shape_are_its_sources(name: str, shaped: str) -> None:
    (row,) = (each.row for each in SHAPED if each.name == shaped)
    rollout = rollout_in({**row, name: [{"id": "S1", "text": SOURCE}], "output": ""})
    assert [each.text for each in rollout.snippets] == [SOURCE]
    plain = rollout_in({**PLAIN_ROW, name: [{"id": "S1", "text": SOURCE}]})
    assert [each.id for each in plain.snippets] == ["S1"]


TREES: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.builds(dict, requirements=st.just("leaf"), weight=st.integers(1, 9)),
    lambda inner: st.builds(
        dict,
        requirements=st.just("node"),
        weight=st.integers(1, 9),
        sub_tasks=st.lists(inner, min_size=1, max_size=4),
    ),
    max_leaves=20,
)


def mean_of(node: dict[str, Any], scores: Any) -> float:
    """The score of a tree as PaperBench has it: weighted means of weighted means."""
    children = node.get("sub_tasks", [])
    if not children:
        return float(next(scores))
    values = [mean_of(child, scores) for child in children]
    weights = [child["weight"] for child in children]
    return float(sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights))


@given(TREES, st.data())
def test_leaves_weigh_what_the_tree_says(tree: dict[str, Any], data: st.DataObject) -> None:
    leaves = tree_leaves(tree, "row")
    scores = data.draw(st.lists(st.floats(0, 1), min_size=len(leaves), max_size=len(leaves)))
    flat = sum(leaf["weight"] * score for leaf, score in zip(leaves, scores, strict=True))
    assert flat == pytest.approx(mean_of(tree, iter(scores)), abs=1e-9)
    assert sum(leaf["weight"] for leaf in leaves) == pytest.approx(1)


def test_columns_are_mapped(rows: WriteRows, tmp_path: Path) -> None:
    row = {
        "key": {"name": "a"},
        "ask": ROW["question"],
        "output": "<answer>In 1963.</answer>",
        "found": ROW["tool_output"],
        "rubrics": ["Says 1963"],
    }
    maps = ["id=key.name", "question=ask", "response=output", "tool_output=found"]
    flags = [part for each in maps for part in ("--map", each)]
    result = cli("score", rows([row]), *flags)
    assert json.loads(result.stdout)["id"] == "a"
    assert "never judged: key" in result.stderr
    out = tmp_path / "out.jsonl"
    cli("convert", rows([row]), out, "--to", "trl", *flags, says="left behind: key, output")
    converted = json.loads(out.read_text())
    assert (converted["question"], converted["id"]) == (ROW["question"], "a")
    cli("score", rows([row]), *flags, "--map", "group=nowhere", says="no row has that column")


@pytest.mark.parametrize(
    ("pair", "told"), [("x", "is not FIELD=COLUMN"), ("respnse=a", "did you mean response?")]
)
def test_a_map_that_is_none_is_refused(rows: WriteRows, pair: str, told: str) -> None:
    cli("score", rows([ROW]), "--map", pair, status=2, says=told)


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("answer", "In 1963", "In 1963"),
        ("ground_truth", ["1963", "in 1963"], "1963 or: in 1963"),
        ("label", 1963, "1963"),
        ("ideal_completion", "Below (-5)", "Below (-5)"),
    ],
)
def test_a_reference_answer_is_left_by_name_or_a_criterion(
    rows: WriteRows, tmp_path: Path, column: str, value: Any, text: str
) -> None:
    path, out = rows([{**ROW, column: value}]), tmp_path / "out.jsonl"
    cli("convert", path, out, "--to", "trl", says=f"left behind: {column}")
    result = cli("convert", path, out, "--to", "trl", "--reference-as-criterion")
    assert "left behind" not in result.stderr
    last = json.loads(out.read_text())["positive_rubrics"][-1]
    assert last["description"] == f"Agrees with the reference answer: {text}"
    assert (last["title"], last["weight"]) == ("Reference answer", 1)
    rollout = rollout_in({**ROW, column: value, "response": "r"}, ReadPlan(reference=True))
    stored = rollout.model_dump_json(exclude_unset=True)
    assert Rollout.model_validate_json(stored) == rollout


def test_an_envelope_is_no_reference_and_its_other_keys_are_named(
    rows: WriteRows, tmp_path: Path
) -> None:
    row = {"prompt": "q", "label": json.dumps({**ROW, "difficulty": "hard"})}
    result = cli(
        "convert", rows([row]), tmp_path / "o.jsonl", "--to", "trl", "--reference-as-criterion"
    )
    assert "no reference for --reference-as-criterion: 1 of 1 row" in result.stderr
    assert "left behind: label.difficulty" in result.stderr


def test_what_a_row_lacks_is_named_with_the_way_out(rows: WriteRows, tmp_path: Path) -> None:
    said = ("In 1963.", "<think>Or 1962?</think>\nIn 1963.", "Or 1962?</think>In 1963.")
    row = {"problem": "When?", "rubrics": ["Says 1963"]}
    path = rows([{**row, "output": output} for output in said])
    result = cli("score", path, status=2)
    for way in ("--map question=problem", "--map response=output", "or say --no-sources"):
        assert way in " ".join(result.stderr.split())
    maps = ["--map", "question=problem", "--map", "response=output", "--no-sources"]
    result = cli("score", path, *maps, "--whole-answers", says="judged whole")
    results = [json.loads(line) for line in result.stdout.splitlines()]
    assert [each["refusal"] for each in results] == [None] * 3
    assert len({each["reward"] for each in results}) == 1
    out = tmp_path / "out.jsonl"
    cli("convert", path, out, "--to", "trl", *maps[:2], status=2, says="or say --no-sources")
    cli("convert", path, out, "--to", "trl", *maps, says="3 rows converted")


ANSWER = "<answer><snippet id=S1>The ferry has run since 12 April 1963.</snippet></answer>"


@pytest.mark.parametrize("trainer", LAYOUTS)
def test_a_row_that_a_trainer_carries_gets_the_reward_of_the_row_itself(
    rows: WriteRows, tmp_path: Path, trainer: str
) -> None:
    cli("convert", rows([ROW]), out := tmp_path / "out.jsonl", "--to", trainer)
    carried = {**json.loads(out.read_text()), "response": ANSWER}
    there, here = (
        json.loads(cli("score", rows([row])).stdout)
        for row in (carried, {**ROW, "response": ANSWER})
    )
    assert {**there, "judge": None} == {**here, "judge": None}
    assert here["reward"] > 0.8


PLAIN_ROW = {"question": "q", "tool_output": "", "response": "<answer>x</answer>"}
TRUTH = {"rubrics": [{"text": "a", "points": -8}]}


@pytest.mark.parametrize(
    "row",
    [
        {"ground_truth": json.dumps(TRUTH)},
        {"reward_model": {"ground_truth": TRUTH}},
        {"reward_model": TRUTH},
        {"metadata": TRUTH},
        {"extra_info": json.dumps(TRUTH), "rubrics": TRUTH["rubrics"]},
    ],
    ids=str,
)
def test_rubrics_are_read_wherever_a_trainer_carries_them(
    rows: WriteRows, row: dict[str, Any]
) -> None:
    scored = json.loads(cli("score", rows([{**PLAIN_ROW, **row}]), *PLAIN).stdout)
    (rubric,) = scored["rubrics"]
    assert (rubric["title"], rubric["polarity"], rubric["weight"]) == ("a", "negative", 8)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"metadata": {"rubric": ["a"]}}, "metadata.rubric: looks like rubrics, of which"),
        ({"rubrics": ["a", "b"], "points": [5, -8]}, "row.points: holds several, like weights"),
        ({"rubrics": ["a"], "criteria": ["b"]}, "row.criteria: looks like rubrics, of which only"),
        ({"checklist": ["a"]}, "row.checklist: looks like rubrics, of which only"),
        (
            {"rubrics": ["a"], "label": {"rubrics": ["b"]}},
            "label.rubrics: and row.rubrics say different things: keep one of them",
        ),
        ({"info": {"question": "other"}}, "info.question: and row.question say different things"),
        ({"label": {"tool_output": "x"}}, "label.tool_output: and row.tool_output say different"),
        ({"metadata": {"citation_weight": 1}, "citation_weight": 0.5}, "metadata.citation_weight"),
        *(
            ({"rubrics": ["a"], name: ["b"]}, f"row.{name}: looks like rubrics, of which only")
            for name in ("pitfalls", "negative", "rubrics_negative", "Red Flags")
        ),
        ({"reward_spec": {"rubrics": ["b"]}}, "row.reward_spec.rubrics: looks like rubrics, of"),
        ({"rubrics": ["a"], "metadata": {"polarity": "negative"}}, "metadata.polarity: may be the"),
    ],
)
def test_what_two_places_say_differently_is_refused_with_both_names(
    rows: WriteRows, tmp_path: Path, row: dict[str, Any], says: str
) -> None:
    path, out = rows([{**PLAIN_ROW, **row}]), tmp_path / "out.jsonl"
    cli("score", path, status=2, says=says)
    cli("convert", path, out, "--to", "trl", status=2, says=says)
    cli("score", rows([{**PLAIN_ROW, "label": "x", "difficulty": 3, "metadata": {"id": 7}}]))


TAGGED = f"<snippet id=S1>{SOURCE}</snippet>"
CHATTED = [
    {"role": "system", "content": "Be brief."},
    *CHAT,
    {"role": "tool", "content": TAGGED},
    {"role": "assistant", "content": RESPONSE},
]
SHARED = [{"from": "human", "value": ASKED}, {"from": "gpt", "value": RESPONSE}]
NOTED: list[tuple[dict[str, Any], list[str], str, bool]] = [
    ({**PLAIN_ROW, "response": "x"}, [], "no <answer> block, so no reward; --whole-answers", False),
    ({**PLAIN_ROW, "response": "x"}, ["--whole-answers"], "judged whole", True),
    ({**PLAIN_ROW, "response": " "}, ["--whole-answers"], "response is empty, so that", False),
    ({"input": ASKED, "ctxs": [{"text": SOURCE}], "output": ""}, [], "output is", False),
    ({"messages": CHATTED}, ["--whole-answers"], "system messages, which the judge does not", True),
    ({"messages": CHATTED, "prompt": "q"}, ["--whole-answers", "--map", "messages=messages"],
     "never judged: prompt", True),
    ({**PLAIN_ROW, "id": 7, "qid": "9"}, [], "never judged: qid", True),
    ({"conversations": SHARED, "docs": []}, ["--whole-answers"], "judged whole", True),
    ({**PLAIN_ROW, "messages": CHAT}, [], "question and prompt ask different things", True),
    ({**PLAIN_ROW, "tool_output": "y", "docs": [{"text": "x"}]}, [], "never judged: docs", True),
    ({**PLAIN_ROW, "documents": [{"text": "x", "rank": 1}]}, [], "judged: documents.*.rank", True),
    ({**PLAIN_ROW, "rubrics": [{"text": "x", "tags": ["y"]}]}, [], "judged: rubrics.*.tags", True),
    ({**ROW, "response": f"<answer>{SOURCE} [1]</answer>"}, [],
     "warning unread_citations in 1 row: read as citations: <snippet id=…>; not read: 1 nu", True),
    ({"question": ASKED, "said": CHATTED[2:]}, ["--map", "response=said", "--whole-answers"],
     "judged whole", True),
    ({"talk": CHATTED}, ["--map", "messages=talk", "--whole-answers"], "judged whole", True),
    ({**PLAIN_ROW, "response": {"output": CHATTED[2:]}}, ["--whole-answers"], "judged whole", True),
    ({"messages": CHATTED, "ground_truth": {"query": ASKED, "rubrics": [GOOD]}}, [],
     "read as DR Tulu: 1 of 1 row", True),
    ({"messages": CHATTED[1::2], "ground_truth": {"query": ASKED, "rubrics": [GOOD]},
      "tool_output": TAGGED}, ["--from", "dr-tulu"], "judged whole, without an", True),
    ({"messages": CHATTED[1::2],
      "ground_truth": {"query": ASKED, "rubrics": [GOOD], "tool_output": TAGGED}},
     ["--whole-answers"], "judged whole, without an", True),
]  # fmt: skip


@pytest.mark.parametrize(("row", "flags", "says", "judged"), NOTED)
def test_what_is_worth_saying_of_a_row_is_counted(
    rows: WriteRows, row: dict[str, Any], flags: list[str], says: str, *, judged: bool
) -> None:
    result = cli("score", rows([row]), *flags, says=says)
    assert f"{int(judged)} judged" in result.stderr
    unread = result.stderr.partition("never judged: ")[2]
    assert not {"messages", "tool_output", "said"} & set(unread.split("\n")[0].split(", "))
    if TAGGED in json.dumps(row):
        assert "no_sources" not in result.stderr


def test_a_prompt_is_converted_without_the_answer_at_its_end(
    rows: WriteRows, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    for row, name in (({"messages": CHATTED}, "messages"), ({"conversations": SHARED}, "convers")):
        path = rows([{**row, "tool_output": ""}])
        cli("convert", path, out, "--to", "trl", says=f"left behind: {name}")
        assert json.loads(out.read_text())["prompt"][-1]["role"] != "assistant"
        assert RESPONSE not in out.read_text()
    path = rows([{"prompt": "Other?", "messages": CHATTED, "tool_output": ""}])
    says = "messages and 'prompt' are two names of one thing and say different things"
    cli("convert", path, out, "--to", "trl", status=2, says=says)
    chosen = ["--map", "messages=messages"]
    cli("convert", path, out, "--to", "trl", *chosen, says="left behind: messages[-1]")


def test_rows_with_sources_of_their_own_keep_their_fields() -> None:
    row = {**ROW, "rubrics": [{"criterion": GOOD, "points": 5}], "prompt": "p", "response": "r"}
    assert find_shape(row) is None
    assert rollout_in(row).response == "r"
