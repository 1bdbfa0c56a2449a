"""Tasks drawn at random, as data sets hold them, and one written by hand."""

import json
from typing import Any

from hypothesis import strategies as st

from citemark_schemas import Rollout
from citemark_schemas.transcript import conversation_in
from citemark_service.trainers.rows import Task

ROW: dict[str, Any] = {
    "id": "ferry",
    "question": "When did the Aldersund ferry start, and how long is the crossing?",
    "tool_output": "<snippet id=S1>The Aldersund ferry has run since 12 April 1963.</snippet>\n"
    "<snippet id=S2>The crossing takes 25 minutes in summer.</snippet>",
    "positive_rubrics": ["Gives 12 April 1963", {"title": "Time", "description": "25 minutes"}],
    "negative_rubrics": [{"description": "Speaks of the bridge", "weight": 0.5}],
}

# Neither controls nor surrogates, which JSON rows of a data set do not hold.
_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)
_WORDS = _TEXT.map(lambda text: f"w {text}".strip())
_RUBRIC = st.fixed_dictionaries(
    {"title": _WORDS, "description": _WORDS, "weight": st.floats(0, 100, allow_nan=False)}
)
_MIXED = _RUBRIC | st.tuples(_RUBRIC, st.sampled_from(["positive", "negative"])).map(
    lambda pair: {**pair[0], "polarity": pair[1]}
)
_SNIPPET = st.fixed_dictionaries(
    {"id": _WORDS, "text": _TEXT}, optional=dict.fromkeys(("paper_id", "title", "url"), _WORDS)
)
_KNOBS: dict[str, st.SearchStrategy[Any]] = {
    "citation_weight": st.floats(0, 10, allow_nan=False),
    "instance_rubrics_only": st.booleans(),
    "citation_unit": st.sampled_from(["snippet", "paper"]),
    "citation_style": st.sampled_from(["auto", "snippet", "cite", "numbered"]),
}
_FIELDS = st.fixed_dictionaries(
    {"question": _WORDS, "tool_output": _TEXT.map(lambda text: f"<snippet id=A>{text}</snippet>")},
    optional={
        "id": _WORDS,
        "group": _WORDS,
        "snippets": st.lists(_SNIPPET, min_size=1, max_size=3),
        "positive_rubrics": st.lists(_RUBRIC | _WORDS, max_size=3),
        "negative_rubrics": st.lists(_RUBRIC, max_size=2),
        "rubrics": st.lists(_MIXED, max_size=2),
        **_KNOBS,
    },
)
_PROMPTS = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant"]), "content": _WORDS}
    ),
    min_size=1,
    max_size=3,
)


def _to_task(fields: dict[str, Any], prompt: list[dict[str, str]]) -> Task:
    said = conversation_in(prompt)
    spoken = {"conversation": said} if said else {}
    return Task(Rollout.model_validate({**fields, **spoken, "response": ""}), prompt)


TASKS = st.builds(_to_task, _FIELDS, _PROMPTS)


def json_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
