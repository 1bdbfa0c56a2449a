"""Readers of rows, one for each shape, and how they look at a row. Pure."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from citemark_schemas.cells import items_in, object_in, to_json_value, value_at
from citemark_schemas.rows import DOCUMENT_IDS, join_texts, to_name
from citemark_schemas.rubric import GRADED
from citemark_schemas.transcript import sources_in
from citemark_service.shapes.criteria import (
    Criteria,
    dimension_criteria,
    level_criterion,
    operator_criterion,
    option_criterion,
    text_in,
    tree_leaves,
)
from citemark_service.trainers.rows import Row

Fields: TypeAlias = dict[str, Any]


def first(row: Row, *paths: str) -> Any:
    """The value of the first of these paths that has one."""
    values = (value_at(row, path) for path in paths)
    return next((value for value in values if value is not None), None)


def without(rubrics: Any, name: str) -> Any:
    """A list whose objects lack one key."""
    if not isinstance(rubrics, list):
        return rubrics
    return [
        {key: value for key, value in each.items() if key != name}
        if isinstance(each, Mapping)
        else each
        for each in rubrics
    ]


def has_key(rubrics: Any, *keys: str) -> bool:
    """Whether a value is a list of objects of which the first has one of these keys."""
    listed = items_in(rubrics)
    return bool(listed) and any(key in listed[0] for key in keys)


def fields_of(row: Row, *, prompt: Any = None, identity: str = "id", **fields: Any) -> Fields:
    """Fields without those that are None; a name that is a number as text."""
    name = value_at(row, identity)
    found = {"id": to_name(name) or None, "prompt": prompt, **fields}
    return {field: value for field, value in found.items() if value is not None}


def read_healthbench(row: Row) -> Fields:
    identity = "prompt_id" if row.get("prompt_id") is not None else "id"
    return fields_of(row, prompt=row["prompt"], identity=identity, rubrics=row["rubrics"])


def read_rubric(row: Row) -> Fields:
    """A question with a list of criteria under `rubric`, of RaR and ResearchQA."""
    # Which papers a criterion was mined from is no part of it.
    rubrics = without(items_in(row["rubric"]) or row["rubric"], "citation_metadata")
    return fields_of(row, prompt=first(row, "question", "query", "prompt"), rubrics=rubrics)


def read_gym_finance(row: Row) -> Fields:
    question = first(row, "query", "question")
    rubrics: Any = row.get("rubric") or None
    if has_key(rubrics, "operator"):
        listed = items_in(rubrics)
        rubrics = [operator_criterion(each, f"rubric[{at}]") for at, each in enumerate(listed)]
    asked = first(row, "responses_create_params.input")
    return fields_of(row, prompt=asked, question=question, rubrics=rubrics)


def read_gdpval(row: Row) -> Fields:
    rubrics = items_in(row["rubric_json"])
    if not rubrics:
        raise ValueError("rubric_json must be a list of criteria, or a JSON string of one")
    rubrics = without(rubrics, "required")
    return fields_of(row, prompt=row.get("prompt"), identity="task_id", rubrics=rubrics)


def read_dr_tulu(row: Row) -> Fields:
    held = object_in(row["ground_truth"]) or {}
    rubrics = held.get("rubrics", held.get("rubric"))
    if rubrics is None:
        graded = {name: items_in(held.get(name)) or held.get(name) for name in GRADED}
        rubrics = {name: without(listed, "Specifics") for name, listed in graded.items()}
    question = text_in(held, "query", "Question")
    return fields_of(row, prompt=row.get("messages"), question=question, rubrics=rubrics)


def read_trajectory(row: Row) -> Fields:
    """What tools answered in a trajectory is in each call's `generated_text`, else `output`, and
    in `documents` where these hold no snippet."""
    calls = items_in(value_at(row, "full_traces.tool_calls"))
    outputs, documents = list[str](), list[Row]()
    for call in calls:
        told = text_in(call, "generated_text")
        if "<snippet" not in told:
            told = text_in(call, "output")
        if "<snippet" not in told:
            documents += [each for each in items_in(call.get("documents")) if join_texts(each)]
        outputs.append(told)
    sources = "\n".join(filter(None, outputs))
    if not calls:
        sources = text_in(object_in(row["full_traces"]) or {}, "generated_text")
    return fields_of(
        row,
        prompt=first(row, "problem", "question"),
        identity="example_id" if row.get("example_id") is not None else "id",
        tool_output=sources,
        snippets=documents or None,
        rubrics=first(row, "rubrics", "original_data.rubrics"),
    )


VERL_RUBRICS: Final = (
    "reward_model.rubrics", "extra_info.reward_model.rubrics", "extra_info.rubrics",
)  # fmt: skip


def read_verl(row: Row) -> Fields:
    rubrics = to_json_value(first(row, *VERL_RUBRICS))
    return fields_of(row, prompt=first(row, "prompt", "extra_info.prompt"), rubrics=rubrics)


CARR_INFO: Final = ("metadata.remote_env_info", "remote_env_info")


def carr_info(row: Row) -> Row:
    return object_in(first(row, *CARR_INFO)) or {}


def read_carr(row: Row) -> Fields:
    info, history = carr_info(row), row.get("history")
    questions = info.get("search_forbidden_strs")
    if not isinstance(questions, list) or not questions or not isinstance(questions[0], str):
        raise ValueError("remote_env_info.search_forbidden_strs must begin with the question")
    turns = history if isinstance(history, list) else []
    return fields_of(
        row,
        question=questions[0],
        tool_output=sources_in(turns[:-1]),
        rubrics=info.get("rubrics"),
    )


def read_dimensions(row: Row) -> Fields:
    held = object_in(row["criterions"]) or {}
    rubrics = dimension_criteria(held, row.get("dimension_weight"), "criterions")
    return fields_of(row, prompt=row.get("prompt"), rubrics=rubrics)


def find_tree(row: Row) -> tuple[str, Row] | None:
    places = {"rubric": row.get("rubric"), "rubrics": row.get("rubrics"), "row": row}
    found = ((place, object_in(value)) for place, value in places.items())
    return next(((place, held) for place, held in found if held and "sub_tasks" in held), None)


def read_tree(row: Row) -> Fields:
    place, root = find_tree(row) or ("row", row)
    asked = first(row, "question", "prompt", "task") or text_in(root, "requirements")
    return fields_of(row, prompt=asked, rubrics=tree_leaves(root, place))


def read_documents(name: str) -> Callable[[Row], Fields]:
    def read(row: Row) -> Fields:
        # Their answers cite the places, whatever ids the documents have.
        documents = [
            {key: each[key] for key in each if key not in DOCUMENT_IDS}
            for each in items_in(row[name])
        ]
        asked = first(row, "question", "input", "query")
        return {**fields_of(row, prompt=asked), name: documents}

    return read


def read_autorubric(row: Row) -> Fields:
    key = "rubric" if row.get("rubric") is not None else "rubrics"
    rubrics: Any = [
        option_criterion(each, f"{key}[{at}]") if each.get("options") else each
        for at, each in enumerate(items_in(row.get(key)))
    ]
    asked = first(row, "prompt", "query", "question")
    return fields_of(row, prompt=asked, rubrics=rubrics or row.get(key))


def find_levels(row: Row) -> tuple[str, Row] | None:
    """Where a row has a rubric with described levels."""
    for place in ("score_rubric", "rubric", "rubrics", ""):
        held = object_in(row.get(place)) if place else row
        if held and any(f"{prefix}score1_description" in held for prefix in ("", "orig_")):
            return place or "row", held
    return None


def read_levels(row: Row) -> Fields:
    place, held = find_levels(row) or ("row", row)
    criteria: Criteria = [level_criterion(held, place)]
    asked = first(row, "instruction", "orig_instruction", "question", "prompt", "input")
    return fields_of(row, prompt=asked, rubrics=criteria)
