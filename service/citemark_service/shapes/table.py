"""All shapes of rows, one entry each. A new shape is an entry of `_ALL`."""

from collections.abc import Callable, Collection, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Final

from citemark_schemas.cells import items_in, object_in, value_at
from citemark_schemas.envelope import NESTED
from citemark_schemas.rows import SOURCES
from citemark_schemas.rubric import GRADED
from citemark_service.shapes.readers import (
    CARR_INFO,
    VERL_RUBRICS,
    Fields,
    carr_info,
    fields_of,
    find_levels,
    find_tree,
    first,
    has_key,
    read_autorubric,
    read_carr,
    read_dimensions,
    read_documents,
    read_dr_tulu,
    read_gdpval,
    read_gym_finance,
    read_healthbench,
    read_levels,
    read_rubric,
    read_trajectory,
    read_tree,
    read_verl,
)
from citemark_service.trainers.rows import Row, unread_keys
from citemark_service.trainers.table import PROMPT_HEADS


@dataclass(frozen=True, slots=True, kw_only=True)
class RowShape:
    name: str
    title: str
    matches: Callable[[Row], bool]
    read: Callable[[Row], Fields]
    """The row's fields, of those that it has. Raises `ValueError`."""
    reads: tuple[str, ...]
    """The columns that `read` reads, as dotted paths."""
    rubrics: Callable[[Row], Collection[str]] = lambda _: ()
    """Of the columns that may hold the rubrics those that `read` reads in this row."""
    answers: tuple[str, ...] = ("response",)
    """The columns that may hold the response, strongest first."""


OWN_SOURCES: Final = frozenset({*SOURCES, "documents"})
_ASKED: Final = ("question", "query", "prompt")
_LEVEL_COLUMNS: Final = tuple(
    f"{prefix}{name}"
    for prefix in ("", "orig_")
    for name in ("criteria", *(f"score{level}_description" for level in range(1, 11)))
)


def _first_of(*paths: str) -> Callable[[Row], list[str]]:
    """Which of these paths is the first that has a value."""
    return lambda row: [path for path in paths if value_at(row, path) is not None][:1]


_ALL: Final = (
    RowShape(
        name="paperbench",
        title="a PaperBench tree",
        matches=lambda row: find_tree(row) is not None,
        read=read_tree,
        reads=("id", "question", "prompt", "task"),
        rubrics=lambda row: ("requirements", "sub_tasks", "weight")
        if (place := (find_tree(row) or ("row",))[0]) == "row"
        else (place,),
    ),
    RowShape(
        name="deepresearch-bench",
        title="DeepResearch Bench criteria",
        matches=lambda row: "criterions" in row and "dimension_weight" in row,
        read=read_dimensions,
        reads=("id", "prompt", "criterions", "dimension_weight"),
        answers=("article", "response"),
    ),
    RowShape(
        name="prometheus",
        title="a Prometheus score rubric",
        matches=lambda row: find_levels(row) is not None,
        read=read_levels,
        reads=("id", "instruction", "orig_instruction", "question", "prompt", "input",
               "criteria_description"),
        rubrics=lambda row: _LEVEL_COLUMNS
        if (place := (find_levels(row) or ("row",))[0]) == "row"
        else (place,),
        answers=("response", "orig_response", "output"),
    ),
    RowShape(
        name="gdpval",
        title="NeMo Gym gdpval",
        matches=lambda row: "rubric_json" in row,
        read=read_gdpval,
        reads=("task_id", "prompt", "rubric_json"),
    ),
    RowShape(
        name="nemo-gym-finance",
        title="NeMo Gym finance",
        matches=lambda row: "responses_create_params" in row
        and (has_key(row.get("rubric"), "points", "text", "operator") or "expected_answer" in row),
        read=read_gym_finance,
        reads=("id", "query", "question", "rubric", "responses_create_params.input"),
    ),
    RowShape(
        name="carr-data",
        title="CaRR",
        matches=lambda row: "search_forbidden_strs" in carr_info(row)
        and "question" not in carr_info(row)
        and object_in(row.get("label")) is None,
        read=read_carr,
        reads=("id", "history", *(f"{place}.search_forbidden_strs" for place in CARR_INFO)),
        rubrics=_first_of(*(f"{place}.rubrics" for place in CARR_INFO)),
        answers=("response", "history"),
    ),
    RowShape(
        name="dr-tulu",
        title="DR Tulu",
        matches=lambda row: "messages" in row
        and bool((object_in(row.get("ground_truth")) or {}).keys() & {"query", "Question"}),
        read=read_dr_tulu,
        reads=("id", "messages", "ground_truth.query", "ground_truth.Question"),
        rubrics=lambda row: _first_of("ground_truth.rubrics", "ground_truth.rubric")(row)
        or [f"ground_truth.{name}" for name in GRADED],
    ),
    RowShape(
        name="dr-tulu-trajectories",
        title="a DR Tulu trajectory",
        matches=lambda row: "final_response" in row and "full_traces" in row,
        read=read_trajectory,
        reads=("example_id", "id", "problem", "question",
               "full_traces.tool_calls", "full_traces.generated_text"),
        rubrics=_first_of("rubrics", "original_data.rubrics"),
        answers=("final_response",),
    ),
    RowShape(
        name="verl-rubrics",
        title="verl rows with rubrics",
        matches=lambda row: first(row, *VERL_RUBRICS) is not None
        and first(row, "extra_info.question", "reward_model.ground_truth.question") is None,
        read=read_verl,
        reads=("id", "prompt", "extra_info.prompt"),
        rubrics=_first_of(*VERL_RUBRICS),
    ),
    RowShape(
        name="autorubric",
        title="autorubric",
        matches=lambda row: "submission" in row
        or has_key(row.get("rubric"), "requirement")
        or has_key(row.get("rubrics"), "requirement"),
        read=read_autorubric,
        reads=("id", *_ASKED),
        rubrics=_first_of("rubric", "rubrics"),
        answers=("submission", "response"),
    ),
    RowShape(
        name="researchqa",
        title="ResearchQA",
        matches=lambda row: "query" in row and has_key(row.get("rubric"), "rubric_item"),
        read=read_rubric,
        reads=("id", *_ASKED, "rubric"),
    ),
    RowShape(
        name="rar",
        title="Rubrics as Rewards",
        matches=lambda row: first(row, *_ASKED) is not None
        and has_key(row.get("rubric"), "description", "criterion"),
        read=read_rubric,
        reads=("id", *_ASKED, "rubric"),
    ),
    RowShape(
        name="researchrubrics",
        title="ResearchRubrics",
        matches=lambda row: "prompt" in row
        and "sample_id" in row
        and has_key(row.get("rubrics"), "criterion"),
        read=lambda row: fields_of(
            row, prompt=row.get("prompt"), identity="sample_id", rubrics=row["rubrics"]
        ),
        reads=("sample_id", "prompt", "rubrics"),
    ),
    RowShape(
        name="healthbench",
        title="HealthBench",
        matches=lambda row: "prompt" in row
        and has_key(row.get("rubrics"), "points")
        and has_key(row.get("rubrics"), "criterion"),
        read=read_healthbench,
        reads=("id", "prompt_id", "prompt", "rubrics"),
    ),
    RowShape(
        name="scholarqabench",
        title="ScholarQABench",
        matches=lambda row: first(row, "input", "question") is not None
        and bool(items_in(row.get("ctxs"))),
        read=read_documents("ctxs"),
        reads=("id", *_ASKED, "input", "ctxs"),
        answers=("output", "response"),
    ),
    RowShape(
        name="alce",
        title="ALCE",
        matches=lambda row: "question" in row and bool(items_in(row.get("docs"))),
        read=read_documents("docs"),
        reads=("id", *_ASKED, "input", "docs"),
        answers=("output", "response"),
    ),
)  # fmt: skip
SHAPES: Final[Mapping[str, RowShape]] = {each.name: each for each in _ALL}


def find_shape(row: Row) -> RowShape | None:
    """The shape that a row has; None for one with sources of its own or an unknown layout."""
    envelopes = (object_in(row.get(name)) or {} for name in NESTED)
    if any(OWN_SOURCES & held.keys() for held in (row, *envelopes)):
        return None
    return next((each for each in _ALL if each.matches(row)), None)


def rest_of(row: Row, reads: Collection[str]) -> Fields:
    """The row without what `reads` names, dotted paths, and without prompts."""
    rest: Fields = {}
    for name, value in row.items():
        if name in reads or name in PROMPT_HEADS:
            continue
        inner = [path.removeprefix(f"{name}.") for path in reads if path.startswith(f"{name}.")]
        held = object_in(value) if inner else None
        rest[name] = value if held is None else rest_of(held, inner)
    return rest


def unread_columns(row: Row, reads: Collection[str], taken: Set[str]) -> Iterator[str]:
    """Dotted paths of what a row has and none of `reads` names, and no column of `taken` is."""
    for name, value in row.items():
        if value is None or value in ("", [], {}):
            continue
        if name in reads or name in taken:
            yield from unread_keys(name, value)
            continue
        inner = [path.removeprefix(f"{name}.") for path in reads if path.startswith(f"{name}.")]
        held = object_in(value) if inner or name in NESTED else None
        if held is None:
            yield name
        else:
            yield from (f"{name}.{each}" for each in unread_columns(held, inner, taken))
