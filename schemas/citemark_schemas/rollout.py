"""What a caller sends: a rollout with its sources, its answer and its rubrics."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, to_json

from citemark_schemas.columns import RUBRICS, columns_apart
from citemark_schemas.knobs import Knobs
from citemark_schemas.model import ClosedModel
from citemark_schemas.rows import ALIASES, CHATS, UNSEEN, Misread, read_row, to_name
from citemark_schemas.rubric import (
    IGNORED_KEYS,
    Criterion,
    MixedRubrics,
    NegativeRubrics,
    PositiveRubrics,
)

Priority = Literal["training", "audit"]

_PLACEHOLDER: Final = re.compile(r"^\s*<(?:image|video|audio)>|<(?:image|video|audio)>\s*$")
MOST_PARTS: Final = 5000
"""Sources in `snippets`, and turns of a conversation."""

RunName = Annotated[str, Field(min_length=1, max_length=256)]
Step = Annotated[int, Field(ge=0, le=2**53)]
_NAME_SCHEMA: Final = {"type": ["string", "integer"]}
Name = Annotated[str, BeforeValidator(to_name), WithJsonSchema(_NAME_SCHEMA, mode="validation")]
"""A text; a whole number is taken as one."""


class Snippet(ClosedModel):
    """One source, given structured instead of inside `tool_output`."""

    id: Name = Field(min_length=1)
    """What citations call it."""
    text: str
    """What the judge checks claims against."""
    paper_id: Name | None = None
    """Ids with one `paper_id` are one citation where `citation_unit` is `paper`."""
    title: str | None = None
    """Shown above the text."""
    url: str | None = None
    """Shown above the text; links in an answer name it."""

    @property
    def shown(self) -> str:
        """The text, below a line with title and address where they are given."""
        title = self.title or ""
        if title in self.text[: len(title) + 20]:
            title = ""
        address = f"({self.url})" if title and self.url else self.url
        head = " ".join(filter(None, (title, address)))
        return f"{head}\n{self.text}" if head else self.text

    @property
    def key(self) -> tuple[str | None, ...]:
        """What makes two snippets the same one; the first text is the id, which None is not."""
        further = (None, self.title, self.url) if self.title or self.url else ()
        return (self.id, self.text, self.paper_id, *further)


class Turn(ClosedModel):
    """What was said in a conversation before the question."""

    role: str = Field(min_length=1, max_length=64)
    """`user`, `assistant`, or another speaker's."""
    content: str
    """The text that was said."""


def _add_other_names(schema: dict[str, Any]) -> None:
    """Add what `rows.read_row` takes under other names."""
    fields = schema["properties"]
    for alias, field in ALIASES.items():
        title = alias.replace("_", " ").capitalize()
        fields[alias] = {"title": title, "description": f"Another name of `{field}`."}
        fields[alias] |= {"items": _DOCUMENT_SCHEMA, "type": "array"} if field == "snippets" else {}
    fields["snippets"]["anyOf"][0]["items"] = _DOCUMENT_SCHEMA
    chat = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]}
    for name in CHATS:
        text = "A text or chat messages; gives what of these is missing: question, conversation, "
        text += "sources (of tools' messages) and response (the last message, the assistant's)."
        fields[name] = {**chat, "title": name.capitalize(), "description": text}
    del schema["required"]
    asked = [["question"], *([name] for name in ALIASES if ALIASES[name] == "question")]
    schema["anyOf"] = [{"required": [*names, "response"]} for names in asked]
    schema["anyOf"] += [{"required": [name]} for name in CHATS]


_DOCUMENT_SCHEMA: Final = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "description": "Numbered from 1 where it has no id; other keys are not read.",
            "properties": {
                "id": _NAME_SCHEMA,
                **{key: {"type": "string"} for key in ("text", "content", "title", "url")},
                "paper_id": _NAME_SCHEMA,
            },
        },
    ]
}


class Rollout(Knobs):
    """One rollout of a research refiner; knobs set here win over all others."""

    model_config = ConfigDict(json_schema_extra=_add_other_names)

    id: Name | None = Field(None, max_length=512)
    """The caller's own id, echoed; where absent the position in the request stands in."""
    question: str
    """What was asked last."""
    conversation: tuple[Turn, ...] | None = None
    """The turns before the question, without instructions to the policy and tools' answers."""
    tool_output: str | None = None
    """Raw search-tool output, with `<snippet id=…>`, `<snippets id="…">` or `<webpage id=…>`."""
    snippets: tuple[Snippet, ...] | None = None
    """The same sources, structured. Where both are given, these are read first."""
    response: str
    """The policy's whole text; only its single `<answer>` block is judged."""
    finish_reason: str | None = None
    """Why the policy ended; other than `stop` is penalised where `non_stop_penalty` is on."""
    positive_rubrics: PositiveRubrics = ()
    """What a good answer does: texts or objects."""
    negative_rubrics: NegativeRubrics = ()
    """Defects, flipped: texts or objects."""
    rubrics: MixedRubrics = ()
    """Both, told apart by the sign of the weight or by `polarity`."""
    run: RunName | None = None
    """The training run that made it; like `step` and `group` recorded, never judged."""
    step: Step | None = None
    """The optimizer step, or another count that grows with the run."""
    group: Name | None = Field(None, min_length=1, max_length=512)
    """What the samples of one prompt have in common; their prompt where absent."""
    metadata: dict[str, Any] | None = None
    """The caller's own columns; never judged."""

    @model_validator(mode="before")
    @classmethod
    def _read_names(cls, row: Any) -> Any:
        for name in (*ALIASES, "snippets", "conversation") if isinstance(row, dict) else ():
            held = row.get(name)
            # Told here, since pydantic would list the errors of a million first.
            if isinstance(held, list) and len(held) > MOST_PARTS:
                raise ValueError(f"has {len(held)} {name}, over {MOST_PARTS}")
        if not isinstance(row, dict) or (
            row.keys().isdisjoint(_OTHER_NAMES) and row.get("conversation") is None
        ):
            return row
        try:
            read = read_row(row)
        except Misread as error:
            detail = InitErrorDetails(
                type=PydanticCustomError("misread", "{message}", {"message": error.message}),
                loc=(error.place,),
                input=None,
            )
            raise ValidationError.from_exception_data(cls.__name__, [detail]) from error
        return {name: value for name, value in read.items() if name not in CHATS}

    @field_validator("tool_output", mode="before")
    @classmethod
    def _results_are_text(cls, value: Any) -> Any:
        listed = isinstance(value, list) and bool(value)
        objects = listed and all(isinstance(each, Mapping) for each in value)
        return to_json(value).decode() if objects else value

    @field_validator("question")
    @classmethod
    def _question_is_text(cls, value: str, info: ValidationInfo) -> str:
        if not value.strip():
            raise ValueError("must not be blank")
        if info.context and _PLACEHOLDER.search(value):
            raise ValueError(f"has the place of an image, {UNSEEN}")
        return value

    @field_validator("metadata")
    @classmethod
    def _metadata_holds_no_sign(
        cls, value: dict[str, Any] | None, info: ValidationInfo
    ) -> dict[str, Any] | None:
        # What was scored stays readable: only a reader that says what is ignored refuses.
        if value and info.context:
            lists = [info.data.get(name, ()) for name in RUBRICS]
            counts = {*map(len, lists), sum(map(len, lists))} if any(lists) else set[int]()
            ignored = info.context.get(IGNORED_KEYS, frozenset())
            if told := next(columns_apart(value, counts, ignored), None):
                raise ValueError(": ".join(told))
        return value

    @model_validator(mode="after")
    def _has_sources(self) -> Self:
        if self.tool_output is None and self.snippets is None:
            raise ValueError("needs tool_output or snippets (either may be empty, not absent)")
        return self

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """The row's own criteria in the order given: positive, negative, mixed."""
        return self.positive_rubrics + self.negative_rubrics + self.rubrics

    @property
    def characters(self) -> int:
        """The length of question, conversation, sources and response."""
        texts = [self.question, self.response, self.tool_output or ""]
        texts += [snippet.shown for snippet in self.snippets or ()]
        texts += [turn.content for turn in self.conversation or ()]
        return sum(map(len, texts))


_OTHER_NAMES: Final = frozenset({*ALIASES, *CHATS, "snippets"})


def conversation_key(turns: Sequence[Turn]) -> tuple[str | None, ...]:
    """The texts that hashes of a conversation are made of: none without turns, else None first."""
    if not turns:
        return ()
    return (None, str(len(turns)), *(text for turn in turns for text in (turn.role, turn.content)))


class RequestOptions(Knobs):
    """What a request says once. Knobs set here hold for every item that does not set its own."""

    priority: Priority = "training"
    """Audits wait while training has calls to make."""
    run: RunName | None = None
    """`Rollout.run` of every item that names none."""
    step: Step | None = None
    """`Rollout.step` of every item that names none."""


class BatchOptions(RequestOptions):
    """What a batch says once."""

    deadline_s: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Seconds after which unfinished items come back as `deadline_exceeded`."""


class ScoreRequest(BatchOptions):
    """A batch: its options and its rollouts."""

    items: tuple[Rollout, ...]
    """One or more, at most `CITEMARK_MAX_ITEMS`."""

    @field_validator("items")
    @classmethod
    def _has_items(cls, value: tuple[Rollout, ...]) -> tuple[Rollout, ...]:
        # A min_length would add its own complaint whenever an item is invalid.
        if not value:
            raise ValueError("must hold at least one rollout")
        return value
