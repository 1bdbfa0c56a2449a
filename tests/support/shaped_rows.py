"""A row of each public shape, written for the tests, and what it says in Citemark's terms."""

import json
from dataclasses import dataclass, field
from typing import Any

Criterion = tuple[str, str, float]
"""Text, polarity and weight."""


@dataclass(frozen=True)
class ShapedRow:
    name: str
    row: dict[str, Any]
    criteria: list[Criterion]
    question: str
    id: str | None = None
    response: str = "The ferry has run since 1963."
    sources: dict[str, str] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    answered_at: str = "response"


RESPONSE = "The ferry has run since 1963."
ASKED = "Since when does the Aldersund ferry run?"
SOURCE = "The Aldersund ferry has run since 1963."
GOOD, BAD = "Says that it has run since 1963", "Speaks of a bridge"
CHAT = [{"role": "user", "content": ASKED}]
LEVELS = {f"score{level}_description": f"level {level}" for level in range(1, 6)}
LEVELLED = (
    "Dates the start\nHow far it is met:\nFull: level 5\n75%: level 4\nHalf: level 3\n"
    "25%: level 2\nNone: level 1"
)

SHAPED = [
    ShapedRow(
        "healthbench",
        {
            "prompt": CHAT,
            "prompt_id": "hb-1",
            "example_tags": ["theme:x"],
            "ideal_completions_data": {"ideal_completion": "Since 1963."},
            "rubrics": [
                {"criterion": GOOD, "points": 5, "tags": ["level:example", "axis:accuracy"]},
                {"criterion": BAD, "points": -10, "tags": []},
            ],
            "response": RESPONSE,
        },
        [(GOOD, "positive", 5), (BAD, "negative", 10)],
        ASKED,
        "hb-1",
        left=("example_tags", "ideal_completions_data", "rubrics.*.tags"),
    ),
    ShapedRow(
        "rar",
        {
            "question": ASKED,
            "reference_answer": "1963",
            "rubric": [
                {"title": "Year", "description": GOOD, "weight": 5},
                {"title": "Bridge", "description": BAD, "weight": -1},
            ],
            "rubric_count": 2,
            "response": RESPONSE,
        },
        [(GOOD, "positive", 5), (BAD, "negative", 1)],
        ASKED,
        left=("reference_answer", "rubric_count"),
    ),
    ShapedRow(
        "researchqa",
        {
            "id": "q7",
            "query": ASKED,
            "subdomain": "Ships",
            "rubric": [
                {"rubric_item": GOOD, "type": "Information", "citation_metadata": '[{"a": 1}]'},
                {"rubric_item": "Names the place", "type": "Impact"},
            ],
            "response": RESPONSE,
        },
        [(GOOD, "positive", 1), ("Names the place", "positive", 1)],
        ASKED,
        "q7",
        left=("rubric.*.citation_metadata", "subdomain"),
    ),
    ShapedRow(
        "researchrubrics",
        {
            "prompt": ASKED,
            "sample_id": "s9",
            "domain": "Travel",
            "rubrics": [
                {"criterion": GOOD, "weight": 4.0, "axis": "Explicit Criteria"},
                {"criterion": BAD, "weight": -3.0, "axis": "Implicit Criteria"},
            ],
            "response": RESPONSE,
        },
        [(GOOD, "positive", 4), (BAD, "negative", 3)],
        ASKED,
        "s9",
        left=("domain", "rubrics.*.axis"),
    ),
    ShapedRow(
        "dr-tulu",
        {
            "messages": CHAT,
            "dataset": "rubric",
            "ground_truth": json.dumps(
                {
                    "query": ASKED,
                    "rubrics": [
                        {"title": "Year", "description": GOOD, "weight": 1},
                        {"title": "Bridge", "description": BAD, "weight": -1},
                    ],
                    "rubrics_types": ["persistent", "adaptive"],
                }
            ),
            "response": RESPONSE,
        },
        [(GOOD, "positive", 1), (BAD, "negative", 1)],
        ASKED,
        left=("dataset", "ground_truth.rubrics_types"),
    ),
    ShapedRow(
        "dr-tulu-trajectories",
        {
            "example_id": "t1",
            "problem": ASKED,
            "final_response": '<cite id="ab-0">The ferry has run since 1963.</cite>',
            "full_traces": {
                "tool_calls": [{"generated_text": f"<snippet id=ab-0>{SOURCE}</snippet>"}],
                "total_tokens": 9,
            },
            "original_data": {"rubrics": [{"description": GOOD, "weight": 2}]},
        },
        [(GOOD, "positive", 2)],
        ASKED,
        "t1",
        response='<cite id="ab-0">The ferry has run since 1963.</cite>',
        sources={"ab-0": SOURCE},
        left=("full_traces.total_tokens",),
        answered_at="final_response",
    ),
    ShapedRow(
        "verl-rubrics",
        {
            "data_source": "x",
            "prompt": CHAT,
            "reward_model": {
                "style": "rubric",
                "ground_truth": "",
                "rubrics": [
                    {"criterion": GOOD, "points": 7, "tags": []},
                    {"criterion": BAD, "points": -2, "tags": []},
                ],
            },
            "extra_info": {"index": 3},
            "response": RESPONSE,
        },
        [(GOOD, "positive", 7), (BAD, "negative", 2)],
        ASKED,
        left=("data_source", "reward_model.style", "extra_info.index"),
    ),
    ShapedRow(
        "nemo-gym-finance",
        {
            "id": "bf-1",
            "query": ASKED,
            "reference_answer": "1963",
            "rubric": [{"text": GOOD, "points": 10}, {"text": "Rounds", "points": 2}],
            "responses_create_params": {"input": CHAT, "tools": [{"name": "search"}]},
            "response": RESPONSE,
        },
        [(GOOD, "positive", 10), ("Rounds", "positive", 2)],
        ASKED,
        "bf-1",
        left=("reference_answer", "responses_create_params.tools"),
    ),
    ShapedRow(
        "gdpval",
        {
            "task_id": "g-1",
            "prompt": ASKED,
            "sector": "Transport",
            "rubric_json": json.dumps(
                [
                    {"score": 2, "criterion": GOOD, "required": True, "rubric_item_id": "r1"},
                    {"score": 1, "criterion": "Names the place", "required": None},
                ]
            ),
            "rubric_pretty": "[+2] …",
            "response": RESPONSE,
        },
        [(GOOD, "positive", 2), ("Names the place", "positive", 1)],
        ASKED,
        "g-1",
        left=("rubric_json.*.required", "rubric_json.*.rubric_item_id", "sector", "rubric_pretty"),
    ),
    ShapedRow(
        "carr-data",
        {
            "history": [
                *CHAT,
                {"role": "tool", "content": f"[1] Title: Ferry\n{SOURCE}"},
                {"role": "assistant", "content": RESPONSE},
            ],
            "label": "1963",
            "metadata": {
                "remote_env_info": {
                    "search_forbidden_strs": [ASKED],
                    "rubrics": ["<E0> is a ferry.", "<E0> has run since 1963."],
                    "rubric_reward_ratio": 0.3,
                }
            },
        },
        [("<E0> is a ferry.", "positive", 1), ("<E0> has run since 1963.", "positive", 1)],
        ASKED,
        left=("label", "metadata.remote_env_info.rubric_reward_ratio"),
        answered_at="",
    ),
    ShapedRow(
        "deepresearch-bench",
        {
            "id": 3,
            "prompt": ASKED,
            "dimension_weight": {"insight": 0.75, "readability": 0.25},
            "criterions": {
                "insight": [
                    {"criterion": "Cause", "explanation": "Names why", "weight": 0.5},
                    {"criterion": "Year", "explanation": GOOD, "weight": 1.5},
                ],
                "readability": [
                    {"criterion": "Short", "explanation": "Is short", "weight": 1, "comment": "c"}
                ],
            },
            "article": RESPONSE,
        },
        [
            ("Cause: Names why", "positive", 0.75 / 4),
            (f"Year: {GOOD}", "positive", 0.75 * 3 / 4),
            ("Short: Is short", "positive", 0.25),
        ],
        ASKED,
        "3",
        left=("criterions.*.*.comment",),
        answered_at="article",
    ),
    ShapedRow(
        "paperbench",
        {
            "id": "root",
            "requirements": "The ferry's history is told",
            "weight": 1,
            "sub_tasks": [
                {
                    "requirements": "Its start is told",
                    "weight": 3,
                    "sub_tasks": [
                        {"requirements": GOOD, "weight": 2, "sub_tasks": []},
                        {"requirements": "Names the place", "weight": 1, "sub_tasks": []},
                    ],
                },
                {"requirements": "Is short", "weight": 1, "sub_tasks": [], "task_category": "x"},
            ],
            "response": RESPONSE,
        },
        [
            (f"{GOOD}\nPart of: Its start is told", "positive", 3 / 4 * 2 / 3),
            ("Names the place\nPart of: Its start is told", "positive", 3 / 4 * 1 / 3),
            ("Is short", "positive", 1 / 4),
        ],
        "The ferry's history is told",
        "root",
        left=("sub_tasks.*.task_category",),
    ),
    ShapedRow(
        "scholarqabench",
        {
            "id": "m1",
            "input": ASKED,
            "ctxs": [
                {"title": "Boats", "text": "Other things.", "year": 2015},
                {"title": "Ferry", "text": SOURCE, "url": "https://ferry.example"},
            ],
            "output": "The ferry has run since 1963 [1].",
            "annotator": "a",
        },
        [],
        ASKED,
        "m1",
        response="The ferry has run since 1963 [1].",
        sources={"0": "Boats\nOther things.", "1": f"Ferry (https://ferry.example)\n{SOURCE}"},
        left=("ctxs.*.year", "annotator"),
        answered_at="output",
    ),
    ShapedRow(
        "alce",
        {
            "question": ASKED,
            "answer": "1963",
            "docs": [{"title": "Ferry", "text": SOURCE}, {"title": "Boats", "text": "Others."}],
            "output": ["The ferry has run since 1963 [1]."],
        },
        [],
        ASKED,
        response="The ferry has run since 1963 [1].",
        sources={"1": f"Ferry\n{SOURCE}", "2": "Boats\nOthers."},
        left=("answer",),
        answered_at="output",
    ),
    ShapedRow(
        "autorubric",
        {
            "prompt": ASKED,
            "rubric": [
                {"name": "Year", "weight": 10.0, "requirement": GOOD},
                {"weight": -15.0, "requirement": BAD},
                {
                    "requirement": "Dates the start",
                    "weight": 5.0,
                    "scale_type": "ordinal",
                    "options": [{"label": "no", "value": 0.0}, {"label": "yes", "value": 1.0}],
                },
            ],
            "submission": RESPONSE,
            "description": "good",
            "ground_truth": ["MET", "UNMET", "yes"],
        },
        [
            (GOOD, "positive", 10),
            (BAD, "negative", 15),
            ("Dates the start\nHow far it is met:\nFull: yes\nNone: no", "positive", 5),
        ],
        ASKED,
        left=("description", "ground_truth"),
        answered_at="submission",
    ),
    ShapedRow(
        "prometheus",
        {
            "instruction": ASKED,
            "response": RESPONSE,
            "rubric": {"criteria": "Dates the start", **LEVELS},
            "reference_answer": "1963",
            "score": 4,
        },
        [(LEVELLED, "positive", 1)],
        ASKED,
        left=("reference_answer", "score"),
    ),
]
