"""How the rows of one file are read: as a known shape, with columns mapped by the user. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Final

from citemark_schemas import Criterion, Rollout
from citemark_schemas.cells import object_in, value_at
from citemark_schemas.rows import CHATS, FAINT, Misread, differing_chat, read_chat
from citemark_schemas.transcript import reply_at_end, tools_in
from citemark_service.shapes.readers import Fields
from citemark_service.shapes.table import (
    OWN_SOURCES,
    SHAPES,
    RowShape,
    find_shape,
    rest_of,
    unread_columns,
)
from citemark_service.trainers.rows import FIELDS, JUDGED, Row
from citemark_service.trainers.table import LAYOUTS, prompt_anywhere, unread_in

_REFERENCES: Final = (
    "reference_answer", "expected_answer", "ideal_completion",
    "ideal_completions_data.ideal_completion", "gold_answer", "reference_submission",
    "orig_reference_answer", "ground_truth", "reward_model.ground_truth", "answer", "label",
    "target",
)  # fmt: skip
"""Where data sets keep the answer that is right, most explicit first."""
_SCORED: Final = frozenset({"response", "finish_reason", "run", "step"})
_CONVERTED: Final = frozenset({"reasoning"})
_OPEN: Final = "<answer>"


@dataclass(frozen=True, slots=True)
class Response:
    text: str
    tool_output: str | None = None
    """What tools answered in it."""
    unmarked: bool = False
    """Whether it says something, but in no answer block of its own."""


@dataclass(frozen=True, slots=True)
class ReadRow:
    fields: Fields
    shape: RowShape | None
    left: tuple[str, ...]
    """Dotted paths of what is not read."""
    answered_at: str
    """The column of the response, or of a chat that ends in it; empty where there is neither."""
    reference: str | None
    """The row's reference answer, if it is to be a criterion."""
    whole: bool
    """Whether a response without an answer block is taken as one."""
    chosen: frozenset[str]
    """Fields whose columns the user named."""
    sources_needed: bool

    @property
    def reading(self) -> dict[str, Any]:
        """How `rollout_anywhere` reads the fields."""
        return {"chosen": self.chosen, "sources_needed": self.sources_needed}

    def read_response(self) -> Response:
        """What the policy said. Raises `ValueError` where that is nothing, or several texts."""
        value: Any = self.fields["response"]
        if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
            if len(value) > 1:
                message = f"holds {len(value)} answers; write one a row"
                raise Misread(self.answered_at, message)
            value = value[0]
        told = None
        if value is None:
            raise Misread("response", "is missing")
        if not isinstance(value, str):
            # A response of NeMo Gym's, a completion of several messages, or a whole chat.
            items = value.get("output") if isinstance(value, Mapping) else value
            value, told = reply_at_end(items), tools_in(items)
            if value is None:
                message = "must be text, or messages of which the last is the assistant's"
                raise Misread(self.answered_at, message)
        unmarked = bool(value.strip()) and _OPEN not in value
        if unmarked and self.whole:
            thought, end, said = value.rpartition("</think>")  # reasoning is no part of an answer
            value = f"{thought}{end}{_OPEN}{said}</answer>"
        return Response(value, told, unmarked)

    def add_reference(self, rollout: Rollout) -> Rollout:
        """The rollout with the reference answer as its last positive criterion, if there is one."""
        if self.reference is None:
            return rollout
        criterion = Criterion(
            title="Reference answer",
            description=f"Agrees with the reference answer: {self.reference}",
            weight=1.0,  # said, so that a number in the answer is not taken for one
        )
        positive = (*rollout.positive_rubrics, criterion)
        return rollout.model_copy(update={"positive_rubrics": positive})


@dataclass(frozen=True, slots=True)
class ReadPlan:
    origin: str | None = None
    """The shape of all rows, or the trainer in whose layout they are, by its name; None: each
    row's own shape, if it has a known one."""
    maps: Mapping[str, str] = field(default_factory=dict)
    """Fields, and the dotted paths of the columns that hold them."""
    reference: bool = False
    no_sources: bool = False
    whole_answers: bool = False
    """Whether a response without an answer block is taken as one; that of a shape always is."""

    def read(self, row: Row, *, scored: bool) -> ReadRow:
        """A row as fields; its response counts as read where it is to be `scored`.

        Raises `ValueError` where its shape cannot be read.
        """
        shape = find_shape(row) if self.origin is None else SHAPES.get(self.origin)
        values = {name: value_at(row, path) for name, path in self.maps.items()}
        mapped = {name: value for name, value in values.items() if value is not None}
        at, reference = find_reference(row) if self.reference else ("", None)
        answers = ("response",) if shape is None or "response" in mapped else shape.answers
        name, answer = next(_find_answers({**row, **mapped}, answers), ("", None))
        answered_at = self.maps.get(name, name)
        if shape is None:
            renamed = {path for name, path in self.maps.items() if name != path}
            fields = {name: row[name] for name in row if name not in renamed} | mapped
            chat = next(filter(mapped.__contains__, CHATS), "")
            if not chat and self.origin is None and (problem := differing_chat(fields)):
                told = f"{problem}: keep one of them, or choose it: "
                raise ValueError(f"{told}--map {problem.place}={problem.place}")
            chat = chat or (name if scored else "")
            if chat in CHATS:
                fields = {
                    each: fields[each] for each in fields if each not in CHATS or each == chat
                }
        else:
            reads = {*shape.reads, *shape.rubrics(row), *self.maps.values()}
            fields = _read_shape(shape, row, reads, frozenset(mapped)) | mapped
        fields["response"] = answer
        # A prompt that held its answer would teach the policy to copy it.
        cut = name in CHATS and not scored and self.origin not in LAYOUTS
        if cut := cut and read_chat(prompt_anywhere(fields)) == answer:
            fields |= {each: answer[:-1] for each in CHATS if read_chat(fields.get(each)) == answer}
        used = {*self.maps.values(), at} - {answered_at} | (
            {answered_at} if scored or cut else set()
        )
        if shape is None:
            left = unread_in(row, used | (_SCORED if scored else _CONVERTED), fields)
        else:
            left = unread_columns(row, {*reads, *used}, _list_fields(fields, scored=scored))
        return ReadRow(
            fields,
            shape,
            (*left, *([f"{answered_at}[-1]"] if cut else ())),
            answered_at,
            reference,
            whole=shape is not None or self.whole_answers,
            chosen=frozenset(mapped),
            sources_needed=shape is None and not self.no_sources,
        )


def _find_answers(row: Row, paths: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Columns that hold a response, and what they hold; last those of chats that end in one."""
    for path in paths:
        if (value := value_at(row, path)) is not None:
            yield path, value
    asked = any(row.get(name) is not None for name in ("question", "query"))
    for name in (*CHATS, *(() if asked else ("conversation",))):
        if reply_at_end(chat := read_chat(row.get(name))) is not None:
            yield name, chat


def _read_shape(shape: RowShape, row: Row, reads: Set[str], mapped: Set[str]) -> Fields:
    """What a shape says and, as in any other row, what its other columns say."""
    try:
        fields = shape.read(row)
    except (KeyError, TypeError, AttributeError) as error:  # a row forced into a shape
        known = ", ".join(shape.reads[:8])
        raise ValueError(f"is not {shape.title}, which has {known}: {error!r}") from error
    rest = rest_of(row, {*reads, *shape.answers})
    for name in (fields.keys() & rest.keys() & JUDGED) - mapped:
        if rest[name] not in (None, "", [], {}) and rest[name] != fields[name]:
            told = f"and the {name} of {shape.title} say different things: keep one of them"
            raise ValueError(f"{name}: {told}, or choose it: --map {name}={name}")
    return rest | fields


def _list_fields(fields: Fields, *, scored: bool) -> Set[str]:
    """Columns of a shape's row that are read as in any other row."""
    sourced = any(fields.get(name) for name in OWN_SOURCES)
    also = _SCORED - {"response"} if scored else _CONVERTED
    return (FIELDS.keys() | also | {"documents", "knobs"}) | (frozenset() if sourced else FAINT)


def find_reference(row: Row) -> tuple[str, str | None]:
    """Path and text of the answer that a row says is right; an envelope is none."""
    for path in _REFERENCES:
        text = _reference_text(value_at(row, path))
        if text:
            return path, text
    return "", None


def _reference_text(value: Any) -> str | None:
    if isinstance(value, bool) or object_in(value) is not None:
        return None
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return " or: ".join(value)
    return str(value).strip() if isinstance(value, str | int | float) else None
