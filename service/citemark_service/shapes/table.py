"""All shapes of rows, one entry each. A new shape is an entry of `_ALL`."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from citemark_schemas.cells import object_in
from citemark_schemas.rubric import GRADED
from citemark_service.shapes.readers import (
    DOCUMENT_KEYS,
    VERL_RUBRICS,
    Fields,
    Row,
    carr_info,
    fields_of,
    find_levels,
    find_tree,
    first,
    has_key,
    items_in,
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
    stands_at,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowShape:
    name: str
    title: str
    matches: Callable[[Row], bool]
    read: Callable[[Row], Fields]
    """The row's fields, of those that it has. Raises `ValueError`."""
    reads: tuple[str, ...]
    """The columns that `read` reads, as dotted paths."""
    leaves: tuple[str, ...] = ()
    """What it leaves inside those, where `*` is any item or key."""
    documents: str = ""
    """The column of its documents, of which `DOCUMENT_KEYS` are read."""


_ASKED: Final = ("question", "query", "prompt")
_LEVEL_COLUMNS: Final = tuple(
    f"{prefix}{name}"
    for prefix in ("", "orig_")
    for name in ("criteria", *(f"score{level}_description" for level in range(1, 11)))
)
_ALL: Final = (
    RowShape(
        name="paperbench",
        title="a PaperBench tree",
        matches=lambda row: find_tree(row) is not None,
        read=read_tree,
        reads=("id", "question", "prompt", "task", "rubric", "rubrics", "requirements",
               "sub_tasks", "weight", "response"),
    ),
    RowShape(
        name="deepresearch-bench",
        title="DeepResearch Bench criteria",
        matches=lambda row: "criterions" in row and "dimension_weight" in row,
        read=read_dimensions,
        reads=("id", "prompt", "criterions", "dimension_weight", "article", "response"),
        leaves=("criterions.*.*.comment",),
    ),
    RowShape(
        name="prometheus",
        title="a Prometheus score rubric",
        matches=lambda row: find_levels(row) is not None,
        read=read_levels,
        reads=("id", "instruction", "orig_instruction", "question", "prompt", "input", "response",
               "orig_response", "output", "score_rubric", "rubric", "rubrics",
               "criteria_description", *_LEVEL_COLUMNS),
    ),
    RowShape(
        name="gdpval",
        title="NeMo Gym gdpval",
        matches=lambda row: "rubric_json" in row,
        read=read_gdpval,
        reads=("task_id", "prompt", "rubric_json", "response"),
        leaves=("rubric_json.*.required",),
    ),
    RowShape(
        name="nemo-gym-finance",
        title="NeMo Gym finance",
        matches=lambda row: "responses_create_params" in row
        and (has_key(row.get("rubric"), "points", "text") or "expected_answer" in row),
        read=read_gym_finance,
        reads=("id", "query", "question", "rubric", "responses_create_params.input", "response"),
    ),
    RowShape(
        name="carr-data",
        title="CaRR",
        matches=lambda row: "search_forbidden_strs" in carr_info(row)
        and "question" not in carr_info(row),
        read=read_carr,
        reads=("id", "history", "response", *(
            f"{place}.{name}"
            for place in ("remote_env_info", "metadata.remote_env_info")
            for name in ("search_forbidden_strs", "rubrics")
        )),
    ),
    RowShape(
        name="dr-tulu",
        title="DR Tulu",
        matches=lambda row: "messages" in row
        and bool((object_in(row.get("ground_truth")) or {}).keys() & {"query", "Question"}),
        read=read_dr_tulu,
        reads=("id", "messages", "response", *(
            f"ground_truth.{name}"
            for name in ("query", "Question", "rubrics", "rubric", *GRADED)
        )),
        leaves=tuple(f"ground_truth.{name}.*.Specifics" for name in GRADED),
    ),
    RowShape(
        name="dr-tulu-trajectories",
        title="a DR Tulu trajectory",
        matches=lambda row: "final_response" in row and "full_traces" in row,
        read=read_trajectory,
        reads=("example_id", "id", "problem", "question", "final_response", "rubrics",
               "full_traces.tool_calls", "full_traces.generated_text", "original_data.rubrics"),
    ),
    RowShape(
        name="verl-rubrics",
        title="verl rows with rubrics",
        matches=lambda row: first(row, *VERL_RUBRICS) is not None
        and first(row, "extra_info.question", "reward_model.ground_truth.question") is None,
        read=read_verl,
        reads=("id", "prompt", "extra_info.prompt", "response", *VERL_RUBRICS),
    ),
    RowShape(
        name="autorubric",
        title="autorubric",
        matches=lambda row: "submission" in row
        or has_key(row.get("rubric"), "requirement")
        or has_key(row.get("rubrics"), "requirement"),
        read=read_autorubric,
        reads=("id", *_ASKED, "submission", "response", "rubric", "rubrics"),
    ),
    RowShape(
        name="researchqa",
        title="ResearchQA",
        matches=lambda row: "query" in row and has_key(row.get("rubric"), "rubric_item"),
        read=read_rubric,
        reads=("id", *_ASKED, "rubric", "response"),
        leaves=("rubric.*.citation_metadata",),
    ),
    RowShape(
        name="rar",
        title="Rubrics as Rewards",
        matches=lambda row: first(row, *_ASKED) is not None
        and has_key(row.get("rubric"), "description", "criterion"),
        read=read_rubric,
        reads=("id", *_ASKED, "rubric", "response"),
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
        reads=("sample_id", "prompt", "rubrics", "response"),
    ),
    RowShape(
        name="healthbench",
        title="HealthBench",
        matches=lambda row: "prompt" in row
        and has_key(row.get("rubrics"), "points")
        and has_key(row.get("rubrics"), "criterion"),
        read=read_healthbench,
        reads=("id", "prompt_id", "prompt", "rubrics", "response"),
    ),
    RowShape(
        name="scholarqabench",
        title="ScholarQABench",
        matches=lambda row: first(row, "input", "question") is not None
        and bool(items_in(row.get("ctxs"))),
        read=read_documents("ctxs", 0),
        reads=("id", *_ASKED, "input", "ctxs", "output", "response"),
        documents="ctxs",
    ),
    RowShape(
        name="alce",
        title="ALCE",
        matches=lambda row: "question" in row and bool(items_in(row.get("docs"))),
        read=read_documents("docs", 1),
        reads=("id", *_ASKED, "input", "docs", "output", "response"),
        documents="docs",
    ),
)  # fmt: skip
SHAPES: Final[Mapping[str, RowShape]] = {each.name: each for each in _ALL}


def find_shape(row: Row) -> RowShape | None:
    """The shape that a row has; None for one with sources of its own or an unknown layout."""
    if {"tool_output", "snippets", "documents"} & row.keys():
        return None
    return next((each for each in _ALL if each.matches(row)), None)


def unread_columns(row: Row, shape: RowShape, used: tuple[str, ...]) -> Iterator[str]:
    """Dotted paths of what a row has and neither its shape nor a path of `used` reads."""
    yield from (path for path in shape.leaves if stands_at(row, path.split(".")))
    documents = items_in(row.get(shape.documents))
    keys = dict.fromkeys(key for each in documents for key in each if key not in DOCUMENT_KEYS)
    yield from (f"{shape.documents}.*.{key}" for key in keys)
    yield from _unread(row, (*shape.reads, *used))


def _unread(row: Row, reads: tuple[str, ...]) -> Iterator[str]:
    for name, value in row.items():
        if name in reads or value is None or value in ("", [], {}):
            continue
        inner = tuple(
            path.removeprefix(f"{name}.") for path in reads if path.startswith(f"{name}.")
        )
        held = object_in(value) if inner else None
        if held is None:
            yield name
        else:
            yield from (f"{name}.{each}" for each in _unread(held, inner))
