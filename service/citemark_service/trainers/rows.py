"""Rows of data sets: types, envelopes and prompts."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final, TypeAlias

from jinja2 import Environment, StrictUndefined, Template, TemplateError
from pydantic_core import to_json

from citemark_schemas import Criterion, Knobs, Rollout
from citemark_schemas.cells import items_in, object_in
from citemark_schemas.rows import DOCUMENT_KEYS, FAINT, read_chat
from citemark_schemas.rubric import GRADED, RUBRIC_KEYS
from citemark_schemas.transcript import ROLES
from citemark_service.errors import DataError

Shape: TypeAlias = "type | list[Shape] | Mapping[str, Shape]"
"""`str`, `float` (any number), `int` or `bool`; a list of one shape stands for lists of it, and a
mapping for an object with these keys, all optional."""

_NAMES: Final = {str: "text", float: "number", int: "integer", bool: "flag"}
Row: TypeAlias = Mapping[str, Any]
Messages: TypeAlias = Sequence[Mapping[str, Any]]

MESSAGES: Final[Shape] = [{"role": str, "content": str}]
RUBRICS: Final = ("positive_rubrics", "negative_rubrics", "rubrics")
_RUBRIC: Final[Mapping[str, Shape]] = {"title": str, "description": str, "weight": float}
FIELDS: Final[Mapping[str, Shape]] = {
    "id": str,
    "group": str,
    "question": str,
    "conversation": MESSAGES,
    "tool_output": str,
    "snippets": [dict.fromkeys(("id", "text", "paper_id", "title", "url"), str)],
    "positive_rubrics": [_RUBRIC],
    "negative_rubrics": [_RUBRIC],
    "rubrics": [{**_RUBRIC, "polarity": str}],
    **{name: type(field.default) for name, field in Knobs.model_fields.items()},
}
"""The columns of an envelope: a rollout's fields before the policy answers."""

JUDGED: Final = frozenset(FIELDS) - {"id", "group"}
"""Those of which a row may not say two things."""
_CRITERION: Final = RUBRIC_KEYS | {"Handle", "options", "scale_type", "sub_tasks"}
_READ_IN: Final[Mapping[str, Set[str]]] = {
    **dict.fromkeys(("snippets", "documents", *FAINT), DOCUMENT_KEYS),
    **dict.fromkeys(
        (*RUBRICS, *GRADED, "rubric", "rubric_json", "criterions", "sub_tasks"), _CRITERION
    ),
}
"""By their columns the keys that are read of documents and of rubrics."""

_ENVIRONMENT: Final = Environment(
    autoescape=False,  # noqa: S701 - the output is a prompt, not a page
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True)
class Task:
    """A row without its layout; the rollout has an empty response."""

    rollout: Rollout
    prompt: Messages


def unread_keys(path: str, value: object) -> Iterator[str]:
    """Dotted paths, with `*` for any item, of keys of rubrics or documents that are not read."""
    name = path.rpartition(".")[2]
    read = _READ_IN.get(name)
    if read is None:
        return
    items, held = items_in(value), object_in(value)
    if not items and held is not None:
        path, items = f"{path}.*", [each for inner in held.values() for each in items_in(inner)]
    cells = (cell for each in items for cell in each.items())
    keys = (key for key, cell in cells if key not in read and cell not in (None, "", [], {}))
    yield from (f"{path}.*.{key}" for key in dict.fromkeys(keys))


def misfit(value: object, shape: Shape, place: str) -> str | None:
    """`place: problem` where `value` is not of `shape`; None where it fits, as None always does."""
    if value is None:
        return None
    if isinstance(shape, type):
        fits = isinstance(value, int | float if shape is float else shape)
        return None if fits else f"{place}: is no {_NAMES[shape]}"
    inner: Iterator[tuple[object, Shape, str]]
    if isinstance(shape, list):
        if not isinstance(value, list | tuple):
            return f"{place}: is no list"
        inner = ((item, shape[0], f"{place}[{at}]") for at, item in enumerate(value))
    else:
        if not isinstance(value, Mapping):
            return f"{place}: is no object"
        unknown = next((key for key in value if key not in shape), None)
        if unknown is not None:
            return f"{place}: has the key {unknown!r}, for which the file has no column"
        inner = ((item, shape[key], f"{place}.{key}") for key, item in value.items())
    return next(filter(None, (misfit(*each) for each in inner)), None)


def envelope_of(rollout: Rollout) -> dict[str, object]:
    """The fields of `FIELDS` that are set; rubrics as objects of one shape, for typed files."""
    given = rollout.model_dump(include=set(FIELDS), exclude_unset=True, exclude_none=True)
    for name in RUBRICS:
        criteria: tuple[Criterion, ...] = getattr(rollout, name)
        given[name] = [
            {
                "title": each.title,
                "description": each.description,
                "weight": each.weight,
                **({"polarity": each.polarity.value} if name == "rubrics" else {}),
            }
            for each in criteria
        ]
    for name in ("conversation", "snippets"):
        if name in given:
            given[name] = [dict(each) for each in given[name]]
    return {name: given[name] for name in FIELDS if given.get(name) not in (None, [])}


def envelope_text(rollout: Rollout) -> str:
    """`envelope_of` as JSON text, which loaders of data sets cannot reshape."""
    return to_json(envelope_of(rollout)).decode()


def messages_of(value: object) -> Messages | None:
    """A prompt as chat messages, which text that is none becomes; None if it is empty."""
    if isinstance(value, str):
        value = read_chat(value)
    if isinstance(value, str):
        return [{"role": "user", "content": value}] if value.strip() else None
    if not isinstance(value, list | tuple):
        return None
    # Tables add the keys of other messages as None, on which chat templates fail.
    return [
        {key: item for key, item in _turn(message).items() if item is not None or key == "content"}
        for message in value
        if isinstance(message, Mapping)
    ] or None


def _turn(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """A message, also where it is ShareGPT's, with role and content."""
    name = message.get("from")
    if not isinstance(name, str) or message.get("role") is not None:
        return message
    return {"role": ROLES.get(name, name), "content": message.get("value")}


def chat_text(prompt: object) -> str:
    """A prompt in ChatML, including the start of the assistant's turn."""
    if isinstance(prompt, str) and prompt.endswith("assistant\n"):  # already templated
        return prompt
    turns = [
        f"<|im_start|>{message.get('role')}\n{message.get('content')}<|im_end|>\n"
        for message in messages_of(prompt) or ()
    ]
    return "".join([*turns, "<|im_start|>assistant\n"])


class PromptTemplate:
    """A Jinja template over `question`, `reasoning` and `tool_output`. Raises `DataError`.

    The default is for data without prompts; a tuned policy needs the one it was tuned on.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.replaces = file is not None
        """Whether it also replaces prompts of rows: true for a template that the user chose."""
        source = file or resources.files("citemark_service.trainers") / "prompts" / "refiner.j2"
        self._name = source.name
        try:
            self._template: Template = _ENVIRONMENT.from_string(source.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, TemplateError) as error:
            raise DataError(f"prompt template {self._name}: {error}") from error

    def messages(self, rollout: Rollout, row: Row) -> Messages:
        """The conversation and one user message. Raises `ValueError` if the template fails."""
        reasoning = row.get("reasoning")
        # Structured sources first, the order of `read_sources`.
        sources = [
            f"<snippet id={each.id}>{each.shown}</snippet>" for each in rollout.snippets or ()
        ]
        try:
            text = self._template.render(
                question=rollout.question,
                reasoning=reasoning if isinstance(reasoning, str) else "",
                tool_output="\n".join([*sources, *filter(None, [rollout.tool_output])]),
            )
        except TemplateError as error:
            raise ValueError(f"prompt template {self._name}: {error}") from error
        before = [turn.model_dump() for turn in rollout.conversation or ()]
        return [*before, {"role": "user", "content": text.strip()}]
